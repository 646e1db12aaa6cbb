"""Calls as Gemma 4 and FunctionGemma write them: ``call:f{a:1}`` between tokens; quotes are a token, too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes.attempts import special
from tl_jax.tooluse.text.syntaxes.base import (
    MAX_ARGUMENTS,
    MAX_DEPTH,
    Offer,
    Parsed,
    Problem,
    Reader,
    Syntax,
    expect,
    skip_space,
)
from tl_jax.tooluse.text.syntaxes.json_calls import written_as
from tl_jax.tooluse.text.syntaxes.values import checked, json_value

QUOTES = {"gemma_4": '<|"|>', "function_gemma": "<escape>"}
"""What begins and ends a text, by the syntax."""

_NAME = re.compile(r"call:([^{}<>\n]+)\{")
_BARE = re.compile(r"[^\s{}\[\]<>:,\"']+(?=\s*:)")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_WORD = re.compile(r"(true|false|null|True|False|None)\b")


def _between(opening: str, closing: str, quote: str) -> Reader:
    """Reads the call between two tokens, in which ``quote`` begins and ends a text."""

    def read(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
        position += len(opening)
        named = _NAME.match(text, skip_space(text, position))
        if not named:
            raise Problem(f"expected call:name{{...}}, not {text[position : position + 40]!r}")
        arguments, end = read_object(text, named.end() - 1, quote)
        if len(arguments) > MAX_ARGUMENTS:
            raise Problem(f"more than {MAX_ARGUMENTS} arguments")
        return [(Call(named[1].strip(), arguments), ())], expect(text, end, closing)

    return read


def read_object(text: str, position: int, quote: str) -> tuple[dict[str, Any], int]:
    """The object at a position, written as arguments are, and where it ends.

    Raises:
        Problem: it is none.
    """
    return _object(text, position, quote, 0)


def _value(text: str, position: int, quote: str, depth: int) -> tuple[Any, int]:
    """The value at a position, perhaps after white space, and where it ends."""
    position = skip_space(text, position)
    if depth > MAX_DEPTH:
        raise Problem("nested too deeply")
    if text.startswith(quote, position):
        return _quoted(text, position, quote)
    if text.startswith("{", position):
        return _object(text, position, quote, depth + 1)
    if text.startswith("[", position):
        return _list(text, position, quote, depth + 1)
    if word := _WORD.match(text, position):
        return _WORDS[word[1]], word.end()
    return json_value(text, position)


def _object(text: str, position: int, quote: str, depth: int) -> tuple[dict[str, Any], int]:
    found, position = dict[str, Any](), skip_space(text, position + 1)
    while not text.startswith("}", position):
        if found:
            position = skip_space(text, expect(text, position, ","))
        key, position = _key(text, position, quote)
        if key in found:
            raise Problem(f"{key!r} is given twice")
        found[key], position = _value(text, expect(text, position, ":"), quote, depth)
        position = skip_space(text, position)
    return found, position + 1


def _list(text: str, position: int, quote: str, depth: int) -> tuple[list[Any], int]:
    found, position = list[Any](), skip_space(text, position + 1)
    while not text.startswith("]", position):
        if found:
            position = expect(text, position, ",")
        value, position = _value(text, position, quote, depth)
        found.append(value)
        position = skip_space(text, position)
    return found, position + 1


def _key(text: str, position: int, quote: str) -> tuple[str, int]:
    """A key as it is, or in quotes."""
    if text.startswith(quote, position):
        return _quoted(text, position, quote)
    if text.startswith('"', position):
        found, end = json_value(text, position)
        return str(found), end
    bare = _BARE.match(text, position)
    if not bare:
        raise Problem(f"expected the name of an argument, not {text[position : position + 40]!r}")
    return bare[0], bare.end()


def _quoted(text: str, position: int, quote: str) -> tuple[str, int]:
    start = position + len(quote)
    end = text.find(quote, start)
    if end < 0:
        raise Problem("a text is not closed")
    return checked(text[start:end]), end + len(quote)


def _written(value: Any, quote: str) -> str:
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, dict):
        return f"{{{','.join(_pair(key, item, quote) for key, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_written(item, quote) for item in value)}]"
    return written_as(value)


def _pair(key: str, value: Any, quote: str) -> str:
    bare = _BARE.match(f"{key}:")
    return f"{key if bare and bare[0] == key else quote + key + quote}:{_written(value, quote)}"


def _syntax(name: str, description: str, tokens: tuple[str, str], source: str) -> Syntax:
    (opening, closing), quote = tokens, QUOTES[name]

    def write(calls: Sequence[Call]) -> str:
        return "".join(f"{opening}call:{call.name}{_written(dict(call.arguments), quote)}{closing}" for call in calls)

    return Syntax(
        name=name,
        description=description,
        example=write([Call("f", {"a": 1})]),
        opening=re.escape(opening),
        first="<",
        marked=True,
        read=_between(opening, closing, quote),
        attempts=special(opening),
        write=write,
        source=source,
    )


SYNTAXES = (
    _syntax(
        "gemma_4",
        '`call:f{a:1}` between `<|tool_call>` and `<tool_call|>`, texts between `<|"|>`: Gemma 4',
        ("<|tool_call>", "<tool_call|>"),
        "https://ai.google.dev/gemma/docs/capabilities/text/function-calling-gemma4",
    ),
    _syntax(
        "function_gemma",
        "`call:f{a:1}` between `<start_function_call>` and `<end_function_call>`, texts between `<escape>`: "
        "FunctionGemma",
        ("<start_function_call>", "<end_function_call>"),
        "https://ai.google.dev/gemma/docs/functiongemma",
    ),
)
