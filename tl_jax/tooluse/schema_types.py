"""What types and parameters a JSON schema admits, also where it refers to another, combines several, or names a type as
Google's API or Python does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from tl_jax.tooluse.json_schema import TYPES

TYPE_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("str", "string", "text"), "string"),
    **dict.fromkeys(("int", "integer", "long"), "integer"),
    **dict.fromkeys(("float", "double", "number"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("list", "array", "tuple", "set"), "array"),
    **dict.fromkeys(("dict", "object", "map", "hashmap"), "object"),
}
"""What data sets call JSON's types, in any case of letters."""
_WORDS = {**TYPE_WORDS, **dict.fromkeys(("null", "none", "nonetype"), "null")}
_NO_TYPE = frozenset(("any", "optional"))
_GENERIC = re.compile(r"([\w.]+)\s*[\[<(]([^\[\]<>()]*)[\])>]")
"""``List[int]``, with nothing of its kind inside."""
_LONGEST = 200
"""Characters of a type that are taken apart."""
_IMPLIED = {"properties": "object", "additionalProperties": "object", "items": "array", "prefixItems": "array"}
"""What a schema without a type is one of, by its words."""

Known: TypeAlias = dict[str, tuple[str, ...]]
"""The types of what was referred to already; those of what is just being asked for are unknown."""


def json_types(schema: Any, root: Mapping[str, Any], known: Known | None = None) -> tuple[str, ...]:
    """The types that a schema within ``root`` admits, as far as it says so plainly; none where it does not say.

    Words that stand for no type of JSON are left as they are.

    Example:
        >>> root = {"$defs": {"Point": {"type": "OBJECT"}}}
        >>> json_types({"$ref": "#/$defs/Point"}, root), json_types({"type": "Optional[List[int]]"}, root)
        (('object',), ('array', 'null'))
    """
    if not isinstance(schema, Mapping):
        return ()
    known = {} if known is None else known
    found = (way(schema, root, known) for way in _WAYS)
    return next((tuple(dict.fromkeys(kinds)) for kinds in found if kinds), ())


def referred(root: Mapping[str, Any], reference: str) -> Mapping[str, Any] | None:
    """The schema that a JSON pointer (RFC 6901) leads to; None where it leads nowhere."""
    found: Any = root
    start, *names = reference.split("/")
    if start != "#":
        return None
    for name in names:
        key = unquote(name).replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found if isinstance(found, Mapping) else None


def all_properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a tool, also those of what its schema refers to or combines.

    Example:
        >>> all_properties({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}, {"required": ["b"]}]})
        {'a': {}, 'b': {}}
    """
    own: Mapping[str, Any] = schema.get("properties") or {}
    if _COMBINED.isdisjoint(schema):
        return own
    found = dict(own)
    for part, _ in _parts(schema, schema, set()):
        found |= {name: spec for name, spec in (part.get("properties") or {}).items() if name not in found}
    return found


def all_required(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters that a call must give, whichever alternative it follows."""
    if _COMBINED.isdisjoint(schema):
        return tuple(schema.get("required") or ())
    parts = (part for part, always in _parts(schema, schema, set()) if always)
    return tuple(dict.fromkeys(name for part in parts for name in part.get("required") or ()))


_COMBINED = frozenset(("$ref", "allOf", "anyOf", "oneOf"))


def _parts(
    schema: Any, root: Mapping[str, Any], seen: set[str], always: bool = True
) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """A schema and those that it consists of, and whether each counts for every value; what is referred to once."""
    if not isinstance(schema, Mapping):
        return
    yield schema, always
    if isinstance(reference := schema.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        yield from _parts(referred(root, reference), root, seen, always)
    for word in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(word) or ():
            yield from _parts(part, root, seen, always and word == "allOf")


def _named(schema: Mapping[str, Any], root: Mapping[str, Any], known: Known) -> Iterable[str]:
    kind = schema.get("type")
    words = [kind] if isinstance(kind, str) else kind if isinstance(kind, list) else []
    return [one for word in words if isinstance(word, str) for one in _types(word)]


def _types(written: str) -> Iterable[str]:
    """The types that a text names; the text itself where it is a word of no type."""
    if written in _WORDS or len(written) > _LONGEST:
        return [_WORDS.get(written, written)]
    text, before = written, ""
    while text != before:
        text, before = _GENERIC.sub(_outermost, text), text
    words = [word.strip().rpartition(".")[2] for word in re.split("[|,]", text)]
    return [_WORDS.get(word.lower(), word) for word in words if word and word.lower() not in _NO_TYPE]


def _outermost(generic: re.Match[str]) -> str:
    """What is left of a type without its brackets."""
    word, inside = generic[1].rpartition(".")[2].lower(), generic[2]
    if word == "optional":
        return f"{inside}|null"
    return inside if word == "union" else generic[1] if inside.strip() else "array"  # TypeScript's number[]


def _alternatives(schema: Mapping[str, Any], root: Mapping[str, Any], known: Known) -> Iterable[str]:
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list) and schema[word]:
            found = [json_types(one, root, known) for one in schema[word]]
            return [kind for kinds in found for kind in kinds] if all(found) else ()
    return ()


def _referred(schema: Mapping[str, Any], root: Mapping[str, Any], known: Known) -> Iterable[str]:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return ()
    if reference not in known:
        known[reference] = ()
        known[reference] = json_types(referred(root, reference), root, known)
    return known[reference]


def _combined(schema: Mapping[str, Any], root: Mapping[str, Any], known: Known) -> Iterable[str]:
    """The types that all parts allow which name any."""
    parts = schema["allOf"] if isinstance(schema.get("allOf"), list) else []
    found = [kinds for kinds in (json_types(part, root, known) for part in parts) if kinds]
    return [kind for kind in found[0] if all(kind in kinds for kinds in found)] or found[0] if found else ()


def _of_values(schema: Mapping[str, Any], root: Mapping[str, Any], known: Known) -> Iterable[str]:
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return [TYPES.get(type(one), "object") for one in values] if isinstance(values, list) else ()


def _implied(schema: Mapping[str, Any], root: Mapping[str, Any], known: Known) -> Iterable[str]:
    return [kind for word, kind in _IMPLIED.items() if word in schema]


_WAYS: tuple[Callable[[Mapping[str, Any], Mapping[str, Any], Known], Iterable[str]], ...] = (
    _named,
    _alternatives,
    _referred,
    _combined,
    _of_values,
    _implied,
)
"""How a schema says what it admits; what is said first counts."""
