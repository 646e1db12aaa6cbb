"""The demo's world: reproducible, well-formed, and without leaks between its splits."""

from __future__ import annotations

import json
import random
import re
from itertools import combinations

import pytest

from tl_jax.demo.world import Domain, Split, domains, draw, generate, invent, is_open, side
from tl_jax.tooluse.mae.apply import Category, blocked_turns
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Trajectory, decision_points

SPLITS: tuple[Split, ...] = ("base", "train", "values", "domains")
KINDS = ("name", "title", "code", "time", "date", "2-40", "10-999")


def trajectories(split: Split, n: int = 600, simple: bool = False) -> list[Trajectory]:
    return list(generate(0, n, split, simple))


def open_values(trajectory: Trajectory) -> set[str]:
    """What requests and results speak of, minus words of closed kinds: found in the messages, not by the generator."""
    enums = {value for tool in trajectory.tools for spec in tool.properties.values() for value in spec.get("enum", ())}
    found = set()
    for index, message in enumerate(trajectory.messages):
        if message.role == "assistant" and index not in {block.message for block in blocked_turns(trajectory)}:
            found |= {v for call in message.tool_calls if call.name != "finish" for v in call.arguments.values()}
    return {str(value) for value in found if not isinstance(value, bool)} - enums


def test_same_arguments_same_world_and_another_seed_another() -> None:
    assert trajectories("train", 50) == trajectories("train", 50)
    assert [t.messages for t in generate(0, 50, "train")] != [t.messages for t in generate(1, 50, "train")]
    assert trajectories("train", 50)[:20] == trajectories("train", 20)  # n only cuts


def test_trajectories_survive_json_and_have_unique_ids() -> None:
    everything = [t for split in SPLITS for t in trajectories(split, 200)]
    assert len({t.id for t in everything}) == len(everything)
    for trajectory in everything:
        assert Trajectory.from_json(json.loads(json.dumps(trajectory.to_json()))) == trajectory


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("simple", [True, False])
def test_unblocked_calls_obey_the_schema_and_blocked_ones_are_answered_by_an_error(split: Split, simple: bool) -> None:
    types = {"string": str, "integer": int, "boolean": bool}
    for trajectory in trajectories(split, 200, simple):
        tools = {tool.name: tool for tool in trajectory.tools}
        assert len(tools) == len(trajectory.tools)
        blocked = {block.message for block in blocked_turns(trajectory)}
        assert not (simple and blocked)
        for index, message in trajectory.turns:
            for call in () if index in blocked else message.tool_calls:
                properties = tools[call.name].properties
                assert set(tools[call.name].required) <= set(call.arguments) <= set(properties)
                for name, value in call.arguments.items():
                    assert type(value) is types[properties[name]["type"]]
                    assert value in properties[name].get("enum", [value])


def test_every_argument_can_be_read_off_the_context() -> None:
    """Nothing has to be guessed: a value stands in the request or in an earlier result, booleans as with/without."""
    for trajectory in [t for split in SPLITS for t in trajectories(split, 100)]:
        for index, message in trajectory.turns:
            said = " ".join(m.content for m in trajectory.messages[:index] if m.role != "assistant").lower()
            for call in message.tool_calls:
                if call.name == "finish" or index in {block.message for block in blocked_turns(trajectory)}:
                    continue
                for value in call.arguments.values():
                    spoken = ("with " if value else "without ") if isinstance(value, bool) else str(value).lower()
                    assert spoken in said, (trajectory.id, value)


def test_one_trajectory_in_five_has_an_error_that_is_made_good() -> None:
    found = trajectories("train", 2000)
    wrong = [t for t in found if blocked_turns(t)]
    assert 0.15 < len(wrong) / len(found) < 0.25
    categories = {block.finding.category for t in wrong for block in blocked_turns(t)}
    assert categories >= {
        Category.TOOL_HALLUCINATION,
        Category.PARAMETER_HALLUCINATION,
        Category.MISSING_PARAMETER,
        Category.BAD_VALUE,
        Category.ENVIRONMENT,
    }
    for trajectory in wrong:
        for block in blocked_turns(trajectory):
            wrong_call, right_call = (trajectory.messages[block.message + step].tool_calls[0] for step in (0, 2))
            if block.finding.category is not Category.ENVIRONMENT:
                assert wrong_call != right_call
            assert block.message + 2 not in {other.message for other in blocked_turns(trajectory)}


