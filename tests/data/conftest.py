"""Tokenizers of three kinds and real trajectories."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import byte_level, weather
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.tooluse.schema import Trajectory


@pytest.fixture(scope="session")
def llama(shared_data: Path) -> PreTrainedTokenizerFast:
    """Llama-2's SentencePiece vocabulary."""
    return load_tokenizer(shared_data / "tokenizer" / "llama2.model")


@pytest.fixture(scope="session")
def bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2, Llama 3 and Qwen have it."""
    return byte_level([str(weather().to_json())] * 3, use_regex=True)


@pytest.fixture(scope="session")
def merging() -> PreTrainedTokenizerFast:
    """Byte-level BPE that merges across words, lines and turns."""
    text = "".join(
        f"\nUser: go {i}\nAssistant: get_weather(city = 'x') \nOutput: {i} degrees\nAssistant: ok" for i in range(9)
    )
    return byte_level([text, text.replace("Assistant: ", "assistant\n")], use_regex=False)


@pytest.fixture(scope="session")
def every(shared_data: Path) -> list[Trajectory]:
    """All real trajectories."""
    with (shared_data / "train" / "permissive_1018.jsonl").open(encoding="utf-8") as lines:
        return [Trajectory.from_json(json.loads(line)) for line in lines]


@pytest.fixture(scope="session")
def some(every: list[Trajectory]) -> list[Trajectory]:
    """53 of them, of every suite; few of the very long ones."""
    suites = itertools.groupby(sorted(every, key=lambda t: t.suite), lambda t: t.suite)
    return [trajectory for suite, group in suites for trajectory in list(group)[: 3 if suite == "tau_airline" else 10]]
