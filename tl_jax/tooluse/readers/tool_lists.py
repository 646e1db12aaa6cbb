"""Tools that a row offers, in all the shapes in which files list them."""

from __future__ import annotations

from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import literal
from tl_jax.tooluse.schema import DataError, Tool

TOOLS = ("tools", "functions", "tool_defs", "available_tools")
"""What the tools of a row are called."""


def tools(value: Any, where: str) -> tuple[Tool, ...]:
    """Tools as a list, as one object, or as the JSON text of either.

    Raises:
        DataError: anything else, or something in it is no tool.
    """
    if isinstance(value, str):
        value = literal(value, where) if value.strip() else []
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("tools"), list):
        with Fields(value, where) as listed:  # what a server answers to MCP's tools/list
            value, where = listed.take("tools"), listed.taken
            listed.keep("nextCursor", "_meta")
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise DataError(f"must be a list of tools, not {type(value).__name__}", field=where)
    return tuple(_tool(item, f"{where}[{i}]") for i, item in enumerate(value) if item is not None)


def _tool(value: Any, where: str) -> Tool:
    """A tool that may be JSON text itself."""
    return Tool.from_json(literal(value, where) if isinstance(value, str) else value, where)
