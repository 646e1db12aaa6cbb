"""Curves and shares over steps as inline SVG that follows the page's colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tl_jax.page import text

COLOURS = 6
"""Colours of lines, ``--c0`` to ``--c5`` of the style."""
MOST = 240
"""Points of a line; of more, neighbours are averaged."""
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 210, 52, 12, 10, 26
"""Pixels: of a chart, and around its lines."""
_DASHES = ("", "6 3", "2 3")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A curve: its name, its points in the order of their steps, which colour and which dashes."""

    name: str
    points: Points
    colour: int = 0
    dash: int = 0


def chart(title: str, lines: Sequence[Line]) -> str:
    """A section with the curves under a legend. Nothing where no line has a point."""
    shown = [Line(line.name, thinned(line.points), line.colour, line.dash) for line in lines if line.points]
    if not shown:
        return ""
    xs, ys = ([point[axis] for line in shown for point in line.points] for axis in (0, 1))
    frame = _Frame(min(xs), max(xs), *_ends(min(ys), max(ys)))
    shapes = [*frame.grid(), *(shape for line in shown for shape in _curve(frame, line))]
    averaged = max(len(line.points) for line in lines)
    note = f"<p>each point the mean of {math.ceil(averaged / MOST)} logged ones</p>" if averaged > MOST else ""
    return _section(title, "".join(map(_key, shown)), note, shapes)


def shares(title: str, names: Sequence[str], rows: Mapping[int, Sequence[float]]) -> str:
    """A section with areas that lie on each other: at each step the share of each name."""
    if not rows:
        return ""
    steps = list(rows)
    frame = _Frame(min(steps), max(steps), 0.0, 1.0)
    below, shapes = dict.fromkeys(steps, 0.0), []
    for number, name in enumerate(names):
        above = {step: below[step] + rows[step][number] for step in steps}
        ends = list(thinned(list(above.items()))), list(thinned(list(below.items())))
        shapes.append(_area(frame, *ends, name, number))
        below = above
    shapes += frame.grid()
    legend = "".join(f'<li><i class="a{number % 12}"></i>{text(name)}</li>' for number, name in enumerate(names))
    return _section(title, legend, "", shapes)


def thinned(points: Points) -> Points:
    """At most `MOST` points: means of neighbours, as many for each."""
    size = math.ceil(len(points) / MOST) if points else 1
    if size == 1:
        return points
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [(part[-1][0], math.fsum(y for _, y in part) / len(part)) for part in parts]


@dataclass(frozen=True)
class _Frame:
    """Where values lie in the picture."""

    first: float
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        share = (step - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _TOP + (self.high - value) / (self.high - self.low) * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> Iterator[str]:
        size = _step(self.high - self.low)
        for number in range(math.ceil(self.low / size - 1e-9), math.floor(self.high / size + 1e-9) + 1):
            y = self.y(number * size)
            yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            yield f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{number * size:.6g}</text>\n'
        for step, anchor in {self.first: "start", self.last: "end"}.items():
            place = self.x(step) if self.last > self.first else _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
            where = anchor if self.last > self.first else "middle"
            yield f'<text x="{place:.1f}" y="{_HEIGHT - 7}" text-anchor="{where}">step {step:.0f}</text>\n'


def _ends(low: float, high: float) -> tuple[float, float]:
    """A range that lines have room in, also where all values are the same."""
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _step(reach: float) -> float:
    """A round distance of grid lines, of which there are three to seven."""
    power = 10.0 ** math.floor(math.log10(reach / 3))
    return next(size * power for size in (5, 2, 1) if size * power <= reach / 3)


def _curve(frame: _Frame, line: Line) -> Iterator[str]:
    places = [(frame.x(step), frame.y(value)) for step, value in line.points]
    colour, dash = f"c{line.colour % COLOURS}", _DASHES[line.dash % len(_DASHES)]
    if len(places) > 1:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="{colour}" points="{points}" stroke-dasharray="{dash}"/>\n'
    few = len(places) <= 30
    for (x, y), (step, value) in zip(places, line.points, strict=True):
        if few:
            told = f"<title>{text(f'{line.name}, step {step:.0f}: {value:.5g}')}</title>"
            yield f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.6">{told}</circle>\n'


def _area(frame: _Frame, above: Points, below: Points, name: str, number: int) -> str:
    ends = [(frame.x(step), frame.y(value)) for step, value in (*above, *reversed(below))]
    if len(above) == 1:  # a column, for there is no width between steps
        (x, top), (_, base) = ends
        ends = [(x - 20, top), (x + 20, top), (x + 20, base), (x - 20, base)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in ends)
    return f'<polygon class="a{number % 12}" points="{points}"><title>{text(name)}</title></polygon>\n'


def _key(line: Line) -> str:
    """A line's entry of the legend, with its last value."""
    dash = _DASHES[line.dash % len(_DASHES)]
    stroke = f'<svg class="key" viewBox="0 0 22 8"><path class="c{line.colour % COLOURS}" d="M0 4H22" '
    return f'<li>{stroke}stroke-dasharray="{dash}"/></svg>{text(line.name)} <b>{line.points[-1][1]:.4g}</b></li>'


def _section(title: str, legend: str, note: str, shapes: Sequence[str]) -> str:
    return (
        f'<section><h3>{text(title)}</h3><ul class="legend">{legend}</ul>{note}\n<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{text(title)}">\n{"".join(shapes)}</svg></section>\n'
    )
