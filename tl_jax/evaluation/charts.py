"""Bar charts as one self-contained HTML page of inline SVG, or as a PNG through matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tl_jax.errors import UserError
from tl_jax.files import new_binary_file
from tl_jax.page import page, text

COLOURS = {"error": "#c8553d", "plain": "#4a7ba6", "key": "#e0a030"}
_INK, _FAINT, _TRACK = "#24292f", "#6b7280", "#eef1f4"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it stands for, its length as a share of the longest possible one, and what is written beside it."""

    label: str
    share: float
    text: str
    colour: Literal["error", "plain", "key"] = "plain"


@dataclass(frozen=True, slots=True)
class Chart:
    """Horizontal bars (``rows``) or a histogram (``columns``) under a title and a line that says what is counted."""

    title: str
    note: str
    bars: tuple[Bar, ...]
    kind: Literal["rows", "columns"] = "rows"


_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #24292f; background: #f6f7f9;
  margin: 0; padding: 2.2em 1em 3em; }
main { max-width: 66em; margin: auto; }
h1 { font-size: 1.5em; font-weight: 650; margin: 0 0 .2em; overflow-wrap: anywhere; }
.summary { color: #57606a; margin: 0 0 1.6em; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(29em, 100%), 1fr)); gap: 1.1em; }
section { background: #fff; border: 1px solid #e3e6ea; border-radius: 10px; padding: 1.1em 1.3em 1em; }
h2 { font-size: 1.02em; font-weight: 650; margin: 0; }
section p { color: #6b7280; font-size: .87em; margin: .1em 0 .9em; }
svg { display: block; width: 100%; height: auto; }
"""


def to_html(title: str, summary: str, charts: Sequence[Chart]) -> str:
    """A page that needs no other file and no network."""
    sections = "\n".join(
        f"<section><h2>{text(chart.title)}</h2>\n<p>{text(chart.note)}</p>\n{_svg(chart)}</section>" for chart in charts
    )
    head = f'<h1>{text(title)}</h1>\n<p class="summary">{text(summary)}</p>'
    return page(title, _STYLE, f'<main>\n{head}\n<div class="charts">\n{sections}\n</div>\n</main>')


_WIDTH, _ROW, _LABELS, _TEXTS, _HEIGHT = 460, 30, 178, 96, 190
"""Pixels: of a chart, of a row, of the labels left of the bars and of the texts right of them, of a histogram."""


def _svg(chart: Chart) -> str:
    if chart.kind == "rows":
        size, shapes = len(chart.bars) * _ROW, _row_shapes(chart.bars)
    else:
        size, shapes = _HEIGHT, _column_shapes(chart.bars)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {size}" role="img" aria-label="{text(chart.title)}" '
        f'font-family="inherit" font-size="12.5">\n{"".join(shapes)}</svg>'
    )


def _row_shapes(bars: Sequence[Bar]) -> list[str]:
    room = _WIDTH - _LABELS - _TEXTS
    shapes = []
    for number, bar in enumerate(bars):
        top, middle = number * _ROW + 6, number * _ROW + _ROW / 2 + 4
        shapes += [
            _write(_LABELS - 10, middle, bar.label, "end"),
            _box(_LABELS, top, room, _ROW - 12, _TRACK),
            _box(_LABELS, top, max(room * bar.share, 2 if bar.share else 0), _ROW - 12, COLOURS[bar.colour]),
            _write(_WIDTH - _TEXTS + 9, middle, bar.text, "start", _FAINT),
        ]
    return shapes


def _column_shapes(bars: Sequence[Bar]) -> list[str]:
    step, base = _WIDTH / max(len(bars), 1), _HEIGHT - 22
    shapes = [f'<line x1="0" y1="{base}" x2="{_WIDTH}" y2="{base}" stroke="#d5dae0"/>\n']
    for number, bar in enumerate(bars):
        height = max((base - 20) * bar.share, 1.5 if bar.share else 0)
        middle = (number + 0.5) * step
        shapes += [
            _box(number * step + step * 0.12, base - height, step * 0.76, height, COLOURS[bar.colour]),
            _write(middle, base + 16, bar.label, "middle", _FAINT),
            _write(middle, base - height - 6, bar.text, "middle"),
        ]
    return shapes


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2.5" fill="{colour}"/>\n'


def _write(x: float, y: float, said: str, anchor: str, colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text(said)}</text>\n'


def to_png(path: Path, title: str, summary: str, charts: Sequence[Chart]) -> None:
    """The charts, two in a row, as an image.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: a PNG needs matplotlib (pip install 'tl-jax[report]'); {path.with_suffix('.html').name} does not"
        ) from None
    rows = -(-len(charts) // 2)
    figure = Figure(figsize=(13, 3.1 * rows + 1), facecolor="white")
    FigureCanvasAgg(figure)
    inch = 1 / figure.get_figheight()
    figure.subplots_adjust(0.03, 0.45 * inch, 0.97, 1 - 1.55 * inch, wspace=0.1, hspace=0.62)
    figure.text(0.03, 1 - 0.42 * inch, title, fontsize=16, fontweight="bold", color=_INK)
    figure.text(0.03, 1 - 0.72 * inch, summary, fontsize=11, color=_FAINT)
    for number, chart in enumerate(charts):
        _draw(figure.add_subplot(rows, 2, number + 1), chart)
    with new_binary_file(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _draw(axes: Any, chart: Chart) -> None:
    places, colours = range(len(chart.bars)), [COLOURS[bar.colour] for bar in chart.bars]
    shares, labels = [bar.share for bar in chart.bars], [bar.label for bar in chart.bars]
    axes.text(0, 1.17, chart.title, transform=axes.transAxes, fontsize=11.5, fontweight="bold", color=_INK)
    axes.text(0, 1.06, chart.note, transform=axes.transAxes, fontsize=9, color=_FAINT)
    axes.tick_params(length=0, labelsize=9, colors=_FAINT)
    axes.spines[:].set_visible(False)
    if chart.kind == "rows":
        axes.barh(places, [1] * len(labels), color=_TRACK, height=0.5)
        axes.barh(places, shares, color=colours, height=0.5)
        axes.set(xticks=[], yticks=[], xlim=(-0.62, 1.35), ylim=(max(len(labels), 4) - 0.4, -0.6))
        for place, bar in enumerate(chart.bars):
            axes.text(-0.03, place, bar.label, va="center", ha="right", fontsize=9.5, color=_INK)
            axes.text(1.03, place, bar.text, va="center", fontsize=9.5, color=_FAINT)
    else:
        axes.bar(places, shares, color=colours, width=0.76)
        axes.set(xticks=places, xticklabels=labels, yticks=[], ylim=(0, 1.12))
        axes.spines["bottom"].set(visible=True, color="#d5dae0")
        for place, bar in enumerate(chart.bars):
            axes.text(place, bar.share + 0.03, bar.text, ha="center", fontsize=9, color=_INK)
