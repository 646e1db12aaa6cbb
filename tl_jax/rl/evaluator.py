"""What greedy episodes from a fixed set of prompts are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tl_jax.data.prompts import Prompt
from tl_jax.files import write_json
from tl_jax.model.parameters import Params
from tl_jax.rl.faults import NothingLeftError
from tl_jax.rl.rollout import RolloutWorker
from tl_jax.rl.rubric import Rubric
from tl_jax.rl.state import RlState
from tl_jax.tooluse.metrics import score_prediction, summarise
from tl_jax.training.distributed import agreed, is_main
from tl_jax.training.run import Run

BEFORE_FILE = "before.json"
"""In the run's directory: what the first policy was worth, and on which prompts."""


class Evaluator:
    """The mean reward of greedy episodes, and TS, PI and CF of their turns where there is gold.

    Args:
        worker: plays greedily.
        prompts: of the episodes; none = nothing is evaluated.
        rubric: their rewards.
    """

    def __init__(self, worker: RolloutWorker, prompts: Sequence[Prompt], rubric: Rubric) -> None:
        self._worker, self._rubric, self.prompts = worker, rubric, prompts

    def __call__(self, params: Params) -> dict[str, float]:
        """``eval_reward``, ``eval_TS``, ``eval_PI``, ``eval_CF``; nothing where there are no prompts."""
        if not self.prompts:
            return {}
        episodes = self._worker(params, self.prompts, jax.random.key(0))
        scored = self._rubric.of_all(episodes, self._worker.watch)
        self._rubric.check(scored)
        kept = [(episode, rewards) for episode, rewards in zip(episodes, scored, strict=True) if not rewards.dropped]
        total = [self._rubric.total(rewards) for _, rewards in kept]
        turns = [turn for episode, _ in kept for turn in episode.turns if turn.case.gold]
        summary = summarise(score_prediction(turn.text, turn.case) for turn in turns)
        shares = {"TS": summary.ts, "PI": summary.pi, "CF": summary.cf} if turns else {}
        return {"eval_reward": float(np.mean(total)), **{f"eval_{name}": share for name, share in shares.items()}}


class Comparison:
    """Evaluations of the actor during a run against one of the first policy, which this makes, logs and keeps.

    Args:
        run: entered.
        evaluator: of both.
        first: parameters before the first update; None = they are gone, and what an earlier start found is taken.
    """

    def __init__(self, run: Run, evaluator: Evaluator, first: Params | None) -> None:
        self._run, self._evaluator = run, evaluator
        self._before = self._found_earlier() if first is None else self._evaluated_first(first)
        if self._before:
            count = len(evaluator.prompts)
            run.log.line(f"before training, greedy, on {count} fixed prompts: {_describe(self._before)}")

    def _evaluated_first(self, first: Params) -> dict[str, float]:
        prompts = self._evaluator.prompts
        if prompts:
            self._run.log.line(f"before training, {len(prompts)} fixed prompts are answered greedily")
        found = self._evaluated("before training", first)
        if found and is_main():
            write_json(self._run.directory / BEFORE_FILE, {"prompts": self._ids(), "metrics": found})
        return found

    def _found_earlier(self) -> dict[str, float]:
        if not self._evaluator.prompts:
            return {}
        kept = agreed(lambda: _read(self._run.directory / BEFORE_FILE))
        if kept.get("prompts") == self._ids():
            return dict(kept["metrics"])
        self._run.log.line(
            "warning: nothing is compared with the first policy, which is not kept (algorithm.kl_coef=0): "
            f"{BEFORE_FILE} has no evaluation of it on these prompts"
        )
        return {}

    def _ids(self) -> list[str]:
        return [prompt.case.id for prompt in self._evaluator.prompts]

    def __call__(self, step: int, state: RlState) -> dict[str, float]:
        """What the evaluator finds; after the last step, what it found before training as well.

        Nothing where all episodes failed.
        """
        found = self._evaluated(f"step {step}", state.params["actor"])
        if not found:
            return {}
        if step == self._run.total:
            found |= {f"{name}_before": value for name, value in self._before.items()}
        return found

    def _evaluated(self, when: str, params: Params) -> dict[str, float]:
        try:
            return self._evaluator(params)
        except NothingLeftError as error:  # it may be an accident, above all where there are few prompts
            self._run.log.line(f"{when}: nothing is evaluated, because {error}")
            return {}

    def conclude(self, summary: Mapping[str, Any]) -> None:
        """Logs what became of the reward, if the last step was reached."""
        if "eval_reward_before" in summary:
            after = {name: summary[name] for name in self._before if name in summary}
            change = _describe_change(after["eval_reward"] - self._before["eval_reward"])
            self._run.log.line(f"after training, the same way: {_describe(after)}; the reward {change}")


def _read(file: Path) -> dict[str, Any]:
    """What is kept; nothing where there is no such file, or a damaged one."""
    with suppress(FileNotFoundError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict) and isinstance(found.get("metrics"), dict):
            return found
    return {}


def _describe(metrics: Mapping[str, float]) -> str:
    shares = [f"{name} {metrics[f'eval_{name}']:.1f} %" for name in ("TS", "PI", "CF") if f"eval_{name}" in metrics]
    return ", ".join([f"reward {metrics['eval_reward']:+.3f}", *shares])


def _describe_change(difference: float) -> str:
    if not difference:
        return "is the same"
    return f"rose by {difference:.3f}" if difference > 0 else f"fell by {-difference:.3f}"
