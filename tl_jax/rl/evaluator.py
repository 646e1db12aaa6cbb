"""What greedy episodes from a fixed set of prompts are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tl_jax.data.prompts import Prompt
from tl_jax.model.parameters import Params
from tl_jax.rl.faults import NothingLeftError
from tl_jax.rl.rollout import RolloutWorker
from tl_jax.rl.rubric import Rubric
from tl_jax.rl.state import RlState
from tl_jax.tooluse.metrics import score_prediction, summarise
from tl_jax.training.run import Run


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
    """Evaluations of the actor during a run against one of the reference policy, which this makes and logs.

    Args:
        run: entered.
        evaluator: of both.
        ref_params: the reference policy's.
    """

    def __init__(self, run: Run, evaluator: Evaluator, ref_params: Params) -> None:
        self._run, self._evaluator = run, evaluator
        if evaluator.prompts:
            run.log.line(f"before training, {len(evaluator.prompts)} fixed prompts are answered greedily")
        self._before = self._evaluated("before training", ref_params)
        if self._before:
            count = len(evaluator.prompts)
            run.log.line(f"before training, greedy, on {count} fixed prompts: {_describe(self._before)}")

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


def _describe(metrics: Mapping[str, float]) -> str:
    shares = [f"{name} {metrics[f'eval_{name}']:.1f} %" for name in ("TS", "PI", "CF") if f"eval_{name}" in metrics]
    return ", ".join([f"reward {metrics['eval_reward']:+.3f}", *shares])


def _describe_change(difference: float) -> str:
    if not difference:
        return "is the same"
    return f"rose by {difference:.3f}" if difference > 0 else f"fell by {-difference:.3f}"
