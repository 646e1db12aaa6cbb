"""Estimates with their intervals as inline SVG, in the colours and the frame of the pages of runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from tl_jax.ablation.bootstrap import MeanEstimate
from tl_jax.page import text
from tl_jax.report.curves import COLOURS
from tl_jax.report.style import DRAWING

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP = 520, 250, 48, 10, 12
_BOTTOM, _LONG = 28, 78
"""Pixels: of a chart, around its points, and below it where names stand upright."""
_REACH = 0.5
"""Share of the room of a place that its points take, side by side."""


def interval_chart(
    title: str, places: Sequence[str], lines: Mapping[str, Mapping[str, MeanEstimate]], joined: bool
) -> str:
    """A section with a point and its interval for each line at each place; a line at 0 where 0 is in sight.

    Args:
        places: along the bottom, evenly spaced in this order.
        lines: name -> place -> estimate.
        joined: whether neighbours are joined, and the lines named: along a dial they are.
    """
    drawing = _drawing(places, lines, joined)
    if not drawing:
        return ""
    keys = (f'<path class="c{number % COLOURS}" d="M0 4H22"/></svg>{text(name)}' for number, name in enumerate(lines))
    legend = "".join(f'<li><svg class="key" viewBox="0 0 22 8">{key}</li>' for key in keys)
    return (
        f'<section><h3>{text(title)}</h3><ul class="legend">{legend if joined else ""}</ul>\n'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(title)}">\n{drawing}</svg></section>\n'
    )


def interval_image(title: str, places: Sequence[str], lines: Mapping[str, Mapping[str, MeanEstimate]]) -> str:
    """The chart along a dial as an SVG file of its own, with title and legend; empty where there is nothing."""
    drawing = _drawing(places, lines, joined=True)
    keys = "".join(
        f'<path class="c{number % COLOURS}" d="M{x:.0f} -14h22"/><text x="{x + 28:.0f}" y="-10">{text(name)}</text>'
        for number, name in enumerate(lines)
        for x in [_LEFT + number * (_WIDTH - _LEFT) / len(lines)]
    )
    return drawing and (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -48 {_WIDTH} {_HEIGHT + 48}" role="img">\n'
        f"<style>{DRAWING} svg {{ font: 12px system-ui, sans-serif; background: var(--card); }}</style>\n"
        f'<title>{text(title)}</title><text x="{_LEFT}" y="-32" font-weight="600">{text(title)}</text>{keys}\n'
        f"{drawing}</svg>\n"
    )


def _drawing(places: Sequence[str], lines: Mapping[str, Mapping[str, MeanEstimate]], joined: bool) -> str:
    """Axes, points and intervals."""
    ends = [end for line in lines.values() for one in line.values() for end in (one.low, one.high)]
    if not ends:
        return ""
    low, high = _reach(ends)
    upright = max(map(len, places)) * len(places) > 62
    bottom = _LONG if upright else _BOTTOM
    frame = _Places(places, low, high, _HEIGHT - bottom)
    shapes = [*frame.grid(upright)]
    for number, (name, line) in enumerate(lines.items()):
        shift = (number - (len(lines) - 1) / 2) * _REACH * frame.room / len(lines)
        shapes += _points(frame, name, line, number % COLOURS, shift, joined)
    return "".join(shapes)


class _Places:
    """Where places and values lie."""

    def __init__(self, places: Sequence[str], low: float, high: float, base: float) -> None:
        self.places, self.low, self.high, self.base = places, low, high, base
        self.room = (_WIDTH - _LEFT - _RIGHT) / len(places)

    def x(self, place: str) -> float:
        return _LEFT + (self.places.index(place) + 0.5) * self.room

    def y(self, value: float) -> float:
        return _TOP + (self.high - value) / (self.high - self.low) * (self.base - _TOP)

    def grid(self, upright: bool) -> Iterator[str]:
        size = _step(self.high - self.low)
        for number in range(math.ceil(self.low / size - 1e-9), math.floor(self.high / size + 1e-9) + 1):
            y = self.y(number * size)
            strong = ' stroke-width="2.5"' if number == 0 else ""
            yield f'<line class="grid"{strong} x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            yield f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{number * size:.6g}</text>\n'
        for place in self.places:
            x, y = self.x(place), self.base + 18
            turned = (
                f' transform="rotate(-35 {x:.1f} {y:.1f})" text-anchor="end"' if upright else ' text-anchor="middle"'
            )
            yield f'<text x="{x:.1f}" y="{y:.1f}"{turned}>{text(place)}</text>\n'


def _points(
    frame: _Places, name: str, line: Mapping[str, MeanEstimate], colour: int, shift: float, joined: bool
) -> Iterator[str]:
    spots = [(frame.x(place) + shift, place, one) for place, one in line.items()]
    if joined and len(spots) > 1:
        points = " ".join(f"{x:.1f},{frame.y(one.mean):.1f}" for x, _, one in spots)
        yield f'<polyline class="c{colour}" points="{points}"/>\n'
    for x, place, one in spots:
        told = f"{name}, {place}: {one.mean:.4g} ({one.low:.4g} to {one.high:.4g})"
        ends = f'd="M{x:.1f} {frame.y(one.low):.1f}V{frame.y(one.high):.1f}"'
        yield f'<path class="c{colour}" {ends} opacity=".55"/>'
        yield f'<circle class="c{colour}" cx="{x:.1f}" cy="{frame.y(one.mean):.1f}" r="4"><title>{text(told)}</title>'
        yield "</circle>\n"


def _reach(ends: Sequence[float]) -> tuple[float, float]:
    """A range with room at both ends."""
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _step(reach: float) -> float:
    """A round distance of grid lines, of which there are three to seven."""
    power = 10.0 ** math.floor(math.log10(reach / 3))
    return next(size * power for size in (5, 2, 1) if size * power <= reach / 3)
