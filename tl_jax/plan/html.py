"""A plan as one HTML page that needs no other file, no network and no script."""

from __future__ import annotations

from collections.abc import Iterator

from tl_jax.page import page, text
from tl_jax.plan.measure import Measured
from tl_jax.plan.plan import Plan
from tl_jax.plan.report import gib, headlines, memory, outlook, timing, verdict

_COLOURS = ("#2f5d8a", "#4a7ba6", "#7aa3c6", "#a9c5dc", "#d3e1ed")
_BESIDE, _TEMPORARY, _REST = "#9aa5b1", "#e0a030", "#6b8f71"
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #24292f; max-width: 60em;
  margin: 2.2em auto; padding: 0 1.2em; }
h1 { font-size: 1.4em; margin: 0 0 .2em; overflow-wrap: anywhere; }
h2 { font-size: 1.05em; margin: 1.8em 0 .1em; }
p { margin: .2em 0; color: #57606a; overflow-wrap: anywhere; }
.no { color: #b3261e; font-weight: 600; }
.bar { position: relative; display: flex; height: 1.7em; margin: .6em 0 .3em; background: #eef1f4; border-radius: 4px;
  overflow: hidden; }
.bar i { display: block; height: 100%; }
.bar b { position: absolute; top: 0; bottom: 0; width: 2px; background: #b3261e; }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: .1em 1.2em; margin: .2em 0 .6em; padding: 0;
  font-size: .87em; color: #57606a; }
li i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
@media print { * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def to_html(plan: Plan) -> str:
    """The page. Text of configurations and compilers cannot become markup."""
    title, *about = headlines(plan)
    sections = "\n".join(line for one in plan.programs for line in _section(one))
    last = "\n".join(_paragraph(line) for line in (*timing(plan), *outlook(plan)))
    head = "\n".join(map(_paragraph, about))
    return page(title, _STYLE, f"<h1>{text(title)}</h1>\n{head}\n{sections}\n<h2>Time</h2>\n{last}")


def shares(one: Measured) -> list[tuple[str, float, str]]:
    """What lies on a device, with its bytes and colour, in the order of the bar."""
    parts = [(name, size, _COLOURS[index % len(_COLOURS)]) for index, (name, size) in enumerate(one.state.items())]
    parts += [(f"{name} (beside it)", size, _BESIDE) for name, size in one.beside.items()]
    if one.refused:
        rest = (one.needed or 0.0) - sum(size for _, size, _ in parts)
        return [*parts, ("what the compiler needs besides", max(rest, 0.0), _TEMPORARY)]
    return [
        *parts,
        ("temporary", one.temporary, _TEMPORARY),
        ("output, code", one.output - one.alias + one.code, _REST),
    ]


def _section(one: Measured) -> Iterator[str]:
    """A program: its bar, whose red line is the device's memory, and its figures."""
    parts = [part for part in shares(one) if part[1] > 0]
    whole = max(one.memory, sum(size for _, size, _ in parts))
    yield f"<h2>{text(one.name)}</h2>"
    yield f'<p class="{"yes" if one.fits else "no"}">{text(verdict(one))}</p>'
    bar = "".join(f'<i style="width:{100 * size / whole:.2f}%;background:{colour}"></i>' for _, size, colour in parts)
    yield f'<div class="bar">{bar}<b style="left:calc({100 * one.memory / whole:.2f}% - 2px)"></b></div>'
    legend = (f'<li><i style="background:{colour}"></i>{text(name)} {gib(size)}</li>' for name, size, colour in parts)
    yield f"<ul>{''.join(legend)}</ul>"
    yield from map(_paragraph, memory(one))


def _paragraph(line: str) -> str:
    return f"<p>{text(line)}</p>"
