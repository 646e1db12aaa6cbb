"""Calls as Python writes them: ``f(a = 'x')``, as in the paper, and lists of them, as ToolACE and Llama 4 have them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes.attempts import written
from tl_jax.tooluse.text.syntaxes.base import (
    KEY,
    MAX_ARGUMENTS,
    NAME,
    Offer,
    Parsed,
    Problem,
    Syntax,
    skip_space,
)
from tl_jax.tooluse.text.syntaxes.values import argument_end, checked, value

_KEY = re.compile(KEY)
_SIMPLE_ARGUMENT = re.compile(  # most arguments, at once: a name with a string without escapes or a whole number
    rf"""\s*({KEY})\s*=\s*(?:'([^'\\\r\n]*)'|"([^"\\\r\n]*)"|(-?(?:0|[1-9][0-9]{{0,14}})))\s*([,)])"""
)
_CLOSE = re.compile(r"\s*\)")
_EQUALS = re.compile(r"\s*=(?!=)")


def read(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """One call."""
    call, end = read_call(text, position, offer)
    return [call], end


def read_call(text: str, position: int, offer: Offer) -> tuple[Parsed, int]:
    """One call, and where it ends.

    Raises:
        Problem: it is none.
    """
    if head := offer.head.match(text, position):
        return after_head(text, head, offer)
    raise Problem(f"expected name(...), not {text[position : position + 40]!r}")


def after_head(text: str, head: re.Match[str], offer: Offer) -> tuple[Parsed, int]:
    """The call that begins with a name and its bracket, and where it ends.

    Raises:
        Problem: it is none.
    """
    name, arguments, positional = head[1], dict[str, Any](), list[Any]()
    position, closer = head.end(), ","
    while closer == ",":
        if end := _CLOSE.match(text, position):  # no argument, or a comma after the last one
            position = end.end()
            break
        key, found, closer, position = _argument(text, position, offer, name)
        if key is None:
            if arguments:
                raise Problem("an argument without a name follows one with a name")
            positional.append(found)
        elif key in arguments:
            raise Problem(f"argument {key!r} is given twice")
        else:
            arguments[key] = found
        if len(arguments) + len(positional) > MAX_ARGUMENTS:
            raise Problem(f"more than {MAX_ARGUMENTS} arguments")
    return (Call(name, arguments), tuple(positional)), position


def read_list(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """``[f(a=1), g(b=2)]``, perhaps with a comma after the last one."""
    calls, closer = list[Parsed](), ","
    while closer == ",":
        position = skip_space(text, position + 1)
        if calls and text.startswith("]", position):
            return calls, position + 1
        call, position = read_call(text, position, offer)
        calls.append(call)
        position = skip_space(text, position)
        closer = text[position : position + 1]
    if closer != "]":
        raise Problem("a list of calls is not closed")
    return calls, position + 1


def _argument(text: str, start: int, offer: Offer, tool: str) -> tuple[str | None, Any, str, int]:
    """Name (if any) and value of the argument at ``start``, the ``,`` or ``)`` after it, and where that ends."""
    if simple := _SIMPLE_ARGUMENT.match(text, start):
        key, single, double, number, closer = simple.groups()
        return key, int(number) if number else checked(double if single is None else single), closer, simple.end()
    try:
        equals, end, closer = argument_end(text, start)
        if equals is None:
            return None, value(text[start:end]), closer, end + 1
        key = text[start:equals].strip()
        if not _KEY.fullmatch(key):
            raise Problem(f"{key!r} is not an argument name")
    except Problem:
        key, equals = _odd_key(text, start, offer, tool)
        if not key:
            raise
        _, end, closer = argument_end(text, equals)
    return key, value(text[equals + 1 : end]), closer, end + 1


def _odd_key(text: str, start: int, offer: Offer, name: str) -> tuple[str, int]:
    """The tool's parameter whose name stands here and is no plain one (``my arg``, ``created[gte]``), and its ``=``."""
    start = skip_space(text, start)
    for key in offer.odd_keys(name):
        if text.startswith(key, start) and (equals := _EQUALS.match(text, start + len(key))):
            return key, equals.end() - 1
    return "", 0


def write(calls: Sequence[Call]) -> str:
    return "\n".join(map(_written, calls))


def write_list(calls: Sequence[Call]) -> str:
    return f"[{', '.join(map(_written, calls))}]"


def _written(call: Call) -> str:
    return f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"


_IN_A_SENTENCE = (
    r"(?<!\w)NAMES\((?:\s*(?:[\w.$-]+\s*=(?!=)|['\"\[{\d-]|(?:True|False|None|true|false|null)\b)|[\w\s.$-]*\Z)"
)
"""A name, a bracket, and what only an argument begins with: "the method f(x)" and "f()" only speak of a tool."""
_ON_A_LINE = r"^[ \t]*NAMES\([^\n]*\)[ \t;.,]*$"


SYNTAXES = (
    Syntax(
        name="python",
        description="Python calls, one a line or separated by `;`: the paper's format and its authors' data",
        example="f(a = 1) ",
        opening=rf"{NAME}[ \t]*\(",
        first="",
        read=read,
        attempts=written(_IN_A_SENTENCE, _ON_A_LINE, hint="("),
        write=write,
        source="https://arxiv.org/abs/2412.15495",
    ),
    Syntax(
        name="python_list",
        description="a list of Python calls: ToolACE, Llama 3.2 and 4",
        example="[f(a=1)]",
        opening=r"\[",
        first="[",
        read=read_list,
        attempts=written(rf"\A\s*\[\s*{NAME}[ \t]*\(", hint="["),
        write=write_list,
        source="https://huggingface.co/datasets/Team-ACE/ToolACE",
    ),
)
