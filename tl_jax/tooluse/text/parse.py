"""Text -> calls, or the reason why it is not one. Nothing is ever executed, whatever the text says.

Understood are Python calls (``search(query = 'love', n=2)``; one per line, separated by ``;`` or in a list), whose
values are Python or JSON literals, and the JSON forms that chat templates write: ``{"name": ..., "arguments": {...}}``
(or ``parameters``), alone, in a list or in ``<tool_call>`` tags, and ``name`` with a JSON object on the next line.
Values come out as JSON has them: tuples and sets become lists, the keys of a dictionary become text.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any, NoReturn, TypeAlias

from tl_jax.tooluse.schema import Call, Tool

MAX_LENGTH = 20_000
"""Characters; a longer answer is refused. `ast` takes up to 15 ms for as much text, and real calls are far shorter."""
MAX_DEPTH = 32
"""Brackets in brackets."""
MAX_ARGUMENTS = 1_000
"""Arguments of one Python call."""
MAX_CANDIDATES = 100
"""Places in a text that look like the beginning of a call and are tried in turn."""
MAX_TRIED = 3 * MAX_LENGTH
"""Characters that these places may have after them in all, so that a long text does not cost its square."""

Parsed: TypeAlias = tuple[Call, tuple[Any, ...]]
"""A call and its positional arguments."""

_NAME = r"[^\s()\[\]{}<>'\",;=#]+"
_HEAD = re.compile(rf"({_NAME})[ \t]*\(")
_NAME_LINE = re.compile(rf"({_NAME})[ \t]*\r?\n[ \t]*(?={{)")
_KEY = re.compile(r"[^\s()\[\]{}'\",;=#*]+")
_SIMPLE_ARGUMENT = re.compile(  # most arguments, at once: a name with a string without escapes or a whole number
    rf"""\s*({_KEY.pattern})\s*=\s*(?:'([^'\\\r\n]*)'|"([^"\\\r\n]*)"|(-?(?:0|[1-9][0-9]{{0,14}})))\s*([,)])"""
)
_CLOSE = re.compile(r"\s*\)")
_TAG, _TAG_END = "<tool_call>", "</tool_call>"
_CANDIDATE = re.compile(rf"^[ \t]*(?={_NAME}[ \t]*\(|{_NAME}[ \t]*\r?\n[ \t]*{{|[\[{{])|(?={_TAG})", re.MULTILINE)
_INLINE = re.compile(r"(?<![\w.-])(?=[\w.-]+\()")
_SEPARATOR = re.compile(r"[ \t\r]*(?:[;\n]\s*|\Z)")
_SPACE = re.compile(r"\s*")
_TOKEN = re.compile(
    r"""'''(?:[^\\]|\\.)*?''' | \"\"\"(?:[^\\]|\\.)*?\"\"\" | '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*"
    | (?P<open>[(\[{]) | (?P<close>[)\]}]) | (?P<comma>,) | (?P<equals>=) | (?P<comment>\#) | (?P<quote>['"])
    | [^'"()\[\]{},=#]+""",
    re.VERBOSE | re.DOTALL,
)
_CALLED = re.compile(r"\w\s*\Z")  # what stands before the bracket of a call
_FORMATTED = re.compile(r"[fFtT][rR]?\Z")  # what stands before the quote of a formatted string
_ARGUMENT_KEYS = frozenset({"arguments", "parameters"})
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model's answer says.

    ``positional[i]`` are the arguments that ``calls[i]`` gives without a name (see `bind`). ``text`` is the prose
    before the calls, or everything where no calls were understood. ``problem`` is None exactly when the answer is one
    or more calls and nothing else.
    """

    calls: tuple[Call, ...]
    text: str = ""
    problem: str | None = None
    positional: tuple[tuple[Any, ...], ...] = ()


class _Problem(Exception):
    """Why a text is not a call."""


def parse_answer(text: str) -> Answer:
    """Reads a whole answer. Never raises.

    Calls after lines of prose are found when nothing follows them, and the prose is a problem all the same.
    """
    if len(text) > MAX_LENGTH:
        return Answer((), text, f"longer than {MAX_LENGTH} characters")
    try:
        parsed, problem, start = _calls(text, 0), None, 0
    except _Problem as error:
        parsed, problem, start = [], str(error), len(text)
        for candidate in _candidates(text, _CANDIDATE):
            try:
                parsed, problem, start = _calls(text, candidate), "there is text besides the calls", candidate
                break
            except _Problem:
                continue
    calls, positional = tuple(call for call, _ in parsed), tuple(values for _, values in parsed)
    return Answer(calls, text[:start].strip(), problem, positional)


def first_call(text: str, tools: Iterable[Tool] = ()) -> Call | None:
    """The first call in an answer, whatever stands around it. Never raises.

    Looked for at the beginnings of lines, and inside them where no line begins like a call. Arguments without a name
    are named if the tool is among ``tools`` (see `bind`), and left out otherwise.
    """
    text = text[:MAX_LENGTH]
    for candidate in _candidates(text, _CANDIDATE) or _candidates(text, _INLINE):
        try:
            call, positional = _item(text, candidate)[0][0]
        except _Problem:
            continue
        tool = next((tool for tool in tools if tool.name == call.name), None)
        return bind(call, positional, tool) if tool else call
    return None


def bind(call: Call, positional: tuple[Any, ...], tool: Tool) -> Call:
    """The call with its positional arguments named in the order of the tool's signature.

    One too many, or one that the call names as well, becomes an argument ``*0``, ``*1``, ...: no parameter of any tool.
    """
    if not positional:
        return call
    names = [
        name if index < len(tool.signature) and (name := tool.signature[index]) not in call.arguments else f"*{index}"
        for index in range(len(positional))
    ]
    return replace(call, arguments={**dict(zip(names, positional, strict=True)), **call.arguments})


def _candidates(text: str, pattern: re.Pattern[str]) -> list[int]:
    """Where a call may begin."""
    starts = [match.end() for match in islice(pattern.finditer(text), MAX_CANDIDATES)]
    tried = accumulate(len(text) - start for start in starts)
    return [start for start, characters in zip(starts, tried, strict=True) if characters <= MAX_TRIED]


def _calls(text: str, position: int) -> list[Parsed]:
    """All calls from ``position`` to the end of the text, which holds nothing else."""
    calls: list[Parsed] = []
    position = _skip_space(text, position)
    while position < len(text):
        found, position = _item(text, position)
        calls += found
        position = _next_item(text, position)
    if not calls:
        raise _Problem("no call")
    return calls


def _next_item(text: str, position: int) -> int:
    """Where the item after the one that ends at ``position`` begins."""
    if separator := _SEPARATOR.match(text, position):
        return separator.end()
    if text.startswith(_TAG, position):
        return position
    raise _Problem(f"text after the call: {text[position : position + 40]!r}")


def _item(text: str, position: int) -> tuple[list[Parsed], int]:
    """One call, tagged call or list of calls, and where it ends."""
    if text.startswith(_TAG, position):
        calls, end = _json_calls(text, position + len(_TAG))
        end = _skip_space(text, end)
        if not text.startswith(_TAG_END, end):
            raise _Problem(f"{_TAG} without {_TAG_END}")
        return calls, end + len(_TAG_END)
    first = text[position : position + 1]
    if first == "{" or (first == "[" and text.startswith("{", _skip_space(text, position + 1))):
        return _json_calls(text, position)
    if first == "[":
        return _call_list(text, position)
    if name_line := _NAME_LINE.match(text, position):
        arguments, end = _json(text, name_line.end())
        if isinstance(arguments.get("name"), str) and not _ARGUMENT_KEYS.isdisjoint(arguments):
            raise _Problem("text before the call")  # the line is a word of prose, the object a call of its own
        return [(Call(name_line[1], arguments), ())], end
    call, end = _call(text, position)
    return [call], end


def _call_list(text: str, position: int) -> tuple[list[Parsed], int]:
    """``[f(a=1), g(b=2)]``."""
    calls, closer = [], ","
    while closer == ",":
        call, position = _call(text, _skip_space(text, position + 1))
        calls.append(call)
        position = _skip_space(text, position)
        closer = text[position : position + 1]
    if closer != "]":
        raise _Problem("a list of calls is not closed")
    return calls, position + 1


def _call(text: str, position: int) -> tuple[Parsed, int]:
    """One Python call."""
    head = _HEAD.match(text, position)
    if not head:
        raise _Problem(f"expected name(...), not {text[position : position + 40]!r}")
    arguments: dict[str, Any] = {}
    positional: list[Any] = []
    position, closer = head.end(), ","
    while closer == ",":
        if end := _CLOSE.match(text, position):  # no argument, or a comma after the last one
            position = end.end()
            break
        key, value, closer, position = _argument(text, position)
        if key is None:
            if arguments:
                raise _Problem("an argument without a name follows one with a name")
            positional.append(value)
        elif key in arguments:
            raise _Problem(f"argument {key!r} is given twice")
        else:
            arguments[key] = value
        if len(arguments) + len(positional) > MAX_ARGUMENTS:
            raise _Problem(f"more than {MAX_ARGUMENTS} arguments")
    return (Call(head[1], arguments), tuple(positional)), position


def _argument(text: str, start: int) -> tuple[str | None, Any, str, int]:
    """Name (if any) and value of the argument at ``start``, the ``,`` or ``)`` after it, and where that ends."""
    if simple := _SIMPLE_ARGUMENT.match(text, start):
        key, single, double, number, closer = simple.groups()
        return key, int(number) if number else _checked(double if single is None else single), closer, simple.end()
    equals, end, closer = _argument_end(text, start)
    if equals is None:
        return None, _value(text[start:end]), closer, end + 1
    key = text[start:equals].strip()
    if not _KEY.fullmatch(key):
        raise _Problem(f"{key!r} is not an argument name")
    return key, _value(text[equals + 1 : end]), closer, end + 1


def _argument_end(text: str, position: int) -> tuple[int | None, int, str]:
    """Where the argument that begins at ``position`` has its ``=``, where it ends, and the ``,`` or ``)`` there.

    Code that `ast` would only be slow to parse, calls and formatted strings, is refused on the way.
    """
    equals, depth, before = None, 0, ""
    for token in _TOKEN.finditer(text, position):
        match token.lastgroup:
            case "open":
                if token[0] == "(" and _CALLED.search(before):
                    _not_a_value("a Python Call")
                depth += 1
                if depth > MAX_DEPTH:
                    raise _Problem("nested too deeply")
            case "close" if depth:
                depth -= 1
            case "close" | "comma" if not depth:
                if token[0] in "]}":
                    raise _Problem(f"{token[0]!r} without its opening bracket")
                return equals, token.start(), token[0]
            case "equals" if equals is None and not depth:
                equals = token.start()
            case "comment":
                raise _Problem("a comment inside the call")
            case None if token[0][0] in "'\"" and _FORMATTED.search(before):
                _not_a_value("a Python JoinedStr")
            case "quote":
                raise _Problem("a string is not closed")
        before = token[0]
    raise _Problem("the call is not closed")


def _value(source: str) -> Any:
    """A Python or JSON literal."""
    source = source.strip()
    if not source:
        raise _Problem("an argument has no value")
    try:
        return _checked(_DECODER.decode(source))
    except ValueError:
        return _literal(_expression(source))


def _expression(source: str) -> ast.expr:
    try:
        with warnings.catch_warnings():  # Python warns of escapes such as \d; that is the model's business
            warnings.simplefilter("ignore")
            return ast.parse(f"({source})", mode="eval").body  # parentheses allow line breaks
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise _Problem(f"{source[:40]!r} is not a value: {reason}") from None


def _literal(node: ast.expr) -> Any:
    """The value of a literal; any other expression is a problem."""
    match node:
        case ast.Constant():
            return _checked(node.value)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float() as number)):
            if isinstance(number, bool):
                raise _Problem("a sign before a truth value")
            return _checked(-number if isinstance(node.op, ast.USub) else number)
        case ast.List() | ast.Tuple() | ast.Set():
            return [_literal(element) for element in node.elts]
        case ast.Dict():
            keys = [_not_a_value("**") if key is None else _literal(key) for key in node.keys]
            if any(isinstance(key, list | dict) for key in keys):
                raise _Problem("a dictionary has a list or dictionary as key")
            names = [key if isinstance(key, str) else json.dumps(key) for key in keys]
            return _unique(list(zip(names, map(_literal, node.values), strict=True)))
        case ast.Name(id=word) if word in _WORDS:
            return _WORDS[word]
        case ast.Name(id=word):
            _not_a_value(f"the name {word!r}")
    _not_a_value(f"a Python {type(node).__name__}")


def _json_calls(text: str, position: int) -> tuple[list[Parsed], int]:
    """``{"name": ..., "arguments": ...}``, or a list of these, and where it ends."""
    value, end = _json(text, position)
    rows = value if isinstance(value, list) else [value]
    if not rows:
        raise _Problem("no call")
    return [_json_call(row) for row in rows], end


def _json_call(row: Any) -> Parsed:
    if isinstance(row, dict) and isinstance(row.get("function"), dict):  # OpenAI's outer shape
        row = row["function"]
    keys = _ARGUMENT_KEYS.intersection(row) if isinstance(row, dict) else ()
    if len(keys) != 1 or not isinstance(row.get("name"), str) or not row["name"]:
        raise _Problem('JSON, but not an object with "name" and "arguments"')
    (source,) = (row[key] for key in keys)
    arguments, end = _json(source, 0) if isinstance(source, str) else (source, 0)  # OpenAI sends JSON in a string
    if isinstance(source, str) and source[end:].strip():
        raise _Problem("text after the arguments")
    if not isinstance(arguments, dict):
        raise _Problem("the arguments are not an object")
    return Call(row["name"], arguments), ()


def _json(text: str, position: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, _skip_space(text, position))
    except (ValueError, RecursionError) as error:
        raise _Problem(f"not JSON: {error}") from None
    return _checked(value), end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary, unless a key is given twice."""
    row = dict(pairs)
    if len(row) != len(pairs):
        raise _Problem("a dictionary has a key twice")
    return row


def _checked(value: Any, depth: int = 0) -> Any:
    """The value, unless something in it cannot be a JSON value or would harm whoever handles it."""
    if depth > MAX_DEPTH:
        raise _Problem("nested too deeply")
    match value:
        case str():
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise _Problem("half of a surrogate pair in a string")
        case None | bool():
            pass
        case int():
            if value.bit_length() > 1023:  # cannot be a float, and printing it may fail
                raise _Problem("a number is too large")
        case float():
            if not math.isfinite(value):
                raise _Problem(f"{value} is not a JSON number")
        case list():
            for element in value:
                _checked(element, depth + 1)
        case dict():
            for key, element in value.items():
                _checked(key, depth + 1)
                _checked(element, depth + 1)
        case _:
            _not_a_value(f"a Python {type(value).__name__}")
    return value


def _not_a_value(what: str) -> NoReturn:
    raise _Problem(f"{what} is not a value")


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
