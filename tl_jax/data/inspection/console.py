"""`tl_jax.data.inspection.view` in a terminal: the answers lined up, then the conversation in colour."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tl_jax.data.inspection.view import LEGEND, Kind, TokenView, TurnView, View
from tl_jax.terminal import SafeConsole
from tl_jax.visible import visible

_STYLES: dict[Kind, str] = {
    "key": "bold black on orange1",
    "plain": "black on pale_green1",
    "stop": "black on sky_blue1",
    "blocked": "red on grey93",
    "context": "dim",
}
_CELL, _COLUMNS = 10, 14


def to_terminal(view: View, console: Console | None = None, context: int = 600) -> None:
    """Prints ``view`` in colour; of a longer stretch that is no target only ``context`` characters are shown."""
    console = console or SafeConsole()
    console.print(Text(view.summary, style="bold"))
    for note in view.notes:
        console.print(Text(visible(note), style="yellow"))
    legend = ((meaning, _STYLES[kind]) for kind, meaning in LEGEND.items())
    console.print(Text.assemble(*(part for entry in legend for part in (entry, "  ")), "\n"))
    console.print(_lined_up(view, console.width))
    turns = {turn.message: turn for turn in view.turns}
    for message, tokens in groupby(view.tokens, lambda token: token.message):
        if message >= 0:
            console.print(_heading(message, view.roles[message], turns.get(message)))
        console.print(Padding(_conversation(tokens, context), (0, 0, 1, 2)))


def _lined_up(view: View, width: int) -> Table:
    """The first tokens of every answer in columns, the weight of each below it."""
    columns = max(1, min(_COLUMNS, (width - 32) // _CELL))
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title="The first tokens of every answer, the weight below",
        title_style="dim",
        title_justify="left",
    )
    table.add_column("message")
    table.add_column("sum", justify="right")
    for number in range(columns):
        table.add_column(str(number), max_width=_CELL - 1, no_wrap=True, overflow="ellipsis")
    table.add_column("")
    for turn, tokens in view.answers():
        cells = [Text.assemble((t.shown, _STYLES[t.kind]), "\n", (_weight(t), "dim")) for t in tokens[:columns]]
        rest = f"+{len(tokens) - columns}" if len(tokens) > columns else ""
        about = Text.assemble(str(turn.message), "\n", (turn.verdict, "cyan" if turn.target else "red"))
        total = Text(f"{turn.normaliser:.4g}" if turn.target else "-")
        table.add_row(about, total, *cells, *[""] * (columns - len(cells)), Text(rest, style="dim"))
    return table


def _weight(token: TokenView) -> str:
    return f"{token.raw:.3g}" if token.target else "-"


def _heading(message: int, role: str, turn: TurnView | None) -> Text:
    title = f"message {message}, {visible(role)}"
    if turn is None:
        return Text(f"── {title}", style="dim")
    return Text(f"── {title}: {turn.note}", style="cyan" if turn.target else "red")


def _conversation(tokens: Iterable[TokenView], context: int) -> Text:
    """The text of neighbouring tokens; those of one kind are written together, long context is shortened."""
    line = Text()
    for kind, group in groupby(tokens, lambda token: token.kind):
        text = "".join(visible(token.text or token.mark) for token in group)
        line.append(_shortened(text.lstrip("\n"), context) if kind == "context" else text, _STYLES[kind])
    line.rstrip()
    return line


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]} [... {len(text) - limit} characters ...] {text[-limit // 2 :]}"
