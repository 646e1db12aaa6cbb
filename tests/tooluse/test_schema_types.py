"""Types and parameters of schemas, as the library jsonschema takes them."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tl_jax.tooluse.schema import Tool
from tl_jax.tooluse.schema_types import all_properties, all_required, json_types

ROOT = {
    "$defs": {
        "Point": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "Colour": {"enum": ["red", "blue"]},
        "Again": {"anyOf": [{"$ref": "#/$defs/Again"}, {"type": "integer"}]},
        "a/b": {"items": {"type": "string"}, "type": ["array", "null"]},
    }
}
SAMPLES = {"string": "red", "boolean": True, "number": 0.5, "array": [], "object": {}, "null": None}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": ["string", "null"]},
        {"$ref": "#/$defs/Point"},
        {"$ref": "#/$defs/Colour", "description": "What for."},
        {"$ref": "#/$defs/a~1b"},
        {"allOf": [{"$ref": "#/$defs/Point"}], "default": {}},
        {"allOf": [{"type": ["string", "null"]}, {"type": "string"}, {"minLength": 1}]},
        {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]},
        {"oneOf": [{"$ref": "#/$defs/Colour"}, {"type": "array"}]},
        {"enum": ["red", None]},
        {"const": True},
    ],
)
def test_the_types_are_those_that_are_valid(schema: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator({**ROOT, **schema})
    assert {*json_types(schema, ROOT)} == {kind for kind, value in SAMPLES.items() if validator.is_valid(value)}


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({}, ()),
        ({"$ref": "#/$defs/None"}, ()),
        ({"$ref": "https://example.org/point.json"}, ()),
        ({"anyOf": [{"type": "integer"}, {}]}, ()),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}}}, ("object",)),
        ({"properties": {}}, ("object",)),
        ({"items": {}}, ("array",)),
        ({"type": "any", "enum": [1]}, ("integer",)),
    ],
)
def test_what_is_not_said_plainly(schema: dict[str, Any], types: tuple[str, ...]) -> None:
    assert json_types(schema, ROOT) == types


@pytest.mark.parametrize(
    ("written", "types"),
    [
        ("INTEGER", ("integer",)),
        ("Boolean", ("boolean",)),
        ("List[int]", ("array",)),
        ("typing.List[typing.Dict[str, int]]", ("array",)),
        ("Dict[str, Union[int, None]]", ("object",)),
        ("Optional[int]", ("integer", "null")),
        ("Optional[List[float]]", ("array", "null")),
        ("Union[int, str]", ("integer", "string")),
        ("int | None", ("integer", "null")),
        ("int, optional", ("integer",)),
        ("number[]", ("array",)),
        ("array<string>", ("array",)),
        ("date", ("date",)),
        ("Optional[" * 50, ("Optional[" * 50,)),
    ],
)
def test_types_in_other_words(written: str, types: tuple[str, ...]) -> None:
    assert json_types({"type": written}, {}) == types


@pytest.mark.parametrize("parts", [[{"$ref": "#/$defs/Again"}] * 2, [{"allOf": [{"$ref": "#/$defs/Again"}]}]])
def test_what_refers_to_itself_comes_to_an_end(parts: list[dict[str, Any]]) -> None:
    many = {f"N{n}": {"anyOf": [{"$ref": f"#/$defs/N{n + 1}"}] * 2} for n in range(50)}
    root = {"$defs": {**ROOT["$defs"], **many, "N50": {"type": "array", "properties": {"z": {}}}}}
    assert json_types({"allOf": parts}, root) == ()
    assert json_types({"$ref": "#/$defs/N0"}, root) == ("array",)
    assert all_properties({**root, "$ref": "#/$defs/N0", "allOf": parts}) == {"z": {}}


def test_parameters_of_what_is_combined() -> None:
    """A tool's schema may consist of others; what one alternative requires need not be given."""
    base = {"properties": {"a": {"type": "string"}, "b": {"title": "Base"}}, "required": ["a"]}
    one, other = ({"properties": {name: {}}, "required": [name]} for name in "de")
    parameters = {
        "type": "object",
        "$defs": {"Base": base},
        "properties": {"b": {"type": "integer"}},
        "allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"c": {}}, "required": ["c", "a"]}],
        "anyOf": [one, other],
    }
    tool = Tool("f", "", parameters)
    assert tool.properties == {"b": {"type": "integer"}, "a": {"type": "string"}, "c": {}, "d": {}, "e": {}}
    assert tool.signature == ("a", "c", "b", "d", "e")
    assert all_required(parameters) == ("a", "c")


@pytest.mark.parametrize("word", ["allOf", "anyOf", "oneOf"])
def test_what_is_required_is_in_all_that_is_valid(word: str) -> None:
    parameters = {word: [{"required": ["a"]}, {"required": ["b"]}], "required": ["c"]}
    validator = jsonschema.Draft202012Validator(parameters)
    given = ["", "a", "b", "c", "ab", "ac", "bc", "abc"]
    valid = [{*names} for names in given if validator.is_valid(dict.fromkeys(names, 1))]
    assert {*all_required(parameters)} == set.intersection(*valid)
