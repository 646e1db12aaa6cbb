"""A JSON schema in one form: its references resolved, nothing said in two ways, nothing that says nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.json_schema import NAMED, SCHEMA, SCHEMAS
from tl_jax.tooluse.schema_types import referred

MAX_RESOLVED = 100
"""References that are resolved; after these only what was not said before is."""

_NOTHING = frozenset(("$schema", "$comment", "$vocabulary", "$defs", "definitions"))
"""Words that say nothing about values. Definitions stand where they are referred to."""
_NOTES = _NOTHING | {"description", "title", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"}
"""Words that allow and forbid nothing: what stands beside a reference counts more than what it refers to."""
_OF_ITEMS = frozenset(("type", "items", "prefixItems", "additionalItems", "unevaluatedItems"))
_WORD = re.compile(r"[A-Za-z_]\w*")
_RESERVED = frozenset(("any", "true", "false", "optional"))
"""Words that mean something else where types are written."""


def normal_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's parameters in the form that `docstring` writes and reads.

    * ``$ref`` is resolved within the schema. A description or default beside it counts more, a rule that differs counts
      as well (``allOf``). A reference to what is just being said,
      or that nothing in the schema answers, stays, with the ``type`` of what it refers to. What it refers to has the
      reference as its ``$id``.
    * Properties are in the order of a signature, required ones first. ``required`` lists them in that order.
    * White space in descriptions of properties is one blank; a ``title`` that repeats the property's name goes.
    * ``type: "any"`` goes, a list of one type is that type, and ``anyOf`` of plain types is a list of types. Draft 4's
      ``items: [...]`` is ``prefixItems``.
    * The whole is an ``object`` with ``properties``; its ``title``, ``$id`` and ``additionalProperties: false`` go.

    Example:
        >>> place = {"type": "string", "title": "Place"}
        >>> normal_schema({"properties": {"place": {"$ref": "#/$defs/P", "default": "Oslo"}}, "$defs": {"P": place}})
        {'type': 'object', 'properties': {'place': {'type': 'string', 'default': 'Oslo'}}}
    """
    resolver = _Resolver(parameters)
    whole = resolver.schema(parameters, ("#",), "")
    left = {word: item for word, item in whole.items() if word not in ("type", "title", "$id")}
    if left.get("additionalProperties") is False:
        del left["additionalProperties"]
    whole.clear()
    whole.update({"type": "object", "properties": {}, **left})
    resolver.name_the_first()
    return whole


def plain_types(schema: Any) -> list[str]:
    """The types that a schema names as words, and can be written as such; none where it names none."""
    kinds = schema.get("type")
    words = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    fits = all(isinstance(word, str) and _WORD.fullmatch(word) and word not in _RESERVED for word in words)
    return list(words) if fits and len(set(words)) == len(words) else []


def is_simple(schema: Any) -> bool:
    """Whether a schema says nothing but one type, or a list of such: ``string``, ``array of array of number``."""
    if not isinstance(schema, dict) or not isinstance(schema.get("type"), str) or not plain_types(schema):
        return False
    return schema.keys() == {"type"} or (
        schema["type"] == "array" and schema.keys() == {"type", "items"} and is_simple(schema["items"])
    )


class _Resolver:
    """Makes schemas normal that are parts of one."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._count = 0
        self._first: dict[str, dict[str, Any]] = {}
        self._left: dict[str, None] = {}

    def name_the_first(self) -> None:
        """Gives what is still referred to an ``$id``, where it is said first."""
        for reference in self._left:
            if reference in self._first:
                self._first[reference].setdefault("$id", reference)

    def alternative(self, value: Any, path: tuple[str, ...], name: str = "") -> Any:
        """As `schema`, where there may be ``true`` or ``false`` instead."""
        return self.schema(value, path, name) if isinstance(value, Mapping) else value

    def schema(self, value: Mapping[str, Any], path: tuple[str, ...], name: str) -> dict[str, Any]:
        """A schema that stands within those of the references in ``path``, as the property ``name``."""
        value, path = self._resolved(value, path)
        result: dict[str, Any] = {}
        for reference in path:
            self._first.setdefault(reference, result)
        for word, item in _with_prefix_items(value).items():
            if word not in _NOTHING:
                self._add(result, word, item, path, name)
        _merge(result)
        _order(result)
        return result

    def _add(self, result: dict[str, Any], word: str, item: Any, path: tuple[str, ...], name: str) -> None:
        """Adds what a word of a schema says."""
        if word == "description" and isinstance(item, str):
            item = " ".join(item.split())
            if not item:
                return
        elif word == "title" and isinstance(item, str) and _letters(item) == _letters(name):
            return
        elif word == "type":
            item = item[0] if isinstance(item, list) and len(item) == 1 else item
            if item == "any":
                return
        elif word in NAMED and isinstance(item, Mapping):
            item = {key: self.alternative(one, path, key) for key, one in item.items()}
        elif word in SCHEMAS:
            item = [self.alternative(one, path) for one in item] if isinstance(item, list) else item
        elif word in SCHEMA:
            item = self.alternative(item, path)
        result[word] = item

    def _resolved(self, value: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """The schema with what it refers to in it, and the path with these references."""
        while isinstance(reference := value.get("$ref"), str):
            target = referred(self._root, reference)
            if target is None:
                break
            said = reference in path or (self._count >= MAX_RESOLVED and reference in self._first)
            if said:
                self._left[reference] = None
                kind = {"type": target["type"]} if plain_types(target) else {}
                return {**kind, **value}, path
            beside = {word: item for word, item in value.items() if word != "$ref"}
            if any(word in target and word not in _NOTES and target[word] != beside[word] for word in beside):
                both = beside.get("allOf")  # neither counts more
                return {**beside, "allOf": [*(both if isinstance(both, list) else []), {"$ref": reference}]}, path
            self._count += 1
            path, value = (*path, reference), {**target, **beside}
        return value, path


def _with_prefix_items(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Draft 4's list of ``items``, and the items after these, by the words of draft 2020-12."""
    if not isinstance(schema.get("items"), list):
        return schema
    others = {word: item for word, item in schema.items() if word not in ("items", "additionalItems")}
    more = {"items": schema["additionalItems"]} if "additionalItems" in schema else {}
    return {**others, "prefixItems": schema["items"], **more}


def _merge(schema: dict[str, Any]) -> None:
    """Makes alternatives of one plain type each a list of types, where that says the same."""
    alternatives = schema.get("anyOf")
    if not isinstance(alternatives, list) or len(alternatives) < 2 or not _OF_ITEMS.isdisjoint(schema):
        return
    kinds = [one["type"] for one in alternatives if is_simple(one)]
    if len(kinds) == len(alternatives) == len(set(kinds)):
        del schema["anyOf"]
        schema["type"] = kinds
        for one in alternatives:
            if "items" in one:
                schema["items"] = one["items"]


def _order(schema: dict[str, Any]) -> None:
    """Properties and their names under ``required`` in the order of a signature."""
    required, properties = schema.get("required"), schema.get("properties")
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        return
    names = list(dict.fromkeys(required))
    if isinstance(properties, dict):
        first = [name for name in names if name in properties]
        schema["properties"] = {name: properties[name] for name in dict.fromkeys((*first, *properties))}
        names = [*first, *(name for name in names if name not in properties)]
    if names:
        schema["required"] = names
    else:
        del schema["required"]


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())
