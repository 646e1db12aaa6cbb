"""How many answers are written at once where memory decides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tl_jax.config import SamplingConfig
from tl_jax.inference import generate as module
from tl_jax.inference import kept as kept_module
from tl_jax.inference.buckets import places_for
from tl_jax.inference.capacity import (
    KEPT,
    WAVE,
    answers_at_once,
    free_memory,
    place_bytes,
    rows_kept,
    rows_that_fit,
)
from tl_jax.inference.kept import Kept
from tl_jax.inference.serving import abstract_served
from tl_jax.model.cache import CacheLayout
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import abstract_params
from tl_jax.model.presets import PRESETS

GIB = 2**30
SEVEN = PRESETS["codellama-7b"].config
LAYOUT = CacheLayout(SEVEN, jnp.dtype(jnp.bfloat16))
MESH: Any = SimpleNamespace(shape={"data": 2, "fsdp": 1, "tensor": 8})


def test_twice_the_memory_or_devices_hold_twice_the_rows() -> None:
    """A row of 4,096 tokens of CodeLLaMA-7B has a cache of 2 GiB: 32 layers x 2 x 4,096 numbers of 2 bytes."""
    one = rows_that_fit(LAYOUT, None, 3072, 1024, 2, 60 * GIB)
    assert 8 <= one <= 60 / 2 / (1 + WAVE)  # prompts are read beside the answers
    assert rows_that_fit(LAYOUT, None, 3072, 1024, 2, 120 * GIB) == 2 * one
    on_sixteen = rows_that_fit(LAYOUT, MESH, 3072, 1024, 2, 60 * GIB)
    assert 2 * 6 * one <= on_sixteen <= 2 * 8 * one  # what is not cut, the residual stream, counts the same
    assert rows_that_fit(LAYOUT, MESH, 3072, 1024, 2, -5.0) == 2


def test_answers_that_share_their_prompts_are_more() -> None:
    """Eight answers of 256 tokens and a prompt of 4,096: 6,144 tokens of 0.5 MiB instead of 34,816."""
    alone, shared = (rows_that_fit(LAYOUT, None, 4096, 256, 2, 64 * GIB, group) for group in (1, 8))
    assert (4096 + 8 * 256) * shared / 8 * 2**19 < 64 * GIB
    assert shared >= 4 * alone
    assert rows_that_fit(LAYOUT, MESH, 4096, 256, 2, -5.0, 8) == 2


def test_a_group_that_does_not_fit_is_cut() -> None:
    """64 answers of 1,024 tokens are 32 GiB, half of them 16."""
    assert rows_that_fit(LAYOUT, None, 1024, 1024, 2, 60 * GIB, 64) == 64
    assert rows_that_fit(LAYOUT, None, 1024, 1024, 2, 20 * GIB, 64) == 32
    assert rows_that_fit(LAYOUT, None, 1024, 1024, 2, 20 * GIB, 63) == 21


def test_which_answers_share_a_prompt() -> None:
    """All to it, if a device has them; where prompts are short, slots that end early had better take the next."""

    def group(asked: int | str | None, prompt: int = 512) -> tuple[int, int]:
        return tuple(answers_at_once(asked, 64, 8, 2, prompt, 512, lambda group: 6 * group))

    assert [group(asked) for asked in (None, "auto", 100, 16, 12, 6, 1)] == [
        (64, 8), (48, 8), (64, 8), (16, 8), (12, 2), (6, 1), (1, 1)
    ]  # fmt: skip
    assert [group(asked, 511) for asked in (None, "auto")] == [(64, 1), (6, 1)]


def test_free_memory_is_what_the_devices_or_the_machine_say() -> None:
    def device(limit: int, used: int) -> Any:
        return SimpleNamespace(memory_stats=lambda: {"bytes_limit": limit, "bytes_in_use": used})

    assert free_memory([device(80, 30), device(80, 45)]) == 35
    eight = jax.devices()[:8]
    alone, shared = free_memory(eight[:1]), free_memory(eight)
    assert 0 < alone < 2**50
    assert shared == pytest.approx(alone / len(eight), rel=0.2)


def test_auto_is_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in a batch changes no answer: `test_samples_do_not_depend_on_padding_company_or_chunks`."""
    model = abstract_served(make_graphdef(SEVEN), abstract_params(SEVEN), None)
    enough = next(size for size in range(2**20, GIB, 2**16) if rows_that_fit(LAYOUT, None, 3, 4, 2, size) == 2)
    monkeypatch.setattr(module, "free_memory", lambda devices: enough)
    prompts = [[1, 2, 3], [4], [5, 6], [7], [8, 9]]
    found = {
        asked: module._at_once(model, prompts, SamplingConfig(max_new_tokens=4, batch_size=asked), None, 1).answers
        for asked in ("auto", 4, None)
    }
    assert found == {"auto": 2, 4: 4, None: 5}


def test_conversations_take_their_share_before_answers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where half of the memory holds eight conversations, five are kept in six rows, and answers share the rest."""
    model, places = abstract_served(make_graphdef(SEVEN), abstract_params(SEVEN), None), places_for(3, 4)
    row = places * place_bytes(LAYOUT, None)
    assert row == places * 2 * 32 * 32 * 128 * 2
    free = 8 * row / KEPT
    assert rows_kept(LAYOUT, None, places, free) == 8
    assert rows_kept(LAYOUT, None, places, free / 9) == 0
    assert rows_kept(LAYOUT, MESH, places, free / 8) == 16  # a copy's heads are shared by eight devices; two copies
    for name in (module, kept_module):
        monkeypatch.setattr(name, "free_memory", lambda devices: free)
    prompts, kept = [[1, 2, 3], [4], [5, 6], [7], [8, 9]], Kept(model)
    kept.go_on(range(5))
    assert kept.to_come(places) == 6 * row
    found = module._at_once(model, prompts, SamplingConfig(max_new_tokens=4, batch_size="auto"), kept, 1)
    assert found == (min(5, rows_that_fit(LAYOUT, None, 3, 4, 2, free - 6 * row)), 1)
