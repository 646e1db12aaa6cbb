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
_OF_GOOGLE = (
    *("googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval", "codeExecution"),
    *("code_execution", "urlContext", "url_context", "googleMaps", "google_maps", "fileSearch", "file_search"),
    *("computerUse", "computer_use", "enterpriseWebSearch", "retrieval"),
)
"""Tools that Google runs itself."""
_DECLARED = ("functionDeclarations", "function_declarations")
"""What Google calls the functions of a tool."""
_ABOUT = {"description", *_SCHEMAS} - {"properties"}
"""What tells that an object is a tool, under whose name it may stand."""
_WRAPPED = {"function", "toolSpec", *_SCHEMAS, *_DECLARED}
"""What stands around a tool or in it, and is no name of one."""
_OF_PROVIDERS = ("provider-defined", "provider")
"""Such tools in Vercel's AI SDK."""
_DATED = re.compile(r"\w+_20\d{6}")
"""Kinds of Anthropic's own tools: ``bash_20250124``."""


def tools(value: Any, where: str, padded: bool | None = False) -> tuple[Tool, ...]:
    """Tools as a list, as one object, by name, as what an MCP server answers to ``tools/list``, or as JSON text of any.

    Args:
        padded: a table wrote the row, see `nulls`: what is null in them is what other tools have.

    Raises:
        DataError: anything else, or something in it is no tool.
    """
    if isinstance(value, str):
        value = literal(value, where) if value.strip() else []
    elif padded:
        value = without_nulls(value)
    values, where = _listed(value, where)
    return tuple(tool for item, at in values if item is not None for tool in _each(item, at))


def _listed(value: Any, where: str) -> tuple[list[tuple[Any, str]], str]:
    """The tools in a value as they are, each with where it stands, and where all of them do."""
    if isinstance(value, dict) and "jsonrpc" in value:
        with Fields(value, where) as answer:
            answer.keep("jsonrpc", "id")
            value, where = answer.take("result"), answer.taken
    around = value if isinstance(value, dict) and "name" not in value else {}
    if name := next((name for name in TOOLS if isinstance(around.get(name), list)), ""):
        with Fields(value, where) as listed:
            value, where = listed.take(name), listed.taken
            listed.keep("nextCursor", "_meta")
    if _are_by_name(value):
        return [(_named(item, name, where), f"{where}.{name}") for name, item in value.items()], where
    if isinstance(value, dict):
        return [(value, where)], where
    if not isinstance(value, list):
        raise DataError(f"must be a list of tools, not {type(value).__name__}", field=where)
    return [(item, f"{where}[{i}]") for i, item in enumerate(value)], where


def _are_by_name(value: Any) -> bool:
    """Whether these are tools by name, of which one at least has a description or a schema."""
    if not isinstance(value, dict) or value.keys() & _WRAPPED:
        return False
    items = [item for item in value.values() if item is not None]
    return all(isinstance(item, dict) for item in items) and any(item.keys() & {"function", *_ABOUT} for item in items)


def _named(value: Any, name: str, where: str) -> Any:
    """A tool with its name, and without the ``jsonSchema`` that Vercel's AI SDK writes around its schema.

    Raises:
        DataError: it has another name.
    """
    if value is None:
        return None
    if isinstance(value.get("function"), dict):
        return {**value, "function": _named(value["function"], name, where)}
    if value.get("name", name) != name:
        raise DataError(f"says something else than {name!r}, under which the tool stands", field=f"{where}.{name}.name")
    shape = {"name": name, **value}
    for key in _SCHEMAS:
        if isinstance(shape.get(key), dict) and "jsonSchema" in shape[key]:
            with Fields(shape[key], f"{where}.{name}.{key}") as schema:
                shape[key] = schema.take("jsonSchema")
    return shape


def _each(value: Any, where: str) -> list[Tool]:
    """The tools that an item is: one, which may be JSON text, or Google's declarations; none where it is left out."""
    value = literal(value, where) if isinstance(value, str) else value
    if isinstance(value, dict) and "name" not in value:
        if value.keys() & {*_DECLARED, *_OF_GOOGLE}:
            return declarations(value, where)
        if value.get("toolSpec") is not None:
            with Fields(value, where) as wrapped:
                return [specified(wrapped.take("toolSpec"), wrapped.taken)]
        known = ("function", "type", *_ABOUT)
        if not value.keys() & {*known}:
            raise DataError(f"is no tool: it has {', '.join(map(repr, value)) or 'nothing'}", field=where)
    found = _tool(value, where)
    return [] if found is None else [found]


def declarations(value: Any, where: str) -> list[Tool]:
    """The functions that one of Google's tools declares.

    Raises:
        DataError: it is a tool of Google's own, which no model here has.
    """
    with Fields(value, where) as fields:
        items = fields.take(*_DECLARED, default=[])
        at = fields.taken
        many = isinstance(items, list)
        found = [_declared(item, f"{at}[{i}]" if many else at) for i, item in enumerate(items if many else [items])]
        for name in fields.keep(*_OF_GOOGLE):
            left_out(f"{where}.{name}", RUN_BY_VENDOR)
    return found


def _declared(value: Any, where: str) -> Tool:
    with Fields(value, where) as fields:
        name = fields.take("name", kind=str)
        description = fields.take("description", kind=str, default="")
        schema = fields.take("parameters", "parametersJsonSchema", "parameters_json_schema", default=None)
        extra = fields.keep("response", "responseJsonSchema", "response_json_schema", "behavior")
    tool = Tool.from_json({"name": name, "description": description, "parameters": _lower(schema or {})}, where)
    return Tool(tool.name, tool.description, tool.parameters, {f"x-{key}": item for key, item in extra.items()})


def _lower(schema: Any) -> Any:
    """A schema whose types are written ``STRING`` as JSON Schema writes them."""
    if isinstance(schema, list):
        return [_lower(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {word: _lower(item) for word, item in schema.items()}
    if isinstance(schema.get("type"), str):
        result["type"] = schema["type"].lower()
    return result


def specified(value: Any, where: str) -> Tool:
    """One of Amazon's tools, the schema of which stands in ``inputSchema.json``."""
    with Fields(value, where) as fields:
        shape = fields.keep("name", "description", "strict")
        with Fields(fields.take("inputSchema", default={}), f"{where}.inputSchema") as schema:
            shape["parameters"] = schema.take("json", default={})
    return Tool.from_json(shape, where)


def _tool(value: Any, where: str) -> Tool | None:
    """A tool; None for one that is left out."""
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
