"""xLAM / APIGen (https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k).

A row is ``{id, query, tools, answers}``; ``tools`` and ``answers`` are JSON texts. A tool's parameters are ``{name:
{type, description, default}}`` with Python's types; one whose type says ``optional``, or that has a default, may be
left out.
"""

from __future__ import annotations

from typing import Any

from tl_jax.tooluse.readers.fields import arguments, listed, member
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.schemas import is_optional, json_schema
from tl_jax.tooluse.schema import Call, Case, DataError, Message, Tool, Trajectory


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The example in a row; one that no tool can help with has nothing to learn from."""
    identity, tools, question, calls = _example(row, place)
    if not calls:
        raise DataError("is empty: there is no answer to learn", field="answers")
    return [Trajectory(identity, tools, (question, Message("assistant", tool_calls=calls)), "xlam")]


def cases(row: Any, place: Place) -> list[Case]:
    """The example in a row; gold is one alternative of no call where no tool can help."""
    identity, tools, question, calls = _example(row, place)
    return [Case(identity, tools, (question,), (calls,), "parallel", "xlam")]


def _example(row: Any, place: Place) -> tuple[str, tuple[Tool, ...], Message, tuple[Call, ...]]:
    question = Message("user", member(row, "query", str))
    tools = tuple(_tool(value, f"tools[{i}]") for i, value in enumerate(listed(row, "tools")))
    calls = tuple(_call(value, f"answers[{i}]") for i, value in enumerate(listed(row, "answers")))
    identity = place.name if row.get("id") is None else f"xlam/{row['id']}"
    return identity, tools, question, calls


def _tool(value: Any, where: str) -> Tool:
    function = value["function"] if isinstance(value, dict) and isinstance(value.get("function"), dict) else value
    member(function, "name", str, where)
    parameters = member(function, "parameters", dict, where) if function.get("parameters") else {}
    if parameters.get("type") != "object" or not isinstance(parameters.get("properties"), dict):
        required = [key for key, spec in parameters.items() if _is_required(spec, f"{where}.parameters.{key}")]
        parameters = {"type": "object", "properties": parameters, "required": required}
    return Tool.from_json({**function, "parameters": json_schema(parameters)}, where)


def _is_required(spec: Any, where: str) -> bool:
    if not isinstance(spec, dict):
        raise DataError(f"must be a JSON object, not {type(spec).__name__}", field=where)
    return "default" not in spec and not is_optional(str(spec.get("type") or ""))


def _call(value: Any, where: str) -> Call:
    return Call(
        member(value, "name", str, where), arguments(member(value, "arguments", object, where), f"{where}.arguments")
    )


FORMAT = Format(
    name="xlam",
    description="xLAM / APIGen: `query`, `tools`, `answers`; cases where cases are wanted",
    recognises=has("query", "tools", "answers", without="messages"),
    trajectories=each_row(trajectories),
    cases=each_row(cases),
    source="https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k",
)
