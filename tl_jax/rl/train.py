"""Reinforcement learning on rule-based rewards (IRM): the program around the step of `step.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from tl_jax.config import ConfigError, RlConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt, spread
from tl_jax.files import write_text
from tl_jax.inference.engine import Engine
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.inference.openai_engine import Export, OpenAIEngine
from tl_jax.inference.sampler import Sampler, answer_stops
from tl_jax.model.config import LlamaConfig
from tl_jax.model.host_memory import on_device
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_devices, make_mesh
from tl_jax.model.value import make_value_graphdef
from tl_jax.rl.compiled import CompiledRlStep
from tl_jax.rl.evaluator import Comparison, Evaluator
from tl_jax.rl.held_out import HELD_OUT_FILE, HeldOut, hold_out
from tl_jax.rl.prompt_sampler import PromptSampler
from tl_jax.rl.prompts import load_prompts, make_environment_spec
from tl_jax.rl.rollout import RolloutWorker
from tl_jax.rl.rubric import Rubric, make_rubric
from tl_jax.rl.source import Rollouts
from tl_jax.rl.state import RlState, StepSpec, TrainableModel, adapter_off, first_actor, init_rl_state
from tl_jax.rl.waiting import Watch
from tl_jax.run_files import ENGINE
from tl_jax.training.averages import Averages
from tl_jax.training.distributed import initialise, is_main
from tl_jax.training.loop import fit
from tl_jax.training.optimizer import check_optimizer, make_optimizer
from tl_jax.training.run import Run
from tl_jax.training.stop import ANOTHER, Interrupted


def run_rl(config: RlConfig) -> dict[str, Any]:
    """Trains as ``config`` says, or continues where its run directory stands, and returns a summary.

    Raises:
        UserError: anything in configuration, data, model or run directory that keeps it from running.
    """
    rubric = make_rubric(config)
    for key, settings in (("actor", config.actor), ("critic", config.critic)):
        check_optimizer(settings, key)
    initialise(config.distributed)
    mesh = make_mesh(config.mesh)
    check_batch_size(config, mesh)
    run = Run(config, mesh)
    with jax.set_mesh(mesh):
        model, tokenizer_dir = run.open_model()
        codec = Codec.open(config.data.renderer, tokenizer_dir, config.template)
        load = partial(load_prompts, config, rubric, codec, model)
        prompts, report = load(config.data.path)
        prompts, evaluated, told = _evaluated(config, prompts, load)
        order = PromptSampler(prompts, config.batch_size, config.seed, config.curriculum)
        spec = make_step_spec(config, model, rubric)
        worker = _make_worker(config, codec, spec, run, _make_engine(config, spec, run, model, tokenizer_dir))
        asked = config.sampling.batch_size or config.batch_size * config.group_size
        # each of these prompts takes the room of a rollout's whole group, see `answers_of_group`
        greedy = worker.greedy(asked if asked == "auto" else max(asked // config.group_size, 1))
        evaluator = Evaluator(greedy, spread(evaluated, config.eval_prompts), rubric)
        state, position = run.begin(partial(init_rl_state, model=model, spec=spec, seed=config.seed))
        if position is not None:
            order.restore(position)
        with run.prepare(config.steps):
            run.log.line(report)
            if told is not None:
                run.log.line(told.line)
                if is_main():
                    write_text(run.directory / HELD_OUT_FILE, json.dumps(told.trajectories) + "\n")
            run.log.line(_arithmetic(config))
            try:
                comparison = Comparison(run, evaluator, _first_policy(run, spec, state))
            except Interrupted:
                stopped_by = run.stopped_by or ANOTHER
                run.finish(stopped_by)
                return {"step": run.start, "stopped_by": stopped_by}
            summary = fit(
                run,
                state,
                CompiledRlStep(spec, state, mesh, run.log.line),
                Rollouts(run, config, worker, rubric, order, position),
                Averages(last=("learning_rate", "critic_rate", "kl_coef"), wait=True),
                comparison,
                config.eval_every,
            )
            comparison.conclude(summary)
            run.finish(summary["stopped_by"])
            return summary


def _evaluated(
    config: RlConfig, prompts: list[Prompt], load: Callable[[Path], tuple[list[Prompt], str]]
) -> tuple[list[Prompt], list[Prompt], HeldOut | None]:
    """The prompts of training and of evaluation, and what was held out if there was reason to."""
    if config.data.eval_path:
        return prompts, load(config.data.eval_path)[0], None
    if not config.eval_prompts:
        return prompts, [], None
    found = hold_out(prompts, config.data.eval_share, config.eval_prompts)
    return found.training, found.evaluation or prompts, found


def _first_policy(run: Run, spec: StepSpec, state: RlState) -> Params | None:
    """Parameters before the first update; None where a run is continued that keeps none."""
    if state.frozen:
        return on_device(spec.ref_params(state))
    return None if run.start else state.params["actor"]


def _make_engine(config: RlConfig, spec: StepSpec, run: Run, model: LlamaConfig, tokenizer_dir: Path) -> Engine:
    """What writes the answers: this run's devices, or a server."""
    if config.engine.name == "in_process":
        return InProcessEngine(spec.actor.graphdef, model, run.mesh, config.engine.kv_cache_dtype)
    directory = config.engine.directory or run.directory / ENGINE
    export = Export(directory, tokenizer_dir, config.model.dtype)
    return OpenAIEngine(config.engine, model, export, halts=lambda: run.stopped_by is not None)


