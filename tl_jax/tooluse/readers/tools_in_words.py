"""Tools that a prompt describes otherwise than as JSON or TypeScript: Qwen3-Coder's tags, DeepSeek V3.1's headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tl_jax.tooluse.readers.fields import literal
from tl_jax.tooluse.schema import DataError, Tool
from tl_jax.tooluse.strict_json import DECODER

_TAG, _TAG_END = re.compile(r"<tools>\s*(?=<function>)"), "</tools>"
_ELEMENT = re.compile(r"<(\w+)>")
_TEXTS = ("name", "type", "description", "format", "title", "pattern")
"""Words of a schema that are text."""
_HEADING = re.compile(
    r"^### (?P<name>[^\n]+)\nDescription: (?P<description>(?:(?!\n### ).)*?)\n{1,3}Parameters: (?=\{)",
    re.MULTILINE | re.DOTALL,
)


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
        yield Described(tuple(_function(inside, where) for inside in functions), opened.start(), position)


def under_headings(text: str, where: str) -> Iterator[Described]:
    """The tools in DeepSeek V3.1's prompt: ``### name``, ``Description:``, and ``Parameters:`` with a schema.

    Raises:
        DataError: one cannot be read.
    """
    position = 0
    while found := _HEADING.search(text, position):
        try:
            schema, position = DECODER.raw_decode(text, found.end())
        except (ValueError, RecursionError) as error:
            raise DataError(f"the parameters of {found['name']!r} are not JSON: {error}", field=where) from None
        shown = {"name": found["name"].strip(), "description": found["description"].strip(), "parameters": schema}
        yield Described((Tool.from_json(shown, where),), found.start(), position)


def _elements(text: str) -> Iterator[tuple[str, str]]:
    """The names of the tags that a text has, and what stands in each; what stands in between is left out."""
    position, open = 0, set[str]()
    while tag := _ELEMENT.search(text, position):
        name, position = tag[1], tag.end()
        end = -1 if name in open else text.find(f"</{name}>", position)
        if end < 0:
            open.add(name)
            continue
        yield name, text[position:end].strip()
        position = end + len(name) + 3


def _function(text: str, where: str) -> Tool:
    words = dict(_elements(text))
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for word, inside in _elements(words.pop("parameters", "")):
        if word != "parameter":
            schema[word] = _value(word, inside)
            continue
        parameter = {key: _value(key, value) for key, value in _elements(inside)}
        if not isinstance(name := parameter.pop("name", None), str):
            raise DataError("a <parameter> has no <name>", field=where)
        schema["properties"][name] = parameter
    if "name" not in words:
        raise DataError("a <function> has no <name>", field=where)
    return Tool.from_json({**words, "parameters": schema}, where)


def _value(word: str, text: str) -> Any:
    """What a word of a schema says: text, or JSON where it is none."""
    if word in _TEXTS and not text.startswith("["):
        return text
    try:
        return literal(text, "")
    except DataError:
        return text
