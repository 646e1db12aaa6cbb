"""A tool as a Python function whose docstring says all that its schema does, and read back from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.schema import Tool
from tl_jax.tooluse.schema_types import all_properties, all_required, json_types
from tl_jax.tooluse.text.argument_lines import read_arguments, write_arguments
from tl_jax.tooluse.text.normal_schema import normal_schema

PYTHON_TYPES: Mapping[str, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "null": "None",
}
"""JSON's types as Python calls them."""

_INDENT = "    "
_ARGS = f"{_INDENT}Args:"
_QUOTES = f'{_INDENT}"""'


def write_function(tool: Tool) -> str:
    """The tool as a function, with everything that its schema says.

    Example:
        >>> unit = {"type": "string", "enum": ["C", "F"], "default": "C"}
        >>> print(write_function(Tool("set_unit", "Sets it.", {"properties": {"unit": unit}})).strip())
        Function:
        def set_unit(unit:str = 'C'):
            \"\"\"
            Sets it.
        <BLANKLINE>
            Args:
                unit (string, optional, enum ["C", "F"], default "C")
            \"\"\"
    """
    schema = normal_schema(tool.parameters)
    arguments = write_arguments(schema)
    body = [_INDENT + line if line else "" for line in description_lines(tool.description)]
    if arguments or _ARGS in body:  # the last such line begins the arguments, whatever the description says
        body += [*([""] if body else []), _ARGS, *(2 * _INDENT + line for line in arguments)]
    head = f"def {tool.name}({_signature(schema)}):"
    return "\n".join(["Function:", head, _QUOTES, *body, _QUOTES, "", ""])


def read_function(text: str) -> Tool:
    """The tool that `write_function` wrote; its parameters are the normal form of those that were written.

    Raises:
        ValueError: something else wrote the text.
    """
    start, head, opening, *body, closing, _, _ = text.split("\n")
    if start != "Function:" or opening != _QUOTES or closing != _QUOTES:
        raise ValueError("not a function with a docstring")
    begin = max((index for index, line in enumerate(body) if line == _ARGS), default=len(body))
    said = body[: begin - 1] if 0 < begin < len(body) else body[:begin]
    schema = read_arguments([line.removeprefix(2 * _INDENT) for line in body[begin + 1 :]])
    end = f"({_signature(schema)}):"
    if not head.startswith("def ") or not head.endswith(end):
        raise ValueError(f"the signature does not fit the arguments: {head!r}")
    description = "\n".join(line.removeprefix(_INDENT) for line in said)
    return Tool(head.removeprefix("def ").removesuffix(end), description, schema)


def description_lines(text: str) -> list[str]:
    """The lines of a tool's description, without white space at their ends; none of an empty one."""
    lines = [line.rstrip() for line in text.strip().split("\n")]
    return lines if lines != [""] else []


def _signature(schema: Mapping[str, Any]) -> str:
    specs, required = all_properties(schema), all_required(schema)
    names = dict.fromkeys([*(name for name in required if name in specs), *specs])
    shown = {name: json.dumps(name) if "\n" in name else name for name in names}
    return ", ".join(f"{shown[name]}:{_annotated(specs[name], schema, name in required)}" for name in names)


def _annotated(spec: Any, schema: Mapping[str, Any], required: bool) -> str:
    kinds = dict.fromkeys(PYTHON_TYPES.get(kind, "any") for kind in json_types(spec, schema))
    default = spec.get("default") if isinstance(spec, dict) else None
    return (" | ".join(kinds) or "any") + ("" if required else f" = {default!r}")
