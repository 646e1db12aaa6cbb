"""A dial as one HTML page that needs no other file: gains against its values, and every variant."""

from __future__ import annotations

from collections.abc import Mapping

from tl_jax.ablation.bootstrap import MeanEstimate
from tl_jax.ablation.page import TITLES, told_missing
from tl_jax.ablation.plots import interval_chart, interval_image
from tl_jax.ablation.report import ABOUT, HEADS, cells, sweep_rows
from tl_jax.ablation.results import METRICS, Results
from tl_jax.page import page, text
from tl_jax.report.parts import charts, table
from tl_jax.report.style import STYLE


def sweep_to_html(name: str, setting: str, found: Mapping[str, Results]) -> str:
    """The page; no name or value can become markup.

    Args:
        found: value of the setting, as it is shown -> what came of it.
    """
    cases = " / ".join(dict.fromkeys(str(results.cases) for results in found.values()))
    parts = [
        f"<h1>{text(name)}</h1>",
        f"<p>Along the bottom: {text(setting)}. {cases} cases. {text(ABOUT)}</p>",
        told_missing({f" at {value}": results for value, results in found.items()}),
        charts("Gains", [_chart(found, metric, gains=True) for metric in METRICS]),
        charts("Variants", [_chart(found, metric, gains=False) for metric in METRICS]),
        "<h2>Figures</h2>",
        table([setting, "", "seeds", *HEADS], _figures(found)),
    ]
    return page(name, STYLE, f"<main>\n{chr(10).join(parts)}\n</main>")


def sweep_image(setting: str, found: Mapping[str, Results], metric: str) -> str:
    """The gains in a figure against the dial, as an SVG file; empty where there are none."""
    title = f"Gain: {TITLES[metric]}, against {setting.split('.')[-1]}"
    return interval_image(title, list(found), _lines(found, metric, gains=True))


def _chart(found: Mapping[str, Results], metric: str, gains: bool) -> str:
    return interval_chart(TITLES[metric], list(found), _lines(found, metric, gains), joined=True)


def _lines(found: Mapping[str, Results], metric: str, gains: bool) -> dict[str, dict[str, MeanEstimate]]:
    """Variant, or pair of variants -> value of the dial -> figure or gain."""
    lines: dict[str, dict[str, MeanEstimate]] = {}
    for value, results in found.items():
        for row in sweep_rows(results):
            if row.is_gain == gains:
                lines.setdefault(row.name, {})[value] = row.figures[metric]
    return lines


def _figures(found: Mapping[str, Results]) -> list[list[str]]:
    return [
        [value, row.label, str(len(row.seeds)), *cells(row.figures, row.is_gain)]
        for value, results in found.items()
        for row in sweep_rows(results)
    ]
