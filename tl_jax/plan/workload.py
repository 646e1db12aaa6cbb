"""What a step is given: the rows or prompts of the user's own data where they are at hand, else the longest ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl_jax.config import RlConfig, RunConfig, SftConfig
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.packing import collate
from tl_jax.inference.room import ContextRoom
from tl_jax.model.config import LlamaConfig
from tl_jax.model.presets import PRESETS
from tl_jax.model.store import model_config, tokenizer_dir
from tl_jax.plan.machine import PlanError
from tl_jax.rl.batch import padded_lengths
from tl_jax.rl.prompts import load_prompts
from tl_jax.rl.rubric import make_rubric
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
    path = config.model.path
    if path.is_dir():
        base = config.model.base
        return Subject(str(path), model_config(path, base), tokenizer_dir(path, base))
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
    tokens = rows * report.tokens / report.rows
    useful = rows / len(sample) * sum(work(subject.config, collate([row])).flops for row in sample)
    told = f"{config.data.path}: {report.rows} rows"
    targets = rows * report.target_tokens / report.rows
    return Workload(told, positions, tokens, targets, useful, useful + flops(subject.config, positions - tokens, 0))


def rl_workload(config: RlConfig, subject: Subject) -> Workload:
    """The episodes of one rollout, each as long as the longest can be."""
    rows, new = config.batch_size * config.group_size, config.sampling.max_new_tokens
    room = ContextRoom(subject.config.max_position_embeddings, new, config.data.max_prompt_length)
    longest, mean = room.tokens, float(room.tokens)
    told = f"assumed: {rows} prompts of {longest} tokens ({_missing(config, subject)})"
    if subject.tokenizer is not None and config.data.path.exists():
        codec = Codec.open(config.data.renderer, subject.tokenizer, config.template)
        prompts, _ = load_prompts(config, make_rubric(config), codec, subject.config, config.data.path)
        lengths = [len(prompt.tokens) for prompt in prompts]
        longest, mean = max(lengths), float(np.mean(lengths))
        told = f"{config.data.path}: {len(prompts)} prompts of {longest} tokens at most, {mean:.0f} on average"
    answer = new
    if config.environment:
        answer = min(config.max_turns * new, room.tokens + new - 1)
        told += f"; {config.max_turns} turns, without what tools answer"
    length, _ = padded_lengths(longest, answer)
    tokens = rows * (mean + answer)
    useful = flops(subject.config, tokens, tokens * (mean + answer) / 2)
    told += f"; answers of {answer} tokens"
    computed = useful + flops(subject.config, rows * length - tokens, 0)
    return Workload(told, rows * length, tokens, float(rows * answer), useful, computed, longest, answer)


def _missing(config: RlConfig | SftConfig, subject: Subject) -> str:
    return f"no tokenizer at {config.model.path}" if subject.tokenizer is None else f"{config.data.path} is not there"
