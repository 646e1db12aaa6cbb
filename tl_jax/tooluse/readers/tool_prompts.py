"""Tools that a prompt lists, as structure, and what else the prompt says.

Known are lists and objects of JSON wherever they stand (Hermes and Qwen between ``<tools>`` tags, ToolACE, Llama 3,
Mistral, Jamba) and the TypeScript of functionary and gpt-oss. Sentences that say how to write calls are left out, as
every renderer says that itself; whatever else a prompt says is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import remark
from tl_jax.tooluse.readers import typescript
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.readers.tagged import between, listed
from tl_jax.tooluse.schema import Tool
from tl_jax.tooluse.strict_json import DECODER

LEFT_OUT = "sentence of a system text left out: it says how to write calls, which every renderer says itself"

_FORMAT = re.compile(
    r"</?[a-z-]*(?:tool|function|param|args)[a-z_-]*>|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|\[\w[\w ]*\(|\{[\"']name[\"']|>>>|recipient==|\bpydantic\b|other text|# Tools|## functions"
    r"|\b(function|tool|call)s?\b.*\b(JSON|XML)\b|\b(JSON|XML)\b.*\b(function|tool|call)s?\b"
    r"|\b(function|tool)s?[ /]+(signature|call|section|definition)"
    r"|\b(you|may|can) call functions?|\bcall (one or more|any of the) functions?|\bcomposing functions"
    r"|\bexecuting available functions?"
    r"|\b(set|list) of (the )?(possible |available |given )?(functions|tools)|\binvoke any of the functions?"
    r"|\bthe functions?\b.*\b(can be used|lacks|also point)|\bfunctions? can be used"
    r"|\bavailable (tools|functions)\s*[:.]?\s*$|\baccess to the following functions|\bvalues to plug into"
    r"|\bdo not use variables|\brespond in (the|this) format",
    re.IGNORECASE,
)
"""What sentences that describe a format of calls have, and hardly any others."""
_EXAMPLE = re.compile(
    r"<tool_call>\s*[\[{].*?</tool_call>|\{[^{}\n]*function[ _-]name[^{}\n]*\}"
    r"|\{[^{}]*[\"']FunctionCall[\"'][^}]*\}[^}]*\}[^}]*\}(?:[^}.<\n]*\})?",
    re.DOTALL,
)
"""Examples of calls, and the schema of calls that Hermes' prompt has."""
_SENTENCE = re.compile(r"[^\n]*?(?:[.!?:](?=\s|$)|\n|$)\s*", re.DOTALL)
_OBJECT = re.compile(r"\[\s*\{|\{")
_BETWEEN = re.compile(r"(?:[\s,]|</?(?:tool|function)>)*(?=\{)")
_TOKEN = re.compile(r"<\|[a-z_]+\|>(?:tool_declare)?")
_SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema")


def offered(text: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """The tools that a prompt lists, and its other words. A text that lists no tools stays as it is.

    Raises:
        DataError: something in the list is no tool.
    """
    blocks, rest = between(text, "tools")
    block = next((item for item in blocks if item.startswith(("[", "{"))), None)
    if block is not None:
        return listed(block, f"{where}: tools"), own_words(rest)
    if declared := typescript.namespace(text, f"{where}: tools"):
        return declared.tools, own_words(f"{text[: declared.start]}\n{text[declared.end :]}")
    values, start, end = _listed(text)
    if not values:
        return (), text
    before, after = _TOKEN.sub("", text[:start]), _TOKEN.sub("", text[end:]).removeprefix(".")
    return listed([_typed(item) for item in values], f"{where}: tools"), own_words(f"{before}\n{after}")


def own_words(text: str) -> str:
    """A prompt without the sentences that say how to write calls, which are counted."""
    kept = []
    for match in _SENTENCE.finditer(_EXAMPLE.sub("", text)):
        if match[0] and _FORMAT.search(match[0]):
            remark(LEFT_OUT)
        else:
            kept.append(match[0])
    return "".join(kept).strip()


def _listed(text: str) -> tuple[list[Any], int, int]:
    """The tools in the text as JSON: a list, or objects one after another; where they begin and end."""
    position = 0
    while opening := _OBJECT.search(text, position):
        values, end = _values(text, opening.start())
        if values and all(map(_is_named, values)) and any(map(_has_schema, values)):
            return values, opening.start(), end
        position = max(end, opening.end())
    return [], 0, 0


def _values(text: str, start: int) -> tuple[list[Any], int]:
    """The items of the list at ``start``, or the objects from there on, and where they end."""
    found = list[Any]()
    position = start
    while True:
        try:
            value, end = DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            return found, position
        if isinstance(value, list):
            return (found, position) if found else (value, end)
        found.append(value)
        following = _BETWEEN.match(text, end)
        if following is None:
            return found, end
        position = following.end()


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(_function(value).get("name"), str)


def _has_schema(value: Any) -> bool:
    return any(key in _function(value) for key in _SCHEMA_KEYS)


def _function(value: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = value.get("function")
    return inner if isinstance(inner, dict) else value


def _typed(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool with Python's types in its schema as JSON's (``dict`` is ``object``)."""
    if isinstance(tool.get("parameters"), dict):
        return {**tool, "parameters": json_schema(tool["parameters"])}
    return tool
