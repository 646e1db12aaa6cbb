"""Values of arguments in a text: JSON, Python literals, and text whose schema says what it spells.

Values come out as JSON has them: tuples and sets become lists, the keys of a dictionary become text.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from typing import Any, NoReturn

from tl_jax.tooluse.json_schema import TYPES
from tl_jax.tooluse.schema import Tool
from tl_jax.tooluse.schema_types import json_types
from tl_jax.tooluse.text.syntaxes.base import MAX_DEPTH, Problem, skip_space

_TOKEN = re.compile(
    r"""'''(?:[^\\]|\\.)*?''' | \"\"\"(?:[^\\]|\\.)*?\"\"\" | '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*"
    | (?P<open>[(\[{]) | (?P<close>[)\]}]) | (?P<comma>,) | (?P<equals>=) | (?P<comment>\#) | (?P<quote>['"])
    | [^'"()\[\]{},=#]+""",
    re.VERBOSE | re.DOTALL,
)
_CALLED = re.compile(r"\w\s*\Z")  # what stands before the bracket of a call
_FORMATTED = re.compile(r"[fFtT][rR]?\Z")  # what stands before the quote of a formatted string
_WORDS = {"true": True, "false": False, "null": None}
_SPELLED = {**_WORDS, "True": True, "False": False, "None": None}


def value(source: str) -> Any:
    """The value of a JSON or Python literal.

    Raises:
        Problem: it is neither, or no value that JSON has.
    """
    source = source.strip()
    if not source:
        raise Problem("an argument has no value")
    try:
        return checked(_DECODER.decode(source))
    except ValueError:
        return _literal(_expression(source))


def json_value(text: str, position: int) -> tuple[Any, int]:
    """The JSON value at a position, perhaps after white space, and where it ends.

    Raises:
        Problem: there is none, or it has a key twice.
    """
    try:
        found, end = _DECODER.raw_decode(text, skip_space(text, position))
    except (ValueError, RecursionError) as error:
        raise Problem(f"not JSON: {error}") from None
    return checked(found), end


def json_object(text: str, position: int) -> tuple[dict[str, Any], int]:
    """The JSON object at a position, and where it ends.

    Raises:
        Problem: there is none.
    """
    found, end = json_value(text, position)
    if not isinstance(found, dict):
        raise Problem("the arguments are not an object")
    return found, end


def python_value(text: str, position: int) -> tuple[Any, int]:
    """The list or dictionary at a position, as Python writes it, and where it ends.

    Raises:
        Problem: there is none.
    """
    start = skip_space(text, position)
    _, end, _ = argument_end(text, start, alone=True)
    return value(text[start:end]), end


def spelled(text: str, tool: Tool | None, name: str) -> Any:
    """What a text says as the argument ``name``: itself, or the value that it spells where the schema wants no text."""
    kinds = _kinds(tool, name)
    stripped = text.strip()
    if not kinds or not kinds <= _NOT_TEXT:
        return None if "null" in kinds and stripped in ("null", "None") else checked(text)
    if stripped in _SPELLED:
        return _SPELLED[stripped]
    try:
        return value(text)
    except Problem:
        return checked(text)


def argument_end(text: str, position: int, alone: bool = False) -> tuple[int | None, int, str]:
    """Where the argument that begins at ``position`` has its ``=``, where it ends, and the ``,`` or ``)`` there.

    Code that `ast` would only be slow to parse, calls and formatted strings, is refused on the way.

    Args:
        alone: it is a list or dictionary, and ends with its own bracket.
    """
    equals, depth, before = None, 0, ""
    for token in _TOKEN.finditer(text, position):
        match token.lastgroup:
            case "open":
                if token[0] == "(" and _CALLED.search(before):
                    not_a_value("a Python Call")
                depth += 1
                if depth > MAX_DEPTH:
                    raise Problem("nested too deeply")
            case "close" if depth:
                depth -= 1
                if alone and not depth:
                    return None, token.end(), token[0]
            case "close" | "comma" if not depth:
                if token[0] in "]}":
                    raise Problem(f"{token[0]!r} without its opening bracket")
                return equals, token.start(), token[0]
            case "equals" if equals is None and not depth:
                equals = token.start()
            case "comment":
                raise Problem("a comment inside the call")
            case None if token[0][0] in "'\"" and _FORMATTED.search(before):
                not_a_value("a Python JoinedStr")
            case "quote":
                raise Problem("a string is not closed")
        before = token[0]
    raise Problem("the call is not closed")


def checked(value: Any, depth: int = 0) -> Any:
    """The value, unless something in it cannot be a JSON value or would harm whoever handles it.

    Raises:
        Problem: it is.
    """
    if depth > MAX_DEPTH:
        raise Problem("nested too deeply")
    match value:
        case str():
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise Problem("half of a surrogate pair in a string")
        case None | bool():
            pass
        case int():
            if value.bit_length() > 1023:  # cannot be a float, and printing it may fail
                raise Problem("a number is too large")
        case float():
            if not math.isfinite(value):
                raise Problem(f"{value} is not a JSON number")
        case list():
            for element in value:
                checked(element, depth + 1)
        case dict():
            for key, element in value.items():
                checked(key, depth + 1)
                checked(element, depth + 1)
        case _:
            not_a_value(f"a Python {type(value).__name__}")
    return value


def not_a_value(what: str) -> NoReturn:
    raise Problem(f"{what} is not a value")


def _expression(source: str) -> ast.expr:
    try:
        with warnings.catch_warnings():  # Python warns of escapes such as \d; that is the model's business
            warnings.simplefilter("ignore")
            return ast.parse(f"({source})", mode="eval").body  # parentheses allow line breaks
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise Problem(f"{source[:40]!r} is not a value: {reason}") from None


def _literal(node: ast.expr) -> Any:
    """The value of a literal; any other expression is a problem."""
    match node:
        case ast.Constant():
            return checked(node.value)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float() as number)):
            if isinstance(number, bool):
                raise Problem("a sign before a truth value")
            return checked(-number if isinstance(node.op, ast.USub) else number)
        case ast.List() | ast.Tuple() | ast.Set():
            return [_literal(element) for element in node.elts]
        case ast.Dict():
            keys = [not_a_value("**") if key is None else _literal(key) for key in node.keys]
            if any(isinstance(key, list | dict) for key in keys):
                raise Problem("a dictionary has a list or dictionary as key")
            names = [key if isinstance(key, str) else json.dumps(key) for key in keys]
            return _unique(list(zip(names, map(_literal, node.values), strict=True)))
        case ast.Name(id=word) if word in _WORDS:
            return _WORDS[word]
        case ast.Name(id=word):
            not_a_value(f"the name {word!r}")
    not_a_value(f"a Python {type(node).__name__}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary, unless a key is given twice."""
    row = dict(pairs)
    if len(row) != len(pairs):
        raise Problem("a dictionary has a key twice")
    return row


def _kinds(tool: Tool | None, name: str) -> frozenset[str]:
    """The JSON types that an argument may have, as far as the tool says so; none where it does not say."""
    if tool is None or name not in tool.properties:
        return frozenset()
    schema = tool.properties[name]
    kinds = frozenset(json_types(schema, tool.parameters))
    return kinds | {"null"} if kinds and schema.get("nullable") is True else kinds


_NOT_TEXT = frozenset(TYPES.values()) - {"string"}
"""Types of values that are written as JSON where text is written as it is."""
_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
