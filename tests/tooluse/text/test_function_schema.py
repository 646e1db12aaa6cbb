"""Functions as tools: what their signatures and docstrings become."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, Optional

import pytest

from tl_jax.errors import UserError
from tl_jax.tooluse.schema import Tool
from tl_jax.tooluse.text.function_schema import tool_schema


def forecast(
    city: str,
    days: int,
    hours: list[list[int]],
    detail: float = 0.5,
    *,
    unit: Literal["C", "F"] = "C",
    options: dict[str, Any] | None = None,
    level: Optional[Literal[1, 2]] = None,  # noqa: UP045
    names: list = [],  # noqa: B006
    metric: bool = True,
    either: Literal["all", 0] = 0,
) -> str:
    """Tells the weather,
    today and later.

    It is often wrong.

    Args:
        city: Where: a city,
            or a village: any will do.
        days (int, optional): For how long.

        unit: Celsius or Fahrenheit.

    Returns:
        text: A sentence.
    """
    return city


def test_a_whole_function() -> None:
    tool = tool_schema(forecast)
    assert (tool.name, tool.description) == ("forecast", "Tells the weather, today and later.")
    assert tool.required == ("city", "days", "hours")
    assert tool.properties == {
        "city": {"type": "string", "description": "Where: a city, or a village: any will do."},
        "days": {"type": "integer", "description": "For how long."},
        "hours": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        "detail": {"type": "number", "default": 0.5},
        "unit": {"type": "string", "enum": ["C", "F"], "description": "Celsius or Fahrenheit.", "default": "C"},
        "options": {"type": ["object", "null"], "default": None},
        "level": {"type": ["integer", "null"], "enum": [1, 2, None], "default": None},
        "names": {"type": "array", "default": []},
        "metric": {"type": "boolean", "default": True},
        "either": {"type": ["string", "integer"], "enum": ["all", 0], "default": 0},
    }
    assert Tool.from_json(json.loads(json.dumps(tool.to_json()))) == tool


def test_a_function_that_says_nothing() -> None:
    def ping() -> None: ...

    empty = {"type": "object", "properties": {}, "required": []}
    assert tool_schema(ping) == Tool("ping", "", empty)


def test_a_docstring_of_nothing_but_arguments() -> None:
    def greet(name: str) -> None:
        """
        Args:
            name: Whom.
        """

    assert tool_schema(greet).description == ""
    assert tool_schema(greet).properties["name"]["description"] == "Whom."


def variadic(*numbers: int) -> None: ...
def keywords(**numbers: int) -> None: ...
def positional(number: int, /) -> None: ...
def untyped(number) -> None: ...  # type: ignore[no-untyped-def]
def odd(number: set[int]) -> None: ...
def union(number: int | str) -> None: ...
def inside(number: list[bytes]) -> None: ...
def literal(number: Literal[b"x"]) -> None: ...


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (variadic, ("variadic()", "'numbers'", "variadic positional")),
        (keywords, ("keywords()", "'numbers'", "variadic keyword")),
        (positional, ("positional()", "'number'", "positional-only")),
        (untyped, ("untyped()", "'number'", "no type")),
        (odd, ("odd()", "'number'", "set[int]")),
        (union, ("union()", "'number'", "int | str")),
        (inside, ("inside()", "'number'", "bytes")),
        (literal, ("literal()", "'number'", "Literal")),
    ],
)
def test_what_is_no_tool(function: Callable[..., None], names: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        tool_schema(function)
    assert [name for name in names if name not in str(error.value)] == []


def test_a_type_that_does_not_exist() -> None:
    def lost(number: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(UserError, match=r"lost\(\).*Nowhere"):
        tool_schema(lost)
