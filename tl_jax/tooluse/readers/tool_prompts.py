"""Tools that a prompt lists, as structure, and what else the prompt says.

Known are lists and objects of JSON wherever they stand (Hermes and Qwen between ``<tools>`` tags, ToolACE, Llama 3,
Mistral, Jamba), the TypeScript of functionary and gpt-oss, and what `tools_in_words` reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from tl_jax.tooluse.notes import remark, without_numbers
from tl_jax.tooluse.readers import tools_in_words, typescript
from tl_jax.tooluse.readers.embedded import Embedded, embedded, is_tool, may_be_tool
from tl_jax.tooluse.readers.own_words import own_words
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.readers.tagged import listed
from tl_jax.tooluse.schema import DataError, Tool

UNREAD = "text that lists tools that cannot be read: it stays as it is"

_HANDED_OVER = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (r"\bgiven the following functions\b", r"\brespond with a json for a function call\b")
)
"""What a user's message has in which Llama 3's template hands over tools, all of it."""
_TAG, _TAG_END = re.compile(r"<tools>\s*(?=[\[{])"), "</tools>"
_BETWEEN = re.compile(r"(?:[\s,]|</?(?:tool|function)>)*")
_TOKEN = (
    r"<\|/?\w{1,40}\|>(?:tool_declare|available_tools)?|</?\w{0,20}(?:tool|function)\w{0,20}>|\[/?AVAILABLE_TOOLS\]"
)
_TOKEN_BEFORE = re.compile(rf"(?:{_TOKEN})\s{{0,9}}\Z", re.IGNORECASE)
_TOKENS_AFTER = re.compile(rf"(?:\s{{0,9}}(?:{_TOKEN}))+|\.", re.IGNORECASE)


class Listed(NamedTuple):
    """Tools, and where their list begins and ends in the text."""

    tools: tuple[Tool, ...]
    start: int
    end: int


def offered(text: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """The tools that a prompt lists, and its other words. A text that lists no tools stays as it is.

    What tags mark counts; without any, TypeScript; without that, JSON. Without tags, what cannot be read is counted and
    stays.

    Raises:
        DataError: something between ``<tools>`` tags is no tool.
    """
    found = _lists(text, where) if "{" in text or "<tools>" in text else []  # most texts, at once
    return (_joined(found), _own(_around(text, found), found)) if found else ((), text)


def handed_over(text: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """As `offered`, of a user's message: only as Llama 3's template writes it, and if the user says something as well.

    What comes after the tools is the user's, and stays as it is.

    Raises:
        DataError: as `offered` does.
    """
    found = _lists(text, where) if all(pattern.search(text) for pattern in _HANDED_OVER) else []
    *before, own = _around(text, found)
    if not found or not own.strip():
        return (), text
    return _joined(found), "\n".join((_own(before, found), own)).strip()


def stays(problem: DataError) -> None:
    """Says that a text lists tools that cannot be read, and stays as it is."""
    place = without_numbers(problem.field.partition(":")[0])
    remark(f"{place}: {UNREAD}", str(problem))


def _lists(text: str, where: str) -> list[Listed]:
    """Every list of tools of the kind that a text has, in their order."""
    where = f"{where}: tools"
    return _in_tags(text, where) or _in_words(text, where) or _in_namespaces(text, where) or _in_json(text, where)


def _in_words(text: str, where: str) -> list[Listed]:
    """The tools in tags of their own or under headings. Those under headings that cannot be read are counted."""
    found = [Listed(*item) for item in tools_in_words.in_tags(text, where)]
    if found or "Parameters: {" not in text:
        return found
    try:
        return [Listed(*item) for item in tools_in_words.under_headings(text, where)]
    except DataError as problem:
        stays(problem)
        return []


def _own(parts: Iterable[str], lists: Iterable[Listed]) -> str:
    """The user's own words in the parts of a text around its lists."""
    return own_words("\n".join(parts), {tool.name for item in lists for tool in item.tools})


def _joined(lists: Iterable[Listed]) -> tuple[Tool, ...]:
    """The tools of all lists; one that is said twice counts once."""
    tools = list[Tool]()
    for item in lists:
        tools += item.tools if not tools else [tool for tool in item.tools if tool not in tools]
    return tuple(tools)


def _around(text: str, lists: Iterable[Listed]) -> Iterator[str]:
    """What stands before, between and after the lists, without the tags and tokens around them."""
    position = 0
    for item in lists:
        end = item.start
        while token := _TOKEN_BEFORE.search(text, max(position, end - 99), end):
            end = token.start()
        yield text[position:end]
        after = _TOKENS_AFTER.match(text, item.end)
        position = after.end() if after else item.end
    yield text[position:]


def _in_tags(text: str, where: str) -> list[Listed]:
    """The lists of JSON between ``<tools>`` tags; one whose tag is left open ends with its JSON.

    Raises:
        DataError: something in one of them is no tool.
    """
    found, end, closing = list[Listed](), 0, 0
    openings = list(_TAG.finditer(text))
    for opening, following in zip_longest(openings, openings[1:]):
        if opening.start() < end:  # in the list before
            continue
        start = opening.end()
        if 0 <= closing < start:
            closing = text.find(_TAG_END, start)
        end = closing
        if closing < 0 or (following and following.start() < closing):
            run = next(_runs(text, start), None)
            end = run.end if run and run.start == start else len(text)
        tools = listed(text[start:end].strip(), where)
        end += len(_TAG_END) * text.startswith(_TAG_END, end)
        found.append(Listed(tools, opening.start(), end))
    return found


def _in_namespaces(text: str, where: str) -> list[Listed]:
    """The tools that TypeScript declares, up to where it cannot be read, which is counted."""
    found = list[Listed]()
    try:
        while declared := typescript.namespace(text, where, found[-1].end if found else 0):
            found.append(Listed(*declared))
    except DataError as problem:
        stays(problem)
    return [item for item in found if item.tools]


def _in_json(text: str, where: str) -> list[Listed]:
    """The tools in the text as JSON: lists, or objects one after another. Those that cannot be read are counted."""
    found = list[Listed]()
    for run in _runs(text):
        if any(map(is_tool, run.value)):
            try:
                found.append(Listed(listed([_typed(item) for item in run.value], where), run.start, run.end))
            except DataError as problem:
                stays(problem)
    return found


def _runs(text: str, start: int = 0) -> Iterator[Embedded]:
    """The lists of JSON in a text from a place on, and the objects that may be tools; those in a row as a list."""
    run: list[Embedded] = []
    for found in embedded(text, start):
        if run and not (may_be_tool(found.value) and _BETWEEN.fullmatch(text, run[-1].end, found.start)):
            yield Embedded([item.value for item in run], run[0].start, run[-1].end)
            run = []
        if isinstance(found.value, list):
            yield found
        elif may_be_tool(found.value):
            run.append(found)
    if run:
        yield Embedded([item.value for item in run], run[0].start, run[-1].end)


def _typed(tool: Any) -> Any:
    """A tool with Python's types in its schema as JSON's (``dict`` is ``object``)."""
    if isinstance(tool, dict) and isinstance(tool.get("parameters"), dict):
        return {**tool, "parameters": json_schema(tool["parameters"])}
    return tool
