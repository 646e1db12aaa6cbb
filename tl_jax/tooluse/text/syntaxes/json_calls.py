"""Calls as objects: ``{"name": "f", "arguments": {...}}``, alone, in a list, one after another, or in tags."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes.attempts import marked, special, written
from tl_jax.tooluse.text.syntaxes.base import Offer, Parsed, Problem, Syntax, skip_space
from tl_jax.tooluse.text.syntaxes.values import json_value, python_value

_NO_CALL = 'JSON, but not an object with "name" and "arguments"'
_ARGUMENT_KEYS = frozenset({"arguments", "parameters"})
_OTHER_KEYS = frozenset({"args", "input"})
"""What arguments are called where it is known that the object is a call: LangChain, Anthropic."""
_BESIDE = frozenset({"name", "type", "id", "index", "function", "wild"})
"""What may stand beside the arguments: what OpenAI's API and our own files write."""
_AS_TEXT = {"python_interpreter": "code"}
"""smolagents' own tool, whose only argument is written as it is, without its name."""
_PYTHON = re.compile(r"(?:\[\s*)?\{\s*'")
"""What a dictionary begins with that JSON has no words for."""


def is_call(row: Any) -> bool:
    """Whether an object has what makes it a call."""
    return isinstance(row, dict) and isinstance(row.get("name"), str) and not _ARGUMENT_KEYS.isdisjoint(row)


def read_call(row: Any, offer: Offer | None = None) -> Parsed:
    """The call that an object is.

    Args:
        offer: where nothing else says that it is a call, one with ``args`` is one only of a tool on offer, and a mere
            name only of one that needs no arguments. None: it is marked as a call.

    Raises:
        Problem: it is none, or says something besides.
    """
    outer = row
    if isinstance(row, dict) and isinstance(row.get("function"), dict):  # OpenAI's outer shape
        row = row["function"]
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not row["name"]:
        raise Problem(_NO_CALL)
    tool = None if offer is None else offer.tool(row["name"])
    meant = offer is None or tool is not None
    keys = (_ARGUMENT_KEYS | _OTHER_KEYS if meant else _ARGUMENT_KEYS).intersection(row)
    if len(keys) > 1 or not (keys or meant):
        raise Problem(_NO_CALL)
    for one in (row, outer):
        if len(one) > 1 + len(keys) and (other := one.keys() - _ARGUMENT_KEYS - keys - _BESIDE):
            raise Problem(f"{min(other)!r} stands beside name and arguments")
    if tool is not None and not keys and (len(row) > 1 or tool.required):
        raise Problem(_NO_CALL)  # the entry of a list of tools, or of something else
    known_as = outer.get("id", row.get("id"))
    is_id = isinstance(known_as, (str, int)) and not isinstance(known_as, bool)
    arguments = _object(row["name"], *(row[key] for key in keys))
    return Call(row["name"], arguments, id=str(known_as) if is_id and known_as != "" else None), ()


def _object(name: str, source: Any = None) -> dict[str, Any]:
    """The arguments of a call, which may be JSON as text, as OpenAI sends them; null and an empty text are none."""
    if source is None or source == "":
        return {}
    if isinstance(source, str) and name in _AS_TEXT and not source.lstrip().startswith("{"):
        return {_AS_TEXT[name]: source}
    arguments, end = json_value(source, 0) if isinstance(source, str) else (source, 0)
    if isinstance(source, str) and source[end:].strip():
        raise Problem("text after the arguments")
    if not isinstance(arguments, dict):
        raise Problem("the arguments are not an object")
    return arguments