def test_each_domain_has_a_tool_that_its_caller_gets_wrong_more_often_than_right() -> None:
    """What MAE is for: the most frequent call at the first attempt is a tool that does not exist."""
    for domain in domains("known"):
        first = [_first_attempt(t, domain.slip) for t in trajectories("train", 3000) if t.suite == domain.name]
        attempts = [name for name in first if name]
        assert len(attempts) > 20
        assert sum(name != domain.slip for name in attempts) / len(attempts) > 0.5


def _first_attempt(trajectory: Trajectory, tool: str) -> str | None:
    """The name in the first call that ends up being ``tool``, wrong as it may be."""
    calls = [(i, call.name) for i, message in trajectory.turns for call in message.tool_calls]
    index = next((k for k, (_, name) in enumerate(calls) if name == tool), None)
    if index is None:
        return None
    wrong = {block.message for block in blocked_turns(trajectory)}
    return calls[index - 1][1] if index and calls[index - 1][0] in wrong else tool


def test_recorded_calls_earn_the_full_reward() -> None:
    from tl_jax.tooluse.text.render import PaperRenderer

    for trajectory in trajectories("values", 100):
        for case in decision_points(trajectory):
            answer = PaperRenderer().answer(case.gold[0])
            if not any(block.message == len(case.messages) for block in blocked_turns(trajectory)):
                assert score(answer, case).value == 1


# --- no leaks ---------------------------------------------------------------------------------------------------------


def test_argument_values_of_base_train_and_held_out_are_disjoint() -> None:
    values = {split: set().union(*(open_values(t) for t in trajectories(split, 1500))) for split in SPLITS}
    held_out = values["values"] | values["domains"]
    for left, right in combinations((values["base"], values["train"], held_out), 2):
        assert min(len(left), len(right)) > 100
        assert not left & right


def test_values_cover_every_side_for_every_kind() -> None:
    for kind in KINDS:
        drawn = {split: {str(draw(kind, split, random.Random(i))) for i in range(200)} for split in SPLITS}
        assert is_open(kind)
        assert all(side(value) == "train" for value in drawn["train"])
        assert all(side(value) == "held-out" for split in ("values", "domains") for value in drawn[split])
        assert all(len(found) > 3 for found in drawn.values()), kind


def test_closed_kinds_are_spelt_out_in_the_tool() -> None:
    assert not is_open("with")
    assert {draw("a/b", "base", random.Random(i)) for i in range(20)} == {"a", "b"}


def test_unseen_domains_share_no_tool_and_no_noun_with_known_or_base_domains() -> None:
    verbs = {"get", "find", "set", "add", "book", "reserve"}

    def nouns(domain: Domain) -> set[str]:
        return {part for tool in domain.actions for part in tool.split("_")} - verbs

    unseen, known = domains("unseen"), domains("known")
    base = [invent(random.Random(i)) for i in range(3000)]
    for left, right in ((unseen, known), (unseen, base), (known, base)):
        assert not {tool for domain in left for tool in domain.actions} & {tool for d in right for tool in d.actions}
    for domain in unseen:
        others = set().union(*(nouns(other) for other in (*known, *base)))
        assert not nouns(domain) & others, domain.name


def test_splits_name_only_their_own_domains() -> None:
    assert {t.suite for t in trajectories("train")} == {d.name for d in domains("known")}
    assert {t.suite for t in trajectories("values")} == {d.name for d in domains("known")}
    assert {t.suite for t in trajectories("domains")} == {d.name for d in domains("unseen")}


def test_simple_episodes_have_one_tool_and_one_call() -> None:
    for trajectory in trajectories("train", 200, simple=True):
        names = [call.name for _, message in trajectory.turns for call in message.tool_calls]
        assert [name for name in names if name != "finish"] == [
            tool.name for tool in trajectory.tools if tool.name != "finish"
        ]


def test_every_tool_of_the_file_is_used_and_every_slot_known() -> None:
    for domain in (*domains("known"), *domains("unseen")):
        used = {step for task in domain.tasks for step in task.steps}
        assert domain.slip in used
        assert set(domain.actions) >= used
        mentioned = {slot for action in domain.actions.values() for slot in (*action.takes, *action.gives)}
        mentioned |= {
            slot for task in domain.tasks for text in (*task.ask, task.tell) for slot in re.findall(r"\{(\w+)\}", text)
        }
        assert mentioned <= set(domain.slots)
