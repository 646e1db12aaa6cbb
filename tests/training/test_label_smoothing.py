"""Label smoothing against torch, and as a user chooses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
import yaml

from tests.training.helpers import assert_trees_close, random_batch
from tl_jax.config import MeshConfig, SftConfig
from tl_jax.data.batch import Batch
from tl_jax.errors import UserError
from tl_jax.model.llama import merge
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.plugins import Plugin
from tl_jax.training.losses import Loss, label_smoothing, make_loss, weighted_cross_entropy
from tl_jax.training.sft import run_sft
from tl_jax.training.state import init_state
from tl_jax.training.step import accumulated_gradient


def value_and_gradient(graphdef: Any, params: Any, batch: Batch, **options: float) -> tuple[Loss, Any]:
    loss = make_loss(Plugin("label_smoothing", options))

    def total(p: Any) -> tuple[jax.Array, Loss]:
        found = loss(merge(graphdef, p), batch)
        return found.total, found

    (_, found), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    return found, gradient


@pytest.mark.parametrize("smoothing", [0.1, 0.6, 1.0])
def test_value_and_gradient_are_those_of_torch(graphdef: Any, params: Any, smoothing: float) -> None:
    """On packed rows with uneven weights, as PKT makes them."""
    batch = random_batch(2, 3, 48)
    logits, back = jax.vjp(lambda p: merge(graphdef, p)(batch.tokens, batch.positions, batch.segment_ids), params)
    theirs = torch.tensor(np.asarray(logits, np.float64), requires_grad=True)
    losses = torch.nn.functional.cross_entropy(
        theirs.flatten(0, 1),
        torch.tensor(batch.labels).long().flatten(),
        label_smoothing=smoothing,
        reduction="none",
    )
    total = (torch.tensor(batch.weights).double().flatten() * losses).sum()
    total.backward()
    found, gradient = value_and_gradient(graphdef, params, batch, smoothing=smoothing)
    np.testing.assert_allclose(found.total, total.item(), rtol=1e-5)
    (expected,) = back(np.asarray(theirs.grad, np.float32))
    assert_trees_close(gradient, expected, rtol=1e-4)


def test_without_smoothing_it_is_the_default_bit_for_bit(graphdef: Any, params: Any) -> None:
    batch = random_batch(3, 4, 61)
    found = value_and_gradient(graphdef, params, batch, smoothing=0.0)

    def total(p: Any) -> tuple[jax.Array, Loss]:
        loss = weighted_cross_entropy(merge(graphdef, p), batch)
        return loss.total, loss

    (_, loss), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    jax.tree.map(np.testing.assert_array_equal, found, (loss, gradient))


def test_the_metrics_are_of_the_label_alone(graphdef: Any, params: Any) -> None:
    batch = random_batch(4, 4, 61)
    smoothed, _ = value_and_gradient(graphdef, params, batch, smoothing=0.5)
    plain = jax.jit(lambda p: weighted_cross_entropy(merge(graphdef, p), batch))(params)
    assert smoothed.metrics.keys() == plain.metrics.keys()
    for name, value in plain.metrics.items():
        np.testing.assert_allclose(smoothed.metrics[name], value, rtol=1e-6)
    assert smoothed.total != plain.total


def test_sharded_equals_single_device(graphdef: Any, params: Any) -> None:
    """Rows over data and fsdp, the vocabulary over tensor, two micro-batches."""
    batch, loss = random_batch(5, 16, 48), partial(label_smoothing, smoothing=0.2)

    def gradient_and_sums(params: Any, batch: Batch, micro_batches: int) -> tuple[Any, Loss]:
        state = init_state(params, optax.sgd(1.0), 0)
        return accumulated_gradient(graphdef, loss, state, batch, micro_batches)

    expected, sums = jax.jit(partial(gradient_and_sums, micro_batches=1))(params, batch)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    with jax.set_mesh(mesh):
        placed = make_global_array(batch, batch_sharding(mesh))
        gradient, found = jax.jit(partial(gradient_and_sums, micro_batches=2))(shard_tree(params, mesh), placed)
    np.testing.assert_allclose(found.total, sums.total, rtol=1e-5)
    assert_trees_close(jax.device_get(gradient), jax.device_get(expected), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
def test_a_share_is_between_0_and_1(graphdef: Any, params: Any, smoothing: float) -> None:
    with pytest.raises(UserError, match=r"loss.options.smoothing: must be between 0 and 1"):
        label_smoothing(merge(graphdef, params), random_batch(0, 1, 16), smoothing)


@pytest.mark.slow
def test_a_run_that_chooses_it(
    sft_config: Callable[..., SftConfig], data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    devices = {"mesh__data": 2, "mesh__tensor": 4, "steps": 3, "data__eval_path": data_file, "log_every": 1}
    config = sft_config(run_dir="smoothed", loss="label_smoothing", loss__options__smoothing=0.4, **devices)
    run_sft(config)
    run_sft(sft_config(run_dir="plain", **devices))
    written = yaml.safe_load((config.run_dir / "config.yaml").read_text())["loss"]
    assert written == {"name": "label_smoothing", "options": {"smoothing": 0.4}}
    smoothed, plain = (
        [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        for run in ("smoothed", "plain")
    )
    # The first step sees the same weights and the same batch.
    assert smoothed[0]["cross_entropy"] == pytest.approx(plain[0]["cross_entropy"], rel=1e-6)
    assert smoothed[0]["loss"] != pytest.approx(plain[0]["loss"], rel=1e-3)
    assert smoothed[-1]["loss"] < smoothed[0]["loss"]
    assert smoothed[-1]["eval_loss"] != pytest.approx(plain[-1]["eval_loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"loss__options__smothing": 0.1}, "loss.options: label_smoothing has no option 'smothing'; did you mean"),
        ({"loss__options__smoothing": "much"}, "loss.options.smoothing: must be float, got 'much'"),
    ],
)
def test_wrong_options_stop_a_run_before_it_writes(
    sft_config: Callable[..., SftConfig], override: dict[str, Any], message: str
) -> None:
    config = sft_config(loss="label_smoothing", **override)
    with pytest.raises(UserError) as error:
        run_sft(config)
    assert str(error.value).startswith(message)
    assert not config.run_dir.exists()
