"""The page of `tl-jax robustness`: TS, PI and CF over the noise levels, a line for each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tl_jax.evaluation.robustness import METRICS, Robustness
from tl_jax.page import page, text
from tl_jax.tooluse.readers.rotbench import LEVELS

_COLOURS = ("#2f5d8a", "#c8553d", "#6b8f71", "#e0a030", "#7d5ba6", "#24292f")
_TITLES = {"TS": "Tool selection", "PI": "Parameter identification", "CF": "Content filling"}
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 340, 230, 34, 10, 26
"""Pixels of a chart, and around its lines."""
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #24292f; max-width: 72em;
  margin: 2.2em auto; padding: 0 1.2em; }
h1 { font-size: 1.4em; margin: 0 0 .2em; }
h2 { font-size: 1.02em; margin: 0 0 .3em; }
p { margin: .2em 0; color: #57606a; }
ul { list-style: none; padding: 0; margin: .6em 0 1.4em; }
li { overflow-wrap: anywhere; }
li i { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .5em; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19em, 100%), 1fr)); gap: 1.6em; }
svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92em; margin-top: 1.6em; }
th { font-weight: 600; text-align: right; color: #57606a; border-bottom: 1.5px solid #24292f; }
th, td { padding: .3em .9em .3em 0; white-space: nowrap; }
td { border-bottom: 1px solid #e3e7ec; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
@media print { * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def to_html(runs: Sequence[Robustness]) -> str:
    """The page; the first run comes first in every legend. No name can become markup."""
    legend = "".join(
        f'<li><i style="background:{_colour(number)}"></i>{text(run.name)}</li>' for number, run in enumerate(runs)
    )
    charts = "\n".join(f"<section><h2>{_TITLES[name]}</h2>{_chart(runs, name)}</section>" for name in METRICS)
    head = "".join(f"<th>{name}</th>" for name in ("model", "noise", "cases", *METRICS))
    return page(
        "Robustness to noise in names",
        _STYLE,
        "<h1>Robustness to noise in names</h1>\n<p>RoTBench's levels: names of tools and parameters as they are, "
        "garbled more and more, or all of it at once. In %, with 95 % intervals over the cases.</p>\n"
        f'<ul>{legend}</ul>\n<div class="charts">\n{charts}\n</div>\n'
        f'<div class="wide"><table><tr>{head}</tr>\n{"".join(_rows(runs))}</table></div>',
    )


def _rows(runs: Sequence[Robustness]) -> Iterator[str]:
    for run in runs:
        for level, figures in run.levels.items():
            cells = [run.name, level, str(figures["cases"]), *(f"{figures[name]:.1f}" for name in METRICS)]
            yield f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in cells)}</tr>\n"


def _chart(runs: Sequence[Robustness], name: str) -> str:
    shapes = [*_grid()]
    for number, run in enumerate(runs):
        shift = 5.0 * (number - (len(runs) - 1) / 2)  # so that intervals stand side by side
        shapes += _line(run, name, _colour(number), shift)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_TITLES[name]}" font-family="inherit" '
        f'font-size="12">\n{"".join(shapes)}</svg>'
    )


def _grid() -> Iterator[str]:
    for share in range(0, 101, 25):
        y = _y(share)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH}" y2="{y:.1f}" stroke="#e3e7ec"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#6b7280">{share}</text>\n'
    for level in LEVELS:
        yield f'<text x="{_x(level):.1f}" y="{_HEIGHT - 6}" text-anchor="middle" fill="#6b7280">{level}</text>\n'


def _line(run: Robustness, name: str, colour: str, shift: float) -> Iterator[str]:
    """Neighbouring levels are joined; what lies between them was not measured."""
    places = [(_x(level) + shift, level) for level in run.levels]
    points = " ".join(f"{x:.1f},{_y(run.levels[level][name]):.1f}" for x, level in places)
    yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>\n'
    for x, level in places:
        figures = run.levels[level]
        low, high = (_y(end) for end in figures[f"{name}_interval"])
        yield f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="{colour}" opacity=".6"/>'
        yield f'<circle cx="{x:.1f}" cy="{_y(figures[name]):.1f}" r="3.5" fill="{colour}"/>\n'


def _x(level: str) -> float:
    return _LEFT + (LEVELS.index(level) + 0.5) * (_WIDTH - _LEFT) / len(LEVELS)


def _y(share: float) -> float:
    return _TOP + (1 - share / 100) * (_HEIGHT - _TOP - _BOTTOM)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
