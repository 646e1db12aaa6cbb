"""JSON values that stand inside of a text, and whether they look like tools or calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tl_jax.tooluse.json_schema import flat
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.fields import ARGUMENTS
from tl_jax.tooluse.readers.schemas import json_type
from tl_jax.tooluse.strict_json import DECODER, HalfCharacter

MIN_TRIED = 20_000
"""Characters of a text, however short it is, that may be read in vain."""
TRIED = 10
"""How often its length may be read in vain, so that a long text does not cost its square."""
HALF_CHARACTER = "JSON in a text stays text: it has half of a surrogate pair"

_SCHEMAS = ("parameters", "input_schema", "inputSchema")
_OPENING = re.compile(r"\[\s*\{(?=\s*[\"}])|\{(?=\s*[\"}])")
_COUNTED = 64
"""Characters before an error in which Python counts lines in the time in which it reads one."""


class Embedded(NamedTuple):
    """An object or a list that begins with one, and where it begins and ends in the text."""

    value: Any
    start: int
    end: int


def embedded(text: str, position: int = 0) -> Iterator[Embedded]:
    """The outermost objects and lists of objects in a text from a place on, in their order.

    Example:
        >>> [found.value for found in embedded('Say {"a": 1} or [{"b": {}}], not {c}.')]
        [{'a': 1}, [{'b': {}}]]
    """
    left = TRIED * max(len(text), MIN_TRIED)
    while left > 0 and (opening := _OPENING.search(text, position)):
        start, position = opening.span()
        try:
            value, position = DECODER.raw_decode(text, start)
        except HalfCharacter as error:
            position = error.end
            remark(HALF_CHARACTER)
        except json.JSONDecodeError as error:
            left -= error.pos - start + error.pos // _COUNTED
        except (ValueError, RecursionError):  # which do not say how far it was read
            left -= len(text) - start
        else:
            yield Embedded(value, start, position)


def is_tool(value: Any) -> bool:
    """Whether a value looks like a tool: it has a name and the schema of its parameters.

    Where the schema says nothing, or is parameters by name, only with a description.

    Example:
        >>> is_tool({"name": "f", "parameters": {"type": "object"}}), is_tool({"name": "f", "parameters": {"a": 1}})
        (True, False)
    """
    tool = _named(value)
    schema = next((tool[key] for key in _SCHEMAS if key in tool), None)
    if not isinstance(schema, dict):
        return False
    if isinstance(schema.get("properties"), dict) or _is_object(schema):
        return True
    return isinstance(tool.get("description"), str) and (not schema or _by_name(schema))


def may_be_tool(value: Any) -> bool:
    """Whether a value may be a tool among others, which need not have parameters."""
    tool = _named(value)
    said = [tool[key] for key in (*_SCHEMAS, *ARGUMENTS) if key in tool]
    return is_tool(value) or (bool(tool) and not any(said))


def called(value: Any) -> str | None:
    """The name in a value that looks like a call, with a name and arguments; None where it does not."""
    call = _named(value)
    return call["name"] if not is_tool(value) and any(key in call for key in ARGUMENTS) else None


def _named(value: Any) -> dict[str, Any]:
    """A tool or call, which may stand in ``function``; empty where a value is neither."""
    inner = value.get("function") if isinstance(value, dict) else None
    found = inner if isinstance(inner, dict) else value
    return found if isinstance(found, dict) and isinstance(found.get("name"), str) else {}


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return isinstance(kind, str) and json_type(kind).get("type") == "object"


def _by_name(parameters: dict[str, Any]) -> bool:
    """Whether these are parameters by name, each with its type or description."""
    return flat(parameters) and all(
        spec is None or spec.keys() & {"type", "description"} for spec in parameters.values()
    )
