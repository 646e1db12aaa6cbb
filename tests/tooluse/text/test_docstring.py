"""``paper_full``: all that schemas say stands in the prompt, and can be read from there."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

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


def test_it_is_read_back() -> None:
    assert read_function(PLANNED).parameters == normal_schema(PLAN.parameters)


def test_everything_else_is_the_papers() -> None:
    messages = [Message("system", "Be brief."), Message("user", "go")]
    for tools in ((), (Tool("stop", "Stops."),), (Tool("f", "F.", {"properties": {"a": {"type": "string"}}}),)):
        ours, papers = PaperFullRenderer().render(tools, messages), PaperRenderer().render(tools, messages)
        assert ours.text.replace("a (string, optional)", "a (string): ") == papers.text
        assert len(ours.untrusted) == len(papers.untrusted)


WORDS = ("string", "integer", "number", "boolean", "array", "object", "null", "any", "dict", "optional", "true")
KEYS = (
    "a",
    "b_c",
    "x y",
    "- items",
    "optional",
    "a/b",
    "$ref",
    "any",
    "名",
    'say "hi"',
    "",
    "\n",
    "parameters (object)",
)
REFERENCES = ("#/$defs/A", "#/$defs/B", "#/$defs/gone", "#", "http://x/y", "#/properties/a~1b", "#/properties/a/items")
VALUES = (None, True, 0, -1.5, 1e300, "", "x", "), (", [], [1, "a"], {}, {"type": "string"}, {"a": [None]})


class Drawn:
    """A random schema: everything that schemas may hold, hostile texts in it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, values: Sequence[Any]) -> Any:
        return self.random.choice(values)

    def some(self, values: Sequence[Any], most: int) -> list[Any]:
        return [self.one(values) for _ in range(self.random.randint(0, most))]

    def text(self) -> str:
        return "".join(self.some([*strategies.HOSTILE, "a b", "\n\n", "): ", '"""'], 3))

    def alternative(self, depth: int) -> Any:
        return self.one((True, False)) if self.random.random() < 0.1 else self.schema(depth)

    def simple(self) -> dict[str, Any]:
        return {"type": "array", "items": self.simple()} if self.random.random() < 0.4 else {"type": self.one(WORDS)}

    def schema(self, depth: int) -> dict[str, Any]:
        if self.random.random() < 0.15:
            return self.simple()
        facts: dict[str, Callable[[], Any]] = {
            "type": lambda: self.one((self.one(WORDS), list(dict.fromkeys(self.some(WORDS, 3))))),
            "description": self.text,
            "title": lambda: self.one((self.text(), *KEYS)),
            "enum": lambda: self.some(VALUES, 3),
            "const": lambda: self.one(VALUES),
            "default": lambda: self.one(VALUES),
            "pattern": self.text,
            "minimum": lambda: self.one((0, -3, 2.5)),
            "optional": lambda: self.one((True, False)),
            "nullable": lambda: True,
            "x-any thing": lambda: self.one(VALUES),
            "$ref": lambda: self.one(REFERENCES),
        }
        inner: dict[str, Callable[[], Any]] = {
            "properties": lambda: {key: self.schema(depth - 1) for key in self.some(KEYS, 3)},
            "required": lambda: self.some(KEYS, 2),
            "items": lambda: self.one((self.alternative(depth - 1), self.alternatives(depth), self.simple())),
            "anyOf": lambda: self.one((self.alternatives(depth), [self.simple() for _ in self.some(WORDS, 3)])),
            "oneOf": lambda: self.alternatives(depth),
            "allOf": lambda: self.alternatives(depth),
            "prefixItems": lambda: self.alternatives(depth),
            "not": lambda: self.schema(depth - 1),
            "additionalProperties": lambda: self.alternative(depth - 1),
            "patternProperties": lambda: {key: self.schema(depth - 1) for key in self.some(KEYS, 2)},
        }
        words = self.some([*facts, *(inner if depth else ())], 4)
        return {word: (facts | inner)[word]() for word in words}

    def alternatives(self, depth: int) -> list[Any]:
        return [self.alternative(depth - 1) for _ in range(self.random.randint(0, 2))]

    def tool(self) -> Tool:
        properties = {key: self.schema(3) for key in self.some(KEYS, 4)}
        required = self.some([*properties, "nowhere"], 4)
        definitions = {"A": self.schema(2), "B": self.schema(2)}
        parameters = {**self.schema(2), "properties": properties, "required": required, "$defs": definitions}
        return Tool(self.one([key for key in KEYS if "\n" not in key]), self.text(), checked(parameters, "parameters"))


@pytest.mark.parametrize(
    "seeds",
    [
        range(300),
        pytest.param(range(300, 4000), marks=pytest.mark.slow),
        pytest.param(range(4000, 20_000), marks=[pytest.mark.slow, pytest.mark.thorough]),
    ],
    ids=str,
)
def test_what_is_written_is_read_back(seeds: range) -> None:
    for seed in seeds:
        tool = Drawn(seed).tool()
        found = read_function(write_function(tool))
        assert found.name == tool.name, seed
        assert found.description == "\n".join(description_lines(tool.description)), seed
        shown, wanted = (json.dumps(one, sort_keys=True) for one in (found.parameters, normal_schema(tool.parameters)))
        assert shown == wanted, seed


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


def test_what_stands_beside_a_reference() -> None:
    """Notes count more, rules count as well."""
    definition = {"type": "string", "description": "An A.", "maxLength": 3}
    for beside, shown in (
        ({"description": "Mine.", "minLength": 1}, {**definition, "description": "Mine.", "minLength": 1}),
        ({"maxLength": 3, "allOf": [{"minLength": 1}]}, {**definition, "allOf": [{"minLength": 1}]}),
        ({"maxLength": 2}, {"maxLength": 2, "allOf": [definition]}),
    ):
        parameters = {"properties": {"a": {"$ref": "#/$defs/A", **beside}}, "$defs": {"A": definition}}
        assert normal_schema(parameters)["properties"]["a"] == shown


def test_lists_of_items_and_alternatives_of_one_type_each() -> None:
    number, text, null = ({"type": kind} for kind in ("number", "string", "null"))
    numbers = {"type": "array", "items": number}
    for schema, shown in (
        ({"items": [number, text], "additionalItems": False}, {"prefixItems": [number, text], "items": False}),
        ({"anyOf": [numbers, null]}, {"type": ["array", "null"], "items": number}),
        ({"anyOf": [numbers, null], "prefixItems": [text]}, {"anyOf": [numbers, null], "prefixItems": [text]}),
        ({"anyOf": [numbers, {"type": "array"}]}, {"anyOf": [numbers, {"type": "array"}]}),
        ({"anyOf": [text, null], "type": "string"}, {"anyOf": [text, null], "type": "string"}),
        ({"type": ["string"]}, text),
    ):
        assert normal_schema({"properties": {"a": schema}})["properties"]["a"] == shown


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
