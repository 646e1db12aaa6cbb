"""Strict reading of JSON objects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.schema import DataError, Tool, Trajectory

ROW = {
    "id": "x",
    "tools": [{"name": "f", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}],
    "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"q": "a"}}]},
    ],
}
"""A row with an object of every kind."""


def put(way: str, **fields: Any) -> Any:
    """The row with more fields in the object at ``way``, such as ``messages.0``."""

    def copy(value: Any, keys: list[str]) -> Any:
        if not keys:
            return {**value, **fields}
        key = int(keys[0]) if isinstance(value, list) else keys[0]
        changed = copy(value[key], keys[1:])
        return (
            [changed if i == key else item for i, item in enumerate(value)]
            if isinstance(value, list)
            else {**value, key: changed}
        )

    return copy(ROW, way.split(".") if way else [])


PLACES = {
    "": "",
    "tools.0": "tools[0].",
    "tools.0.parameters": "tools[0].parameters.",
    "tools.0.parameters.properties.q": "tools[0].parameters.properties.q.",
    "messages.0": "messages[0].",
    "messages.1.tool_calls.0": "messages[1].tool_calls[0].",
}


@pytest.mark.parametrize(("way", "where"), PLACES.items())
def test_an_unknown_field_is_named_wherever_it_stands(way: str, where: str) -> None:
    with pytest.raises(DataError) as caught:
        Trajectory.from_json(put(way, foo=1))
    assert str(caught.value).startswith(f"{where}foo: unknown field; ")
    Trajectory.from_json(put(way, foo=None))  # null is absent


@pytest.mark.parametrize("way", PLACES)
def test_an_unknown_field_is_dropped_and_counted(way: str) -> None:
    notes = Notes("drop")
    with notes.kept():
        found = [Trajectory.from_json(put(way, foo=1, bar=[2])) for _ in range(3)]
    assert found == [Trajectory.from_json(ROW)] * 3
    where = PLACES[way].replace("[0]", "[]").replace("[1]", "[]").replace(".q.", ".*.")
    assert notes.dropped == {f"{where}foo": 3, f"{where}bar": 3}
    assert notes.lines() == [f"unknown field dropped: {where}{name} (3 x)" for name in ("foo", "bar")]


def test_what_was_meant_is_suggested() -> None:
    with pytest.raises(DataError, match=r"messages\[1\].tool_calls\[0\].argumens: .*did you mean 'arguments'"):
        Trajectory.from_json(put("messages.1.tool_calls.0", argumens={}))
    with pytest.raises(DataError, match=r"properties.q.desciption: unknown field; did you mean 'description'"):
        Trajectory.from_json(put("tools.0.parameters.properties.q", desciption="The query."))


def test_names_that_mean_the_same() -> None:
    assert Fields({"args": 1}).take("arguments", "args") == 1
    assert Fields({"args": 1, "arguments": 1}).take("arguments", "args") == 1
    assert Fields({"args": None, "arguments": 1}, "c").at("args", "arguments") == "c.arguments"
    with pytest.raises(DataError, match=r"^c.args: says something else than 'arguments'"):
        Fields({"args": 1, "arguments": 2}, "c").take("arguments", "args")


def test_kinds_and_defaults() -> None:
    with pytest.raises(DataError, match=r"^a: is missing"):
        Fields({"a": None}).take("a")
    with pytest.raises(DataError, match=r"^a: must be text, not int"):
        Fields({"a": 1}).take("a", kind=str)
    with pytest.raises(DataError, match=r"^a: must be int, not bool"):
        Fields({"a": True}).take("a", kind=int)
    with pytest.raises(DataError, match=r"^row: must be a JSON object, not list"):
        Fields([])
    with pytest.raises(DataError, match=r"^a: must be 'x' or 'y', not 'z'"):
        Fields({"a": "z"}).expect("a", "x", "y")
    assert Fields({}).take("a", kind=int, default=None) is None
    assert Fields({"a": [5]}, "b").each("a") == [(5, "b.a[0]")]
    fields = Fields({"a": 1, "x-b": 2, "c": 3})
    assert fields.keep("a", prefix="x-") == {"a": 1, "x-b": 2}
    with pytest.raises(DataError, match=r"^c: unknown field"):
        fields.done()


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    "shape",
    [
        {"parameters": SCHEMA},
        {"input_schema": SCHEMA},
        {"inputSchema": SCHEMA},
        {"parameters": json.dumps(SCHEMA)},
        SCHEMA,
        {**SCHEMA, "type": "function"},
        {"parameters": {"type": "object", "properties": SCHEMA["properties"]}, "required": ["city"]},
        {"parameters": SCHEMA, "required": None},
        {"parameters": {"type": "object", "properties": {"city": {"type": "string", "required": True}}}},
        {"parameters": {"city": {"type": "string", "required": True}}},
    ],
    ids=str,
)
def test_every_shape_of_a_tool(shape: dict[str, Any]) -> None:
    assert Tool.from_json({"name": "f", **shape}) == Tool("f", "", SCHEMA)
    if shape.get("type") != "function":
        assert Tool.from_json({"type": "function", "function": {"name": "f", **shape}}) == Tool("f", "", SCHEMA)


def test_what_else_is_said_about_a_tool_is_kept() -> None:
    flat = Tool.from_json({"name": "f", "outputSchema": {"type": "string"}, "x-note": 1})
    assert flat.to_json() == {
        "name": "f",
        "description": "",
        "parameters": {},
        "outputSchema": {"type": "string"},
        "x-note": 1,
    }
    assert Tool.from_json(flat.to_json()) == flat
    assert Tool.from_json({"type": "function", "function": {"name": "f", "strict": True}}).extra == {"strict": True}
    with pytest.raises(DataError, match=r"^tool.required: says something else than 'required' in the schema"):
        Tool.from_json({"name": "f", "parameters": SCHEMA, "required": []})


def test_a_schema_may_use_the_words_of_json_schema_anywhere() -> None:
    schema = {
        "type": "object",
        "properties": {
            "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
            "place": {"$ref": "#/$defs/place"},
            "list": {"type": "array", "items": {"type": "integer", "minimum": 0, "x-unit": "m"}, "minItems": 1},
            "pair": {"prefixItems": [{"type": "string"}, True], "items": False},
        },
        "additionalProperties": False,
        "$defs": {"place": {"type": "object", "properties": {"title": {"type": "string"}}}},
    }
    assert Tool.from_json({"name": "f", "parameters": schema}).parameters == schema
    for way, word in (("when", "anyOf"), ("pair", "prefixItems")):
        schema["properties"][way][word][0]["foo"] = 1  # type: ignore[index]
        with pytest.raises(DataError, match=rf"^tool.parameters.properties.{way}.{word}\[0\].foo: unknown field"):
            Tool.from_json({"name": "f", "parameters": schema})
        del schema["properties"][way][word][0]["foo"]  # type: ignore[index]
    padded = {"type": "object", "properties": {"a": {"type": "string", "enum": None}, "b": None}}
    assert Tool.from_json({"name": "f", "parameters": padded}).properties == {"a": {"type": "string"}}


def test_a_tool_that_takes_no_parameters() -> None:
    for parameters in ({}, None, [], "", "{}"):
        assert Tool.from_json({"name": "f", "parameters": parameters}) == Tool("f")
    with pytest.raises(DataError, match=r"^tool.parameters: is not JSON: Expecting"):
        Tool.from_json({"name": "f", "parameters": "{city: string}"})
