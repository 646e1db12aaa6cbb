"""Reinforcement learning on rule-based rewards (IRM): the program around the step of `ppo_step.py`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.table import Table
from rich.text import Text

from tl_jax.config import ConfigError, RlConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt
from tl_jax.inference.sampler import Sampler, answer_stops
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh
from tl_jax.model.value import make_value_graphdef
from tl_jax.rl.batch import PromptSampler, RolloutBatch, collate
from tl_jax.rl.episodes import Episode
from tl_jax.rl.prompts import load_prompts, make_environment_spec
from tl_jax.rl.rollout import RolloutWorker
from tl_jax.rl.rubric import EpisodeRewards, Rubric, make_rubric
from tl_jax.rl.state import RlState, StepSpec, TrainableModel, init_rl_state
from tl_jax.rl.step import make_rl_step
from tl_jax.tooluse.mae.apply import find_error
from tl_jax.tooluse.metrics import score_prediction, summarise
from tl_jax.training.averages import Averages
from tl_jax.training.compile import compile_step
from tl_jax.training.distributed import initialise, is_main
from tl_jax.training.logs import drop_metrics_after
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.run import Run
from tl_jax.training.state import fold_key

SAMPLES_FILE = "samples.jsonl"
SHOWN_SAMPLES = 4
"""Episodes of a rollout that are printed and kept, whenever metrics are."""


def run_rl(config: RlConfig) -> dict[str, Any]:
    """Trains as ``config`` says, or continues where its run directory stands, and returns a summary.

    Raises:
        UserError: anything in configuration, data, model or run directory that keeps it from running.
    """
    rewards = make_rubric(config)
    initialise(config.distributed)
    mesh = make_mesh(config.mesh)
    _check(config, mesh)
    run = Run(config, mesh)
    with jax.set_mesh(mesh):
        model, tokenizer_dir = run.open_model()
        codec = Codec.open(config.data.renderer, tokenizer_dir)
        stage = make_environment_spec(config, model)
        load = partial(load_prompts, config, rewards, codec, model)
        prompts, report = load(config.data.path)
        judged = load(config.data.eval_path)[0] if config.data.eval_path else prompts
        order = PromptSampler(prompts, config.batch_size, config.seed)
        spec = make_step_spec(config, model, rewards)
        sampler = Sampler(
            spec.actor.graphdef,
            codec,
            config.sampling,
            answer_stops(codec, model),
            mesh,
        )
        player = RolloutWorker(sampler, stage)
        judge = Evaluator(
            player.greedy(config.sampling.batch_size or config.batch_size),
            _spread(judged, config.eval_prompts),
            rewards,
        )
        state, position = run.begin(partial(init_rl_state, model=model, spec=spec, seed=config.seed))
        if position is not None:
            order.check(position)
        step = compile_step(make_rl_step(spec), state, mesh)
        with run.prepare(config.steps):
            run.log.line(report)
            run.log.line(_arithmetic(config))
            return Trainer(run, config, spec, player, rewards, order, judge, step).train(state)


def make_step_spec(config: RlConfig, model: LlamaConfig, rewards: Rubric) -> StepSpec:
    """What the step is made of."""
    options = {
        "dtype": config.model.dtype,
        "attention": config.model.attention,
        "remat": config.model.remat,
        "scan_layers": config.model.scan_layers,
    }
    updates = config.algorithm.epochs * config.algorithm.minibatches
    actor_steps = max(config.steps - config.algorithm.critic_warmup, 1)
    return StepSpec(
        TrainableModel(make_graphdef(model, **options), *make_optimizer(config.actor, actor_steps * updates)),
        TrainableModel(make_value_graphdef(model, **options), *make_optimizer(config.critic, config.steps * updates)),
        config.algorithm,
        temperature=config.algorithm.logprob_temperature or config.sampling.temperature,
        group_size=config.group_size,
        reward_weights=rewards.weights,
        answer_length=config.sampling.max_new_tokens,
    )


class Evaluator:
    """Greedy episodes from a fixed set of prompts: their mean reward, and TS, PI and CF where there is gold."""

    def __init__(self, player: RolloutWorker, prompts: Sequence[Prompt], rewards: Rubric) -> None:
        self._player, self._rewards, self.prompts = player, rewards, prompts

    def __call__(self, params: Params) -> dict[str, float]:
        """``eval_reward``, ``eval_TS``, ``eval_PI``, ``eval_CF``; nothing where there are no prompts."""
        if not self.prompts:
            return {}
        episodes = self._player(params, self.prompts, jax.random.key(0))
        total = [self._rewards.total(self._rewards(episode)) for episode in episodes]
        turns = [turn for episode in episodes for turn in episode.turns if turn.case.gold]
        summary = summarise(score_prediction(turn.text, turn.case) for turn in turns)
        shares = {"TS": summary.ts, "PI": summary.pi, "CF": summary.cf} if turns else {}
        return {"eval_reward": float(np.mean(total)), **{f"eval_{name}": share for name, share in shares.items()}}


class Trainer:
    """The loop: prompts, episodes, rewards, a step; and now and then a line, samples, a checkpoint."""

    def __init__(
        self,
        run: Run,
        config: RlConfig,
        spec: StepSpec,
        player: RolloutWorker,
        rewards: Rubric,
        order: PromptSampler,
        judge: Evaluator,
        step: Any,
    ) -> None:
        self._run, self._config, self._spec, self._step = run, config, spec, step
        self._player, self._rewards, self._order, self._judge = player, rewards, order, judge
        self._averages = Averages(last=("learning_rate", "critic_rate", "kl_coef"))
        self._outcomes: Counter[str] = Counter()
        self._results: Counter[str] = Counter()
        if is_main():
            drop_metrics_after(run.directory / SAMPLES_FILE, run.start)

    def train(self, state: RlState) -> dict[str, Any]:
        """Rollouts until the last one, or until stopped. ``state`` is used up."""
        run, log = self._run, self._run.log
        before = self._judge(self._spec.ref_params(state))
        if before:
            log.line(f"before training, greedy, on {len(self._judge.prompts)} fixed prompts: {_figures(before)}")
        latest: dict[str, float] = {}
        for number in range(run.start + 1, run.total + 1):
            state, episodes, scored = self._rollout_and_step(state, number)
            last = number == run.total
            judges = last or (self._config.eval_every and number % self._config.eval_every == 0)
            if number % self._config.log_every == 0 or judges:
                latest = self._averages.read() | _shares("outcome", self._outcomes) | _shares("result", self._results)
                if judges:
                    latest |= self._judge(state.params["actor"])
                if last:
                    latest |= {f"{name}_before": value for name, value in before.items()}
                log.metrics(number, latest)
                self._show(number, episodes, scored)
            if not run.after_step(number, state, partial(self._order.state, number)):
                break
        if "eval_reward_before" in latest:  # the last rollout was reached
            after = {name: latest[name] for name in before}
            log.line(
                f"after training, the same way: {_figures(after)}; the reward "
                f"{_change(after['eval_reward'] - before['eval_reward'])}"
            )
        run.finish()
        return {"step": int(state.step), "stopped_by": run.stopped_by, **latest}

    def _rollout_and_step(self, state: RlState, number: int) -> tuple[RlState, list[Episode], list[EpisodeRewards]]:
        began = time.perf_counter()
        key = jax.random.fold_in(fold_key(state), 0)  # fresh at every step; 1 is the step's own
        prompts = [prompt for prompt in self._order[number - 1] for _ in range(self._config.group_size)]
        episodes = self._player(state.params["actor"], prompts, key)
        scored = [self._rewards(episode) for episode in episodes]
        rollout = collate(
            episodes,
            [one.values for one in scored],
            min_length=256 if self._config.model.attention == "splash" else 16,  # its kernels want multiples of 128
        )
        sampled = time.perf_counter()
        state, metrics = self._step(state, make_global_array(rollout, batch_sharding(self._run.mesh)))
        metrics = jax.device_get(metrics)  # waits: a state that is not finite must not be saved
        ended = time.perf_counter()
        turns = [turn for episode in episodes for turn in episode.turns]
        self._outcomes.update(turn[0].category for one in scored for turn in one.turns)
        self._results.update(_kind(result) for turn in turns for result in turn.results)
        metrics |= _host_metrics(rollout, episodes, scored, self._rewards, sampled - began, ended - sampled)
        self._averages.push(number, metrics)
        self._averages.settle()
        return state, episodes, scored

    def _show(self, step: int, episodes: Sequence[Episode], scored: Sequence[EpisodeRewards]) -> None:
        """A few turns, printed as a table and kept in ``samples.jsonl``."""
        table = Table("case", "answer", "reward", "why", title=f"answers at step {step}", title_justify="left")
        rows = []
        for episode, one in list(zip(episodes, scored, strict=True))[:SHOWN_SAMPLES]:
            for number, (turn, earned) in enumerate(zip(episode.turns, one.turns, strict=True)):
                value = sum(weight * part.value for weight, part in zip(self._rewards.weights, earned, strict=False))
                why = "; ".join(part.explanation for part in earned)
                written = turn.text + ("" if turn.finished else " ... (cut off)")
                table.add_row(*map(Text, (turn.case.id, written[:400], f"{value:+.2f}", why)))
                rows.append(
                    {
                        "step": step,
                        "id": turn.case.id,
                        "turn": number,
                        "prediction": turn.text,
                        "finished": turn.finished,
                        "reward": value,
                        "category": earned[0].category,
                        "explanation": why,
                        "results": list(turn.results),
                    }
                )
        self._run.log.table(table)
        if is_main():
            with (self._run.directory / SAMPLES_FILE).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)


def _host_metrics(
    rollout: RolloutBatch,
    episodes: Sequence[Episode],
    scored: Sequence[EpisodeRewards],
    rewards: Rubric,
    sampling: float,
    learning: float,
) -> dict[str, Any]:
    """What is known without the device. ``tokens_per_second`` counts all tokens read, over the whole step."""
    turns = [turn for episode in episodes for turn in episode.turns]
    parts = {
        f"reward/{name}": np.mean([turn[index].value for one in scored for turn in one.turns])
        for index, name in enumerate(rewards.turn_rewards)
    }
    return {
        "reward": np.mean([rewards.total(one) for one in scored]),
        **(parts if len(parts) > 1 else {}),
        "turns": len(turns) / len(episodes),
        "answer_length": np.mean([len(turn.tokens) for turn in turns]),
        "finished": np.mean([turn.finished for turn in turns]),
        "tokens_per_second": np.sum(np.asarray(rollout.segment_ids)) / (sampling + learning),
        "seconds_sampling": sampling,
        "seconds_learning": learning,
    }


def _shares(prefix: str, counts: Counter[str]) -> dict[str, float]:
    """Share of each category since the last reading, which this is."""
    total, seen = counts.total(), dict(counts)
    counts.clear()
    return {f"{prefix}/{name}": count / total for name, count in sorted(seen.items())}


def _kind(result: str) -> str:
    """The category of MAE that a tool's result belongs to."""
    found = find_error(result, "paper")
    return found.category.value if found else "success"


def _check(config: RlConfig, mesh: Mesh) -> None:
    """Every minibatch must give each data-parallel device the same number of rows."""
    rows, algorithm = config.batch_size * config.group_size, config.algorithm
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
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


def _spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """``count`` prompts from all over the file, always the same ones."""
    chosen = np.linspace(0, len(prompts) - 1, min(count, len(prompts))).round().astype(int)
    return [prompts[index] for index in chosen]


def _figures(metrics: Mapping[str, float]) -> str:
    shares = [f"{name} {metrics[f'eval_{name}']:.1f} %" for name in ("TS", "PI", "CF") if f"eval_{name}" in metrics]
    return ", ".join([f"reward {metrics['eval_reward']:+.3f}", *shares])


def _change(difference: float) -> str:
    if not difference:
        return "is the same"
    return f"rose by {difference:.3f}" if difference > 0 else f"fell by {-difference:.3f}"
