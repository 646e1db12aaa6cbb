"""What a step is given: the rows or prompts of the user's own data where they are at hand, else the longest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl_jax.addresses import shown
from tl_jax.bucket_files import bring_inputs
from tl_jax.config import RlConfig, RunConfig, SftConfig
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.packing import collate
from tl_jax.inference.room import ContextRoom
from tl_jax.model.config import LlamaConfig
from tl_jax.model.presets import PRESETS
from tl_jax.model.run_directory import fetched
from tl_jax.model.store import model_config, tokenizer_dir
from tl_jax.plan.machine import PlanError
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.prompts import load_prompts
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.rows import arrange
from tl_jax.rl.rubric import make_rubric
from tl_jax.tooluse.schema import Case
from tl_jax.training.speed import flops, work

SAMPLE = 256
"""Rows whose floating-point operations are counted."""


@dataclass(frozen=True)
class Workload:
    """What one step reads, over all devices."""

    source: str
    """where the figures are from, in words"""
    positions: int
    """padding included"""
    tokens: float
    """without padding"""
    targets: float | None
    """those with a weight; None = not known"""
    flops: float
    """of one forward and backward pass over the tokens, by the counting rule of `tl_jax.training.speed`"""
    computed: float
    """the same with the padding"""
    prompt: int = 0
    """tokens of the longest prompt, where there are prompts"""
    answer: int = 0
    """tokens that are written after it at most"""
    sampled: float = 0.0
    """floating-point operations of writing the answers: a forward pass over prompts, each as often as it is answered"""

    @property
    def padding(self) -> float:
        """Share of the positions that hold no token."""
        return 1 - self.tokens / self.positions


@dataclass(frozen=True)
class Subject:
    """A model by its sizes, with its tokenizer where that is at hand."""

    name: str
    config: LlamaConfig
    tokenizer: Path | None


def open_subject(config: RunConfig, preset: str | None) -> Subject:
    """The model at ``model.path``, of which only ``config.json`` is read; else the preset.

    Raises:
        PlanError: there is neither.
    """
    bring_inputs(config)
    path = fetched(config.model.path)
    if path.is_dir():
        base = config.model.base and fetched(config.model.base)
        return Subject(shown(path), model_config(path, base), tokenizer_dir(path, base))
    if preset is None:
        raise PlanError(f"model.path={path}: no such directory; --preset names a model's sizes, such as codellama-7b")
    return Subject(preset, PRESETS.find(preset).config, None)


def sft_workload(config: SftConfig, subject: Subject) -> Workload:
    """The rows of one step."""
    rows, length = config.data.batch_size, config.data.max_length
    positions = rows * length
    if subject.tokenizer is None or not config.data.path.exists():
        full = flops(subject.config, positions, positions * (length + 1) / 2)
        told = f"assumed: {rows} full rows of {length} tokens, each one trajectory ({_missing(config, subject)})"
        return Workload(told, positions, positions, None, full, full)
    dataset = build_dataset(config.data, Codec.open(config.data.renderer, subject.tokenizer, config.template))
    report, sample = dataset.report, dataset.rows[:SAMPLE]
    tokens = rows * report.read / report.rows
    useful = rows / len(sample) * sum(work(subject.config, collate([row])).flops for row in sample)
    told = f"{config.data.path}: {report.rows} rows"
    targets = rows * report.target_tokens / report.rows
    return Workload(told, positions, tokens, targets, useful, useful + flops(subject.config, positions - tokens, 0))


def rl_workload(config: RlConfig, subject: Subject, devices: int) -> Workload:
    """The episodes of one rollout, each with an answer as long as the longest can be, on so many devices."""
    rows, new = config.batch_size * config.group_size, config.sampling.max_new_tokens
    room = ContextRoom(subject.config.max_position_embeddings, new, config.data.max_prompt_length)
    lengths = [room.tokens]
    told = f"assumed: {config.batch_size} prompts of {room.tokens} tokens ({_missing(config, subject)})"
    if subject.tokenizer is not None and config.data.path.exists():
        codec = Codec.open(config.data.renderer, subject.tokenizer, config.template)
        prompts, _ = load_prompts(config, make_rubric(config), codec, subject.config, config.data.path)
        lengths = sorted(len(prompt.tokens) for prompt in prompts)
        about = f"{lengths[-1]} tokens at most, {np.mean(lengths):.0f} on average"
        told = f"{config.data.path}: {len(prompts)} prompts of {about}"
    answer = new
    if config.environment:
        answer = min(config.max_turns * new, room.tokens + new - 1)
        told += f"; {config.max_turns} turns, without what tools answer"
    told += f"; {config.group_size} answers of {answer} tokens to each"
    chosen = [lengths[index] for index in np.linspace(0, len(lengths) - 1, config.batch_size).astype(int)]
    laid_out = longest_episodes(chosen, answer, config.group_size)
    layout = Layout(config.group_size, 1, config.algorithm.minibatches, devices)
    read = arrange(laid_out, answer + 1, layout)
    real = read.segment_ids > 0
    tokens, visible = int(real.sum()), float((read.positions + 1.0)[real].sum())
    positions = round(tokens / (1 - read.padding))
    useful = flops(subject.config, tokens, visible)
    whole = rows * float(np.mean(lengths) + answer)
    return Workload(
        told,
        positions,
        tokens,
        float(rows * answer),
        useful,
        useful + flops(subject.config, positions - tokens, 0),
        lengths[-1],
        answer,
        flops(subject.config, whole, whole * whole / rows / 2) / 3,
    )


def longest_episodes(prompts: Sequence[int], answer: int, group_size: int) -> list[Episode]:
    """Made-up ones: to prompts of these lengths, each so often, answers of ``answer`` tokens."""
    case, episodes = Case("", (), ()), []
    for length in prompts:
        turn = Turn(case, "", True, length - 1, (0,) * answer, (0.0,) * answer)
        episodes += [Episode(case, [0] * (length + answer), length, [turn])] * group_size
    return episodes


def _missing(config: RlConfig | SftConfig, subject: Subject) -> str:
    return f"no tokenizer at {config.model.path}" if subject.tokenizer is None else f"{config.data.path} is not there"
