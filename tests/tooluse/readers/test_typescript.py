"""Tools declared in TypeScript."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.growth import grows_linearly
from tl_jax.tooluse.readers.typescript import namespace
from tl_jax.tooluse.schema import DataError

PROMPT = """Before.
namespace functions {

// Gets the weather.
// Now.
type get_weather = (_: {
// Where.
city: string,
unit?: "c" | "f", // default: c
days?: number[], // How many.
at: {
lat: number,
"the lon"?: number,
},
kind: string | null,
any?: Array<{ x: any }>;
n?: 1 | 2,
flag: boolean, // default: true
}) => any;

// Nothing to say.
type now = () => any;

} // namespace functions
After."""


def test_every_kind_of_type() -> None:
    found = namespace(PROMPT, "x")
    assert found is not None
    assert (PROMPT[: found.start], PROMPT[found.end :]) == ("Before.\n", "\nAfter.")
    weather, now = found.tools
    assert (weather.name, weather.description) == ("get_weather", "Gets the weather.\nNow.")
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where."},
            "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
            "days": {"type": "array", "items": {"type": "number"}, "description": "How many."},
            "at": {
                "type": "object",
                "properties": {"lat": {"type": "number"}, "the lon": {"type": "number"}},
                "required": ["lat"],
            },
            "kind": {"type": ["string", "null"]},
            "any": {
                "type": "array",
                "items": {"type": "object", "properties": {"x": {}}, "required": ["x"]},
            },
            "n": {"enum": [1, 2]},
            "flag": {"type": "boolean", "default": True},
        },
        "required": ["city", "at", "kind", "flag"],
    }
    assert (now.name, now.parameters) == ("now", {"type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"c" | "f"', {"enum": ["c", "f"]}),
        ("string // default: x", {"default": "x"}),
        ("string[] | null", {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}),
        ("Array<Record<string, number>>", {"type": "array"}),
        ("1 | 2", {"enum": [1, 2]}),
    ],
)
def test_no_comma_after_a_property(written: str, expected: dict[str, Any]) -> None:
    """A line with a type is no more of the description before it."""
    for following in ("", "// Next.\nb?: number\n", "b?: number\n"):
        text = f"namespace functions {{\ntype f = (_: {{\n// The key.\na: {written}\n{following}}}) => any;\n}}"
        found = namespace(text, "x")
        assert found is not None
        (tool,) = found.tools
        assert tool.required == ("a",)
        assert tool.properties["a"].items() >= {"description": "The key.", **expected}.items()
        assert ("b" in tool.properties) == bool(following)


@pytest.mark.parametrize(
    "written", ["Date", "{ b: string }", "(string | null)[]", "Record<string, Array<number> | null>"]
)
def test_no_comma_after_the_last_property(written: str) -> None:
    found = namespace(f"namespace functions {{\ntype f = (_: {{\n// The key.\na: {written}\n}}) => any;\n}}", "x")
    assert found is not None
    assert found.tools[0].properties["a"]["description"] == "The key."


def test_a_long_default() -> None:
    def declared(blanks: int) -> str:
        return f"namespace functions {{ type f = (_: {{ a: string, // default: x{' ' * blanks}y\n }}) => any; }}"

    assert grows_linearly(lambda text: namespace(text, "x"), declared, 500)
    found = namespace(declared(2), "x")
    assert found is not None
    assert found.tools[0].properties["a"]["default"] == "x  y"


def test_other_texts() -> None:
    assert namespace("Use the namespace functions.", "x") is None
    for text in (
        "namespace functions {",
        "namespace functions { type f }",
        "namespace functions { type f = (_: { a: }) => any; }",
        "namespace functions { type f = (_: " + "{ a: " * 100,
        "namespace functions { type f = (_: what) => any; }",
    ):
        with pytest.raises(DataError, match=r"x: expected .* in the namespace of functions"):
            namespace(text, "x")


@pytest.mark.fuzz
@given(st.lists(st.sampled_from(PROMPT.split(" ") + list("{}()[]|:;,?<>\"'=\n")), max_size=40).map(" ".join))
def test_nothing_else_is_raised(text: str) -> None:
    with contextlib.suppress(DataError):
        namespace(f"namespace functions {{\n{text}", "x")
