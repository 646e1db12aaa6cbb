"""Whether calls that a format writes are understood again, tried out before anything is trained on them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.parse import parse_answer
from tl_jax.tooluse.text.spans import Renderer, RenderError
from tl_jax.tooluse.text.syntaxes.table import attempted
from tl_jax.tooluse.text.template_facts import stand_in

_TEXT = Call("get_weather", {"city": "Bonn, on the Rhine"})
_NUMBERS = Call("set_alarm", {"hour": 7, "volume": 0.5, "daily": True})
_NESTED = Call("search", {"query": {"tags": ["a b", "c"], "range": {"from": 1, "to": 2}}})

PROBES: tuple[tuple[str, tuple[Call, ...]], ...] = (
    ("a call with a text", (_TEXT,)),
    ("a call with numbers", (_NUMBERS,)),
    ("a call with lists and objects", (_NESTED,)),
    ("a call without arguments", (Call("list_alarms"),)),
    ("two calls", (_TEXT, _NUMBERS)),
)
"""What is tried, for errors, and the calls."""


def check_readable(renderer: Renderer) -> None:
    """Refuses a format whose calls would be told wrong when a model writes them.

    What the format cannot write at all (two calls at once, or any) is an error of the conversation that needs it.

    Raises:
        RenderError: a call comes back as something else.
    """
    for what, calls in PROBES:
        try:
            written = renderer.answer(calls)
        except RenderError:
            continue
        if problem := _problem(written, calls) or _words(written, calls):
            syntax = attempted(written, [call.name for call in calls])
            form = f"a form like {syntax.name!r}" if syntax else "a form of its own"
            raise RenderError(
                f"the format {renderer.name!r} writes {what} as {_short(written)!r}, in {form}, which is not read as "
                f"the same again ({problem}): a model that writes it would be told that it is wrong. Use a template "
                "whose calls stand in a form of docs/templates.md, or the format 'paper'"
            )


def hides_calls(renderer: Renderer) -> bool:
    """Whether a call after a text is not found again, because nothing divides them."""
    try:
        return bool(_problem(renderer.answer((_TEXT,), "I will look it up."), (_TEXT,)))
    except RenderError:
        return False


def _problem(written: str, calls: Sequence[Call]) -> str:
    """What is lost when the answer is read; empty if nothing is."""
    answer = parse_answer(written, [stand_in(call) for call in calls])
    if not answer.calls:
        return answer.problem or "no call"
    if [_exact(call) for call in answer.calls] != [_exact(call) for call in calls]:
        return f"read as {_short(', '.join(map(_exact, answer.calls)))}"
    if any(answer.positional):
        return "arguments without names"
    return ""


def _words(written: str, calls: Sequence[Call]) -> str:
    """What the format says besides the calls, which an answer must not; empty if nothing."""
    answer = parse_answer(written, [stand_in(call) for call in calls])
    return f"{answer.problem}: {_short(repr(answer.text))}" if answer.problem else ""


def _exact(call: Call) -> str:
    """The call as text: 1, 1.0 and True are different."""
    return f"{call.name} {json.dumps(dict(call.arguments), sort_keys=True, ensure_ascii=False)}"


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:100]} ... {text[-15:]}"
