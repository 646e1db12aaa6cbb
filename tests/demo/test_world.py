"""The demo's world: reproducible, well-formed, without leaks between its splits, and as its dials say."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_jax.config import ConfigError, WorldConfig, load_config
from tl_jax.config.world import ERROR_KINDS, Overlap
from tl_jax.demo.domains import Domain, domains, invent
from tl_jax.demo.values import Split, draw, is_open, side
from tl_jax.demo.world import generate
from tl_jax.tooluse.analysis import Distribution, analyse
from tl_jax.tooluse.mae.apply import Category, blocked_turns
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Call, Trajectory, decision_points

SPLITS: tuple[Split, ...] = ("base", "train", "values", "tools", "domains")
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


def test_where_no_call_is_wrong_it_does_not_matter_how_it_would_be() -> None:
    world = WorldConfig(error_rate=0, repeated=0.5, silent=0.5, error_kinds=("wrong_tool",), tools=4)
    assert world.effective() == WorldConfig(error_rate=0, tools=4)
    assert list(generate(0, 60, "train", world=world)) == list(generate(0, 60, "train", world=world.effective()))
    wrong = world.model_copy(update={"error_rate": 0.3})
    assert wrong.effective() == wrong
    assert list(generate(0, 60, "train", world=wrong)) != list(generate(0, 60, "train", world=world))


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
    found = trajectories("train", 3000)
    for domain in domains("known"):
        (slip,) = domain.slips
        first = [_first_attempt(t, slip) for t in found if t.suite == domain.name]
        attempts = [name for name in first if name]
        assert len(attempts) > 20
        assert sum(name != slip for name in attempts) / len(attempts) > 0.5


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
        assert set(domain.slips) <= used
        assert set(domain.actions) >= used
        mentioned = {slot for action in domain.actions.values() for slot in (*action.takes, *action.gives)}
        mentioned |= {
            slot for task in domain.tasks for text in (*task.ask, task.tell) for slot in re.findall(r"\{(\w+)\}", text)
        }
        assert mentioned <= set(domain.slots)


# --- dials ------------------------------------------------------------------------------------------------------------

DEFAULT_WORLD = {
    ("base", False): "fc3c4272298c3c9e",
    ("base", True): "6512562567628c3f",
    ("train", False): "52740f24ad928d0d",
    ("train", True): "71333ea0287004ff",
    ("values", False): "33230bfaeaecdb7b",
    ("values", True): "eef9ef742eed4fc3",
    ("domains", False): "7a5643e83fb42f4b",
    ("domains", True): "a5ee79d5ae7693b4",
}
"""SHA-256 of 60 trajectories of seed 1, from before there were dials."""


@pytest.mark.parametrize(("split", "simple"), DEFAULT_WORLD)
def test_the_world_without_dials_is_what_it_always_was(split: Split, simple: bool) -> None:
    text = "\n".join(json.dumps(t.to_json(), ensure_ascii=False) for t in generate(1, 60, split, simple))
    assert hashlib.sha256(text.encode()).hexdigest().startswith(DEFAULT_WORLD[split, simple])


def turned(split: Split, n: int = 400, **dials: object) -> list[Trajectory]:
    return list(generate(3, n, split, world=WorldConfig.model_validate(dials)))


def tool_calls(found: list[Trajectory]) -> list[tuple[Trajectory, Call]]:
    calls = [(t, call) for t in found for _, message in t.turns for call in message.tool_calls]
    return [(t, call) for t, call in calls if call.name != "finish"]


def within_chance(successes: int, trials: int, share: float) -> bool:
    """Within four standard deviations of a binomial distribution: wrong by chance once in 16000."""
    return abs(successes - trials * share) <= 4 * (trials * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("rate", [0, 0.17, 0.45])
def test_the_share_of_wrong_calls_is_the_dial(rate: float) -> None:
    found = turned("train", 800, error_rate=rate)
    assert within_chance(sum(len(blocked_turns(t)) for t in found), len(tool_calls(found)), rate)


@pytest.mark.parametrize("silent", [0.5, 1])
def test_silent_errors_count_as_errors_and_nobody_complains(silent: float) -> None:
    found = turned("train", 800, error_rate=0.3, silent=silent, error_kinds="hallucinated_tool")
    calls = tool_calls(found)
    wrong = sum(call.name not in {tool.name for tool in t.tools} for t, call in calls)
    complained = sum(len(blocked_turns(t)) for t in found)
    assert within_chance(wrong, len(calls), 0.3)
    assert within_chance(complained, wrong, 1 - silent)


OUTCOME = {"unknown_value": "wrong_value", "timeout": "correct"}
"""Of the kinds that the reward table knows by another name."""


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_errors_are_of_the_kind_asked_for(kind: str) -> None:
    """The reward, which knows nothing of the world, says what a blocked call is, given the call that follows."""
    from tl_jax.tooluse.text.render import PaperRenderer

    found = turned("train", 300, error_rate=0.4, error_kinds=kind)
    verdicts = Counter(
        score(PaperRenderer().answer(t.messages[block.message].tool_calls), case).category
        for t in found
        for block in blocked_turns(t)
        for case in decision_points(t)
        if len(case.messages) == block.message + 2
    )
    assert verdicts.keys() == {OUTCOME.get(kind, kind)}
    assert verdicts.total() >= 20


def test_errors_that_repeat_are_the_same_at_every_time() -> None:
    def names(repeated: float) -> list[str]:
        return [
            call.name
            for t, call in tool_calls(turned("train", 600, error_rate=0.3, repeated=repeated))
            if call.name not in {tool.name for tool in t.tools}
        ]

    alike, mixed = names(1.0), names(0.0)
    assert len(alike) > 4 * len(mixed)  # one kind of five
    assert all(blocked_turns(t)[0].finding.category is Category.TOOL_HALLUCINATION for t in _wrong(repeated=1.0))


def _wrong(**dials: object) -> list[Trajectory]:
    return [t for t in turned("train", 200, error_rate=0.3, **dials) if blocked_turns(t)]


def test_held_out_trajectories_are_the_same_whatever_errors_are_trained_on() -> None:
    for split in ("values", "domains"):
        assert turned(split, 40, error_rate=0.4, repeated=1, silent=0.5, error_kinds=["timeout", "wrong_value"]) == [  # type: ignore[arg-type]
            *generate(3, 40, split)  # type: ignore[arg-type]
        ]


def without_finish(trajectory: Trajectory) -> Trajectory:
    return replace(trajectory, tools=tuple(tool for tool in trajectory.tools if tool.name != "finish"))


@pytest.mark.parametrize("split", ["train", "values", "domains"])
def test_names_overlap_as_tl_jax_analyze_measures_it(split: Split) -> None:
    def shared_words(overlap: Overlap) -> Distribution:
        found = turned(split, 150, overlap=overlap)
        return analyse(
            replace(t, tools=tuple(tool for tool in t.tools if tool.name != "finish")) for t in found
        ).names.words

    none, as_written, prefixes, near = map(shared_words, ("none", "as_written", "prefixes", "near_duplicates"))
    assert none.share(at_least=1) == 0 < as_written.share(at_least=1) < prefixes.share(at_least=1)
    assert prefixes.share(at_least=1) == near.share(at_least=1) == 1
    assert prefixes.mean + 0.5 < near.mean  # all but the last word


def test_a_near_duplicate_is_always_on_offer_and_only_the_last_word_tells_it_apart() -> None:
    for trajectory, call in tool_calls(turned("values", 100, overlap="near_duplicates")):
        stem, _, branch = call.name.rpartition("_")
        if call.name in (offered := {tool.name for tool in trajectory.tools}):
            assert {f"{stem}_north", f"{stem}_south"} <= offered
            assert f"the {branch} branch" in trajectory.messages[0].content


@pytest.mark.parametrize("tools", [1, 4, 8])
def test_the_number_of_tools(tools: int) -> None:
    for split in SPLITS:
        for trajectory in turned(split, 40, tools=tools):
            offered = {tool.name for tool in trajectory.tools} - {"finish"}
            called = {call.name for _, call in tool_calls([trajectory])} & offered
            assert len(offered) == max(tools, len(called))
            assert len(trajectory.tools) - len(offered) <= 1  # no name twice


@pytest.mark.parametrize("overlap", get_args(Overlap))
def test_tools_that_are_held_out_are_never_seen_in_training(overlap: str) -> None:
    train, values, tools = (
        turned(split, 300, overlap=overlap, new_tools=1, tools=8, error_rate=0)
        for split in ("train", "values", "tools")
    )
    seen = {tool.name for t in train for tool in t.tools} - {"finish"}
    assert {tool.name for t in values for tool in t.tools} - {"finish"} <= seen
    called = {call.name for _, call in tool_calls(tools)} - {
        t.messages[block.message].tool_calls[0].name for t in tools for block in blocked_turns(t)
    }
    assert not called & seen
    assert {t.suite for t in tools} == {domain.name for domain in domains("known")}
    assert not open_values_of(train) & (open_values_of(values) | open_values_of(tools))


def open_values_of(found: list[Trajectory]) -> set[str]:
    return set().union(*map(open_values, found))


@settings(max_examples=15, deadline=None)
@given(
    error_rate=st.sampled_from([0, 0.2, 0.5, "slips"]),
    error_kinds=st.lists(st.sampled_from(list(ERROR_KINDS)), min_size=1, unique=True),
    overlap=st.sampled_from(get_args(Overlap)),
    tools=st.none() | st.integers(1, 8),
    new_tools=st.integers(0, 1),
    split=st.sampled_from(SPLITS),
)
def test_whatever_the_dials_the_right_calls_obey_their_schema(split: Split, **dials: object) -> None:
    for trajectory in turned(split, 8, **dials):
        offered = {tool.name: tool for tool in trajectory.tools}
        assert len(offered) == len(trajectory.tools)
        blocked = {block.message for block in blocked_turns(trajectory)}
        for index, message in trajectory.turns:
            for call in () if index in blocked else message.tool_calls:
                properties = offered[call.name].properties
                assert set(offered[call.name].required) <= set(call.arguments) <= set(properties)
                assert all(value in properties[name].get("enum", [value]) for name, value in call.arguments.items())


@pytest.mark.parametrize(
    ("dials", "says"),
    [
        ({"error_rate": 0.6}, "'error_rate'.*less than or equal to 0.5"),
        ({"error_rate": "often"}, "'error_rate'.*a valid number"),
        ({"error_kinds": ["wrong_tol"]}, "'error_kinds'.*did you mean 'wrong_tool'"),
        ({"error_kinds": []}, "'error_kinds'.*at least 1"),
        ({"repeated": 0.5}, "repeated needs an error_rate that is a number"),
        ({"silent": 0.5, "error_kinds": "timeout"}, "silent needs another of error_kinds than timeout"),
        ({"error_rate": 0.1, "silent": 1, "error_kinds": ["timeout", "timeout"]}, "error_kinds: name each once"),
        ({"tools": 9}, "'tools'.*less than or equal to 8"),
        ({"new_values": 0, "new_domains": 0}, "nothing is held out"),
        ({"overlap": "some"}, "'overlap'"),
    ],
)
def test_wrong_dials_are_told_in_one_line(dials: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(WorldConfig, [], [], dials)
    assert re.search(says, str(error.value))
    assert "\n" not in str(error.value)
