"""The training step: what must not change when rows are packed, accumulated or spread over devices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.helpers import TINY, assert_trees_close, random_batch
from tl_jax.config import MeshConfig, OptimizerConfig
from tl_jax.config.losses import LOSSES
from tl_jax.data.batch import Batch
from tl_jax.data.packing import collate, pack
from tl_jax.data.supervision import Example
from tl_jax.errors import UserError
from tl_jax.model.llama import Llama, abstract_params, make_graphdef, merge
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.plugins import Plugin
from tl_jax.training.compile import compile_step, start_state
from tl_jax.training.losses import Loss, LossFn, make_loss, weighted_cross_entropy
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.state import TrainState, init_state
from tl_jax.training.step import accumulated_gradient, evaluate, make_eval_step, make_train_step

# Adam divides a gradient by its own size: an eps well above float32 noise keeps tiny gradients comparable.
OPTIMIZER = OptimizerConfig(learning_rate=1e-3, schedule="linear", warmup_steps=2, weight_decay=0.01, eps=1e-5)
STEPS = 3


def gradient_of(
    graphdef: Any, params: Any, batch: Batch, accumulate: int = 1, loss: LossFn = weighted_cross_entropy, **how: bool
) -> tuple[Any, Loss]:
    state = init_state(params, optax.sgd(0.0), 0)
    return jax.jit(lambda s, b: accumulated_gradient(graphdef, loss, s, b, accumulate, **how))(state, batch)


@pytest.mark.parametrize("one_reading", [False, True])
def test_accumulated_equals_one_batch(graphdef: Any, params: Any, one_reading: bool) -> None:
    batch = random_batch(0, 8, 48)  # 1, 2, 3, 1, ... turns in a row: no two micro-batches have the same denominator
    whole_gradient, whole = gradient_of(graphdef, params, batch)
    gradient, sums = gradient_of(graphdef, params, batch, accumulate=4, one_reading=one_reading)
    assert_trees_close(gradient, whole_gradient, rtol=1e-5)
    assert_trees_close(sums, whole, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_layers_add_their_gradients_to_the_sums_for_the_losses_that_read_once(
    name: str, graphdef: Any, params: Any
) -> None:
    assert LOSSES.get(name).one_reading
    loss, batch = make_loss(Plugin(name)), random_batch(0, 8, 48)
    read = []

    def watched(model: Llama, micro: Batch) -> Loss:
        read.append(model.gradient_sums is not None)
        return loss(model, micro)

    gradient, sums = gradient_of(graphdef, params, batch, 4, watched, one_reading=True)
    assert read[-1]
    expected, expected_sums = gradient_of(graphdef, params, batch, 4, loss)
    assert_trees_close(gradient, expected, rtol=1e-6)
    assert_trees_close(sums, expected_sums, rtol=1e-6)


def test_a_loss_that_reads_once_may_weigh_the_parameters_besides(graphdef: Any, params: Any) -> None:
    def penalised(model: Llama, batch: Batch) -> Loss:
        loss = weighted_cross_entropy(model, batch)
        return loss._replace(total=loss.total + loss.denominator * jnp.sum(model.layers["q"][...] ** 2))

    batch = random_batch(0, 8, 48)
    once, _ = gradient_of(graphdef, params, batch, loss=penalised)
    gradient, _ = gradient_of(graphdef, params, batch, 4, penalised, one_reading=True)
    assert_trees_close(gradient, once, rtol=1e-5)


@pytest.mark.parametrize("one_reading", [False, True])
def test_a_loss_may_read_twice(graphdef: Any, params: Any, one_reading: bool) -> None:
    """With ``one_reading`` the sums of what was before came twice, too."""

    def twice(model: Llama, batch: Batch) -> Loss:
        return jax.tree.map(jnp.add, weighted_cross_entropy(model, batch), weighted_cross_entropy(model, batch))

    batch = random_batch(0, 8, 48)
    once, _ = gradient_of(graphdef, params, batch)
    gradient, _ = gradient_of(graphdef, params, batch, 4, twice, one_reading=one_reading)
    assert_trees_close(gradient, jax.tree.map(lambda leaf: 2 * leaf, once), rtol=1e-5)


def by_row(model: Llama, batch: Batch) -> Loss:
    sums = jax.vmap(lambda row: weighted_cross_entropy(model, row))(jax.tree.map(lambda x: x[:, None], batch))
    return jax.tree.map(lambda leaf: leaf.sum(axis=0), sums)


def where_there_are_turns(model: Llama, batch: Batch) -> Loss:
    nothing = Loss(jnp.zeros(()), jnp.zeros(()), {})
    read = lambda: weighted_cross_entropy(model, batch)._replace(metrics={})  # noqa: E731
    return jax.lax.cond(batch.turns.sum() > 0, read, lambda: nothing)


def of_nothing(model: Llama, batch: Batch) -> Loss:
    return Loss(batch.turns.sum() * jnp.sum(model.norm[...]), batch.turns.sum(), {})


@pytest.mark.parametrize(
    ("loss", "told"),
    [(by_row, "of its own, where sums"), (where_there_are_turns, "of its own, where sums"), (of_nothing, "not read")],
)
def test_a_loss_whose_sums_would_be_wrong_is_told(graphdef: Any, params: Any, loss: LossFn, told: str) -> None:
    batch = random_batch(0, 8, 48)
    with pytest.raises(UserError, match=told):
        gradient_of(graphdef, params, batch, 4, loss, one_reading=True)
    whole, _ = gradient_of(graphdef, params, batch, loss=loss)
    assert_trees_close(gradient_of(graphdef, params, batch, 4, loss)[0], whole, rtol=1e-5)


def test_packed_equals_unpacked(graphdef: Any, params: Any) -> None:
    rng = np.random.default_rng(4)
    examples = []
    for length in (11, 17, 24, 30, 13, 22):
        weights = np.where(rng.random(length) < 0.3, rng.random(length), 0).astype(np.float32)
        tokens, labels = rng.integers(3, 96, (2, length)).astype(np.int32)
        examples.append(Example(str(length), tokens, labels, weights, float(rng.integers(1, 4)), ()))
    packed, unpacked = (collate(pack(examples, 48, pack=yes)) for yes in (True, False))
    assert len(packed.tokens) < len(unpacked.tokens)
    ours, loss = gradient_of(graphdef, params, packed)
    theirs, expected = gradient_of(graphdef, params, unpacked)
    assert_trees_close(loss, expected, rtol=1e-5)
    assert_trees_close(ours, theirs, rtol=1e-5)


@pytest.fixture(scope="module")
def single_device(graphdef: Any) -> Callable[[Any], tuple[list[float], Any]]:
    """Losses and final parameters of three steps on one device, computed once."""
    known: list[tuple[list[float], Any]] = []

    def run(params: Any) -> tuple[list[float], Any]:
        if not known:
            optimizer, schedule = make_optimizer(OPTIMIZER, STEPS)
            step = jax.jit(make_train_step(graphdef, weighted_cross_entropy, optimizer, schedule))
            state, losses = init_state(params, optimizer, 0), []
            for number in range(STEPS):
                state, metrics = step(state, random_batch(number, 16, 48))
                losses.append(float(metrics["loss"]))
            known.append((losses, jax.device_get(state.trainable)))
        return known[0]

    return run


@pytest.mark.parametrize(
    ("data", "fsdp", "tensor", "accumulate"), [(8, 1, 1, 1), (1, 8, 1, 1), (2, 1, 4, 1), (2, 2, 2, 2)]
)
def test_sharded_equals_single_device(
    graphdef: Any, params: Any, single_device: Any, data: int, fsdp: int, tensor: int, accumulate: int
) -> None:
    expected_losses, expected = single_device(params)
    mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    optimizer, schedule = make_optimizer(OPTIMIZER, STEPS)
    losses = []
    with jax.set_mesh(mesh):
        state = start_state(partial(init_state, optimizer=optimizer, seed=0), shard_tree(params, mesh), mesh)
        step = make_train_step(graphdef, weighted_cross_entropy, optimizer, schedule, accumulate, one_reading=True)
        compiled = compile_step(step, state, mesh)
        for number in range(STEPS):
            state, metrics = compiled(state, make_global_array(random_batch(number, 16, 48), batch_sharding(mesh)))
            losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert_trees_close(jax.device_get(state.trainable), expected, rtol=1e-5)
    gate = state.trainable["layers"]["gate"]
    assert gate.addressable_shards[0].data.size == gate.size // (fsdp * tensor)


class Toy:
    """A model of one number, for what needs no Llama."""

    def __init__(self, params: dict[str, jax.Array]) -> None:
        self.params = params


def squared(model: Toy, batch: Batch) -> Loss:
    """Weighted squares of ``w - label``; its mean's minimum is the weighted mean of the labels."""
    errors = (model.params["w"] - jnp.asarray(batch.labels, jnp.float32)) ** 2
    return Loss(jnp.sum(batch.weights * errors), jnp.sum(batch.turns), {"error": jnp.sum(batch.weights * errors)})


