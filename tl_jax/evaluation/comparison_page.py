"""The page of `tl-jax compare`: differences with their intervals, and every case that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tl_jax.evaluation.comparison import REWARD, CasePair, Change, Compared, Difference
from tl_jax.evaluation.comparison_report import HEADS, cells, counted, headlines, shortened
from tl_jax.page import page, text
from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.render import PaperRenderer
from tl_jax.visible import in_one_line

_LONG = 4000
"""Characters of a text that are shown; of a question the last, of an answer the first."""
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #24292f; max-width: 66em;
  margin: 2.2em auto; padding: 0 1.2em; }
h1 { font-size: 1.4em; margin: 0 0 .2em; }
h2 { font-size: 1.05em; margin: 1.8em 0 .4em; }
p { margin: .2em 0; color: #57606a; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92em; }
th { font-weight: 600; text-align: right; color: #57606a; border-bottom: 1.5px solid #24292f; }
th, td { padding: .3em .8em .3em 0; white-space: nowrap; }
td { border-bottom: 1px solid #e3e7ec; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
tr.sure { font-weight: 650; }
.bar { position: relative; display: block; width: 13em; height: 1.1em; background: #eef1f4; border-radius: 3px; }
.bar i { position: absolute; top: 32%; height: 36%; background: #7aa3c6; border-radius: 2px; min-width: 1px; }
.bar b { position: absolute; top: 0; bottom: 0; width: 3px; margin-left: -1.5px; background: #2f5d8a; }
.bar u { position: absolute; top: 0; bottom: 0; left: 50%; width: 1px; background: #24292f; }
details { border-top: 1px solid #e3e7ec; padding: .35em 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
.better { color: #1a7f37; } .worse { color: #b3261e; } .otherwise { color: #8a6100; }
dl { display: grid; grid-template-columns: 6em 1fr; gap: .4em 1em; margin: .5em 0 .8em; font-size: .92em; }
dt { color: #57606a; }
dd { margin: 0; min-width: 0; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate;
  font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.why { color: #57606a; font-size: .92em; overflow-wrap: anywhere; }
@media print { * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def to_html(compared: Compared) -> str:
    """The page, with every case that changed. No text of cases and answers can become markup."""
    about = "\n".join(f"<p>{text(line)}</p>" for line in headlines(compared))
    suites = {
        f"{name}, {metric}": one for name, (_, figures) in compared.suites.items() for metric, one in figures.items()
    }
    sections = [
        f"<h1>{text(f'{compared.a.name} and {compared.b.name}')}</h1>\n{about}",
        _html_table("Difference", compared.figures),
        _html_table("By suite", suites) if len(compared.suites) > 1 else "",
        _html_table("What became of the answers, in %", compared.errors),
        _moves(compared),
        *(_html_cases(change, pairs) for change, pairs in compared.changed.items() if pairs),
    ]
    return page(f"{compared.a.name} and {compared.b.name}", _STYLE, "\n".join(filter(None, sections)))


def _html_table(title: str, differences: Mapping[str, Difference]) -> str:
    head = "".join(f"<th>{text(name)}</th>" for name in ("", *HEADS, ""))
    reach = max((abs(end) for name, one in differences.items() if name != REWARD for end in one.interval), default=0)
    rows = []
    for name, one in differences.items():
        row = "".join(f"<td>{text(cell)}</td>" for cell in (name.replace("_", " "), *cells(name, one)))
        sure = ' class="sure"' if one.sure else ""
        wide = max(map(abs, one.interval)) if name == REWARD else reach  # which has a scale of its own
        rows.append(f"<tr{sure}>{row}<td>{_bar(one, wide)}</td></tr>")
    return f'<h2>{text(title)}</h2>\n<div class="wide"><table><tr>{head}</tr>\n{"".join(rows)}</table></div>'


def _bar(one: Difference, reach: float) -> str:
    """The interval around a line at 0, from ``-reach`` to ``reach``."""
    low, at, high = (50 + 50 * value / (reach or 1.0) for value in (one.interval[0], one.difference, one.interval[1]))
    return (
        f'<span class="bar"><i style="left:{low:.2f}%;width:{high - low:.2f}%"></i><u></u>'
        f'<b style="left:{at:.2f}%"></b></span>'
    )


def _moves(compared: Compared) -> str:
    """From which outcome to which, the most frequent first."""
    if not compared.moves:
        return ""
    rows = "".join(
        f"<tr><td>{text(before.replace('_', ' '))}</td><td>{text(after.replace('_', ' '))}</td><td>{count}</td></tr>"
        for (before, after), count in compared.moves.most_common()
    )
    head = "<tr><th>in A</th><th>in B</th><th>cases</th></tr>"
    return f'<h2>From what to what</h2>\n<div class="wide"><table>{head}\n{rows}</table></div>'


def _html_cases(change: Change, pairs: Sequence[CasePair]) -> str:
    cases = "\n".join(_html_case(pair, change) for pair in pairs)
    return f'<h2 class="{change}">{text(counted(pairs, change))}</h2>\n{cases}'


def _html_case(pair: CasePair, change: Change) -> str:
    case = pair.case
    asked = next((message.content for message in reversed(case.messages) if message.role == "user"), "")
    gold = " or ".join(_call(call) for alternative in case.gold for call in alternative) or "no call"
    rows = {"asked": asked[-_LONG:], "gold": gold}
    shown = "".join(f"<dt>{name}</dt><dd><pre>{text(value)}</pre></dd>" for name, value in rows.items())
    for letter, outcome in (("A", pair.a), ("B", pair.b)):
        why = outcome.error if outcome.reward is None else f"{outcome.reward:+.2f}: {outcome.explanation}"
        answer = f'<pre>{text(shortened(outcome.prediction, _LONG))}</pre><div class="why">{text(why)}</div>'
        shown += f"<dt>{letter}</dt><dd>{answer}</dd>"
    move = f"{text(pair.a.error)} &rarr; {text(pair.b.error)}".replace("_", " ")
    return (
        f'<details><summary>{text(in_one_line(case.id))} <span class="{change}">{move}</span></summary>'
        f"<dl>{shown}</dl></details>"
    )


def _call(call: Call) -> str:
    try:
        return PaperRenderer().answer([call]).strip()
    except (ValueError, RecursionError):  # what the paper's format cannot say
        return f"{call.name}: {call.arguments!r}"
