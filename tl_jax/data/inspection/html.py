"""A view of a trajectory as one HTML page that needs no other file, no network and no script, and prints well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from tl_jax.data.inspection.view import LEGEND, TokenView, View
from tl_jax.page import page
from tl_jax.visible import visible

_COLUMNS = 11
_LONG = 700
"""Characters of context that are shown at once; longer ones can be unfolded."""

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 14px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: #1c2430;
  background: #fff; max-width: 1080px; margin: 2.2em auto; padding: 0 1.5em; }
h1 { font-size: 20px; line-height: 1.3; margin: 0 0 .2em; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 2em 0 .3em; }
p { margin: .2em 0 .6em; color: #56606e; }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: .3em 1.4em; margin: 1em 0; padding: 0; font-size: 13px; }
li .t { margin-right: .5em; padding: 1px .5em; }
table { border-collapse: collapse; font-size: 13px; }
th { font-weight: 600; text-align: left; vertical-align: bottom; color: #56606e; padding: .25em .7em .25em 0;
  border-bottom: 1.5px solid #1c2430; }
td { padding: .3em .7em .3em 0; border-bottom: 1px solid #e3e7ec; vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
table.numbers { width: 100%; }
.verdict { white-space: nowrap; }
.calls { overflow-wrap: anywhere; min-width: 15em; }
.why { font-size: 12px; color: #b3261e; }
table.lined { width: 100%; table-layout: fixed; }
table.lined th, table.lined td { padding: .25em 2px; }
table.lined th:first-child, table.lined td:first-child { width: 3.2em; }
table.lined th:last-child, table.lined td:last-child { width: 3.4em; text-align: right; color: #8a94a3; }
table.lined .t { width: 100%; margin: 0; }
.no { color: #b3261e; }
.t { display: inline-flex; flex-direction: column; vertical-align: top; text-align: center; margin: 0 2px 4px 0;
  padding: 0 3px 1px; min-width: 1.1em; border-radius: 3px; border: 1px solid transparent; overflow: hidden;
  font: 12.5px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.t b { font-weight: inherit; white-space: pre; overflow: hidden; text-overflow: ellipsis; direction: ltr;
  unicode-bidi: isolate; }
.t i { font: 9.5px/1.2 system-ui, "Segoe UI", Roboto, Arial, sans-serif; color: #4d5764; }
.key { background: #ffc266; border-color: #d98a00; font-weight: 700; }
.key i { font-weight: 700; color: #6b4300; }
.plain { background: #e2f3e6; border-color: #bfe0c7; }
.stop { background: #d9e9fb; border-color: #9cc2ec; }
.blocked { background: #fff6f5; border: 1px dashed #d9827b; color: #b3261e; }
.blocked i { color: #b3261e; }
.t.context { background: #f6f7f9; border-color: #e3e7ec; }
.message { display: grid; grid-template-columns: 8.5em 1fr; gap: 1em; padding: .55em 0; border-top: 1px solid #e3e7ec; }
.who { font-size: 12px; color: #56606e; overflow-wrap: anywhere; }
.who b { display: block; color: #1c2430; }
.text { min-width: 0; overflow: hidden; }
div.context { font: 12px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  color: #687280; white-space: pre-wrap; overflow-wrap: anywhere; direction: ltr; unicode-bidi: isolate; }
summary { cursor: pointer; font-size: 12px; color: #2b5da8; }
.note { font-size: 12.5px; margin: 0 0 .4em; padding-left: .6em; border-left: 3px solid #3d9a57;
  overflow-wrap: anywhere; }
.note.no { border-color: #b3261e; }
@media print, (max-width: 900px) { table.lined .t { padding: 0 1px; font-size: 10px; }
  .message { grid-template-columns: 6.5em 1fr; } }
@page { margin: 14mm; }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 10pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2 { break-after: avoid; } tr, .t { break-inside: avoid; } }
"""


def to_html(view: View) -> str:
    """``view`` as a page of its own. Nothing in the trajectory can become markup or turn the text around."""
    title = f"Trajectory {visible(view.id)}"
    legend = "".join(
        f'<li><span class="t {kind}"><b>token</b></span>{escape(meaning)}</li>' for kind, meaning in LEGEND.items()
    )
    notes = "".join(f"<p>{escape(visible(note))}</p>\n" for note in view.notes)
    return page(
        title,
        _STYLE,
        f"<h1>{escape(title)}</h1>\n"
        f"<p>{escape(view.counts)}. {escape(visible(view.settings))}.</p>\n{notes}<ul>{legend}</ul>\n"
        f"<h2>Turns</h2>\n{_numbers(view)}\n"
        "<h2>Answers, lined up</h2>\n<p>The first tokens of every answer; below each its weight before the division by "
        f"the turn's sum.</p>\n{_lined_up(view)}\n"
        f"<h2>The whole conversation</h2>\n<main>{''.join(_messages(view))}</main>",
    )


