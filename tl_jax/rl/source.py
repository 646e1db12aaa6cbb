"""The batches of reinforcement learning: episodes sampled with the current parameters, and what is told of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from rich.table import Table
from rich.text import Text

from tl_jax.config import RlConfig
from tl_jax.rl.ahead import RolloutQueue
from tl_jax.rl.batch import RolloutBatch, collate
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.faults import stand_ins
from tl_jax.rl.groups import GroupSampler
from tl_jax.rl.online_mae import OnlineMae
from tl_jax.rl.prompt_sampler import PromptSampler
from tl_jax.rl.rollout import RolloutWorker
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.row_sizes import RowSizes
from tl_jax.rl.rubric import EpisodeRewards, Rubric
from tl_jax.rl.state import RlState
from tl_jax.run_files import SAMPLES_FILE
from tl_jax.tooluse.mae.apply import find_error
from tl_jax.training.distributed import is_main
from tl_jax.training.logs import drop_metrics_after
from tl_jax.training.loop import Metrics
from tl_jax.training.run import Run
from tl_jax.visible import visible

SHOWN_SAMPLES = 4
"""Episodes of a rollout that are printed and kept, whenever metrics are."""


class Rollouts:
    """A `Source`: each step's episodes, rewarded and as arrays.

    Args:
        run: entered; its log and its directory take the samples.
        config: how many prompts, and how often each.
        worker: samples the episodes.
        rubric: rewards them.
        prompts: which come next.
        position: where a run that is continued stood, which ``prompts`` know already.
    """

    def __init__(
        self,
        run: Run,
        config: RlConfig,
        worker: RolloutWorker,
        rubric: Rubric,
        prompts: PromptSampler,
        position: Mapping[str, Any] | None = None,
    ) -> None:
        self._run, self._group_size, self._prompts = run, config.group_size, prompts
        self._layout, self._seed = Layout.of(config, run.mesh), config.seed
        self._sizes = self._restored((position or {}).get("sizes", {}))
        self._rubric = rubric
        self._queue = RolloutQueue(config, GroupSampler(config, worker, rubric, prompts), rubric)
        self._queue.restore((position or {}).get("ahead", {}), run.log.line)
        self._mae, self._mask_truncated = OnlineMae.of(config.online_mae), config.algorithm.mask_truncated
        self._outcomes: Counter[str] = Counter()
        self._results: Counter[str] = Counter()
        if is_main():
            drop_metrics_after(run.directory / SAMPLES_FILE, run.start)

    def _restored(self, kept: Mapping[str, Any]) -> RowSizes:
        """Those of the run that goes on, unless they were those of another layout."""
        return RowSizes.of(kept["of"]) if kept.get("layout") == list(self._layout) else RowSizes()

    def batch(self, step: int, state: RlState) -> RolloutBatch:
        self._began = time.perf_counter()
        self._first = step == self._run.start + 1
        if self._first:
            self._run.log.line(f"step {step}: the first rollout begins")
        self._rollout = self._queue.next(step, state)
        self._episodes, self._rewards = self._rollout.episodes, self._rollout.rewards
        sizes = len(self._sizes.known)
        self._batch = self._collated(step)
        self._sampled = time.perf_counter()
        if self._first:
            self._run.log.line(f"step {step}: {len(self._episodes)} episodes are sampled; learning is compiled")
        elif len(self._sizes.known) > sizes:
            self._run.log.line(f"step {step}: rows of another size; learning is compiled for them, too")
        self._run.log.busy(f"step {step} learns")
        return self._batch

    def _collated(self, step: int) -> RolloutBatch:
        """The episodes as arrays; other ones stand in for those that are dropped."""
        faults = [rewards.fault for rewards in self._rewards if rewards.fault]
        if faults:
            self._run.log.line(f"step {step}: {len(faults)} of {len(self._rewards)} episodes failed; {faults[0]}")
        raised = [episode.raised for episode in self._episodes if episode.raised]
        if raised:
            self._run.log.line(f"step {step}: calls of {len(raised)} episodes raised an error; {raised[0]}")
        self._kept = [index for index, rewards in enumerate(self._rewards) if not rewards.dropped]
        places = stand_ins([rewards.dropped for rewards in self._rewards], self._group_size)
        episodes, values = [self._episodes[i] for i in places], [self._rewards[i].values for i in places]
        weights = self._mae.weights(episodes)
        if self._mask_truncated:
            weights = [weight * (not one.truncated) for weight, one in zip(weights, episodes, strict=True)]
        self._read = sum(len(episode.stream) for episode in episodes)
        return collate(episodes, values, weights, self._layout, (self._seed, step), self._sizes)

    def observe(self, metrics: Metrics) -> Metrics:
        """Rewards what was sampled ahead and waits for the step, whose time is measured.

        ``tokens_per_second`` counts the tokens of all episodes in that time, prompts as often as they were answered;
        ``tokens_read`` those that the sampler read, if it says so;
        ``padding`` is the share of positions that were read for nothing.
        """
        self._queue.reward()
        metrics = jax.device_get(metrics)
        ended = time.perf_counter()
        turns = [turn for episode in self._episodes for turn in episode.turns]
        episodes, rewards = self._counted()
        self._outcomes.update(turn[0].category for one in self._rewards for turn in one.turns)
        self._results.update(_category(result) for turn in turns for result in turn.results)
        return {
            **metrics,
            **_host_metrics(episodes, rewards, self._rubric),
            "resampled": self._rollout.replaced * self._group_size / len(self._episodes),
            "faults": np.mean([bool(one.fault) for one in self._rewards]),
            "raised": np.mean([bool(episode.raised) for episode in self._episodes]),
            "blocked_turns": np.mean(np.concatenate([self._mae.blocked(episode) for episode in episodes])),
            "tokens_per_second": self._read / (ended - self._began),
            **_tokens_read(turns),
            "padding": self._batch.rows.padding,
            "staleness": self._rollout.staleness,
            "seconds_rewards": self._rollout.seconds_rewards,
            "seconds_sampling": self._sampled - self._began,
            "seconds_learning": ended - self._sampled,
        }

    def _counted(self) -> tuple[list[Episode], list[EpisodeRewards]]:
        """The episodes that are not dropped, and their rewards."""
        return [self._episodes[index] for index in self._kept], [self._rewards[index] for index in self._kept]

    def read(self) -> dict[str, float]:
        return _shares("outcome", self._outcomes) | _shares("result", self._results)

    def show(self, step: int) -> None:
        """A few turns, printed as a table and kept in ``samples.jsonl``."""
        table = Table("case", "answer", "reward", "why", title=f"answers at step {step}", title_justify="left")
        samples = [
            sample
            for episode, rewards in list(zip(self._episodes, self._rewards, strict=True))[:SHOWN_SAMPLES]
            for sample in _samples(step, episode, rewards, self._rubric)
        ]
        for sample in samples:
            written = sample["prediction"] + ("" if sample["finished"] else " ... (cut off)")
            table.add_row(*map(_cell, (sample["id"], written[:400], f"{sample['reward']:+.2f}", sample["explanation"])))
        self._run.log.table(table)
        if is_main():
            with (self._run.directory / SAMPLES_FILE).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(sample) + "\n" for sample in samples)

    def position(self, step: int) -> Mapping[str, Any]:
        """Of the prompts, of what was sampled ahead, and the sizes of rows."""
        sizes = {"layout": list(self._layout), "of": self._sizes.state()}
        return {**self._prompts.state(), "ahead": self._queue.state(), "sizes": sizes}


def _cell(text: str) -> Text:
    return Text(visible(text))


def _host_metrics(episodes: list[Episode], rewards: list[EpisodeRewards], rubric: Rubric) -> dict[str, Any]:
    """What is known without the device: means over episodes or turns."""
    turns = [turn for episode in episodes for turn in episode.turns]
    parts = {
        f"reward/{name}": np.mean([turn[index].value for one in rewards for turn in one.turns])
        for index, name in enumerate(rubric.turn_rewards)
    }
    return {
        "reward": np.mean([rubric.total(one) for one in rewards]),
        **(parts if len(parts) > 1 else {}),
        "turns": len(turns) / len(episodes),
        "answer_length": np.mean([len(turn.tokens) for turn in turns]),
        "finished": np.mean([turn.finished for turn in turns]),
        "truncated": np.mean([episode.truncated for episode in episodes]),
    }


def _tokens_read(turns: list[Turn]) -> dict[str, float]:
    """What was read to sample them, if that is known."""
    known = [turn.read for turn in turns if turn.read is not None]
    return {"tokens_read": float(sum(known))} if len(known) == len(turns) else {}


def _samples(step: int, episode: Episode, rewards: EpisodeRewards, rubric: Rubric) -> list[dict[str, Any]]:
    """A row of ``samples.jsonl`` for each turn of an episode."""
    return [
        {
            "step": step,
            "id": turn.case.id,
            "turn": number,
            "prediction": turn.text,
            "finished": turn.finished,
            "reward": sum(weight * part.value for weight, part in zip(rubric.weights, earned, strict=False)),
            "category": earned[0].category,
            "explanation": "; ".join(part.explanation for part in earned),
            "results": list(turn.results),
        }
        for number, (turn, earned) in enumerate(zip(episode.turns, rewards.turns, strict=True))
    ]


def _shares(prefix: str, counts: Counter[str]) -> dict[str, float]:
    """Share of each category since the last reading, which this is."""
    total, seen = counts.total(), dict(counts)
    counts.clear()
    return {f"{prefix}/{name}": count / total for name, count in sorted(seen.items())}


def _category(result: str) -> str:
    """The category of MAE that a tool's result belongs to."""
    found = find_error(result, "paper")
    return found.category.value if found else "success"