@pytest.fixture
def toy_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, TrainState]]:
    """A step of plain gradient descent on `Toy`."""
    monkeypatch.setattr("tl_jax.training.step.merge", lambda graphdef, params: Toy(params))
    monkeypatch.setattr("tl_jax.training.step.compute_dtype", lambda graphdef, params: jnp.float32)
    monkeypatch.setattr("tl_jax.training.step.in_compute_dtype", lambda params, dtype: params)

    def make(accumulate: int = 1) -> tuple[Any, TrainState]:
        optimizer = optax.sgd(0.5)
        step = make_train_step(None, squared, optimizer, optax.constant_schedule(0.5), accumulate)  # type: ignore[arg-type]
        return jax.jit(step), init_state({"w": jnp.float32(0)}, optimizer, 0)

    return make


def toy_batch(labels: list[float], weights: list[float]) -> Batch:
    column = np.asarray(labels, np.float32)[:, None]
    weight = np.asarray(weights, np.float32)[:, None]
    ids = np.ones_like(column, np.int32)
    return Batch(tokens=ids, labels=column, weights=weight, segment_ids=ids, positions=ids, turns=weight[:, 0])


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_the_mean_is_over_weights_not_over_micro_batches(toy_step: Any, accumulate: int) -> None:
    step, state = toy_step(accumulate)
    state, metrics = step(state, toy_batch([8, 0, 4, 4], [1, 0, 2, 5]))
    assert state.trainable["w"] == 36 / 8  # one step of size 1/2 on a parabola reaches its minimum, the weighted mean
    assert metrics["loss"] == (64 + 7 * 16) / 8
    assert metrics["grad_norm"] == 2 * 36 / 8
    assert metrics["tokens"] == 4
    assert metrics["empty_batches"] == 0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_without_turns_changes_nothing_and_is_counted(toy_step: Any, accumulate: int) -> None:
    step, state = toy_step(accumulate)
    state, metrics = step(state, toy_batch([8, 3], [0, 0]))
    assert state.trainable["w"] == 0
    assert {name: float(value) for name, value in metrics.items()} == {
        "loss": 0,
        "error": 0,
        "grad_norm": 0,
        "learning_rate": 0.5,
        "tokens": 2,
        "empty_batches": 1,
    }
    assert state.step == 1


