"""Means of metrics between two readings."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from tl_jax.training.averages import Averages, DivergedError


def test_mean_sum_and_last() -> None:
    averages = Averages(summed=("tokens",), last=("rate",))
    for step, loss in enumerate((1.0, 2.0, 6.0), 1):
        averages.push(step, {"loss": jnp.float32(loss), "tokens": jnp.float32(10), "rate": jnp.float32(step)})
    assert averages.read() == {"loss": 3.0, "tokens": 30.0, "rate": 3.0}
    averages.push(4, {"loss": jnp.float32(5), "tokens": jnp.float32(1), "rate": jnp.float32(9)})
    assert averages.read() == {"loss": 5.0, "tokens": 1.0, "rate": 9.0}


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    averages = Averages()
    averages.push(1, {"loss": jnp.float32(1), "grad_norm": jnp.float32(1)})
    averages.push(2, {"loss": jnp.float32(jnp.nan), "grad_norm": jnp.float32(jnp.inf)})
    with pytest.raises(DivergedError, match="step 2: grad_norm, loss not finite"):
        averages.settle()
