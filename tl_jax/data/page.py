"""The HTML page of `tl_jax.data.inspect`: tokens as coloured spans, a note before each turn, a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol


class Token(Protocol):
    """What the page needs of a token."""

    @property
    def text(self) -> str: ...
    @property
    def message(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def raw(self) -> float: ...
    @property
    def why(self) -> str: ...


_LEGEND = {
    "context": "context: read, not learnt",
    "blocked": "a turn that is kept out of the gradient",
    "plain": "target",
    "key": "key token of the call",
    "stop": "stop token",
}

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.6 ui-monospace, Menlo, Consolas, monospace; margin: 2em auto; max-width: 75em; padding: 0 1em;
  color: #222; background: #fff; }
h1 { font: 600 17px/1.4 system-ui, sans-serif; }
p { font: 14px/1.5 system-ui, sans-serif; }
main { white-space: pre-wrap; overflow-wrap: anywhere; }
.turn { display: block; margin: .8em 0 .2em; padding: .2em .6em; font: 13px/1.5 system-ui, sans-serif;
  border-left: 4px solid #2a7; background: #f4faf6; }
.turn.not { border-color: #c33; background: #fcf3f3; }
.context { color: #777; }
.blocked { color: #a22; text-decoration: line-through; background: #fdecec; }
.plain { background: #d5f2dc; border-right: 1px solid #a9dbb6; }
.key { background: #ffc75f; font-weight: 700; border-right: 1px solid #d99a20; }
.stop { background: #c4e1fa; border-right: 1px solid #8fbfe8; }
"""


def page(summary: str, tokens: Sequence[Token], turns: Mapping[int, tuple[bool, str]]) -> str:
    """The page. ``turns``: message -> (is a target, note). Nothing in the texts can become markup."""
    legend = " ".join(f'<span class="{kind}">{escape(meaning)}</span>' for kind, meaning in _LEGEND.items())
    noted: set[int] = set()
    parts = []
    for token in tokens:
        if token.kind != "context" and token.message in turns and token.message not in noted:
            noted.add(token.message)
            target, note = turns[token.message]
            parts.append(f'<span class="turn{"" if target else " not"}">message {token.message}: {escape(note)}</span>')
        parts.append(_span(token))
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(summary)}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{escape(summary)}</h1>\n<p>{legend}</p>\n"
        "<p>Point at a token for its weight: as it counts in the loss, and before the division by the turn's sum.</p>\n"
        f"<main>{''.join(parts)}</main>\n</body>\n</html>\n"
    )


def _span(token: Token) -> str:
    why = f"{token.why}; weight {token.weight:.4g} ({token.raw:.4g})" if token.weight else token.why
    title = f' title="{escape(why)}"' if why else ""
    return f'<span class="{token.kind}"{title}>{escape(token.text)}</span>'