def test_evaluation_over_uneven_batches_is_exact(graphdef: Any, params: Any) -> None:
    whole = random_batch(6, 6, 48)
    parts = [jax.tree.map(lambda x, rows=rows: x[rows], whole) for rows in (slice(0, 3), slice(3, 6))]
    step = jax.jit(make_eval_step(graphdef, weighted_cross_entropy))
    assert parts[0].turns.sum() == parts[1].turns.sum() == 6
    parts[1] = parts[1].replace(turns=parts[1].turns * 3)
    expected = jax.jit(lambda p: weighted_cross_entropy(merge(graphdef, p), whole))(params)
    found = evaluate(step, params, parts)
    np.testing.assert_allclose(found["loss"], expected.total / 24, rtol=1e-6)
    np.testing.assert_allclose(found["accuracy"], expected.metrics["accuracy"] / expected.metrics["targets"], rtol=1e-6)
    assert found["targets"] == expected.metrics["targets"]


def narrowed(jaxpr: Any, in_loop: bool = False) -> list[tuple[bool, tuple[int, ...]]]:
    """Every cast from float32 to bfloat16 in a program: whether it is in a loop, and the shape.

    But for products, which a processor adds up in float32 and rounds at their end.
    """
    found, products = [], set()
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general" or equation.params.get("name") == "_einsum":
            products.update(equation.outvars)
        if equation.primitive.name == "convert_element_type" and equation.params["new_dtype"] == jnp.bfloat16:
            wide = [var for var in equation.invars if var.aval.dtype == jnp.float32]
            found += [(in_loop, var.aval.shape) for var in wide if var not in products]
        looping = in_loop or equation.primitive.name in ("scan", "while")
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            found += narrowed(inner, looping)
    return found


def test_masters_are_cast_once_and_outside_of_all_loops() -> None:
    graphdef, params = make_graphdef(TINY, dtype=jnp.bfloat16), abstract_params(TINY)
    state = jax.eval_shape(partial(init_state, optimizer=optax.sgd(0.1), seed=0), params)
    gradient = partial(accumulated_gradient, graphdef, weighted_cross_entropy, micro_batches=2)
    casts = narrowed(jax.make_jaxpr(gradient)(state, random_batch(0, 6, 40)).jaxpr)
    matrices = [leaf.shape for name, leaf in params["layers"].items() if not name.endswith("norm")]
    others = [params["embed"]["embedding"].shape, params["lm_head"].shape]
    assert sorted(shape for looping, shape in casts if not looping) == sorted([*matrices, *others])
    in_loops = {shape for looping, shape in casts if looping}
    assert in_loops.isdisjoint([*matrices, *(shape[1:] for shape in matrices)])
