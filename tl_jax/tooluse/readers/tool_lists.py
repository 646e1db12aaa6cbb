"""Tools that a row offers, in all the shapes in which files list them."""

from __future__ import annotations

import re
from typing import Any

from tl_jax.tooluse.fields import Fields, left_out
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.fields import literal
from tl_jax.tooluse.readers.nulls import without_nulls
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.schema import DataError, Tool

TOOLS = ("tools", "functions", "tool_defs", "available_tools")
"""What the tools of a row are called."""
RUN_BY_VENDOR = "is a tool that its vendor runs itself: no model has it elsewhere"
KNOWN_TO_VENDOR = "tool whose parameters only its vendor knows: it is offered without any"
TEXT = "input"
"""What the argument of a tool is called that takes a text as it is: OpenAI's ``custom``."""

_SCHEMAS = ("parameters", "input_schema", "inputSchema", "parameter_definitions", "properties")
"""What says the parameters of a tool; Anthropic's own tools of ``custom`` type have such, OpenAI's never."""
_OF_PROVIDERS = ("provider-defined", "provider")
"""Such tools in Vercel's AI SDK."""
_DATED = re.compile(r"\w+_20\d{6}")
"""Kinds of Anthropic's own tools: ``bash_20250124``."""


def tools(value: Any, where: str, padded: bool | None = False) -> tuple[Tool, ...]:
    """Tools as a list, as one object, as what an MCP server answers to ``tools/list``, or as the JSON text of any.

    Args:
        padded: a table wrote the row, see `nulls`: what is null in them is what other tools have.

    Raises:
        DataError: anything else, or something in it is no tool.
    """
    if isinstance(value, str):
        value = literal(value, where) if value.strip() else []
    elif padded:
        value = without_nulls(value)
    if isinstance(value, dict) and "jsonrpc" in value:
        with Fields(value, where) as answer:
            answer.keep("jsonrpc", "id")
            value, where = answer.take("result"), answer.taken
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("tools"), list):
        with Fields(value, where) as listed:
            value, where = listed.take("tools"), listed.taken
            listed.keep("nextCursor", "_meta")
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise DataError(f"must be a list of tools, not {type(value).__name__}", field=where)
    found = (_tool(item, f"{where}[{i}]") for i, item in enumerate(value) if item is not None)
    return tuple(tool for tool in found if tool is not None)


def _tool(value: Any, where: str) -> Tool | None:
    """A tool that may be JSON text itself; None for one that is left out."""
    value = literal(value, where) if isinstance(value, str) else value
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind in ("function", "object") or value.get("function") is not None:
        return Tool.from_json(_with_schema(value, where), where)
    if kind == "custom" and all(value.get(name) is None for name in _SCHEMAS):
        return _of_text(value, where)
    if _DATED.fullmatch(kind) and value.get("name") is not None:
        return _of_vendor(value, where)
    if kind in _OF_PROVIDERS or (value.get("name") is None and value.get("parameters") is None):
        left_out(where, f"{RUN_BY_VENDOR} ({kind})")
        return None
    return Tool.from_json(_with_schema(value, where), where)


def _of_text(value: dict[str, Any], where: str) -> Tool:
    """OpenAI's tool that takes a text as it is."""
    with Fields(value, where) as outer:
        outer.expect("type", "custom")
        with Fields(outer.take("custom", default={}), f"{where}.custom") as inner:
            both = outer.keep("name", "description", "format"), inner.keep("name", "description", "format")
    shape: dict[str, Any] = {**both[0], **both[1]}
    extra = {"x-format": shape.pop("format")} if "format" in shape else {}
    parameters = {"type": "object", "properties": {TEXT: {"type": "string"}}, "required": [TEXT]}
    return Tool.from_json({**shape, "parameters": parameters, **extra}, where)


def _of_vendor(value: dict[str, Any], where: str) -> Tool:
    """A tool of Anthropic's own, which says its kind and no parameters."""
    remark(KNOWN_TO_VENDOR, str(value["name"]))
    extra = {f"x-{key}": item for key, item in value.items() if key != "name" and item is not None}
    return Tool.from_json({"name": value["name"], **extra}, where)


def _with_schema(value: Any, where: str) -> Any:
    """The tool with Cohere's ``parameter_definitions``, by name and with Python's types, as a schema."""
    if not isinstance(value, dict) or not isinstance(value.get("parameter_definitions"), dict):
        return value
    schema = json_schema({"type": "object", "properties": value["parameter_definitions"]})
    return {key: item for key, item in value.items() if key != "parameter_definitions"} | {"parameters": schema}
