"""The step of supervised training and the held-out loss, as pure functions of a state or parameters and a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tl_jax.data.batch import Batch
from tl_jax.errors import UserError
from tl_jax.model.llama import GraphDef, merge
from tl_jax.model.parameters import Params, assemble
from tl_jax.model.precision import compute_dtype, in_compute_dtype, merge_copies
from tl_jax.training.losses import Loss, LossFn
from tl_jax.training.micro_batches import add_gradients, split
from tl_jax.training.state import TrainState, dropout_keys, fold_key
from tl_jax.training.stochastic_rounding import apply_updates

Metrics = dict[str, jax.Array]


def make_train_step(
    graphdef: GraphDef,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    micro_batches: int = 1,
    one_reading: bool = False,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """A pure ``(state, batch) -> (state, metrics)``.

    The gradient is the sum over all micro-batches divided by the sum of their denominators: the same as in one piece,
    however unevenly the weights lie. A batch whose denominator is 0 has gradient 0 and shows in ``empty_batches``.
    Metrics are float32 scalars: ``loss``, ``grad_norm`` (before clipping), ``learning_rate``, ``tokens`` (without
    padding), ``empty_batches``, and those of the loss.

    ``one_reading``: the loss calls ``model.hidden``, and not in a loop, a condition or a transformation of its own.
    Then layers add their gradients to the sums over micro-batches, and those of one micro-batch take no memory beside
    them; a second call's do. A loss that does otherwise is a `UserError` when the step is traced.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradient, loss = accumulated_gradient(graphdef, loss_fn, state, batch, micro_batches, one_reading)
        scale = _reciprocal(loss.denominator)
        gradient = jax.tree.map(lambda leaf: leaf * scale, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.trainable)
        metrics = mean_metrics(loss) | {
            "grad_norm": optax.tree.norm(gradient),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "tokens": jnp.sum(batch.segment_ids > 0, dtype=jnp.float32),
            "empty_batches": jnp.asarray(loss.denominator == 0, jnp.float32),
        }
        trainable = apply_updates(state.trainable, updates, fold_key(state))
        return replace(state, step=state.step + 1, trainable=trainable, opt_state=opt_state), metrics

    return step


def accumulated_gradient(
    graphdef: GraphDef,
    loss_fn: LossFn,
    state: TrainState,
    batch: Batch,
    micro_batches: int,
    one_reading: bool = False,
) -> tuple[Params, Loss]:
    """Gradient of the loss's total for what is trainable, and its sums, over one micro-batch after another.

    All float32. It is taken at the compute copies, which are made once for all micro-batches: a cast's derivative is 1,
    so it is the masters' gradient. Each row has a key of its own, for a model that drops something.
    """
    dtype = compute_dtype(graphdef, state.params)
    copies, frozen = (in_compute_dtype(params, dtype) for params in (state.trainable, state.frozen))
    keys = dropout_keys(fold_key(state), batch.tokens.shape[:1])

    def total(copies: Params, sums: Params, part: tuple[Batch, jax.Array]) -> tuple[jax.Array, Loss]:
        model, (micro, keys) = merge(graphdef, assemble(copies, frozen)), part
        model.dropout_keys, model.branched, model.gradient_sums = keys, micro.branches is not None, sums.get("layers")
        loss = loss_fn(model, micro)
        if model.gradient_sums is not None:
            raise UserError("a loss with one_reading=True does not read the model: leave one_reading out")
        return loss.total, jax.tree.map(jnp.asarray, loss)

    adding = merge(graphdef, assemble(copies, frozen)).adding() if one_reading else []
    return add_gradients(total, copies, adding, split((batch, keys), micro_batches))


def make_eval_step(graphdef: GraphDef, loss_fn: LossFn) -> Callable[[Params, Batch], Loss]:
    """A pure ``(params, batch) -> sums``; add them up over batches before dividing, see `evaluate`."""

    def step(params: Params, batch: Batch) -> Loss:
        model = merge_copies(graphdef, params)
        model.branched = batch.branches is not None
        return loss_fn(model, batch)

    return step


def evaluate(step: Callable[[Params, Batch], Loss], params: Params, data: Iterable[Batch]) -> dict[str, float]:
    """The loss and its metrics over all of ``data``, exact however uneven the batches are."""
    sums = [jax.device_get(step(params, batch)) for batch in data]
    whole = jax.tree.map(lambda *parts: np.float32(np.sum(parts, dtype=np.float64)), *sums)
    return {name: float(value) for name, value in mean_metrics(whole).items()}


def mean_metrics(loss: Loss) -> Metrics:
    """``loss`` and the mean of every other sum, as `Loss` defines them; ``targets`` stays a count."""
    counted = loss.metrics.get("targets", loss.denominator)
    means = {name: value * _reciprocal(counted) for name, value in loss.metrics.items() if name != "targets"}
    means["loss"] = loss.total * _reciprocal(loss.denominator)
    return means | ({"targets": loss.metrics["targets"]} if "targets" in loss.metrics else {})


def _reciprocal(denominator: jax.Array) -> jax.Array:
    """``1 / denominator``, and 0 for 0: nothing to average is 0, not NaN."""
    return jnp.where(denominator == 0, 0.0, 1.0 / jnp.where(denominator == 0, 1.0, denominator))
