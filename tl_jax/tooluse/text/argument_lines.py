"""A JSON schema as lines of text, as the paper's docstrings have them below ``Args:``, and read back from these.

A parameter is a line, and what it consists of are lines below it:

    place (object, optional, default {"lat": 0}): Where.
        lat (number, minimum -90, maximum 90): Degrees north.
        names (array of string | null, optional)
    when (optional)
        - anyOf (string, format "date")
        - anyOf (integer, enum [0, 1])

After the types come the other words of the schema, each with its value as JSON. ``- WORD`` is a schema that is no
property. What is not ``optional`` is required. Schemas are those of `normal_schema`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tl_jax.tooluse.json_schema import NAMED, SCHEMA, SCHEMAS
from tl_jax.tooluse.strict_json import DECODER
from tl_jax.tooluse.text.normal_schema import is_simple, plain_types

_INDENT = "    "
_WHOLE = "- parameters"
"""What stands for the whole schema, where it says more than its properties do."""
_OPTIONAL = "optional"
_PLAIN = re.compile(r"[\w$][\w$.-]*")
"""A word or name that is written without quotes."""
_TYPES = re.compile(r"[A-Za-z_]\w*(?: of [A-Za-z_]\w*)*(?: \| [A-Za-z_]\w*(?: of [A-Za-z_]\w*)*)*(?=[,)])")


def write_arguments(schema: Mapping[str, Any]) -> list[str]:
    """A line for each parameter and for what it consists of; none where there are no parameters.

    Args:
        schema: as `normal_schema` gives it.
    """
    whole = _taken_apart({word: value for word, value in schema.items() if value or word != "properties"})
    own = _line(_WHOLE, whole, False)
    lines = [own, *(_INDENT + line for line in whole.others)]
    return whole.properties if lines == [f"{_WHOLE} (object)"] else lines + whole.properties


def read_arguments(lines: Sequence[str]) -> dict[str, Any]:
    """The schema that `write_arguments` wrote.

    Raises:
        ValueError: something else did.
    """
    reader = _Reader(lines)
    own = reader.entry("").schema if lines and lines[0].startswith(f"{_WHOLE} (") else {"type": "object"}
    whole = _put_together({"properties": {}, **own}, reader.entries(""))
    if reader.next is not None:
        raise ValueError(f"not a parameter: {reader.next!r}")
    return whole


# ---------------------------------------------------------------- writing


class _Parts(NamedTuple):
    """A schema taken apart. ``facts`` are the words whose values are written as JSON, the lists are lines."""

    types: list[str]
    facts: Mapping[str, Any]
    description: str
    properties: list[str]
    others: list[str]


def _taken_apart(schema: Mapping[str, Any]) -> _Parts:
    facts, others = dict(schema), list[str]()
    description = facts.pop("description") if isinstance(facts.get("description"), str) else ""
    types = _take_types(facts)
    properties = _take_properties(facts)
    for word in tuple(facts):
        if lines := list(_schemas_in(word, facts[word])):
            others += lines
            del facts[word]
    return _Parts(types, facts, description, properties, others)


def _take_types(facts: dict[str, Any]) -> list[str]:
    """Takes the types away, and items of one plain type with them."""
    kinds, listed = plain_types(facts), ""
    if "array" in kinds and is_simple(facts.get("items")):
        listed = f" of {_of(facts.pop('items'))}"
    if kinds:
        del facts["type"]
    return [" | ".join(kind + listed if kind == "array" else kind for kind in kinds)] if kinds else []


def _of(items: Mapping[str, Any]) -> str:
    return f"array of {_of(items['items'])}" if "items" in items else str(items["type"])


def _take_properties(facts: dict[str, Any]) -> list[str]:
    """Takes properties away, and of ``required`` the names that are among them."""
    properties = facts.get("properties")
    if not isinstance(properties, dict) or not _are_schemas(properties.values()):
        return []
    del facts["properties"]
    required = facts["required"] if isinstance(facts.get("required"), list) else []
    if required:
        del facts["required"]
        facts |= {"required": left} if (left := [name for name in required if name not in properties]) else {}
    entries = (_entry(_quoted(name), spec, name not in required) for name, spec in properties.items())
    return [line for lines in entries for line in lines]


def _schemas_in(word: str, value: Any) -> Iterator[str]:
    """The lines of the schemas that a word holds; none where it holds none."""
    if word in NAMED and isinstance(value, dict) and _are_schemas(value.values()):
        for name, one in value.items():
            yield from _entry(f"- {word} {_dumped(name)}", one, False)
    elif word in SCHEMAS and isinstance(value, list) and _are_schemas(value):
        for one in value:
            yield from _entry(f"- {word}", one, False)
    elif word in SCHEMA and isinstance(value, dict):
        yield from _entry(f"- {word}", value, False)


def _entry(label: str, schema: Any, optional: bool) -> Iterator[str]:
    """The line of a schema, and those of what it consists of."""
    parts = _taken_apart(schema) if isinstance(schema, dict) else _Parts([_dumped(schema)], {}, "", [], [])
    yield _line(label, parts, optional)
    for line in (*parts.properties, *parts.others):
        yield _INDENT + line


def _line(label: str, parts: _Parts, optional: bool) -> str:
    facts = [f"{_quoted(word)} {_dumped(value)}" for word, value in parts.facts.items()]
    inside = ", ".join([*parts.types, *([_OPTIONAL] if optional else []), *facts]) or "any"
    return f"{label} ({inside})" + (f": {parts.description}" if parts.description else "")


def _are_schemas(values: Iterable[Any]) -> bool:
    """Whether there are values, and each is a schema."""
    found = list(values)
    return bool(found) and all(isinstance(one, (dict, bool)) for one in found)


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else _dumped(name)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- reading


class _Entry(NamedTuple):
    """A schema that is a property (``name``), or what a ``word`` holds, under a ``name`` or not."""

    word: str
    name: str
    schema: Any
    optional: bool


class _Reader:
    """Lines that are read one after another; ``next`` is the one that comes, None at the end."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = iter(lines)
        self.next = next(self._lines, None)

    def entries(self, indent: str) -> Iterator[_Entry]:
        """Those that begin with so many blanks, up to one that begins with fewer."""
        while self.next is not None and self.next.startswith(indent):
            yield self.entry(indent)

    def entry(self, indent: str) -> _Entry:
        """The next one, with all that belongs to it."""
        text = (self.next or "").removeprefix(indent)
        self.next = next(self._lines, None)
        word, name, position = _label(text)
        schema, optional, position = _inside(text, _after(" (", text, position))
        inner = self.entries(indent + _INDENT)
        if not isinstance(schema, dict):
            return _Entry(word, name, schema, optional)
        schema = _put_together(schema, inner)
        if position < len(text):
            schema["description"] = text[_after(": ", text, position) :]
        return _Entry(word, name, schema, optional)