def _numbers(view: View) -> str:
    """What is to be said about each turn, in a table."""
    heads = ("turn", "message", "tokens", "key tokens", "their weight", "sum of weights", "loss on keys", "", "calls")
    rows = [_row("th", heads, "", "")]
    for number, turn in enumerate(view.turns, 1):
        keys = ["", "", "", ""]
        if turn.target:
            keys = [f"{len(turn.keys)}", "", f"{turn.normaliser:.6g}", ""]
        if turn.keys:
            keys[1], keys[3] = f"{turn.key_weight:.4g}", f"{turn.loss_on_keys:.0%}"
        calls = visible(", ".join(turn.calls)) or "none, text"
        cells = [f"{number}", f"{turn.message}", f"{turn.tokens}", *keys, turn.verdict, calls]
        rows.append(_row("td", cells, "" if turn.target else "no", turn.why))
    return f'<table class="numbers"><thead>{rows[0]}</thead><tbody>{"".join(rows[1:])}</tbody></table>'


def _row(tag: str, cells: Sequence[str], verdict: str, why: str) -> str:
    """A row of `_numbers`: figures to the right, then the verdict, the calls and below them the reason."""
    classes = ["n"] * (len(cells) - 2) + [f"verdict {verdict}", "calls"]
    inner = [f'<{tag} class="{kind}">{escape(text)}' for kind, text in zip(classes, cells, strict=True)]
    reason = f'<div class="why">{escape(why)}</div>' if why else ""
    return f"<tr>{f'</{tag}>'.join(inner)}{reason}</{tag}></tr>"


def _lined_up(view: View) -> str:
    """Token 0 of every answer below that of the one before, and so on."""
    head = "".join(f"<th>{number}</th>" for number in range(_COLUMNS))
    rows = []
    for number, (_, tokens) in enumerate(view.answers(), 1):
        cells = [_box(token) for token in tokens[:_COLUMNS]] + [""] * (_COLUMNS - len(tokens))
        rest = f"+ {len(tokens) - _COLUMNS}" if len(tokens) > _COLUMNS else ""
        rows.append(f"<tr><td>{number}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}<td>{rest}</td></tr>")
    return (
        f'<table class="lined"><thead><tr><th>turn</th>{head}<th>more</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _messages(view: View) -> Iterable[str]:
    turns = {turn.message: (number, turn) for number, turn in enumerate(view.turns, 1)}
    for message, group in groupby(view.tokens, lambda token: token.message):
        number, turn = turns.get(message, (0, None))
        role, _, name = visible(view.roles[message] if message >= 0 else "start").partition(" ")
        about = f"turn {number}, message {message}" if turn else f"message {message}" if message >= 0 else ""
        note = f'<p class="note{"" if turn.target else " no"}">{escape(turn.note)}</p>' if turn else ""
        text = "".join(_stretch(kind == "context", list(tokens)) for kind, tokens in groupby(group, _drawn))
        name_line = f"{escape(name)}<br>" if name else ""
        who = f'<div class="who"><b>{escape(role)}</b>{name_line}{about}</div>'
        yield f'<div class="message">{who}<div class="text">{note}{text}</div></div>\n'


def _drawn(token: TokenView) -> str:
    return "context" if token.kind == "context" else "box"


def _stretch(context: bool, tokens: Sequence[TokenView]) -> str:
    """Neighbouring tokens: context as text, an answer in boxes, with its line ends."""
    if not context:
        return "".join(_box(token) + ("<br>" if token.text.endswith("\n") else "") for token in tokens)
    text = visible("".join(token.text or token.mark for token in tokens))
    if len(text) <= _LONG:
        return f'<div class="context">{escape(text.strip(chr(10)))}</div>' if text.strip("\n") else ""
    length = f"{len(tokens):,} tokens, {len(text):,} characters"
    return f'<details><summary>{length}</summary><div class="context">{escape(text.strip(chr(10)))}</div></details>'


def _box(token: TokenView) -> str:
    """One token with its weight below, and all that is known about it where the pointer is."""
    weight = f"<i>{token.raw:.3g}</i>" if token.target else "<i>0</i>"
    in_loss = f"; weight {token.raw:.6g}, {token.weight:.4g} in the loss" if token.target else ""
    title = escape(f"{token.shown}: {token.why}{in_loss}")
    return f'<span class="t {token.kind}" title="{title}"><b>{escape(token.shown) or "·"}</b>{weight}</span>'
