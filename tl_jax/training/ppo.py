"""PPO on rule-based rewards (IRM): the program around the step of `ppo_step.py`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.table import Table
from rich.text import Text

from tl_jax.config import ConfigError, PpoConfig
from tl_jax.data.encode import load_tokenizer, renderer_for
from tl_jax.errors import UserError
from tl_jax.evaluation.sampler import Sampler, answer_stops
from tl_jax.evaluation.suites import Prompt, encode_prompts, load_cases
from tl_jax.model.config import LlamaConfig
from tl_jax.model.generate import Sampling
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh
from tl_jax.model.value import make_value_graphdef
from tl_jax.tooluse.metrics import score_prediction, summarise
from tl_jax.tooluse.render import Renderer
from tl_jax.training.compile import compile_step
from tl_jax.training.distributed import initialise, is_main
from tl_jax.training.logs import drop_metrics_after
from tl_jax.training.loop import Averages, Run
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.ppo_step import (
    Learner,
    PpoState,
    abstract_ppo_state,
    init_ppo_state,
    make_ppo_step,
    start_ppo_state,
)  # fmt: skip
from tl_jax.training.rollout import Completion, PromptOrder, RewardFn, Rollout, collect, resolve_reward
from tl_jax.training.state import fold_key

SAMPLES_FILE = "samples.jsonl"
SHOWN_SAMPLES = 4
"""Completions of a rollout that are printed and kept, whenever metrics are."""


def run_ppo(config: PpoConfig) -> dict[str, Any]:
    """Trains as ``config`` says, or continues where its run directory stands, and returns a summary.

    Raises:
        UserError: anything in configuration, data, model or run directory that keeps it from running.
    """
    reward = resolve_reward(config.reward)
    initialise(config.distributed)
    mesh = make_mesh(config.mesh)
    _check(config, mesh)
    run = Run(config)
    with jax.set_mesh(mesh):
        model, params, tokenizer_dir = run.open_model(mesh)
        tokenizer = load_tokenizer(tokenizer_dir)
        renderer = renderer_for(config.data.renderer, tokenizer)
        encode = partial(_load_prompts, config, renderer, tokenizer, model)
        prompts, report = encode(config.data.path)
        judged = encode(config.data.eval_path)[0] if config.data.eval_path else prompts
        order = PromptOrder(prompts, config.batch_size, config.seed)
        actor, critic = _learners(config, model)
        sampler = Sampler(
            actor.graphdef, tokenizer, Sampling(**config.sampling.model_dump()),
            answer_stops(renderer, tokenizer, model), mesh,
        )  # fmt: skip
        judge = Judge(sampler, _spread(judged, config.eval_prompts), reward, config.batch_size)
        init = partial(
            init_ppo_state, model=model, actor=actor, critic=critic, config=config.algorithm, seed=config.seed
        )
        target = abstract_ppo_state(init, params, mesh)
        temperature = config.algorithm.logprob_temperature or config.sampling.temperature
        step = compile_step(make_ppo_step(actor, critic, config.algorithm, temperature), target, mesh)
        with run.prepare(config.steps):
            run.log.line(report)
            if restored := run.restore(target):
                order.check(restored.data)
                state: PpoState = restored.state
            else:
                state = start_ppo_state(init, params, mesh)
            del params  # a fresh state took them over, a restored one has its own
            return Trainer(run, config, mesh, sampler, reward, order, judge, step).train(state)


class Judge:
    """Greedy answers to a fixed set of decision points: their mean reward, and TS, PI and CF where there is gold."""

    def __init__(self, sampler: Sampler, prompts: Sequence[Prompt], reward: RewardFn, batch_size: int) -> None:
        greedy = Sampling(sampler.sampling.max_new_tokens, temperature=0.0)
        self._sampler = Sampler(
            sampler.graphdef, sampler.tokenizer, greedy, sampler.eos_ids, sampler.mesh, max_batch=batch_size
        )
        self._reward = reward
        self.prompts = prompts

    def __call__(self, params: Params) -> dict[str, float]:
        """``eval_reward``, ``eval_TS``, ``eval_PI``, ``eval_CF``; nothing where there are no prompts."""
        if not self.prompts:
            return {}
        generation = self._sampler.generate(params, [prompt.tokens for prompt in self.prompts], jax.random.key(0))
        answers = list(zip(self._sampler.texts(generation), [prompt.case for prompt in self.prompts], strict=True))
        summary = summarise(score_prediction(text, case) for text, case in answers)
        reward = float(np.mean([self._reward(text, case).value for text, case in answers]))
        return {"eval_reward": reward, "eval_TS": summary.ts, "eval_PI": summary.pi, "eval_CF": summary.cf}


class Trainer:
    """The loop: prompts, answers, rewards, a step; and now and then a line, samples, a checkpoint."""

    def __init__(
        self, run: Run, config: PpoConfig, mesh: Mesh, sampler: Sampler, reward: RewardFn, order: PromptOrder,
        judge: Judge, step: Any,
    ) -> None:  # fmt: skip
        self._run, self._config, self._mesh, self._step = run, config, mesh, step
        self._sampler, self._reward, self._order, self._judge = sampler, reward, order, judge
        self._averages = Averages(last=("learning_rate", "critic_rate"))
        self._outcomes: Counter[str] = Counter()
        if is_main():
            drop_metrics_after(run.directory / SAMPLES_FILE, run.start)

    def train(self, state: PpoState) -> dict[str, Any]:
        """Rollouts until the last one, or until stopped. ``state`` is used up."""
        run, log = self._run, self._run.log
        before = self._judge(state.reference)
        if before:
            log.line(
                f"before training, greedy, on {len(self._judge.prompts)} fixed decision points: {_figures(before)}"
            )
        latest: dict[str, float] = {}
        for number in range(run.start + 1, run.total + 1):
            state, completions = self._rollout_and_step(state, number)
            last = number == run.total
            if number % self._config.log_every == 0 or last:
                latest = self._averages.read() | self._shares_of_outcomes()
                if last and before:
                    latest |= self._judge(state.params)
                    latest |= {f"{name}_before": value for name, value in before.items()}
                log.metrics(number, latest)
                self._show(number, completions)
            if not run.after_step(number, state, partial(self._order.state, number)):
                break
        if "eval_reward" in latest:
            after = {name: latest[name] for name in before}
            log.line(f"after training, the same way: {_figures(after)}; the reward "
                     f"{_change(after['eval_reward'] - before['eval_reward'])}")  # fmt: skip
        run.finish()
        return {"step": int(state.step), "stopped_by": run.stopped_by, **latest}

    def _rollout_and_step(self, state: PpoState, number: int) -> tuple[PpoState, list[Completion]]:
        began = time.perf_counter()
        key = jax.random.fold_in(fold_key(state), 0)  # fresh at every step; 1 is the step's own
        rollout, completions = collect(
            self._sampler, state.params, self._order[number - 1], key, self._reward, self._config.algorithm,
            min_length=256 if self._config.model.attention == "splash" else 16,  # its kernels want multiples of 128
        )  # fmt: skip
        sampled = time.perf_counter()
        state, metrics = self._step(state, make_global_array(rollout, batch_sharding(self._mesh)))
        metrics = jax.device_get(metrics)  # waits: a state that is not finite must not be saved
        ended = time.perf_counter()
        self._outcomes.update(completion.reward.category for completion in completions)
        self._averages.push(
            number, {**metrics, **_host_metrics(rollout, completions, sampled - began, ended - sampled)}
        )
        self._averages.settle()
        return state, completions

    def _shares_of_outcomes(self) -> dict[str, float]:
        """Share of each category of the reward since the last reading."""
        total, counts = self._outcomes.total(), dict(self._outcomes)
        self._outcomes.clear()
        return {f"outcome/{name}": count / total for name, count in sorted(counts.items())}

    def _show(self, step: int, completions: Sequence[Completion]) -> None:
        """A few completions, printed as a table and kept in ``samples.jsonl``."""
        table = Table("case", "answer", "reward", "why", title=f"answers at step {step}", title_justify="left")
        rows = []
        for one in completions[:SHOWN_SAMPLES]:
            answer = one.text + ("" if one.finished else " ... (cut off)")
            table.add_row(*map(Text, (one.case.id, answer[:400], f"{one.reward.value:+.2f}", one.reward.explanation)))
            rows.append({"step": step, "id": one.case.id, "prediction": one.text, "finished": one.finished,
                         "reward": one.reward.value, "category": one.reward.category,
                         "explanation": one.reward.explanation})  # fmt: skip
        self._run.log.table(table)
        if is_main():
            with (self._run.directory / SAMPLES_FILE).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)


def _host_metrics(
    rollout: Rollout, completions: Sequence[Completion], sampling: float, learning: float
) -> Mapping[str, Any]:
    """What is known without the device. ``tokens_per_second`` counts prompts and answers, over the whole step."""
    return {
        "reward": np.mean([completion.reward.value for completion in completions]),
        "answer_length": np.mean(np.sum(rollout.mask, axis=1)),
        "finished": np.mean([completion.finished for completion in completions]),
        "tokens_per_second": np.sum(np.asarray(rollout.segment_ids)) / (sampling + learning),
        "seconds_sampling": sampling,
        "seconds_learning": learning,
    }


def _load_prompts(
    config: PpoConfig, renderer: Renderer, tokenizer: Any, model: LlamaConfig, path: Path
) -> tuple[list[Prompt], str]:
    """The decision points of a file that can be acted on, and a line about those that cannot."""
    cases = load_cases(path, config.data.format, config.data.mae)
    rewarded = [case for case in cases if ":" in config.reward or (case.gold_kind != "none" and case.gold)]
    limit = min(config.data.max_prompt_length, model.max_position_embeddings - config.sampling.max_new_tokens)
    prompts, too_long = encode_prompts(rewarded, renderer, tokenizer, limit)
    report = (
        f"{path}: {len(prompts)} of {len(cases)} decision points; {too_long} have a prompt of more than {limit} "
        f"tokens, {len(cases) - len(rewarded)} no gold call"
    )
    if not prompts:
        raise UserError(f"nothing to act on: {report}")
    return prompts, report


def _learners(config: PpoConfig, model: LlamaConfig) -> tuple[Learner, Learner]:
    """Actor and critic."""
    options = {
        "dtype": config.model.dtype, "attention": config.model.attention, "remat": config.model.remat,
        "scan_layers": config.model.scan_layers,
    }  # fmt: skip
    updates = config.steps * config.algorithm.epochs * config.algorithm.minibatches
    return (
        Learner(make_graphdef(model, **options), *make_optimizer(config.actor, updates)),
        Learner(make_value_graphdef(model, **options), *make_optimizer(config.critic, updates)),
    )


def _check(config: PpoConfig, mesh: Mesh) -> None:
    """Every minibatch must give each data-parallel device the same number of rows."""
    rows, minibatches, parts = config.batch_size, config.algorithm.minibatches, mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % (minibatches * parts):
        raise ConfigError(
            f"batch_size={rows} prompts do not divide into algorithm.minibatches={minibatches} over {parts} devices "
            f"(mesh data x fsdp); make it a multiple of {minibatches * parts}"
        )
    if config.sampling.temperature == 0:
        raise ConfigError("sampling.temperature=0 never tries anything; PPO needs a temperature above 0")


def _spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """``count`` prompts from all over the file, always the same ones."""
    chosen = np.linspace(0, len(prompts) - 1, min(count, len(prompts))).round().astype(int)
    return [prompts[index] for index in chosen]


def _figures(metrics: Mapping[str, float]) -> str:
    shares = [f"{name} {metrics[f'eval_{name}']:.1f} %" for name in ("TS", "PI", "CF")]
    return f"reward {metrics['eval_reward']:+.3f}, {', '.join(shares)}"


def _change(difference: float) -> str:
    if not difference:
        return "is the same"
    return f"rose by {difference:.3f}" if difference > 0 else f"fell by {-difference:.3f}"
