"""``paper_full``: all that schemas say stands in the prompt, and can be read from there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tooluse import strategies
from tl_jax.tooluse.json_schema import checked
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Message, Tool
from tl_jax.tooluse.text.docstring import description_lines, read_function, write_function
from tl_jax.tooluse.text.normal_schema import normal_schema
from tl_jax.tooluse.text.render import PaperFullRenderer, PaperRenderer

PLAN = Tool(
    "plan trip",
    "Plans a trip.\n\n  * by train\n",
    {
        "type": "object",
        "title": "PlanArguments",
        "$defs": {
            "Place": {
                "type": "object",
                "description": "A place.",
                "properties": {"lat": {"type": "number", "minimum": -90}, "name": {"type": "string", "title": "Name"}},
                "required": ["name"],
            },
            "Stop": {
                "type": "object",
                "properties": {"at": {"$ref": "#/$defs/Place"}, "next": {"$ref": "#/$defs/Stop"}},
            },
        },
        "properties": {
            "unit": {"type": "string", "enum": ["km", "mi"], "description": "Of\n  distances.", "title": "Unit"},
            "when": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": "now"},
            "to": {"$ref": "#/$defs/Place", "description": "Where to."},
            "stops": {"type": "array", "items": {"$ref": "#/$defs/Stop"}, "maxItems": 3},
            "tags": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
            "how": {"oneOf": [{"type": "string", "pattern": "^t, \\("}, {"type": "integer", "enum": [1, 2]}]},
            "my key": {"type": "object", "additionalProperties": {"type": "integer"}},
            "x": {"type": "any"},
        },
        "required": ["to", "unit"],
        "additionalProperties": False,
    },
)
PLANNED = '''Function:
def plan trip(to:dict, unit:str, when:str | None = 'now', stops:list = None, tags:list = None, \
how:str | int = None, my key:dict = None, x:any = None):
    """
    Plans a trip.

      * by train

    Args:
        to (object): Where to.
            name (string)
            lat (number, optional, minimum -90)
        unit (string, enum ["km", "mi"]): Of distances.
        when (string | null, optional, default "now")
        stops (array, optional, maxItems 3)
            - items (object, $id "#/$defs/Stop")
                at (object, optional): A place.
                    name (string)
                    lat (number, optional, minimum -90)
                next (object, optional, $ref "#/$defs/Stop")
        tags (array of array of string, optional)
        how (optional)
            - oneOf (string, pattern "^t, \\\\(")
            - oneOf (integer, enum [1, 2])
        "my key" (object, optional)
            - additionalProperties (integer)
        x (optional)
    """

'''


def test_all_of_a_schema_as_it_is_shown() -> None:
    assert write_function(PLAN) == PLANNED
    text = PaperFullRenderer().prompt((PLAN, Tool("stop")), [Message("user", "go")]).text
    assert text == f'System: {PLANNED}Function:\ndef stop():\n    """\n    """\n\n\nUser: go\nAssistant:'


def test_everything_else_is_the_papers() -> None:
    messages = [Message("system", "Be brief."), Message("user", "go")]
    for tools in ((), (Tool("stop", "Stops."),), (Tool("f", "F.", {"properties": {"a": {"type": "string"}}}),)):
        ours, papers = PaperFullRenderer().render(tools, messages), PaperRenderer().render(tools, messages)
        assert ours.text.replace("a (string, optional)", "a (string): ") == papers.text
        assert len(ours.untrusted) == len(papers.untrusted)


words = st.sampled_from(
    ["string", "integer", "number", "boolean", "array", "object", "null", "any", "dict", "optional"]
)
facts = st.fixed_dictionaries(
    {},
    optional={
        "type": st.one_of(words, st.lists(words, unique=True, max_size=3)),
        "description": strategies.texts,
        "title": strategies.texts,
        "enum": st.lists(strategies.scalars, max_size=3),
        "const": strategies.values,
        "default": strategies.values,
        "format": strategies.texts,
        "pattern": strategies.texts,
        "minimum": st.integers(-5, 5),
        "deprecated": st.booleans(),
        "optional": st.booleans(),
        "nullable": st.just(True),
        "x-any thing": strategies.values,
        "$ref": st.sampled_from(["#/$defs/A", "#/$defs/B", "#/$defs/gone", "#", "http://x/y", "#/properties/a~1b"]),
    },
)
keys = st.one_of(strategies.names, strategies.texts, st.sampled_from(["- items", "optional", "a/b", "$ref", "any"]))


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    alternatives = st.one_of(inner, st.booleans())
    more = st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(keys, inner, max_size=3),
            "required": st.lists(keys, max_size=2),
            "items": st.one_of(alternatives, st.lists(alternatives, max_size=2)),
            "anyOf": st.lists(alternatives, max_size=3),
            "oneOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2),
            "not": inner,
            "additionalProperties": alternatives,
            "patternProperties": st.dictionaries(keys, inner, max_size=2),
            "prefixItems": st.lists(inner, max_size=2),
        },
    )
    return st.builds(lambda one, other: {**one, **other}, facts, more)


schemas = st.recursive(facts, nested, max_leaves=8)


@st.composite
def tools(draw: st.DrawFn) -> Tool:
    properties = draw(st.dictionaries(keys, schemas, max_size=4))
    required = draw(st.lists(st.sampled_from([*properties, "nowhere"]), max_size=4))
    whole = draw(st.one_of(st.just({}), nested(schemas)))
    definitions = {"A": draw(schemas), "B": draw(schemas)}
    parameters = {**whole, "properties": properties, "required": required, "$defs": definitions}
    return Tool(draw(strategies.names), draw(strategies.texts), checked(parameters, "parameters"))


@settings(deadline=None)
@given(tools())
def test_what_is_written_is_read_back(tool: Tool) -> None:
    found = read_function(write_function(tool))
    assert found.name == tool.name
    assert found.description == "\n".join(description_lines(tool.description))
    assert json.dumps(found.parameters, sort_keys=True) == json.dumps(normal_schema(tool.parameters), sort_keys=True)


@pytest.mark.parametrize(
    "description",
    ["", "Args:", "One.\n\nArgs:\n    a (string)", 'One.\n"""', '\n"""\n\nFunction:\ndef g(x:str):\n', "a\n\n b \n"],
)
@pytest.mark.parametrize("properties", [{}, {"a": {"type": "string"}}])
def test_no_description_is_taken_for_arguments(description: str, properties: dict[str, Any]) -> None:
    tool = Tool("f", description, {"properties": properties})
    found = read_function(write_function(tool))
    assert found.parameters == {"type": "object", "properties": properties}
    assert found.description.split() == description.split()


@pytest.mark.parametrize("change", [("(to:", "(too:"), ("(string)", "(string"), ("Args:", "Arg:"), ("Function", "F")])
def test_another_text_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_function(PLANNED.replace(*change))


def test_references_are_resolved_once_they_are_many() -> None:
    """Each definition refers twice to the next one: 2^30 places, if all were written."""
    names = [f"D{index}" for index in range(30)]
    refers = [{"properties": {key: {"$ref": f"#/$defs/{name}"} for key in "ab"}} for name in names[1:]]
    definitions = dict(zip(names, [*refers, {"type": "string"}], strict=True))
    parameters = {"properties": {"x": {"$ref": "#/$defs/D0"}}, "$defs": definitions}
    tool = Tool("f", "", parameters)
    text = write_function(tool)
    assert len(text) < 100_000
    assert read_function(text).parameters == normal_schema(parameters)
    said, left = (set(re.findall(rf'\{word} "([^"]+)"', text)) for word in ("$id", "$ref"))
    assert said == left != set()


def test_the_schemas_meaning_is_kept() -> None:
    """By another implementation of JSON Schema, if there is one."""
    jsonschema = pytest.importorskip("jsonschema")
    shown = read_function(write_function(PLAN)).parameters
    good: dict[str, Any] = {"to": {"name": "Oslo"}, "unit": "km"}
    for arguments in (
        good,
        good | {"unit": "m"},
        good | {"to": {"lat": 1}},
        good | {"when": None},
        good | {"when": 1},
        good | {"stops": [{"at": {"name": 1}}]},
        good | {"stops": [{}] * 4},
        good | {"tags": [["a"]]},
        good | {"tags": ["a"]},
        good | {"how": 3},
        good | {"my key": {"a": "b"}},
        {"unit": "km"},
    ):
        results = [jsonschema.Draft202012Validator(one).is_valid(arguments) for one in (PLAN.parameters, shown)]
        assert results[0] == results[1], arguments


def test_the_shared_file(shared_data: Path) -> None:
    path = shared_data.parent / "cases" / "enum_nested.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    (one,) = read_trajectories(path)
    text = PaperFullRenderer().prompt(one.tools, one.messages).text
    for said in ('"celsius", "fahrenheit"', "lat (number)", "lon (number)", 'string | null, optional, default "now"'):
        assert said in text
    assert "ref (integer, optional)" in text
