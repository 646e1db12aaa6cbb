"""API-Bank (https://github.com/AlibabaResearch/DAMO-ConvAI, api-bank): dialogues of levels 1 and 2, and level 3.

A dialogue is a JSONL file with one row for each step: ``{role: User | AI, text}`` or ``{role: API, api_name,
param_dict, result}``. Level 3 is a list of ``{requirement, apis: [{api_name, input, output}], response}``. What
ToolSearcher finds are the tools offered, and its own steps are left out; tools that nothing describes are read from a
file beside (see `toolbox.beside`) or put together from their calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import arguments, plain
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.nulls import is_padded, without_padding
from tl_jax.tooluse.readers.rows import Place, Report, attempt, first_row, read_rows
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.readers.toolbox import beside, calls_of, inferred, is_tools, joined
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_SEARCHER = "ToolSearcher"
_IS_REQUIREMENT = has("requirement", "apis", without="messages")

Step: TypeAlias = tuple[list[Message], tuple[Tool, ...]]
"""The messages of a step, and the tools that it finds."""


def read(path: Path, report: Report | None) -> Iterator[Trajectory]:
    """Trajectories: one of a dialogue's file, one of each row of level 3."""
    offered = beside(path)
    if "apis" in first_row(path)[1]:
        return read_rows(path, lambda row, place: [_requirement(row, place, offered)], report)
    return attempt(lambda: [_dialogue(path, offered)], Place(path), report)


def _dialogue(path: Path, offered: tuple[Tool, ...] | None) -> Trajectory:
    """The dialogue in a file; a step that cannot be read spoils it all, and the error names its line."""
    steps = list(read_rows(path, lambda row, place: [_step(row)]))
    return _trajectory(f"apibank/{path.parent.name}/{path.stem}", steps, offered)


def _requirement(row: Any, place: Place, offered: tuple[Tool, ...] | None) -> Trajectory:
    with Fields(row) as fields:
        steps: list[Step] = [([Message("user", fields.take("requirement", kind=str).strip())], ())]
        for value, where in fields.each("apis"):
            with Fields(value, where) as api:
                name, given = api.take("api_name", kind=str), api.take("input", default={})
                steps.append(_call(name, given, api.take("output", default=None), f"{where}.input", f"{where}.output"))
        steps.append(([Message("assistant", fields.take("response", kind=str))], ()))
    return _trajectory(place.name, steps, offered)


def _step(row: Any) -> Step:
    with Fields(row) as fields:
        match fields.take("role", kind=str):
            case "User":
                return [Message("user", fields.take("text", kind=str))], ()
            case "AI":
                return [Message("assistant", fields.take("text", kind=str))], ()
            case "API":
                name, given = fields.take("api_name", kind=str), fields.take("param_dict", default={})
                return _call(name, given, fields.take("result", default=None), "param_dict", "result")
            case role:
                raise DataError(f"unknown role {role!r}; expected User, AI or API", field="role")


def _call(name: str, given: Any, result: Any, given_at: str, result_at: str) -> Step:
    """A call and its result, which is wrapped in ``{api_name, input, output, exception}``."""
    failed = False
    if isinstance(result, dict) and "output" in result:
        with Fields(result, result_at) as fields:
            fields.keep("api_name", "input")  # the call once more
            output, exception = fields.take("output", default=None), fields.take("exception", default=None)
        result, failed = exception or output, bool(exception)
    if name == _SEARCHER:
        found = result if isinstance(result, list) else [result]
        named = (item for item in found if isinstance(item, dict) and isinstance(item.get("name"), str))
        return [], tuple(_tool(item, result_at) for item in named)
    padded = is_padded([])
    made = Call(name, without_padding(arguments(given, given_at), None, padded))
    said = plain(result, padded)
    return [Message("assistant", tool_calls=(made,)), Message("tool", said, name=name, error=failed)], ()


def _tool(value: dict[str, Any], where: str) -> Tool:
    with Fields(value, where) as fields:
        name, description = fields.take("name", kind=str), fields.take("description", kind=str, default="")
        properties = fields.take("input_parameters", kind=dict, default={})
        schema = json_schema({"type": "object", "properties": properties, "required": list(properties)})
        output = fields.take("output_parameters", default=None)
    return Tool(name, description, schema, {} if output is None else {"x-output": output})


def _trajectory(identity: str, steps: list[Step], offered: tuple[Tool, ...] | None) -> Trajectory:
    messages = joined(message for made, _ in steps for message in made)
    tools = {tool.name: tool for _, found in steps for tool in found}
    tools |= {tool.name: tool for tool in offered or () if tool.name not in tools}
    unknown = inferred(call for call in calls_of(messages) if call.name not in tools)
    meta = {"tools_inferred": [tool.name for tool in unknown]} if unknown else {}
    return Trajectory(identity, (*tools.values(), *unknown), messages, "apibank", meta)


FORMAT = Format(
    name="apibank",
    description="API-Bank: a dialogue of levels 1 and 2 a file (rows by `User`, `AI`, `API`), and `level-3.json`; what "
    "ToolSearcher finds becomes the tools",
    recognises=lambda row: _IS_REQUIREMENT(row) or row.get("role") in ("User", "AI", "API"),
    trajectories=read,
    is_companion=is_tools,
    source="https://github.com/AlibabaResearch/DAMO-ConvAI",
)
