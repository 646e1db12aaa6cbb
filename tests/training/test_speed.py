"""tokens/s and MFU against the counting rule written out."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from tests.training.helpers import TINY, random_batch
from tl_jax.model.llama import abstract_params
from tl_jax.model.parameters import count_in_products
from tl_jax.model.presets import PRESETS
from tl_jax.training import speed
from tl_jax.training.chips import CHIPS


def test_parameters_are_counted_as_the_model_has_them() -> None:
    params = abstract_params(TINY, "float32")
    matrices = [leaf.size for name, leaf in params["layers"].items() if not name.endswith("norm")]
    assert count_in_products(TINY) == sum(matrices) + params["lm_head"].size


def test_flops_of_a_full_row_follow_the_rule() -> None:
    """6 N + 6 L d s per token for one trajectory of s tokens; exact causal counting adds one position in s."""
    model, length = PRESETS["llama-2-7b"].config, 4096
    ids = np.ones((2, length), np.int32)
    batch = random_batch(0, 2, length).replace(segment_ids=ids, positions=np.tile(np.arange(length), (2, 1)))
    done = speed.work(model, batch)
    rule = 6 * (6_738_415_616 - 32000 * 4096) + 6 * 32 * 4096 * length
    assert done.tokens == 2 * length
    np.testing.assert_allclose(done.flops / done.tokens, rule, rtol=1e-3)
    less = (done.flops - speed.work(model, batch, adapted=True).flops) / done.tokens
    np.testing.assert_allclose(less, 2 * (6_738_415_616 - 32000 * 4096), rtol=1e-3)


def test_padding_costs_nothing_and_attention_stays_within_a_trajectory() -> None:
    batch = random_batch(1, 3, 48)
    flops = 0.0
    for row in range(3):
        for segment in (1, 2):
            s = int((batch.segment_ids[row] == segment).sum())
            flops += s * 6 * count_in_products(TINY) + 6 * TINY.num_layers * 64 * s * (s + 1)
    done = speed.work(TINY, batch)
    assert done.tokens == (batch.segment_ids > 0).sum()
    np.testing.assert_allclose(done.flops, flops, rtol=1e-9)


def test_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 104.0, 104.0, 200.0, 202.0, 202.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    monkeypatch.setattr(speed, "chip_of", lambda kind: replace(CHIPS["h100"], flops=50.0))
    meter = speed.Speedometer()
    meter.add(speed.Work(10**6, 1e9))  # compilation
    meter.add(speed.Work(30, 1200.0))
    meter.add(speed.Work(10, 400.0))
    assert meter.read() == {"tokens_per_second": 10.0, "mfu": 1600 / 4 / (50 * jax.device_count())}
    meter.restart()
    meter.add(speed.Work(8, 0.0))
    assert meter.read() == {"tokens_per_second": 4.0, "mfu": 0.0}
