"""Supervised training. The step is a pure function of state and batch; `run_sft` is the program around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from tl_jax.config import ConfigError, SftConfig
from tl_jax.data.batch import Batch
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.loader import Loader, batches
from tl_jax.data.packing import Row
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef, make_graphdef, merge
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh
from tl_jax.training.averages import Averages
from tl_jax.training.compile import compile_eval, compile_step
from tl_jax.training.distributed import initialise
from tl_jax.training.losses import Loss, LossFn, make_loss
from tl_jax.training.micro_batches import accumulate
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.run import Run
from tl_jax.training.speed import Speedometer, work
from tl_jax.training.state import TrainState, assemble, init_state

Metrics = dict[str, jax.Array]


def make_train_step(
    graphdef: GraphDef,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    micro_batches: int = 1,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """A pure ``(state, batch) -> (state, metrics)``.

    The gradient is the sum over all micro-batches divided by the sum of their denominators: the same as in one piece,
    however unevenly the weights lie. A batch whose denominator is 0 has gradient 0 and shows in ``empty_batches``.
    Metrics are float32 scalars: ``loss``, ``grad_norm`` (before clipping), ``learning_rate``, ``tokens`` (without
    padding), ``empty_batches``, and those of the loss.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradient, loss = accumulated_gradient(graphdef, loss_fn, state, batch, micro_batches)
        scale = _reciprocal(loss.denominator)
        gradient = jax.tree.map(lambda leaf: leaf * scale, gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.trainable)
        metrics = mean_metrics(loss) | {
            "grad_norm": optax.tree.norm(gradient),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "tokens": jnp.sum(batch.segment_ids > 0, dtype=jnp.float32),
            "empty_batches": jnp.asarray(loss.denominator == 0, jnp.float32),
        }
        trainable = optax.apply_updates(state.trainable, updates)
        return replace(state, step=state.step + 1, trainable=trainable, opt_state=opt_state), metrics

    return step


def accumulated_gradient(
    graphdef: GraphDef, loss_fn: LossFn, state: TrainState, batch: Batch, micro_batches: int
) -> tuple[Params, Loss]:
    """Gradient of the loss's total for what is trainable, and its sums, over one micro-batch after another."""

    def total(trainable: Params, micro: Batch) -> tuple[jax.Array, Loss]:
        loss = loss_fn(merge(graphdef, assemble(trainable, state.frozen)), micro)
        return loss.total, loss

    def gradient_and_sums(micro: Batch) -> tuple[Params, Loss]:
        gradient, loss = jax.grad(total, has_aux=True)(state.trainable, micro)
        return gradient, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), loss)

    return accumulate(gradient_and_sums, batch, micro_batches)


def make_eval_step(graphdef: GraphDef, loss_fn: LossFn) -> Callable[[Params, Batch], Loss]:
    """A pure ``(params, batch) -> sums``; add them up over batches before dividing, see `evaluate`."""

    def step(params: Params, batch: Batch) -> Loss:
        return loss_fn(merge(graphdef, params), batch)

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


def run_sft(config: SftConfig) -> dict[str, Any]:
    """Trains as ``config`` says, or continues where its run directory stands; the last logged metrics are returned.

    Raises:
        UserError: anything in configuration, data, model or run directory that keeps it from running.
    """
    loss_fn = make_loss(config.loss)
    initialise(config.distributed)
    mesh = make_mesh(config.mesh)
    _check_batch_size(config, mesh)
    run = Run(config, mesh)
    with jax.set_mesh(mesh):
        model, tokenizer_dir = run.open_model()
        codec = Codec.open(config.data.renderer, tokenizer_dir)
        dataset = build_dataset(config.data, codec)
        held_out = _held_out_rows(config, codec)
        loader = Loader(dataset.rows, config.data.batch_size, config.seed)
        total = config.steps or math.ceil(config.epochs * loader.steps_per_epoch)
        optimizer, schedule = make_optimizer(config.optimizer, total)
        graphdef = make_graphdef(
            model,
            dtype=config.model.dtype,
            attention=config.model.attention,
            remat=config.model.remat,
            scan_layers=config.model.scan_layers,
        )
        state, position = run.begin(partial(init_state, optimizer=optimizer, seed=config.seed))
        if position is not None:
            loader.restore(position)
        step = make_train_step(graphdef, loss_fn, optimizer, schedule, config.accumulate)
        eval_step = compile_eval(make_eval_step(graphdef, loss_fn), state.params, mesh)

        def eval_loss(params: Params) -> dict[str, float]:
            data = (_on_mesh(batch, mesh) for batch in batches(held_out, config.data.batch_size))
            return {f"eval_{name}": value for name, value in evaluate(eval_step, params, data).items()}

        compiled = compile_step(step, state, mesh)
        with run.prepare(total):
            for line in dataset.report.lines():
                run.log.line(line)
            return _train(run, config, compiled, state, loader, eval_loss if held_out else None, mesh, model)


def _train(
    run: Run,
    config: SftConfig,
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
    state: TrainState,
    loader: Loader,
    eval_loss: Callable[[Params], dict[str, float]] | None,
    mesh: Mesh,
    model: LlamaConfig,
) -> dict[str, Any]:
    """The loop: a batch, a step, and now and then a line, an evaluation, a checkpoint."""
    averages = Averages(summed=("tokens", "targets", "empty_batches"), last=("learning_rate",))
    speed = Speedometer()
    latest: dict[str, float] = {}
    for number in range(run.start + 1, run.total + 1):
        batch = next(loader)
        state, metrics = step(state, _on_mesh(batch, mesh))
        averages.push(number, metrics)
        if number == run.start + 1:
            averages.settle()
            run.log.line("the first step is done, compilation included")
        speed.add(work(model, batch))
        last = number == run.total
        evaluates = eval_loss is not None and (last or (config.eval_every and number % config.eval_every == 0))
        if number % config.log_every == 0 or last or evaluates:
            latest = averages.read() | speed.read()
            if evaluates and eval_loss:
                latest |= eval_loss(state.params)
                speed.restart()
            run.log.metrics(number, latest)
        if run.saves_at(number):
            averages.settle()  # a state that is not finite is not saved
        if not run.after_step(number, state, loader.state):
            break
    run.finish()
    return {"step": int(state.step), "stopped_by": run.stopped_by, **latest}


def _held_out_rows(config: SftConfig, codec: Codec) -> Sequence[Row]:
    if config.data.eval_path is None:
        return []
    return build_dataset(config.data, codec, config.data.eval_path).rows


def _on_mesh(batch: Batch, mesh: Mesh) -> Batch:
    return make_global_array(batch, batch_sharding(mesh))


def _check_batch_size(config: SftConfig, mesh: Mesh) -> None:
    """Every micro-batch must give each data-parallel device the same number of rows."""
    rows, parts = config.data.batch_size, mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % (config.accumulate * parts):
        raise ConfigError(
            f"data.batch_size={rows} rows do not divide into accumulate={config.accumulate} micro-batches over "
            f"{parts} devices (mesh data x fsdp); make it a multiple of {config.accumulate * parts}"
        )


def _reciprocal(denominator: jax.Array) -> jax.Array:
    """``1 / denominator``, and 0 for 0: nothing to average is 0, not NaN."""
    return jnp.where(denominator == 0, 0.0, 1.0 / jnp.where(denominator == 0, 1.0, denominator))
