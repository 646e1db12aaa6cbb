"""xLAM / APIGen (https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k).

A row is ``{id, query, tools, answers}``; ``tools`` and ``answers`` are JSON texts. A tool's parameters are ``{name:
{type, description, default}}`` with Python's types; one whose type says ``optional``, or that has a default, may be
left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields, row_id
from tl_jax.tooluse.readers.fields import call_arguments, described, listed
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.nulls import is_padded, without_nulls
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.schemas import is_optional, json_schema
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, Case, DataError, Message, Tool, Trajectory


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The example in a row; one that no tool can help with has nothing to learn from."""
    identity, tools, question, calls, meta = _example(row, place)
    if not calls:
        raise DataError("is empty: there is no answer to learn", field="answers")
    return [Trajectory(identity, tools, (question, Message("assistant", tool_calls=calls)), "xlam", meta)]


def cases(row: Any, place: Place) -> list[Case]:
    """The example in a row; gold is one alternative of no call where no tool can help."""
    identity, tools, question, calls, meta = _example(row, place)
    return [Case(identity, tools, (question,), (calls,), "parallel", "xlam", meta=meta)]


def _example(row: Any, place: Place) -> tuple[str, tuple[Tool, ...], Message, tuple[Call, ...], dict[str, Any]]:
    with Fields(row) as fields:
        question = Message("user", fields.take("query", kind=str))
        offered, answers = listed(fields, "tools"), listed(fields, "answers")
        offered = without_nulls(offered) if _padded(row["tools"]) else offered
        tools = tuple(_tool(value, f"tools[{i}]") for i, value in enumerate(offered))
        known, padded = by_name(tools), _padded(row["answers"])
        calls = tuple(_call(value, f"answers[{i}]", known, padded) for i, value in enumerate(answers))
        number = row_id(fields, "")
        identity = f"xlam/{number}" if number else place.name
        return identity, tools, question, calls, described(fields)


def _padded(written: Any) -> bool | None:
    """Whether a table wrote it; None where it is text, whose nulls were all meant."""
    return None if isinstance(written, str) else is_padded([])


def _tool(value: Any, where: str) -> Tool:
    """A tool in OpenAI's shape, or with its parameters by name."""
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where)
    if isinstance(value.get("function"), dict):
        return Tool.from_json({**value, "function": _with_schema(value["function"], f"{where}.function")}, where)
    return Tool.from_json(_with_schema(value, where), where)


def _with_schema(function: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise DataError(f"must be a JSON object, not {type(parameters).__name__}", field=f"{where}.parameters")
    if parameters.get("type") != "object" or not isinstance(parameters.get("properties"), dict):
        required = [key for key, spec in parameters.items() if _is_required(spec, f"{where}.parameters.{key}")]
        parameters = {"type": "object", "properties": parameters, "required": required}
    return {**function, "parameters": json_schema(parameters)}


def _is_required(spec: Any, where: str) -> bool:
    if not isinstance(spec, dict):
        raise DataError(f"must be a JSON object, not {type(spec).__name__}", field=where)
    return "default" not in spec and not is_optional(str(spec.get("type") or ""))


def _call(value: Any, where: str, known: Mapping[str, Tool], padded: bool | None) -> Call:
    with Fields(value, where) as fields:
        name = fields.take("name", kind=str)
        return Call(name, call_arguments(fields, known.get(name), padded, "arguments"))


FORMAT = Format(
    name="xlam",
    description="xLAM / APIGen: `query`, `tools`, `answers`; cases where cases are wanted",
    recognises=has("query", "tools", "answers", without="messages"),
    trajectories=each_row(trajectories),
    cases=each_row(cases),
    source="https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k",
)