def _put_together(schema: dict[str, Any], entries: Iterable[_Entry]) -> dict[str, Any]:
    """The schema with those that it consists of."""
    required = []
    for word, name, one, optional in entries:
        if not word:
            schema.setdefault("properties", {})[name] = one
            required += [] if optional else [name]
        elif word in NAMED:
            schema.setdefault(word, {})[name] = one
        elif word in SCHEMAS:
            schema.setdefault(word, []).append(one)
        else:
            schema[word] = one
    if required:
        schema["required"] = required + schema.get("required", [])
    return schema


def _label(text: str) -> tuple[str, str, int]:
    """Word and name that a line begins with, and where they end."""
    if not text.startswith("- "):
        name, position = _name(text, 0)
        return "", name, position
    word, position = _name(text, 2)
    name, position = _name(text, position + 1) if text.startswith(' "', position) else ("", position)
    return word, name, position


def _inside(text: str, position: int) -> tuple[Any, bool, int]:
    """The schema in brackets, whether it is optional, and where the brackets end."""
    schema: dict[str, Any] = {}
    optional = False
    if (types := _TYPES.match(text, position)) and types[0] != _OPTIONAL:
        position = types.end()
        if types[0] in ("true", "false"):
            optional = text.startswith(f", {_OPTIONAL})", position)
            return types[0] == "true", optional, text.index(")", position) + 1
        schema = _read_types(types[0]) if types[0] != "any" else {}
    while not text.startswith(")", position):
        word, position = _name(text, position + 2 if text.startswith(", ", position) else position)
        if word == _OPTIONAL and text[position : position + 1] in (",", ")"):
            optional = True
        else:
            schema[word], position = DECODER.raw_decode(text, _after(" ", text, position))
    return schema, optional, position + 1


def _read_types(text: str) -> dict[str, Any]:
    kinds, schema = [], dict[str, Any]()
    for part in text.split(" | "):
        kind, *items = part.split(" of ")
        kinds.append(kind)
        if items:
            schema["items"] = _read_types(" of ".join(items))
    return {"type": kinds if len(kinds) > 1 else kinds[0], **schema}


def _name(text: str, position: int) -> tuple[str, int]:
    """A word or name, in quotes or not, and where it ends."""
    if text.startswith('"', position):
        found, end = DECODER.raw_decode(text, position)
        return str(found), end
    if plain := _PLAIN.match(text, position):
        return plain[0], plain.end()
    raise ValueError(f"no name at {text[position:]!r}")


def _after(expected: str, text: str, position: int) -> int:
    if not text.startswith(expected, position):
        raise ValueError(f"expected {expected!r}, not {text[position:]!r}")
    return position + len(expected)
