"""Results of calls without what templates and data sets wrap them in."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Any

from tl_jax.tooluse.readers.fields import literal, plain
from tl_jax.tooluse.readers.tagged import between
from tl_jax.tooluse.schema import Call, DataError, Message

_TAGS = ("tool_response", "tool_result", "function_response", "function_result", "function_results")
_HEADER_BEFORE = re.compile(r"\s*<\|start_header_id\|>(?:ipython|tool)<\|end_header_id\|>\s*")
_HEADER = re.compile(rf"\A{_HEADER_BEFORE.pattern}|\s*<\|(?:eot_id|im_end)\|>\s*\Z")
"""What Llama 3's template writes around a result."""
_MISTRAL = re.compile(
    r"\s*\[TOOL_RESULTS\](?:([^\[\]{}\s]{1,64})?\[TOOL_CONTENT\])?\s*((?:(?!\[/?TOOL_RESULTS\]).)*?)\s*\[/TOOL_RESULTS\]\s*",
    re.DOTALL,
)
"""A result of Mistral's, perhaps with its id before it."""


class Called:
    """The names and ids of the calls of one turn, with which each of its results is compared.

    Example:
        >>> called = Called([Call("f", id="1")])
        >>> "f" in called, ["f"] in called, called.ids
        (True, False, {'1'})
    """

    def __init__(self, calls: Iterable[Call] = ()) -> None:
        self._names: set[str] = set()
        self.ids: set[str] = set()
        self.add(calls)

    def add(self, calls: Iterable[Call]) -> None:
        """More calls of the same turn."""
        for call in calls:
            self._names.add(call.name)
            if call.id is not None:
                self.ids.add(call.id)

    def __contains__(self, name: object) -> bool:
        """Whether it is the name of a tool that was called."""
        return isinstance(name, str) and name in self._names


def results(text: str, called: Container[object], listed_as: tuple[str, str] = ("name", "content")) -> list[Message]:
    """The results in a text, each between its tags; a text without tags, or with words beside them, is one result.

    A result that is an object of a tool's name and what it said is unwrapped, if that tool was called and nothing else
    stands beside.

    Args:
        called: the names of the calls that wait for a result.
        listed_as: what the object calls the name and what was said.
    """
    text = _HEADER.sub("", text)
    if texts := _tagged(text):
        return [unwrapped(item, called, listed_as) for item in texts]
    return _of_mistral(text) or _listed(text, called) or [unwrapped(text, called, listed_as)]


def is_results(text: str) -> bool:
    """Whether a text is results as templates write them, and nothing else."""
    return bool(_HEADER_BEFORE.match(text) or _tagged(text) or _of_mistral(text))


def unwrapped(text: str, called: Container[object], fields: tuple[str, str] = ("name", "content")) -> Message:
    """The result that a text is, see `results`."""
    name, content = fields
    value = _read(text) if name in text and content in text else None  # most results say neither
    if isinstance(value, dict) and value.keys() == {name, content} and value[name] in called:
        return Message("tool", plain(value[content]), name=value[name])
    return Message("tool", text)


def _tagged(text: str) -> list[str]:
    """What stands between the tags that a text consists of; nothing where it says something else."""
    for tag in _TAGS:
        if f"<{tag}>" in text:
            texts, rest = between(text, tag)
            return [] if rest.strip() else texts
    return []


def _of_mistral(text: str) -> list[Message]:
    """The results between Mistral's marks, with their ids."""
    found, position = [], 0
    while match := _MISTRAL.match(text, position):
        known_as, said = match.groups()
        value = _read(said) if known_as is None and "call_id" in said else None
        if isinstance(value, dict) and value.keys() == {"content", "call_id"}:
            known_as, said = str(value["call_id"]), plain(value["content"])
        found.append(Message("tool", said, call_id=known_as))
        position = match.end()
    return found if position == len(text) else []


def _listed(text: str, called: Container[object]) -> list[Message]:
    """The results in ToolACE's ``[{"name": ..., "results": ...}]``; none where a text is something else."""
    value = _read(text) if "results" in text and text.lstrip().startswith(("[", "{")) else None
    values: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(i, dict) and i.keys() == {"name", "results"} and i["name"] in called for i in values):
        return []
    return [Message("tool", plain(item["results"]), name=item["name"]) for item in values]


def _read(text: str) -> Any:
    """The value that a text is; None where it is no literal."""
    try:
        return literal(text, "")
    except DataError:
        return None
