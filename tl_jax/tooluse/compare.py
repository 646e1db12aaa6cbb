"""How a predicted call differs from a gold call: the common ground of rewards and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tl_jax.tooluse.parse import bind
from tl_jax.tooluse.schema import Call, Case, Tool

Equal: TypeAlias = Callable[[Any, Any], bool]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of difference: a field of `RewardTable`, and in words what is wrong."""

    category: str
    detail: str


def offered_tools(case: Case) -> dict[str, Tool]:
    """The tools of the prompt by name. A gold call whose tool is not among them counts as offered all the same."""
    tools = {call.name: Tool(call.name) for alternative in case.gold for call in alternative}
    return tools | {tool.name: tool for tool in reversed(case.tools)}


def bind_all(calls: Iterable[Call], positional: Iterable[tuple[Any, ...]], offered: Mapping[str, Tool]) -> list[Call]:
    """Calls with their positional arguments named; those of a tool that is not offered stay as they are."""
    pairs = zip(calls, positional, strict=True)
    return [bind(call, values, offered[call.name]) if call.name in offered else call for call, values in pairs]


def compare(call: Call, gold: Call, offered: Mapping[str, Tool], equal: Equal, *, defaults: bool) -> tuple[Fault, ...]:
    """The faults of a call, in the order of the paper's table; empty when it is right.

    Args:
        equal: decides whether two argument values are the same. Arguments that ``gold.wild`` names are not compared.
        defaults: an optional argument that equals its schema's default is as good as left out.
    """
    if call.name not in offered:
        return (Fault("hallucinated_tool", f"{call.name!r} is not offered"),)
    if call.name != gold.name:
        return (Fault("wrong_tool", f"{call.name!r} instead of {gold.name!r}"),)
    tool = offered[gold.name]
    extra = [name for name in call.arguments if name not in gold.arguments]
    missing = [name for name in gold.arguments if name not in call.arguments]
    hallucinated = [name for name in extra if name not in tool.properties]
    redundant = [name for name in extra if name in tool.properties]
    if defaults:
        redundant = [name for name in redundant if not _is_default(tool, name, call.arguments[name])]
        missing = [name for name in missing if not _is_default(tool, name, gold.arguments[name])]
    faults = tuple(
        Fault(category, ", ".join(map(repr, names)))
        for category, names in (
            ("hallucinated_parameter", hallucinated),
            ("redundant_parameter", redundant),
            ("missing_parameter", missing),
        )
        if names
    )
    if faults:
        return faults
    differing = [
        f"{name!r} is {_show(value)}, not {_show(gold.arguments[name])}"
        for name, value in call.arguments.items()
        if name in gold.arguments and name not in gold.wild and not equal(value, gold.arguments[name])
    ]
    return (Fault("wrong_value", ", ".join(differing)),) if differing else ()


def same_value(a: Any, b: Any) -> bool:
    """Equality of JSON values with their types: 1 is 1.0 but neither True nor "1"; the order of keys is free."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    return _same_shape(a, b, same_value) or (type(a) is type(b) and not isinstance(a, (list, dict)) and a == b)


def same_text(a: Any, b: Any) -> bool:
    """As `same_value`, but a string equals what it spells: "500" is 500, "true" and "True" are True."""
    if isinstance(a, str) != isinstance(b, str):
        text, value = (a, b) if isinstance(a, str) else (b, a)
        return text == str(value) or _spells(text.strip(), value)
    return _same_shape(a, b, same_text) or same_value(a, b)


def best_assignment(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column) with the greatest total score; each row and column is used once, as far as they go round.

    The Hungarian method with potentials, O(rows² · columns) for rows <= columns
    (https://en.wikipedia.org/wiki/Hungarian_algorithm).
    """
    if not scores or not scores[0]:
        return []
    if len(scores) > len(scores[0]):
        return sorted((row, column) for column, row in best_assignment(list(zip(*scores, strict=True))))
    columns = range(len(scores[0]))
    row_potential, column_potential = [0.0] * len(scores), [0.0] * len(columns)
    owner: dict[int, int] = {}  # column -> row
    for start in range(len(scores)):
        slack, came_from = [float("inf")] * len(columns), [-1] * len(columns)
        row, column, visited = start, -1, set[int]()
        while True:  # walk along the cheapest alternating path until it reaches a free column
            for other in columns:
                if other not in visited:
                    cost = -scores[row][other] - row_potential[row] - column_potential[other]
                    if cost < slack[other]:
                        slack[other], came_from[other] = cost, column
            nearest = min((other for other in columns if other not in visited), key=slack.__getitem__)
            step = slack[nearest]
            row_potential[start] += step
            for other in visited:
                row_potential[owner[other]] += step
                column_potential[other] -= step
            for other in columns:
                if other not in visited:
                    slack[other] -= step
            column = nearest
            visited.add(column)
            if column not in owner:
                break
            row = owner[column]
        while column != -1:  # hand the columns of the path on
            previous = came_from[column]
            owner[column] = start if previous == -1 else owner[previous]
            column = previous
    return sorted((row, column) for column, row in owner.items())


def _is_default(tool: Tool, name: str, value: Any) -> bool:
    spec = tool.properties.get(name, {})
    return name not in tool.required and "default" in spec and same_value(value, spec["default"])


def _same_shape(a: Any, b: Any, equal: Equal) -> bool:
    """Whether both are lists, or both objects, with equal contents."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return False


def _spells(text: str, value: Any) -> bool:
    if value is None:
        return text.lower() in ("none", "null")
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return not isinstance(read, str) and same_text(read, value)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
