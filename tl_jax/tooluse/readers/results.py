"""Results of calls without what templates and data sets wrap them in."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from tl_jax.tooluse.readers.fields import literal, plain
from tl_jax.tooluse.readers.tagged import between
from tl_jax.tooluse.schema import DataError, Message
from tl_jax.tooluse.text.turn_end import without_turn_end

_TAGS = ("tool_response", "tool_result", "function_response", "function_result", "function_results")
_HEADER = re.compile(r"\s*<\|start_header_id\|>(?:ipython|tool)<\|end_header_id\|>\s*")
"""What Llama 3's template writes before a result."""
_BEGIN, _END = "[TOOL_RESULTS]", "[/TOOL_RESULTS]"
"""What Mistral's templates write around one."""
_ID = re.compile(r"([^\[\]{}\s]{1,64})?\[TOOL_CONTENT\]")


class Called:
    """The names and ids of the calls that wait for results, with which each result is compared.

    Calls of messages right after one another wait together, until there are further calls (see `pairing.pairs`).

    Example:
        >>> from tl_jax.tooluse.schema import Call
        >>> called = Called()
        >>> called.note(Message("assistant", "", (Call("f", id="1"),)))
        >>> "f" in called, ["f"] in called, called.ids
        (True, False, {'1'})
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self.ids: set[str] = set()
        self._over = False

    def note(self, message: Message) -> None:
        """One more message of the conversation, or more calls of the last one."""
        if message.role != "assistant":
            self._over = True
        elif message.tool_calls:
            if self._over:
                self._names, self.ids, self._over = set(), set(), False
            self._names.update(call.name for call in message.tool_calls)
            self.ids.update(call.id for call in message.tool_calls if call.id is not None)

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
    said, begun = _without_turn(text)
    if texts := _tagged(said):
        return [unwrapped(item, called, listed_as) for item in texts]
    if found := _of_mistral(said) or _listed(said, called):
        return found
    result = unwrapped(said, called, listed_as)
    return [result if begun or result.name else Message("tool", text)]


def is_results(text: str) -> bool:
    """Whether a text is results as templates write them, and nothing else."""
    said, begun = _without_turn(text)
    return begun or bool(_tagged(said) or _of_mistral(said))


def unwrapped(text: str, called: Container[object], fields: tuple[str, str] = ("name", "content")) -> Message:
    """The result that a text is, see `results`."""
    name, content = fields
    value = _read(text) if name in text and content in text else None  # most results say neither
    if isinstance(value, dict) and value.keys() == {name, content} and value[name] in called:
        return Message("tool", plain(value[content]), name=value[name])
    return Message("tool", text)


def _without_turn(text: str) -> tuple[str, bool]:
    """A text without what Llama 3's template writes before a turn and templates write after one; and if it began so."""
    header = _HEADER.match(text)
    return without_turn_end(text[header.end() :] if header else text), header is not None


def _tagged(text: str) -> list[str]:
    """What stands between the tags that a text consists of; nothing where it says something else."""
    for tag in _TAGS:
        if f"<{tag}>" in text:
            texts, rest = between(text, tag)
            if rest.strip():
                return []
            return [one for inside in texts for one in _each(inside)] if tag == "function_results" else texts
    return []


def _each(text: str) -> list[str]:
    """The results in ``<result>`` tags inside of those around all, as DeepSeek V3.2 writes them; or the text."""
    texts, rest = between(text, "result") if text.lstrip().startswith("<result>") else ([], text)
    return [text] if rest.strip() else texts


def _of_mistral(text: str) -> list[Message]:
    """The results between Mistral's marks, with their ids."""
    before, *parts = text.split(_BEGIN)
    found = []
    for inside, closed, after in (part.partition(_END) for part in parts):
        if before.strip() or after.strip() or not closed:
            return []
        known_as, said = None, inside.strip()
        if begun := _ID.match(inside):
            known_as, said = begun[1], inside[begun.end() :].strip()
        value = _read(said) if known_as is None and "call_id" in said else None
        if isinstance(value, dict) and value.keys() == {"content", "call_id"}:
            known_as, said = str(value["call_id"]), plain(value["content"])
        found.append(Message("tool", said, call_id=known_as))
    return found


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
