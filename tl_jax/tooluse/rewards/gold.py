"""What is wrong with gold answers: calls that do not fit the schemas of their tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, Case, Tool

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def gold_faults(case: Case) -> list[str]:
    """The faults of a case's gold calls, one line each; empty where there are none.

    Found are tools that are not offered, arguments outside the schema, required ones that are missing, and values of
    another type or outside an ``enum``. A reward counts what gold uses as offered all the same: repeating the gold
    answer is right.

    Example:
        >>> from tl_jax.tooluse.schema import Message
        >>> search = Tool("search", parameters={"properties": {"limit": {"type": "integer"}}})
        >>> gold = Call("search", {"limit": "ten"})
        >>> gold_faults(Case("1", (search,), (Message("user", "?"),), ((gold,),)))
        ["gold[0]: search: argument 'limit' is string, not integer"]
    """
    offered = by_name(case.tools)
    found = []
    for index, alternative in enumerate(case.gold):
        for call in alternative:
            place = f"gold[{index}]: {call.name}"
            tool = offered.get(call.name)
            problems = _problems(call, tool) if tool else ["the tool is not offered"]
            found += [f"{place}: {problem}" for problem in problems]
    return found


def _problems(call: Call, tool: Tool) -> Iterator[str]:
    for name, value in call.arguments.items():
        if name not in tool.properties:
            yield f"argument {name!r} is not in the schema"
        elif name not in call.wild and (problem := _value_problem(value, tool.properties[name])):
            yield f"argument {name!r} is {problem}"
    for name in tool.required:
        if name not in call.arguments:
            yield f"the required argument {name!r} is missing"


def _value_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if all(isinstance(kind, str) and kind in _TYPES for kind in kinds) and not any(_is(value, kind) for kind in kinds):
        return f"{_json_type(value)}, not {' or '.join(kinds)}"
    enum = schema.get("enum")
    if isinstance(enum, list) and enum and value not in enum:
        return f"none of the {len(enum)} values allowed"
    return None


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _json_type(value: Any) -> str:
    return next((kind for kind in _TYPES if _is(value, kind)), type(value).__name__)