def _make_worker(config: RlConfig, codec: Codec, spec: StepSpec, run: Run, engine: Engine) -> RolloutWorker:
    """What samples the episodes; it tells the run's log what it is busy with, and gives up when the run is to end."""
    sampler = Sampler(engine, codec, config.sampling, answer_stops(codec, engine.model))
    watch = Watch(halts=lambda: run.stopped_by is not None, tell=lambda text: run.log.busy(text))
    return RolloutWorker(sampler, make_environment_spec(config, engine.model), watch)


def make_step_spec(config: RlConfig, model: LlamaConfig, rewards: Rubric) -> StepSpec:
    """What the step is made of."""
    options = config.model.computation
    updates = config.algorithm.epochs * config.algorithm.minibatches
    actor_steps = max(config.steps - config.algorithm.critic_warmup, 1)
    return StepSpec(
        TrainableModel(
            make_graphdef(model, config.adapter, **options), *make_optimizer(config.actor, actor_steps * updates)
        ),
        TrainableModel(
            make_value_graphdef(model, config.adapter, **options),
            *make_optimizer(config.critic, config.steps * updates),
        ),
        config.algorithm,
        temperature=config.algorithm.logprob_temperature or config.sampling.temperature,
        group_size=config.group_size,
        reward_weights=rewards.weights,
        reward_kinds=rewards.kinds,
        frozen_dtype=config.model.frozen_dtype,
        ref_params=adapter_off if config.adapter else first_actor,
        lora=config.adapter,
        answer_length=config.sampling.max_new_tokens * (config.max_turns if config.environment else 1),
    )


def check_batch_size(config: RlConfig, mesh: Mesh) -> None:
    """Every minibatch must give each data-parallel device the same number of rows."""
    rows, algorithm = config.batch_size * config.group_size, config.algorithm
    devices = batch_devices(mesh)
    if rows % (algorithm.minibatches * algorithm.accumulate * devices):
        in_parts = f" in algorithm.accumulate={algorithm.accumulate} parts" if algorithm.accumulate > 1 else ""
        raise ConfigError(
            f"batch_size={config.batch_size} prompts of group_size={config.group_size} answers do not divide into "
            f"algorithm.minibatches={algorithm.minibatches}{in_parts} over {devices} devices (mesh data x fsdp); make "
            f"the number of answers a multiple of {algorithm.minibatches * algorithm.accumulate * devices}"
        )
    if config.sampling.temperature == 0:
        raise ConfigError("sampling.temperature=0 never tries anything; learning needs a temperature above 0")


def _arithmetic(config: RlConfig) -> str:
    rows, algorithm = config.batch_size * config.group_size, config.algorithm
    return (
        f"{algorithm.estimator}: each step answers {config.batch_size} prompts {config.group_size} times and makes "
        f"{algorithm.epochs * algorithm.minibatches} updates of {rows // algorithm.minibatches} episodes"
    )
