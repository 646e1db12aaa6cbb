"""Episodes in which the user speaks more than once, and BFCL's in particular."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from tests.inference.speaking import Scripted, Unused
from tests.rl.test_rollout import codec
from tests.rl.test_rubric import rewards
from tests.tooluse.bfcl.checker import other_episodes
from tl_jax.config import SamplingConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt
from tl_jax.errors import UserError
from tl_jax.rl.episodes import Episode
from tl_jax.rl.rollout import EnvironmentSpec, run_multi_turn
from tl_jax.tooluse.bfcl.categories import CATEGORIES
from tl_jax.tooluse.bfcl.package import question_files
from tl_jax.tooluse.environments.base import UserTurn
from tl_jax.tooluse.environments.bfcl import BfclTools
from tl_jax.tooluse.environments.registry import ENVIRONMENTS
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.tooluse.text.render import PaperRenderer

__all__ = ["codec"]

STATE = {"reward": "{live: 0.0}", "episode_reward": "bfcl_state", "environment": "bfcl"}
CASE = Case("c", (Tool("open"),), (Message("user", "Open it."),))


class Doors:
    """After the first answer without a call the user asks for something else, with a tool for it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.made: list[str] = []

    @property
    def outcome(self) -> dict[str, Any]:
        return {"turns": 2, "passed": len(self.heard), "fault": ""}

    def reset(self, case: Case) -> Case:
        return case

    def step(self, call: Call) -> tuple[str, bool]:
        self.made.append(f"{call.name} {call.arguments}")
        return "done", False

    def user_says(self, answer: str) -> UserTurn | None:
        self.heard.append(answer)
        parameters = {"properties": {"name": {}}, "required": ["name"]}
        turn = UserTurn((Message("user", "Now close it."),), (Tool("close", parameters=parameters),))
        return turn if len(self.heard) == 1 else None

    def close(self) -> None:
        pass


def played(codec: Codec, case: Case, environment: Any, *texts: str, new_tokens: int = 400) -> tuple[Episode, Scripted]:
    sampling = SamplingConfig(max_new_tokens=new_tokens)
    sampler = Scripted(Unused(), codec, sampling, codec.stop_ids, lines=[[text] for text in texts])
    prompt = Prompt(case, tuple(codec.prompt(case.tools, case.messages)))
    spec = EnvironmentSpec(lambda: environment, max_turns=len(texts), max_length=10**6)
    (episode,) = run_multi_turn(sampler, [prompt], jax.random.key(0), spec)
    return episode, sampler


def written(codec: Codec, content: str = "", *calls: Call) -> str:
    """An answer as the format writes it, from right after the generation prompt."""
    rendered = codec.renderer.render(CASE.tools, [*CASE.messages, Message("assistant", content, calls)])
    start, end = rendered.turns[0].answer
    return rendered.text[start:end]


def test_the_user_speaks_where_the_model_stops_calling(codec: Codec) -> None:
    doors = Doors()
    texts = written(codec, "", Call("open")), written(codec, "It is open."), "close('a')", "Closed."
    episode, sampler = played(codec, CASE, doors, *texts)
    assert [text.strip() for text in doors.heard] == ["It is open.", "Closed."]
    assert doors.made == ["open {}", "close {'name': 'a'}"]  # positional arguments are named by the new tool
    assert [turn.results for turn in episode.turns] == [("done",), (), ("done",), ()]
    assert episode.outcome == {"turns": 2, "passed": 2, "fault": ""}
    said = (
        *CASE.messages,
        Message("assistant", "", (Call("open"),)),
        Message("tool", "done", name="open"),
        Message("assistant", "It is open."),
        Message("user", "Now close it."),
    )
    asked = sampler.asked[2][0]
    assert asked == codec.prompt(CASE.tools, said)
    assert episode.stream[: len(asked)] == asked


def test_an_answer_that_is_cut_off_is_not_heard(codec: Codec) -> None:
    doors = Doors()
    episode, _ = played(codec, CASE, doors, "It is open. " * 50, "x", new_tokens=20)
    assert (doors.heard, len(episode.turns), episode.truncated) == ([], 1, True)


@pytest.mark.parametrize("name", ["multi_turn_miss_func", "multi_turn_miss_param"])
def test_a_policy_that_makes_the_gold_calls_earns_the_reward_of_the_state(codec: Codec, name: str) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")
    if codec.renderer.name != "paper":
        pytest.skip("BFCL's answers do not depend on the text format")
    case = next(read_cases(question_files([CATEGORIES[name]])[0]))
    renderer, rubric = PaperRenderer(), rewards(**STATE)
    partly = rewards(**{**STATE, "episode_reward": "{name: bfcl_state, options: {partial: true}}"})
    for done, turns in other_episodes(case, seed=0):
        if done not in ("gold", "turn left out"):
            continue
        texts = [text for turn in turns for text in (*(renderer.answer([call]) for call in turn), "That is all.")]
        environment = ENVIRONMENTS["bfcl"].make()
        episode, _ = played(codec, case, environment, *texts)
        right = done == "gold"
        assert [turn.text for turn in episode.turns if not turn.calls] == ["That is all."] * len(turns)
        assert rubric.total(rubric(episode)) == float(right)
        assert 0 <= partly.total(partly(episode)) < 1 or right
        assert partly.total(partly(episode)) == pytest.approx(episode.outcome["passed"] / len(turns))


def test_the_reward_of_the_state_needs_an_environment_that_judges(codec: Codec) -> None:
    episode, _ = played(codec, CASE, Doors(), "open()")
    rubric = rewards(**STATE)
    assert rubric.total(rubric(episode)) == 0.0
    episode.outcome = None
    with pytest.raises(UserError, match="episode_reward bfcl_state: needs environment=bfcl"):
        rubric(episode)


def test_it_is_an_environment_of_configurations() -> None:
    assert ENVIRONMENTS["bfcl"].make is BfclTools
    assert not ENVIRONMENTS["bfcl"].recorded
