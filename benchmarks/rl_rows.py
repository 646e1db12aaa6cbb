"""How many positions updates of reinforcement learning read, with few prompts or many on some devices. No model runs.

    python benchmarks/rl_rows.py --data FILE --tokenizer DIR_OR_MODEL [--rollouts 8] [--steps 100]

Prompts are those of all turns of a file up to ``--longest`` tokens, answers as long as any of its turns. What a device
cannot read less than is its share of all tokens, or the longest episode of an update: the rest is padding that another
arrangement could avoid. Rows of all updates of a rollout have one length.

Then what a run of so many steps has to compile: programs for the sizes of its rollouts, if each is read in the rows
that suit it best, and in those that a run chooses, with the padding of these.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tl_jax.config import DataConfig
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.row_plans import Layout, planned
from tl_jax.rl.row_sizes import RowSizes
from tl_jax.rl.rows import Rows, arrange
from tl_jax.tooluse.schema import Case

SHAPES = [(8, 8, 1), (64, 32, 1), (32, 32, 1), (16, 8, 1), (64, 8, 1), (64, 1, 1), (8, 8, 2), (64, 8, 4), (64, 32, 4)]
"""Prompts, devices, minibatches."""
GROUP, LONGEST_ANSWER = 8, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--renderer", default="paper")
    parser.add_argument("--longest", type=int, default=4096)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    config = DataConfig(path=options.data, renderer=options.renderer, max_length=8192, cache=None)
    turns = lengths(config, Codec.open(options.renderer, options.tokenizer))
    turns = turns[turns[:, 0] <= options.longest]
    if len(turns) < (most := max(prompts for prompts, *_ in SHAPES)):
        parser.error(
            f"{options.data} has {len(turns)} prompts of up to {options.longest} tokens; {most} or more are needed"
        )
    print(f"{len(turns)} prompts of {turns[:, 0].mean():.0f} tokens on average, answers of {turns[:, 1].mean():.0f}")
    of_single_rollouts(turns, options.rollouts)
    of_runs(turns, options.steps)


def of_single_rollouts(turns: np.ndarray, rollouts: int) -> None:
    """What is read beyond what has to be, by prompts and devices."""
    print("prompts devices minibatches  padding  positions of a device  over the least  shapes")
    for prompts, devices, minibatches in SHAPES:
        random, found = np.random.default_rng(0), []
        for _ in range(rollouts):
            episodes = rollout(turns, prompts, random)
            rows = arrange(episodes, LONGEST_ANSWER + 1, Layout(GROUP, 1, minibatches, devices))
            found.append((rows.padding, positions(rows) / devices, least(rows, episodes, devices), rows.tokens.shape))
        padding, read, needed = np.mean([one[:3] for one in found], axis=0)
        shapes = len({one[3] for one in found})
        print(
            f"{prompts:7} {devices:7} {minibatches:11} {padding:8.1%} {read:22.0f} {read / needed - 1:15.1%} {shapes:7}"
        )


def of_runs(turns: np.ndarray, steps: int) -> None:
    """For how many sizes a step is compiled, what that costs in positions, and how many of all are padding."""
    print(f"{steps} steps:")
    print("prompts devices minibatches  sizes of each alone  of the run  positions more  padding  at their rollouts")
    for prompts, devices, minibatches in SHAPES:
        random, layout = np.random.default_rng(0), Layout(GROUP, 1, minibatches, devices)
        sizes, alone, begun = RowSizes(), set(), []
        best, read, padding = np.zeros((3, steps))
        for step in range(steps):
            episodes, known = rollout(turns, prompts, random), len(sizes.known)
            single = planned(episodes, layout, step)
            alone.add(single.size)
            chosen = arrange(episodes, LONGEST_ANSWER + 1, layout, step, sizes)
            best[step] = positions(arrange(episodes, LONGEST_ANSWER + 1, layout, step))
            read[step], padding[step] = positions(chosen), chosen.padding
            begun += [step] * (len(sizes.known) - known)
        print(
            f"{prompts:7} {devices:7} {minibatches:11} {len(alone):20} {len(sizes.known):11} "
            f"{read.sum() / best.sum() - 1:15.1%} {np.average(padding, weights=read):8.1%}  {begun}"
        )


def lengths(config: DataConfig, codec: Codec) -> np.ndarray:
    """int [N, 2]: tokens of a turn's prompt and of its answer."""
    found = []
    for row in build_dataset(config, codec).rows:
        for example in row.examples:
            edges = np.flatnonzero(np.diff(np.concatenate([[0], example.weights > 0, [0]])))
            found += [(start + 1, end - start) for start, end in edges.reshape(-1, 2).tolist()]
    return np.array(found)


def rollout(turns: np.ndarray, prompts: int, random: np.random.Generator) -> list[Episode]:
    """Groups of made-up episodes of such lengths."""
    case, episodes = Case("", (), ()), []
    for number in random.choice(len(turns), prompts, replace=False):
        length = int(turns[number, 0])
        for answer in np.minimum(turns[random.integers(len(turns), size=GROUP), 1], LONGEST_ANSWER).tolist():
            turn = Turn(case, "", True, length - 1, (7,) * answer, (0.0,) * answer)
            episodes.append(Episode(case, [5] * length + [7] * answer, length, [turn]))
    return episodes


def positions(rows: Rows) -> int:
    """That all devices read, padding included."""
    parts = int(rows.segment_ids.any(axis=(0, 3)).sum())
    return parts * rows.tokens.shape[0] * rows.tokens.shape[3]


def least(rows: Rows, episodes: list[Episode], devices: int) -> float:
    """Positions that a device has to read at least, over all updates."""
    total, width = 0.0, LONGEST_ANSWER + 1
    for update in range(rows.tokens.shape[1]):
        sources = rows.sources[:, update]
        numbers = np.unique(sources[sources < len(episodes) * width] // width).tolist()
        prompts = {number // GROUP: episodes[number].prompt_length - 1 for number in numbers}
        own = sum(len(episodes[number].stream) - prompts[number // GROUP] for number in numbers)
        longest = max(len(episodes[number].stream) for number in numbers)
        total += max(longest, (sum(prompts.values()) + own) / devices)
    return total


if __name__ == "__main__":
    main()
