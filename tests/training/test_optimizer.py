"""The schedule against its definition, and AdamW against its update rule."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from tl_jax.config import OptimizerConfig
from tl_jax.config.schedules import SCHEDULES, Schedule
from tl_jax.training.optimizer import make_optimizer, make_schedule


def defined(n: int, config: OptimizerConfig, warmup: int, total: int) -> float:
    """UpdateCarry rate of update ``n``, written out."""
    if n < warmup:
        return config.learning_rate * (n + 1) / warmup
    progress = min((n - warmup) / (total - warmup), 1.0)
    share = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[config.schedule]
    floor = 1.0 if config.schedule == "constant" else config.final_scale
    return config.learning_rate * (floor + (1 - floor) * share)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("options", "warmup"),
    [
        ({}, 0),
        ({"warmup_steps": 1}, 1),
        ({"warmup_steps": 7, "warmup_ratio": 0.9}, 7),
        ({"warmup_ratio": 0.1}, 4),
    ],
)
def test_schedule(schedule: Any, options: dict[str, Any], warmup: int) -> None:
    config = OptimizerConfig(learning_rate=3e-4, schedule=schedule, final_scale=0.1, **options)
    found = make_schedule(config, 40)
    for n in range(45):
        np.testing.assert_allclose(found(n), defined(n, config, warmup, 40), rtol=1e-5, err_msg=str(n))


def halves(peak: float, final_scale: float, steps: int) -> Any:
    """A course of the test's own."""
    return lambda n: peak / 2**n


def test_a_schedule_from_outside() -> None:
    with SCHEDULES.added(Schedule("halves", f"{__name__}:halves", "halves at every step")):
        assert make_schedule(OptimizerConfig(learning_rate=1.0, schedule="halves"), 10)(3) == 1 / 8
    with pytest.raises(ValidationError, match="unknown 'halves'; known: constant"):
        OptimizerConfig(schedule="halves")


@pytest.mark.parametrize("clip", [None, 0.5])
def test_updates_follow_adamw(clip: float | None) -> None:
    config = OptimizerConfig(
        learning_rate=0.1, schedule="linear", b1=0.8, b2=0.9, eps=1e-4, weight_decay=0.3, clip_norm=clip
    )
    optimizer, schedule = make_optimizer(config, 4)
    rng = np.random.default_rng(0)
    params = {"lm_head": rng.normal(size=5), "norm": rng.normal(size=5)}
    ours = jax.tree.map(jnp.float32, params)
    state = optimizer.init(ours)
    mean, square = ({name: np.zeros(5) for name in params} for _ in range(2))
    for n in range(4):
        gradient = {name: rng.normal(size=5) for name in params}
        updates, state = optimizer.update(jax.tree.map(jnp.float32, gradient), state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
        norm = math.sqrt(sum((leaf**2).sum() for leaf in gradient.values()))
        scale = min(1.0, clip / norm) if clip else 1.0
        for name in params:
            g = gradient[name] * scale
            mean[name] = 0.8 * mean[name] + 0.2 * g
            square[name] = 0.9 * square[name] + 0.1 * g * g
            step = mean[name] / (1 - 0.8 ** (n + 1)) / (np.sqrt(square[name] / (1 - 0.9 ** (n + 1))) + 1e-4)
            decay = 0.3 * params[name] if name == "lm_head" else 0.0
            params[name] = params[name] - 0.1 * (1 - n / 4) * (step + decay)
        np.testing.assert_allclose(schedule(n), 0.1 * (1 - n / 4), rtol=1e-6)
    for name in params:
        np.testing.assert_allclose(ours[name], params[name], rtol=1e-4, atol=1e-6)
