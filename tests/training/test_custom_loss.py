"""The loss that the documentation shows, as a user would use it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.helpers import random_batch
from tl_jax.model.llama import merge
from tl_jax.plugins import resolve
from tl_jax.training.sft import make_train_step
from tl_jax.training.state import init_state

PAGE = Path(__file__).resolve().parents[2] / "docs" / "custom_loss.md"


def test_the_documented_loss_compiles_and_trains(
    graphdef: Any, params: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_losses.py").write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path)])  # restored afterwards
    (name,) = re.findall(r"loss=(my_losses:\w+)", PAGE.read_text(encoding="utf-8"))

    batch, optimizer = random_batch(0, 4, 48), optax.sgd(1e-2)
    logits = merge(graphdef, params)(batch.tokens, batch.positions, batch.segment_ids)
    log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), batch.labels[..., None], -1)[..., 0]
    doubt = (1 - jnp.exp(log_probs)) ** 2
    expected = -np.sum(batch.weights * doubt * log_probs) / batch.turns.sum()

    step = jax.jit(make_train_step(graphdef, resolve(name), optimizer, optax.constant_schedule(1e-2)))
    state = init_state(params, optimizer, 0)
    losses = []
    for _ in range(3):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)
    assert losses[2] < losses[1] < losses[0]
    assert 0 < metrics["doubt"] < 1
