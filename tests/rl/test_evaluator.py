"""Greedy evaluation, and what a run says of it before and after, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tl_jax.config import RlConfig, load_config
from tl_jax.data.prompts import Prompt, spread
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.evaluator import Comparison, Evaluator
from tl_jax.rl.rubric import make_rubric
from tl_jax.rl.waiting import NO_WATCH, Watch
from tl_jax.tooluse.schema import Call, Case, Message, Tool

GOLD = ((Call("go"),),)
PROMPTS = [Prompt(Case(f"c{index}", (Tool("go"),), (Message("user", "go"),), GOLD), (1, index)) for index in range(4)]


def says(text: str, prompts: Any, key: Any) -> list[Episode]:
    """A worker whose parameters are its answer."""
    return [Episode(one.case, [1, 2], 1, [Turn(one.case, text, True, 0, (2,), (0.0,))]) for one in prompts]


@dataclass
class Worker:
    """What such a function is part of."""

    answer: Any = says
    watch: Watch = NO_WATCH

    def __call__(self, params: Any, prompts: Any, key: Any) -> list[Episode]:
        found: list[Episode] = self.answer(params, prompts, key)
        return found


def evaluator(prompts: Any) -> Any:
    config = load_config(RlConfig, [], ["run_dir=r", "model.path=m", "data.path=d", "reward=binary"])
    return Evaluator(Worker(), prompts, make_rubric(config))  # type: ignore[arg-type]


def test_mean_reward_and_shares() -> None:
    right, wrong = evaluator(PROMPTS)("go() "), evaluator(PROMPTS)("stop() ")
    assert right == {"eval_reward": 1.0, "eval_TS": 100.0, "eval_PI": 100.0, "eval_CF": 100.0}
    assert (wrong["eval_reward"], wrong["eval_TS"]) == (0, 0)
    assert evaluator([])("go() ") == {}


def test_prompts_come_from_all_over_the_file() -> None:
    assert spread(PROMPTS, 2) == [PROMPTS[0], PROMPTS[3]]
    assert spread(PROMPTS, 9) == PROMPTS
    assert spread(PROMPTS, 0) == []


@pytest.mark.parametrize(
    ("now", "change"), [("go() ", "the reward rose by 1.000"), ("stop() ", "the reward is the same")]
)
def test_a_run_compares_with_what_was_before(now: str, change: str, tmp_path: Path) -> None:
    lines: list[str] = []
    run: Any = SimpleNamespace(total=5, log=SimpleNamespace(line=lines.append), directory=tmp_path)
    before = evaluator(PROMPTS)("stop() ")
    comparison = Comparison(run, evaluator(PROMPTS), "stop() ")
    assert lines.pop(0) == "before training, 4 fixed prompts are answered greedily"
    assert lines.pop().startswith("before training, greedy, on 4 fixed prompts: reward +0.000, TS 0.0 %")
    state: Any = SimpleNamespace(params={"actor": now})
    assert comparison(4, state).keys() == before.keys()
    last = comparison(5, state)
    assert {name: last[f"{name}_before"] for name in before} == before
    comparison.conclude({"step": 4, "stopped_by": "SIGTERM", **comparison(4, state)})
    assert lines == []
    comparison.conclude({"step": 5, "stopped_by": None, **last})
    assert lines[0].startswith("after training, the same way: reward ")
    assert lines[0].endswith(change)


def breaks(prediction: str, case: Case) -> float:
    """A user's reward."""
    return 1.0 if prediction == "go() " else float("nan")


def test_episodes_that_failed_are_left_out_and_where_all_did_nothing_is_evaluated(tmp_path: Path) -> None:
    config = load_config(RlConfig, [], ["run_dir=r", "model.path=m", "data.path=d", f"reward={__name__}:breaks"])
    lines: list[str] = []
    run: Any = SimpleNamespace(total=5, log=SimpleNamespace(line=lines.append), directory=tmp_path)

    def mixed(texts: Any, prompts: Any, key: Any) -> list[Episode]:
        return [says(text, [prompt], key)[0] for text, prompt in zip(texts, prompts, strict=True)]

    evaluate = Evaluator(Worker(mixed), PROMPTS, make_rubric(config))  # type: ignore[arg-type]
    assert evaluate(["go() ", "stop() ", "stop() ", "go() "])["eval_CF"] == 100  # type: ignore[arg-type]
    comparison = Comparison(run, evaluate, ["go() "] * 4)  # type: ignore[arg-type]
    state: Any = SimpleNamespace(params={"actor": ["stop() "] * 4})
    assert comparison(5, state) == {}
    assert "nothing is evaluated, because all 4 episodes failed, the first by reward" in lines[-1]
    lines.clear()
    without = Comparison(run, evaluate, ["stop() "] * 4)  # type: ignore[arg-type]
    assert lines[-1].startswith("before training: nothing is evaluated, because all 4 episodes failed")
    state.params["actor"] = ["go() "] * 4
    last = without(5, state)
    assert last["eval_reward"] == 1.0
    without.conclude({"step": 5, "stopped_by": None, **last})
    assert len(lines) == 2  # there is nothing to compare with


def test_without_prompts_nothing_is_said(tmp_path: Path) -> None:
    lines: list[str] = []
    run: Any = SimpleNamespace(total=5, log=SimpleNamespace(line=lines.append), directory=tmp_path)
    comparison = Comparison(run, evaluator([]), {})
    state: Any = SimpleNamespace(params={"actor": "go() "})
    comparison.conclude({"step": 5, **comparison(5, state)})
    assert lines == []


def test_a_continued_run_that_keeps_no_first_policy_compares_with_what_it_found(tmp_path: Path) -> None:
    lines: list[str] = []
    run: Any = SimpleNamespace(total=5, log=SimpleNamespace(line=lines.append), directory=tmp_path)
    state: Any = SimpleNamespace(params={"actor": "go() "})
    expected = Comparison(run, evaluator(PROMPTS), "stop() ")(5, state)  # type: ignore[arg-type]
    told = lines.pop()
    assert expected["eval_reward_before"] == 0
    lines.clear()
    assert Comparison(run, evaluator(PROMPTS), None)(5, state) == expected
    assert lines == [told]
    assert "eval_reward_before" not in Comparison(run, evaluator(PROMPTS[:2]), None)(5, state)
    assert "has no evaluation of it on these prompts" in lines[-1]
    (tmp_path / "before.json").write_text("{half")
    assert "eval_reward_before" not in Comparison(run, evaluator(PROMPTS), None)(5, state)
    lines.clear()
    assert Comparison(run, evaluator([]), None)(5, state) == {}
    assert lines == []
