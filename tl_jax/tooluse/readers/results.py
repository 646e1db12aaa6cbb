"""Results of calls without what templates and data sets wrap them in."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.readers.fields import plain
from tl_jax.tooluse.readers.result_marks import MARKS, PLAIN, labelled, marked, value_of, whole
from tl_jax.tooluse.schema import Message
from tl_jax.tooluse.text.structure import Code
from tl_jax.tooluse.text.turn_end import between_turns, without_turn_end


class Called:
    """The names and ids of the calls that wait for results, with which each result is compared.

    Calls of messages right after one another wait together, until there are further calls (see `pairing.pairs`).

    Example:
        >>> from tl_jax.tooluse.schema import Call
        >>> called = Called()
        >>> called.note(Message("assistant", "", (Call("f", id="1"),)))
        >>> "f" in called, ["f"] in called, called.ids, len(called)
        (True, False, {'1'}, 1)
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._calls = 0
        self.ids: set[str] = set()
        self._over = False

    def note(self, message: Message) -> None:
        """One more message of the conversation, or more calls of the last one."""
        if message.role != "assistant":
            self._over = True
        elif message.tool_calls:
            if self._over:
                self._names, self.ids, self._calls, self._over = set(), set(), 0, False
            self._calls += len(message.tool_calls)
            self._names.update(call.name for call in message.tool_calls)
            self.ids.update(call.id for call in message.tool_calls if call.id is not None)

    def __contains__(self, name: object) -> bool:
        """Whether it is the name of a tool that was called."""
        return isinstance(name, str) and name in self._names

    def __len__(self) -> int:
        """How many calls."""
        return self._calls

    def copy(self) -> Called:
        """The same calls, to note further ones."""
        other = Called()
        other._names, other.ids = set(self._names), set(self.ids)
        other._calls, other._over = self._calls, self._over
        return other


def results(text: str, called: Called, labels: bool = True) -> list[Message]:
    """The results in a text, each between its marks; a text without marks, or with words beside them, is one result.

    A result that is an object of a tool's name and what it said is unwrapped, if that tool was called and nothing else
    stands beside.

    Args:
        called: the calls that wait for a result.
        labels: a label before it may be the format's, and not the tool's own word.
    """
    if found := whole(text, MARKS, len(called)) or _labelled(text, called, labels):
        return [one for item in found for one in known(item, called)]
    said = without_turn_end(text)
    found = known(Message("tool", said), called)
    return found if found[0].name else [Message("tool", text)]


def _labelled(text: str, called: Called, labels: bool) -> list[Message]:
    """The result after a label; one that says the call's id has to say that of a call, if these have ids."""
    found = labelled(text, len(called))
    known_as = found[0].call_id if found else None
    return found if known_as in called.ids or (labels and (known_as is None or not called.ids)) else []


def results_of_user(text: str, called: Called, follows: bool) -> list[Message]:
    """The results in a user's words, before a message with those beside them; nothing where there are no results.

    Args:
        follows: calls or results stand right before. Then what a label or a plain tag begins is one as well, and words
            may stand beside results.
    """
    waiting = len(called)
    found = whole(text, MARKS, waiting)
    if follows and not found:
        found = labelled(text, waiting) or whole(text, PLAIN, waiting) or _beside(text, waiting)
    return [one for item in found for one in (known(item, called) if item.role == "tool" else [item])]


def _beside(text: str, waiting: int) -> list[Message]:
    """The results in a text that begin a line, and a user's message with the words beside them."""
    code, position, seen = Code(text), 0, 0
    found, words = list[Message](), list[str]()
    for one in marked(text, MARKS):
        _, new_line, before = text[seen : one.start].rpartition("\n")
        begins_line = not before.strip() and (new_line or seen == position)
        seen = one.end
        if one.closed and begins_line and not code.holds(one.start):
            code.skip(one.start, one.end)
            found += one.results(waiting)
            words.append(text[position : one.start])
            position = one.end
    said = "\n".join(filter(None, map(between_turns, (*words, text[position:]))))
    return [*found, Message("user", said)] if found else []


def known(result: Message, called: Called) -> list[Message]:
    """A result without the object around it, or the results of the list that it is; named after a tool that was called.

    An id is kept: only the reader of the row knows whose it is.
    """
    found = _listed(result.content, called) or [unwrapped(result.content, called)]
    name = result.name if result.name in called else None
    return [replace(item, name=item.name or name, call_id=result.call_id, error=result.error) for item in found]


def unwrapped(text: str, called: Container[object]) -> Message:
    """The result that a text is, see `results`."""
    value = value_of(text) if "name" in text and "content" in text else None  # most results say neither
    if isinstance(value, dict) and value.keys() == {"name", "content"} and value["name"] in called:
        return Message("tool", plain(value["content"]), name=value["name"])
    return Message("tool", text)


def _listed(text: str, called: Container[object]) -> list[Message]:
    """The results in ToolACE's ``[{"name": ..., "results": ...}]``; none where a text is something else."""
    value = value_of(text) if "results" in text and text.lstrip().startswith(("[", "{")) else None
    values: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(i, dict) and i.keys() == {"name", "results"} and i["name"] in called for i in values):
        return []
    return [Message("tool", plain(item["results"]), name=item["name"]) for item in values]