def read(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """One object, or a list of them, that a mark says to be calls."""
    value, end = _value(text, position)
    return _calls(value if isinstance(value, list) else [value], None), end


def _read_bare(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """One object, a list of them, or a message of an API with nothing but ``tool_calls``."""
    value, end = _value(text, position)
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        said = {key for key, one in value.items() if one not in (None, "", [])} - {"tool_calls", "role"}
        if said:
            raise Problem(f"{min(said)!r} stands beside tool_calls")
        return _calls(value["tool_calls"], None), end
    rows = value if isinstance(value, list) else [value]
    if len(rows) > 1 and all(isinstance(row, dict) and row.keys() == {"name"} for row in rows):
        raise Problem(_NO_CALL)  # names of tools
    return _calls(rows, offer), end


def _value(text: str, position: int) -> tuple[Any, int]:
    return python_value(text, position) if _PYTHON.match(text, position) else json_value(text, position)


def _calls(rows: Sequence[Any], offer: Offer | None) -> list[Parsed]:
    if not rows:
        raise Problem("no call")
    return [read_call(row, offer) for row in rows]


def read_until(text: str, position: int, closing: str, offer: Offer) -> tuple[list[Parsed], int]:
    """Objects or lists of them, one after another, up to ``closing``; and where that ends.

    Raises:
        Problem: something else, no call, or it is not closed.
    """
    calls: list[Parsed] = []
    position = skip_space(text, position)
    while not text.startswith(closing, position):
        if position == len(text):
            raise Problem(f"{closing} is missing")
        found, position = read(text, position, offer)
        calls += found
        position = skip_space(text, position)
    if not calls:
        raise Problem("no call")
    return calls, position + len(closing)


def rows(calls: Sequence[Call], key: str = "arguments") -> list[dict[str, Any]]:
    """The calls as objects."""
    return [{"name": call.name, key: dict(call.arguments)} for call in calls]


def written_as(value: Any) -> str:
    """A value as JSON."""
    return json.dumps(value, ensure_ascii=False)


def in_tags(
    name: str,
    opening: str,
    closing: str,
    description: str,
    *,
    listed: bool = True,
    key: str = "arguments",
    token: bool = False,
    source: str = "",
) -> Syntax:
    """The syntax of objects between two marks.

    Args:
        closing: after tokens it may be missing: it may be what ends an answer, or there may be none.
        listed: all calls of a turn are written as one list; else each has marks of its own.
        token: the opening mark is a token of its own, which no sentence holds.
    """

    def read_tagged(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
        position += len(opening)
        if not token:
            return read_until(text, position, closing, offer)
        calls, end = read(text, position, offer)
        closed = skip_space(text, end)
        return calls, closed + len(closing) if text.startswith(closing, closed) else end

    def write(calls: Sequence[Call]) -> str:
        groups = [rows(calls, key)] if listed else rows(calls, key)
        return "".join(f"{opening}{written_as(group)}{closing}" for group in groups)

    return Syntax(
        name=name,
        description=description,
        example=write([Call("f", {"a": 1})]),
        opening=re.escape(opening),
        first=opening[0],
        marked=True,
        read=read_tagged,
        attempts=special(opening) if token else marked(opening, closing=closing),
        write=write,
        source=source,
    )


def _write(dump: Callable[[Any], str]) -> Callable[[Sequence[Call]], str]:
    return lambda calls: dump(rows(calls)[0] if len(calls) == 1 else rows(calls))


_NAMED = (
    r"[\"'](?:name|tool|tool_name|function|function_name|action|api|api_name|recipient_name)[\"']"
    r"\s*:\s*[\"'](?:functions\.)?NAMES[\"']"
)
"""An object that names a tool on offer, under any of the keys that models use, perhaps with OpenAI's prefix."""
_BY_NAME = r"\A\s*(?:```\w*\s*)?(?:\[\s*)?\{\s*[\"']NAMES[\"']\s*:\s*\{"
"""``{"f": {"a": 1}}``"""
_SHAPED = (
    r"\A\s*(?:\{\s*[\"']tool_(?:uses|calls)[\"']\s*:\s*)?(?:\[\s*)?\{"
    r"(?=[^{}]*[\"'](?:recipient_)?name[\"']\s*:)(?=[\s\S]*[\"'](?:arguments|parameters)[\"']\s*:)"
)
"""The whole answer is an object like a call, whatever it calls, or OpenAI's object around several of them."""

_ID = r"(?=[A-Za-z.]*[\d_-])[A-Za-z\d][\w.-]{0,63}"
"""A word is no id: there is a digit, a hyphen or an underscore in it."""
_BEFORE_OBJECT = re.compile(rf"({_ID}):(?=\{{)")


def _read_with_ids(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """Objects right after one another, each with its id."""
    calls = []
    while opened := _BEFORE_OBJECT.match(text, position):
        row, position = json_value(text, opened.end())
        call, positional = read_call(row, offer)
        calls.append((replace(call, id=opened[1]), positional))
    if not calls:
        raise Problem("no call")
    return calls, position


SYNTAXES = (
    Syntax(
        name="python_dict",
        description="objects as Python writes dictionaries",
        example="{'name': 'f', 'arguments': {'a': 1}}",
        opening=r"(?:\[\s*)?\{\s*'",
        first="[{",
        read=_read_bare,
        attempts=written(_SHAPED, _NAMED, hint="'"),
        write=_write(repr),
        source="https://huggingface.co/datasets/NousResearch/hermes-function-calling-v1",
    ),
    Syntax(
        name="json",
        description="objects with `name` and `arguments` or `parameters`, alone, in a list, or one after another: "
        "Llama 3, xLAM, OpenAI (also in `function`, and lists in `tool_calls`)",
        example='{"name": "f", "arguments": {"a": 1}}',
        opening=r"\{|\[\s*\{",
        first="[{",
        read=_read_bare,
        attempts=written(_SHAPED, _NAMED, _BY_NAME, hint='"'),
        write=_write(written_as),
        source="https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/",
    ),
    Syntax(
        name="id_json",
        description="objects, each after the id of its call: chat templates that write ids",
        example='call_1:{"name": "f", "arguments": {"a": 1}}',
        opening=_ID + r":\{",
        first=string.ascii_letters + string.digits,
        read=_read_with_ids,
        attempts=written(rf"\A\s*{_ID}:\{{(?=[^{{}}]*[\"']name[\"']\s*:)", _NAMED, hint='"'),
        write=lambda calls: "".join(f"call_{i}:{written_as(row)}" for i, row in enumerate(rows(calls), 1)),
    ),
)

_FUNCTOOLS = "functools"


def _read_functools(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    return read(text, position + len(_FUNCTOOLS), offer)


TAGGED = (
    Syntax(
        name="functools",
        description="a list after `functools`: Phi-4-mini, Firefunction",
        example='functools[{"name": "f", "arguments": {"a": 1}}]',
        opening=r"functools\s*\[",
        first="f",
        marked=True,
        read=_read_functools,
        attempts=written(r"functools\s*\[\s*\{", hint=_FUNCTOOLS),
        write=lambda calls: _FUNCTOOLS + written_as(rows(calls)),
        source="https://huggingface.co/fireworks-ai/firefunction-v2",
    ),
    in_tags(
        "hermes",
        "<tool_call>",
        "</tool_call>",
        "objects in `<tool_call>` tags: Hermes, Qwen 2.5 and 3, ToolRL (several in one tag)",
        listed=False,
        source="https://github.com/NousResearch/Hermes-Function-Calling",
    ),
    in_tags(
        "tool_calls_tag",
        "<tool_calls>",
        "</tool_calls>",
        "a list in `<tool_calls>` tags: Jamba, Hunyuan-A13B",
        source="https://huggingface.co/ai21labs/AI21-Jamba-Mini-1.5",
    ),
    in_tags(
        "toolcall_tag",
        "<TOOLCALL>",
        "</TOOLCALL>",
        "a list in `<TOOLCALL>` tags: Nemotron",
        source="https://huggingface.co/nvidia/Llama-3_3-Nemotron-Super-49B-v1",
    ),
    in_tags(
        "longcat",
        "<longcat_tool_call>",
        "</longcat_tool_call>",
        "objects in `<longcat_tool_call>` tags: LongCat-Flash",
        listed=False,
        source="https://huggingface.co/meituan-longcat/LongCat-Flash-Chat",
    ),
    in_tags(
        "function_call_tag",
        "<function_call>",
        "</function_call>",
        "objects in `<function_call>` tags",
        listed=False,
    ),
    replace(
        in_tags(
            "button",
            "<call>",
            "</call>",
            "a list in `<call>` tags: BUTTON",
            source="https://github.com/PKU-Baichuan-MLSystemLab/BUTTON",
        ),
        opening=r"<call>(?=\s*\[?\s*\{\s*[\"']name[\"'])",  # others have words in tags of this name
        attempts=written(r"<call>\s*\[?\s*\{\s*[\"']name[\"']", hint="<call>"),
    ),
    in_tags(
        "phi_4",
        "<|tool_call|>",
        "<|/tool_call|>",
        "a list after `<|tool_call|>`, perhaps before `<|/tool_call|>`: Phi-4-mini, Granite",
        token=True,
        source="https://huggingface.co/microsoft/Phi-4-mini-instruct",
    ),
    in_tags(
        "mistral",
        "[TOOL_CALLS]",
        "",
        "a list after `[TOOL_CALLS]`: Mistral, up to version 7 of its templates",
        token=True,
        source="https://docs.mistral.ai/capabilities/function_calling/",
    ),
    in_tags(
        "action_token",
        "<|action_start|><|plugin|>",
        "<|action_end|>",
        "an object after `<|action_start|><|plugin|>`: InternLM",
        listed=False,
        key="parameters",
        token=True,
        source="https://github.com/InternLM/InternLM/blob/main/chat/chat_format.md",
    ),
)
