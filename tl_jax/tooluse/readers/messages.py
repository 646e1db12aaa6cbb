"""Rows of messages and tools in the shapes of chat APIs and of the data sets that take after them.

Formats that hold such messages differ in what stands around them. One message: `message_reader`; tools: `tool_lists`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tl_jax.tooluse.fields import Fields, row_id
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.pairing import identified, in_order, named, pairs
from tl_jax.tooluse.readers.beside_messages import answered, offer_noted, shown
from tl_jax.tooluse.readers.fields import BY_POSITION, described, literal
from tl_jax.tooluse.readers.message_reader import MessageReader
from tl_jax.tooluse.readers.nulls import is_padded, without_nulls
from tl_jax.tooluse.readers.settings import settings
from tl_jax.tooluse.readers.texts import structured
from tl_jax.tooluse.readers.thoughts import apart
from tl_jax.tooluse.readers.tool_lists import TOOLS
from tl_jax.tooluse.schema import DataError, Message, Tool, Trajectory
from tl_jax.tooluse.text.syntaxes import attempted

MESSAGES = ("messages", "conversations", "conversation")
"""What the messages of a row are called."""
TURNS = ("messages", "conversations", "contents", "chat_history", "input", "output")
"""What they are called in other formats."""
OF_ANOTHER_FORMAT = (
    "holds messages as rows of another format than the first ones do, or other messages than the row's: write rows of "
    "each format to a file of their own, with one conversation each"
)
SEVERAL = "several results of one call, which APIs refuse; all are kept, in their order"
GIVEN_ID = "call without an id: it has that of its result now"
OF_NO_CALL = "result of no call: what stands before it may be a call in a syntax that is not known, and then is text"


def read_row(row: Fields, identity: str | None) -> Trajectory:
    """The trajectory that a row is; takes everything there is to it.

    Args:
        identity: what it is called if it has no ``id``; None: it has to have one.

    Raises:
        DataError: a message, call, tool or other field that cannot be read.
    """
    _, found = read_conversation(row, identity)
    return found


def read_conversation(row: Fields, identity: str | None, hermes: bool = False) -> tuple[MessageReader, Trajectory]:
    """As `read_row`, together with what read it, which reads the gold calls of cases as well.

    Calls, tools, results and thoughts that texts hold become structure, except in rows that we wrote ourselves.

    Args:
        hermes: in those, too.
    """
    at = row.at(*MESSAGES)
    values = row.take(*MESSAGES, default=None)
    if isinstance(values, str):
        values = literal(values, at)
    values, answer_at = answered(values, row)
    if not isinstance(values, list) or not values:
        raise DataError("must be a non-empty list of messages", field=at)
    reader = MessageReader(padded=is_padded(values), own=is_own(row))
    reader.offer(row, *TOOLS)
    name = row_id(row, identity)
    row.tell(OF_ANOTHER_FORMAT, *TURNS)
    system = row.take("system", "system_prompt", "system_message", kind=str, default="")
    system = shown(row, reader, system)
    ways = [f"{at}[{i}]" for i in range(len(values))]
    ways[-1] = answer_at or ways[-1]
    read = [reader.message(value, way) for value, way in zip(values, ways, strict=True)]
    messages: Sequence[Message] = with_system(read, system, at)
    suite = row.take("suite", kind=str, default="")
    notes = row.take("metadata", default={})
    meta = (notes if isinstance(notes, dict) else {"metadata": notes}) | row.take("meta", kind=dict, default={})
    if not reader.own:
        offer_noted(meta, reader)
    meta = settings(row) | described(row) | (without_nulls(meta) if reader.padded else meta)
    if hermes or not reader.own:
        places = [f"{way}.content" for way in ways]
        places[:0] = ["system"] * (len(messages) - len(read))
        reader.tools, messages = structured([*map(apart, messages)], reader.tools, places)
    return reader, Trajectory(name, reader.tools, finished(messages, reader.tools, reader.answers), suite, meta)


def is_own(row: Fields) -> bool:
    """Whether a row is one that we wrote: everything in it is as it was meant."""
    return "suite" in row and "meta" in row


def conversation(identity: Any, messages: Any, tools: Any = None, where: str = "messages") -> Trajectory:
    """The trajectory of messages and tools that a format holds in places of its own.

    Args:
        where: the field that the messages stand in, for errors.

    Raises:
        DataError: a message, call or tool that cannot be read.
    """
    try:
        return read_row(Fields({"messages": messages, "tools": tools}), str(identity))
    except DataError as error:
        inside = error.field.startswith("messages")
        place = where + error.field.removeprefix("messages") if inside else error.field
        raise DataError(error.problem, field=place) from None


def finished(
    messages: Iterable[Message], tools: Iterable[Tool] = (), places: Mapping[str, str] | None = None
) -> tuple[Message, ...]:
    """The messages with results that follow one another in the order of their calls, as their ids and names tell it.

    Results with ids are named after their calls; those that answer none, or a call that has one already, are counted.

    Args:
        tools: on offer.
        places: where each id stands in a result for the first time.

    Raises:
        DataError: a result has the id of no earlier call, and not every call has an id, or all wait for others.
    """
    read = _identified(tuple(messages), places or {})
    paired = pairs(read)
    for _ in range(paired.guessed):
        remark(BY_POSITION)
    answered = set[tuple[int, int]]()
    for index, message in enumerate(read):
        if message.role != "tool":
            continue
        if (call := paired.call_of.get(index)) is not None:
            if call in answered:
                remark(SEVERAL, read[call[0]].tool_calls[call[1]].name)
            answered.add(call)
        else:
            before = read[index - 1].content if index else ""
            if attempted(before, [tool.name for tool in tools]) is None:  # of which it was said that it stays text
                remark(OF_NO_CALL, before)
    return in_order(named(read, paired, by_id=True), paired)


def _identified(messages: Sequence[Message], places: Mapping[str, str]) -> Sequence[Message]:
    """The messages with calls that have no id under that of their results, which is counted.

    Raises:
        DataError: an id is that of no earlier call.
    """
    found, unknown = identified(messages)
    if unknown:
        raise DataError(f"{unknown[0]!r} is the id of no earlier call", field=places.get(unknown[0], "messages"))
    if found is not messages:
        remark(GIVEN_ID)
    return found


def with_system(messages: list[Message], system: str, where: str) -> list[Message]:
    """The messages, and before them the system text that stands beside them.

    Raises:
        DataError: the messages begin with another one.
    """
    if not system.strip():
        return messages
    if messages and messages[0].role == "system":
        if messages[0].content != system:
            raise DataError("is a system message, and the row has another system text", field=f"{where}[0]")
        return messages
    return [Message("system", system), *messages]
