"""What came of an ablation: figures of each variant, the gain by each part, curves, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from tl_jax.ablation.bootstrap import MeanEstimate, Outcomes, estimate
from tl_jax.ablation.plan import AblationPlan, Stage
from tl_jax.ablation.run import Spent, spent
from tl_jax.bucket_files import profile_from
from tl_jax.config.variants import FACTORS, VARIANTS, variant_of
from tl_jax.data.prompts import load_cases
from tl_jax.report.record import RunRecord, read_run
from tl_jax.tooluse.metrics import PAPER_SCORING, score_prediction
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.readers.predictions import PREDICTIONS
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Case

METRICS = ("TS", "PI", "CF", "reward")
"""Shares in %, and the mean reward."""
CURVES = {"sft": ("loss", "eval_loss"), "rl": ("reward", "kl", "eval_reward")}
"""What is drawn of each kind of training, where it was logged."""
Points = list[tuple[float, float]]
Estimates = dict[str, MeanEstimate]


@dataclass(frozen=True)
class Scored:
    """A variant over its seeds.

    Attributes:
        seeds: those that are done.
        figures: metric -> over all cases.
        suites: suite -> the same over its cases.
    """

    seeds: tuple[int, ...]
    figures: Estimates
    suites: Mapping[str, Estimates]


@dataclass(frozen=True)
class Gain:
    """What a part adds: two variants that differ in it alone, or the mean over several such pairs.

    Attributes:
        without: the variants without it; as many as ``pairs``.
    """

    factor: str
    without: tuple[str, ...]
    seeds: tuple[int, ...]
    figures: Estimates


@dataclass(frozen=True)
class Cost:
    """Of the stages of one kind that are done: how many, all of their time, and the tokens that supervised trainings
    read and the others wrote."""

    stages: int
    seconds: float
    tokens: float | None


@dataclass(frozen=True)
class Results:
    """All that is known by now; what is not done yet, or failed, is not there."""

    cases: int
    suites: Mapping[str, int]
    profile: str
    base: Scored | None
    variants: Mapping[str, Scored]
    gains: Sequence[Gain]
    costs: Mapping[str, Cost]
    curves: Mapping[str, Mapping[str, Points]] = field(default_factory=dict)
    """``sft: loss`` -> variant -> the mean over its seeds at each step"""
    missing: tuple[str, ...] = ()
    """stages that are not done"""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_results(plan: AblationPlan) -> Results:
    """What the stages that are done have left.

    Raises:
        UserError: cases or answers that cannot be read.
    """
    costs = {stage.key: spent(stage) for stage in plan.stages}
    done = {key for key, cost in costs.items() if cost.done}
    runs = {
        stage.key: read_run(stage.directory)
        for stage in plan.stages
        if stage.kind in CURVES and (stage.key in done or _has_rows(stage.directory))
    }
    tables = _Tables(plan, done)
    found: dict[str, dict[int, Outcomes]] = {}
    for (name, seed), stage in plan.evaluations.items():
        if stage.key in tables.answers:
            found.setdefault(name, {})[seed] = tables.read(stage)
    return Results(
        cases=len(tables.cases),
        suites={name: len(places) for name, places in tables.suites.items()},
        profile=plan.config.eval.profile,
        base=tables.scored({0: tables.read(plan.base)}) if plan.base.key in tables.answers else None,
        variants={name: tables.scored(found[name]) for name in plan.config.variants if name in found},
        gains=gains(found),
        costs=_costs(plan, costs, runs),
        curves=_curves(plan, runs),
        missing=tuple(stage.title for stage in plan.stages if stage.key not in done),
    )


class _Tables:
    """Outcomes ``[metrics, cases]`` of evaluations, in the order of the cases that count: those with a gold answer that
    were answered, for an evaluation leaves out what its text format cannot say."""

    def __init__(self, plan: AblationPlan, done: Collection[str]) -> None:
        config = plan.config
        self.profile = profile_from(config.eval.profile)
        evaluations = [stage for stage in (plan.base, *plan.evaluations.values()) if stage.key in done]
        self.answers = {stage.key: read_predictions(stage.directory / PREDICTIONS) for stage in evaluations}
        self.cases: list[Case] = []
        if evaluations:
            found = load_cases(plan.cases, config.data.format, limit=config.eval.limit, include=plan.include)
            answered = set.intersection(*map(set, self.answers.values()))
            self.cases = [case for case in found if case.id in answered and case.has_gold]
        self.suites: dict[str, list[int]] = {}
        for place, case in enumerate(self.cases):
            self.suites.setdefault(case.suite or "unnamed", []).append(place)

    def read(self, stage: Stage) -> Outcomes:
        answers = self.answers[stage.key]
        return np.array([self._worth(answers[case.id], case) for case in self.cases]).T

    def _worth(self, answer: str, case: Case) -> list[float]:
        right = score_prediction(answer, case, PAPER_SCORING)
        return [100.0 * right.ts, 100.0 * right.pi, 100.0 * right.cf, score(answer, case, self.profile).value]

    def scored(self, found: Mapping[int, Outcomes]) -> Scored:
        table = np.stack(list(found.values()), 1)  # [metrics, seeds, cases]
        suites = {name: _estimates(table[:, :, places]) for name, places in self.suites.items()}
        return Scored(tuple(found), _estimates(table), suites if len(suites) > 1 else {})


def gains(found: Mapping[str, Mapping[int, Outcomes]]) -> list[Gain]:
    """Of each factor the mean gain over all pairs of variants that differ in it alone, then each pair by itself.

    The mean over the pairs is the main effect of a factorial experiment. Seeds count that all of the variants have.

    Args:
        found: variant -> seed -> ``[metrics, cases]``.
    """
    made = []
    for factor in FACTORS:
        pairs = []
        for name, with_it in found.items():
            variant = VARIANTS[name]
            without = variant_of(variant.without(factor)).name if factor in variant.factors else ""
            if without in found:
                pairs.append((without, found[without], with_it))
        whole = [_gain(factor, pairs)] if len(pairs) > 1 else []
        made += [gain for gain in (*whole, *(_gain(factor, [pair]) for pair in pairs)) if gain]
    return made


def _gain(factor: str, pairs: Sequence[tuple[str, Mapping[int, Outcomes], Mapping[int, Outcomes]]]) -> Gain | None:
    seeds = [seed for seed in pairs[0][1] if all(seed in side for pair in pairs for side in pair[1:])]
    if not seeds:
        return None
    per_seed = [reduce(add, (after[seed] - before[seed] for _, before, after in pairs)) / len(pairs) for seed in seeds]
    return Gain(factor, tuple(name for name, *_ in pairs), tuple(seeds), _estimates(np.stack(per_seed, 1)))


def _estimates(table: Outcomes) -> Estimates:
    return {name: estimate(table[number]) for number, name in enumerate(METRICS)}


def _costs(plan: AblationPlan, spent: Mapping[str, Spent], runs: Mapping[str, RunRecord]) -> dict[str, Cost]:
    costs: dict[str, Cost] = {}
    for kind in dict.fromkeys(stage.kind for stage in plan.stages):
        done = [stage for stage in plan.stages if stage.kind == kind and spent[stage.key].done]
        tokens = sum(_tokens(runs[stage.key]) for stage in done) if kind in CURVES else None
        costs[kind] = Cost(len(done), sum(spent[stage.key].seconds for stage in done), tokens)
    return costs


def _tokens(run: RunRecord) -> float:
    """Read by a supervised training; written as answers by a reinforcement training."""
    if run.kind == "sft":
        return math.fsum(value for _, value in run.points("tokens"))
    lengths = run.points("answer_length")  # each the mean over the steps since the one before
    before = [0, *(step for step, _ in lengths)]
    answers = run.settings["batch_size"] * run.settings["group_size"]
    return math.fsum(length * answers * (step - last) for (step, length), last in zip(lengths, before, strict=False))


def _curves(plan: AblationPlan, runs: Mapping[str, RunRecord]) -> dict[str, dict[str, Points]]:
    curves: dict[str, dict[str, Points]] = {}
    for kind, metrics in CURVES.items():
        by_variant: dict[str, list[RunRecord]] = {}
        for stage in plan.stages:
            if stage.kind == kind and stage.key in runs:
                by_variant.setdefault(stage.variant, []).append(runs[stage.key])
        for metric in metrics:
            lines = {name: mean_points(run.points(metric) for run in seeds) for name, seeds in by_variant.items()}
            if drawn := {name: points for name, points in lines.items() if points}:
                curves[f"{kind}: {metric}"] = drawn
    return curves


def _has_rows(home: Path) -> bool:
    return (home / "config.yaml").is_file() and (home / "metrics.jsonl").is_file()


def mean_points(runs: Iterable[Sequence[tuple[float, float]]]) -> Points:
    """The mean at each step that all of several curves have.

    Example:
        >>> mean_points([[(1, 2.0), (2, 3.0)], [(1, 4.0)]])
        [(1, 3.0)]
    """
    curves = [dict(points) for points in runs]
    steps = [step for step in curves[0] if all(step in curve for curve in curves)] if curves else []
    return [(step, math.fsum(curve[step] for curve in curves) / len(curves)) for step in steps]
