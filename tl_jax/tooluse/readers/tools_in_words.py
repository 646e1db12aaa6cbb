"""Tools that a prompt describes otherwise than as JSON or TypeScript: Qwen3-Coder's tags, DeepSeek V3.1's headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tl_jax.tooluse.readers.fields import literal
from tl_jax.tooluse.schema import DataError, Tool
from tl_jax.tooluse.strict_json import DECODER

_TAG, _TAG_END = re.compile(r"<tools>\s*(?=<function>\s*<name>)"), "</tools>"
_ELEMENT, _ELEMENT_END = re.compile(r"<(\w+)>"), re.compile(r"</(\w+)>")
_TEXTS = ("name", "type", "description", "format", "title", "pattern")
"""Words of a schema that are text."""
_VALUES = ("default", "const", "example")
"""Words of a schema that are of its type; templates write text without quotes."""
_LISTED = re.compile(r"\baccess to the following tools:\s*(?=### )")
_HEADING = re.compile(
    r"\s*### (?P<name>[\w.-]{1,64})\nDescription: "
    r"(?P<description>(?:(?!\n### |access to the following tools).)*?)\n{1,3}Parameters: (?=\{)",
    re.DOTALL,
)
"""A tool right after `_LISTED` or after another one: elsewhere, a heading is the user's own."""


class Described(NamedTuple):
    """Tools, and where their descriptions begin and end in the text."""

    tools: tuple[Tool, ...]
    start: int
    end: int


def in_tags(text: str, where: str) -> Iterator[Described]:
    """The tools in Qwen3-Coder's ``<tools>``, each in ``<function>`` with ``<name>``, ``<parameters>`` and the like.

    Raises:
        DataError: one cannot be read.
    """
    position = 0
    while opened := _TAG.search(text, position):
        end = text.find(_TAG_END, opened.end())
        if end < 0:
            raise DataError("<tools> is not closed", field=where)
        functions = [inside for name, inside in _elements(text[opened.end() : end]) if name == "function"]
        position = end + len(_TAG_END)
        if functions:
            yield Described(tuple(_function(inside, where) for inside in functions), opened.start(), position)


def under_headings(text: str, where: str) -> Iterator[Described]:
    """The tools that DeepSeek V3.1's prompt lists: ``### name``, ``Description:``, and ``Parameters:`` with a schema.

    Raises:
        DataError: one cannot be read.
    """
    position = 0
    while listed := _LISTED.search(text, position):
        position = listed.end()
        while found := _HEADING.match(text, position):
            try:
                schema, end = DECODER.raw_decode(text, found.end())
            except (ValueError, RecursionError) as error:
                raise DataError(f"the parameters of {found['name']!r} are not JSON: {error}", field=where) from None
            if schema and schema.get("type") != "object" and "properties" not in schema:
                break
            shown = {"name": found["name"], "description": found["description"].strip(), "parameters": schema}
            yield Described((Tool.from_json(shown, where),), position, end)
            position = end


def _elements(text: str) -> Iterator[tuple[str, str]]:
    """The names of the tags that a text has, and what stands in each; what stands in between is left out."""
    position, last = 0, {closing[1]: closing.start() for closing in _ELEMENT_END.finditer(text)}
    while tag := _ELEMENT.search(text, position):
        name, position = tag[1], tag.end()
        if last.get(name, -1) < position:  # it is not closed
            continue
        end = text.index(f"</{name}>", position)
        yield name, text[position:end].strip()
        position = end + len(name) + 3


def _function(text: str, where: str) -> Tool:
    words = dict(_elements(text))
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for word, inside in _elements(words.pop("parameters", "")):
        if word != "parameter":
            schema[word] = _value(word, inside)
            continue
        said = dict(_elements(inside))
        kind = said.get("type", "")
        parameter = {key: _value(key, value, kind) for key, value in said.items()}
        if not isinstance(name := parameter.pop("name", None), str):
            raise DataError("a <parameter> has no <name>", field=where)
        schema["properties"][name] = parameter
    if not words.get("name"):
        raise DataError("a <function> has no <name>", field=where)
    return Tool.from_json({**words, "parameters": schema}, where)


def _value(word: str, text: str, kind: str = "") -> Any:
    """What a word of a schema of this type says: text, or JSON where it is none."""
    if (word in _TEXTS and not text.startswith("[")) or (word in _VALUES and kind == "string"):
        return text
    try:
        return literal(text, "")
    except DataError:
        return text
