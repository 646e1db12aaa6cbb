"""Supervised training: the program around the step of `step.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from tl_jax.config import ConfigError, SftConfig
from tl_jax.config.losses import LOSSES
from tl_jax.data.batch import Batch
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import Dataset, build_dataset
from tl_jax.data.loader import Loader, batches
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.inference.sampler import Sampler, answer_stops
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef, make_graphdef
from tl_jax.model.lora import adapt
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh, own_rows
from tl_jax.training.averages import Averages
from tl_jax.training.compile import compile_eval, compile_step
from tl_jax.training.distributed import initialise
from tl_jax.training.eval_cases import EvalCases, load_sample, sampling_of
from tl_jax.training.logs import EVAL, RunLog
from tl_jax.training.loop import Metrics, fit
from tl_jax.training.losses import Loss, LossFn, make_loss
from tl_jax.training.optimizer import check_optimizer, make_optimizer
from tl_jax.training.run import Run
from tl_jax.training.speed import Speedometer, work
from tl_jax.training.state import TrainState, init_state
from tl_jax.training.step import evaluate, make_eval_step, make_train_step


class SftPrograms(NamedTuple):
    """What supervised training compiles, as pure functions."""

    init: Callable[[Params], TrainState]
    """a fresh state of the model's parameters"""
    step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
    evaluate: Callable[[Params, Batch], Loss]
    """sums of the held-out loss"""
    graphdef: GraphDef


def make_programs(config: SftConfig, model: LlamaConfig, loss_fn: LossFn, total: int) -> SftPrograms:
    """The programs of a training of ``total`` steps."""
    optimizer, schedule = make_optimizer(config.optimizer, total)
    graphdef = make_graphdef(model, config.adapter, **config.model.computation)
    named = LOSSES.get(config.loss.name)
    one_reading = named is not None and named.one_reading
    adapter = partial(adapt, config=model, lora=config.adapter) if config.adapter else None
    return SftPrograms(
        init=partial(init_state, optimizer=optimizer, seed=config.seed, adapt=adapter),
        step=make_train_step(graphdef, loss_fn, optimizer, schedule, config.accumulate, one_reading),
        evaluate=make_eval_step(graphdef, loss_fn),
        graphdef=graphdef,
    )


def run_sft(config: SftConfig) -> dict[str, Any]:
    """Trains as ``config`` says, or continues where its run directory stands; the last logged metrics are returned.

    Raises:
        UserError: anything in configuration, data, model or run directory that keeps it from running.
    """
    loss_fn = make_loss(config.loss)
    check_optimizer(config.optimizer)
    initialise(config.distributed)
    mesh = make_mesh(config.mesh)
    check_batch_size(config, mesh)
    run = Run(config, mesh)
    with jax.set_mesh(mesh):
        model, tokenizer_dir = run.open_model()
        codec = Codec.open(config.data.renderer, tokenizer_dir, config.template)
        dataset = build_dataset(config.data, codec)
        held_out = build_dataset(config.data, codec, config.data.eval_path) if config.data.eval_path else None
        tokens = [one.largest_token for one in (dataset, held_out) if one]
        codec.check_ids([tokens], model.vocab_size, str(config.model.path))
        sample, told = load_sample(config, codec, model)
        own = own_rows(mesh, config.data.batch_size)
        loader = Loader(dataset.rows, config.data.batch_size, config.seed, own)
        total = config.steps or math.ceil(config.epochs * loader.steps_per_epoch)
        programs = make_programs(config, model, loss_fn, total)
        state, position = run.begin(programs.init)
        if position is not None:
            loader.restore(position)
        eval_loss = HeldOutLoss(programs, held_out, config.data.batch_size, state.params, mesh)
        engine = InProcessEngine(programs.graphdef, model, mesh)
        sampler = Sampler(engine, codec, sampling_of(config), answer_stops(codec, model))
        with run.prepare(total):
            for line in (*dataset.report.lines(), *([told] if told else [])):
                run.log.line(line)
            eval_cases = EvalCases(run, config, sampler, sample)

            def evaluation(step: int, state: TrainState) -> dict[str, float]:
                params = state.params
                return eval_loss(params) | eval_cases(step, params)

            rows = TrainingRows(loader, model, run.log, config.adapter is not None)
            summary = fit(
                run,
                state,
                compile_step(programs.step, state, mesh, run.log.line),
                rows,
                Averages(summed=("tokens", "targets", "empty_batches"), last=("learning_rate",)),
                evaluate=rows.untimed(evaluation) if held_out or sample else None,
                eval_every=config.eval_every,
            )
            run.finish(summary["stopped_by"])
            return summary


class HeldOutLoss:
    """The loss on data that is not trained on; nothing where there is none."""

    def __init__(
        self, programs: SftPrograms, data: Dataset | None, batch_size: int, params: Params, mesh: Mesh
    ) -> None:
        self._data, self._batch_size, self._mesh = data, batch_size, mesh
        self._step = compile_eval(programs.evaluate, params, mesh)

    def __call__(self, params: Params) -> dict[str, float]:
        """``eval_loss`` and the means of its other metrics."""
        if not self._data:
            return {}
        on_mesh = partial(make_global_array, sharding=batch_sharding(self._mesh))
        found = batches(self._data.rows, self._batch_size, own_rows(self._mesh, self._batch_size))
        means = evaluate(self._step, params, map(on_mesh, found))
        return {f"{EVAL}{name}": value for name, value in means.items()}


class TrainingRows:
    """A `Source`: packed rows in the order of a `Loader`, and how fast they are trained on."""

    def __init__(self, loader: Loader, model: LlamaConfig, log: RunLog, adapted: bool) -> None:
        self._loader, self._model, self._log, self._adapted = loader, model, log, adapted
        self._speed = Speedometer()
        self._first = True

    def batch(self, step: int, state: TrainState) -> Batch:
        self._latest = next(self._loader)
        return self._latest

    def observe(self, metrics: Metrics) -> Metrics:
        if self._first:
            jax.block_until_ready(metrics)
            self._log.line("the first step is done, compilation included")
            self._first = False
        self._speed.add(work(self._model, self._latest, self._adapted))
        return metrics

    def read(self) -> dict[str, float]:
        return self._speed.read()

    def show(self, step: int) -> None:
        """Nothing: the rows can be looked at before."""

    def position(self, step: int) -> Mapping[str, Any]:
        return self._loader.state()

    def untimed(
        self, evaluation: Callable[[int, TrainState], dict[str, float]]
    ) -> Callable[[int, TrainState], dict[str, float]]:
        """The same evaluation; its time is not counted as training."""

        def evaluate(step: int, state: TrainState) -> dict[str, float]:
            found = evaluation(step, state)
            self._speed.restart()
            return found

        return evaluate


def check_batch_size(config: SftConfig, mesh: Mesh) -> None:
    """Every micro-batch must give each data-parallel device the same number of rows."""
    rows, parts = config.data.batch_size, mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % (config.accumulate * parts):
        raise ConfigError(
            f"data.batch_size={rows} rows do not divide into accumulate={config.accumulate} micro-batches over "
            f"{parts} devices (mesh data x fsdp); make it a multiple of {config.accumulate * parts}"
        )
