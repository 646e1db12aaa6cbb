"""What came of an ablation as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from tl_jax.ablation.bootstrap import MeanEstimate
from tl_jax.ablation.plan import BASE, Stage
from tl_jax.ablation.results import METRICS, Estimates, Gain, Results, Scored
from tl_jax.ablation.run import duration, seconds_left, spent
from tl_jax.config.variants import BENCHMARKS, VARIANTS
from tl_jax.yaml_text import read_yaml

HEADS = ("TS %", "PI %", "CF %", "reward")
ABOUT = (
    "In brackets: 95 % intervals over seeds and cases (crossed bootstrap). Gains are differences within a seed and a "
    "case; of several pairs of variants, their mean; with an asterisk where the interval leaves 0 out."
)


def cells(figures: Estimates, is_gain: bool = False) -> list[str]:
    """The figures of `METRICS` as the tables have them: shares by their tenths, the mean reward by its hundredths.
    Gains have their sign, and an asterisk where the interval leaves 0 out."""
    return [_with_interval(figures[metric], 2 if metric == "reward" else 1, is_gain) for metric in METRICS]


def _with_interval(one: MeanEstimate, digits: int, is_gain: bool) -> str:
    sign = "+" if is_gain else ""
    mean, low, high = (f"{value:{sign}.{digits}f}" for value in (one.mean, one.low, one.high))
    return f"{mean} ({low}, {high}){' *' if is_gain and one.sure else ''}"


def rows(results: Results) -> Iterator[tuple[str, Scored]]:
    """The model before training, then the variants."""
    if results.base:
        yield BASE, results.base
    yield from results.variants.items()


def reported(name: str) -> list[str]:
    """What the paper reports of a variant, a cell for each benchmark."""
    return [
        "/".join(f"{share:.1f}" for share in VARIANTS[name].reported[one]) if name in VARIANTS else ""
        for one in BENCHMARKS
    ]


def figures_table(results: Results) -> Table:
    """Every variant beside what the paper reports."""
    paper = [f"paper, {name}\nTS/PI/CF" for name in BENCHMARKS]
    table = Table(
        "variant",
        Column("seeds", justify="right"),
        *(Column(name, justify="right", overflow="fold") for name in (*HEADS, *paper)),
    )
    for name, scored in rows(results):
        seeds = str(len(scored.seeds)) if name != BASE else ""
        table.add_row(Text(name), seeds, *cells(scored.figures), *reported(name))
    return table


def gain_name(gain: Gain) -> str:
    """Which pair of variants, or of how many the mean."""
    pairs = len(gain.without)
    return f"{gain.factor}, mean of {pairs} pairs" if pairs > 1 else f"{gain.factor} added to {gain.without[0]}"


def gains_table(gains: Sequence[Gain]) -> Table:
    """What each part adds."""
    table = Table("gain by", *HEADS)
    for gain in gains:
        table.add_row(Text(gain_name(gain)), *cells(gain.figures, is_gain=True))
    return table


def cost_lines(results: Results) -> Iterator[str]:
    for kind, cost in results.costs.items():
        tokens = f", {cost.tokens:,.0f} tokens {'read' if kind == 'sft' else 'written'}" if cost.tokens else ""
        yield f"{kind}: {cost.stages} done, {duration(cost.seconds)}{tokens}"


def report(results: Results) -> RenderableType:
    """Everything that fits a terminal."""
    told = [f"{results.cases} cases. {ABOUT}", *cost_lines(results)]
    if results.missing:
        told.append(f"not done: {_some(results.missing)}")
    return Group(figures_table(results), gains_table(results.gains), *map(Text, told))


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:5])}{', ...' if names[5:] else ''}"


class SweepRow(NamedTuple):
    """What is shown of a value of a dial: a variant, or a gain."""

    name: str
    seeds: tuple[int, ...]
    figures: Estimates
    is_gain: bool

    @property
    def label(self) -> str:
        return f"gain: {self.name}" if self.is_gain else self.name


def sweep_rows(results: Results) -> list[SweepRow]:
    """The variants, then the gains."""
    return [
        *(SweepRow(name, scored.seeds, scored.figures, False) for name, scored in results.variants.items()),
        *(SweepRow(gain_name(gain), gain.seeds, gain.figures, True) for gain in results.gains),
    ]


def sweep_report(setting: str, found: Mapping[str, Results]) -> RenderableType:
    """Variants and gains at each value of a dial."""
    table = Table("value", "", *HEADS, title=setting)
    for value, results in found.items():
        for row in sweep_rows(results):
            table.add_row(value, row.label, *cells(row.figures, row.is_gain))
    missing = [f"not done at {value}: {_some(results.missing)}" for value, results in found.items() if results.missing]
    return Group(table, *map(Text, (ABOUT, *missing)))


def stages_table(stages: Sequence[Stage]) -> RenderableType:
    """What would be run, and how long that takes as far as stages of the same kind were run before."""
    costs = {stage.key: spent(stage) for stage in stages}
    table = Table("stage", "what it does", Column("took", justify="right"))
    for stage in stages:
        cost = costs[stage.key]
        state = duration(cost.seconds) if cost.done else f"not done, {duration(cost.seconds)}" if cost.starts else ""
        table.add_row(Text(stage.title), Text(work(stage)), state)
    left = seconds_left(stages, costs)
    waiting = sum(not cost.done for cost in costs.values())
    known = (
        f"about {duration(left)} one after another"
        if left is not None
        else "of a length not known before one of each kind has run"
    )
    return Group(
        table, Text(f"{len(stages)} stages, {waiting} to do: {known}" if waiting else f"{len(stages)} stages, all done")
    )


def work(stage: Stage) -> str:
    """How much a stage does, by its settings."""
    if stage.kind == "eval":
        return "answers every case"
    settings = read_yaml(stage.settings)
    if stage.kind == "data":
        return f"{settings['train']} trajectories to train on"
    if stage.kind == "sft":
        data, steps = settings["data"], settings["steps"]
        much = f"{steps} steps" if steps else f"{settings['epochs']:g} epochs"
        return f"{much} of {data['batch_size']} rows of {data['max_length']} tokens"
    return f"{settings['steps']} steps of {settings['batch_size']} x {settings['group_size']} answers"
