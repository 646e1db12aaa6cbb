"""What came of an ablation as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tl_jax.ablation.plan import BASE
from tl_jax.ablation.plots import interval_chart
from tl_jax.ablation.report import ABOUT, HEADS, cells, cost_lines, gain_name, reported, rows
from tl_jax.ablation.results import METRICS, Gain, Results, Scored
from tl_jax.config.variants import BENCHMARKS
from tl_jax.page import page, text
from tl_jax.report.curves import COLOURS, Line, chart
from tl_jax.report.parts import charts, table
from tl_jax.report.style import STYLE

TITLES = dict(
    zip(METRICS, ("Tool selection (TS), %", "Parameters (PI), %", "Content (CF), %", "Mean reward"), strict=True)
)


def to_html(results: Results) -> str:
    """The page; no name or setting can become markup."""
    names = [name for name, _ in rows(results)]
    parts = [
        "<h1>Ablation</h1>",
        f"<p>{results.cases} cases. {text(ABOUT)} Reward: profile {text(results.profile)}.</p>",
        told_missing({"": results}),
        table(["variant", "seeds", *HEADS, *(f"paper, {one}" for one in BENCHMARKS)], _figures(results)),
        "<p>The paper's figures are of CodeLLaMA-7B on its own benchmarks, TS / PI / CF: compare the differences "
        "between rows, not the rows.</p>",
        charts("Variants", [_variants_chart(results, names, metric) for metric in METRICS]),
        "<h2>What each part adds</h2>",
        table(["gain by", "seeds", *HEADS], [_gain_row(gain) for gain in results.gains]),
        charts("Gains", [_gains_chart(results, metric) for metric in METRICS]),
        charts("Learning curves", [_curve(title, lines) for title, lines in results.curves.items()]),
        _suites(results),
        _seeds(results),
        "<h2>Cost</h2>",
        *(f"<p>{text(line)}</p>" for line in cost_lines(results)),
    ]
    return page("Ablation", STYLE, f"<main>\n{chr(10).join(parts)}\n</main>")


def told_missing(found: Mapping[str, Results]) -> str:
    """What is not there.

    Args:
        found: where -> what came of it.
    """
    items = [
        f"<li>not done{text(where)}: {text(', '.join(one.missing))}</li>" for where, one in found.items() if one.missing
    ]
    return f'<ul class="told">{"".join(items)}</ul>' if items else ""


def _figures(results: Results) -> list[list[str]]:
    return [
        [
            name,
            "" if name == BASE else str(len(scored.seeds)),
            *cells(scored.figures),
            *reported(name),
        ]
        for name, scored in rows(results)
    ]


def _gain_row(gain: Gain) -> list[str]:
    return [gain_name(gain), str(len(gain.seeds)), *cells(gain.figures, is_gain=True)]


def _variants_chart(results: Results, names: Sequence[str], metric: str) -> str:
    found = {name: scored.figures[metric] for name, scored in rows(results)}
    return interval_chart(TITLES[metric], names, {metric: found}, joined=False)


def _gains_chart(results: Results, metric: str) -> str:
    """Of each part the mean over all pairs; where there is none, every pair."""
    whole = {gain.factor: gain.figures[metric] for gain in results.gains if len(gain.without) > 1}
    found = whole or {gain_name(gain): gain.figures[metric] for gain in results.gains}
    return interval_chart(TITLES[metric], list(found), {metric: found}, joined=False)


def _curve(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    drawn = [
        Line(name, points, number % COLOURS, number // COLOURS) for number, (name, points) in enumerate(lines.items())
    ]
    return chart(f"{title}, mean over seeds", drawn)


def _suites(results: Results) -> str:
    """Each suite by itself, where there are several."""

    def line(name: str, scored: Scored, suite: str) -> list[str]:
        return [name, *cells(scored.suites[suite])]

    if len(results.suites) < 2:
        return ""
    return "\n".join(
        f"<h2>{text(suite)}: {cases} cases</h2>\n"
        + table(["variant", *HEADS], [line(name, scored, suite) for name, scored in rows(results)])
        for suite, cases in results.suites.items()
    )


def _seeds(results: Results) -> str:
    """The figures of each seed, and the interval over cases alone."""
    body = []
    for name, scored in rows(results):
        for metric in METRICS:
            one = scored.figures[metric]
            each = ", ".join(f"{value:.2f}" for value in one.seeds)
            body.append([name, metric, each, f"{one.cases_low:.2f} to {one.cases_high:.2f}"])
    return "<h2>Each seed</h2>\n" + table(["variant", "", "mean of each seed", "95 % over cases alone"], body)
