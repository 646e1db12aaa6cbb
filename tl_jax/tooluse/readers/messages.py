"""Messages and tools in the shapes of chat APIs and of the data sets that take after them.

OpenAI's messages, old and new, with their calls flat (LangChain) or in ``function``; arguments, weights, reasoning and
errors under every name that is in use. Formats that hold such messages differ in what stands around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from tl_jax.tooluse.fields import Fields, remark
from tl_jax.tooluse.pairing import in_order, named, pairs
from tl_jax.tooluse.readers.beside_messages import SETTINGS, answered, offer_noted, shown
from tl_jax.tooluse.readers.fields import ARGUMENTS, BY_POSITION, described, identity, literal
from tl_jax.tooluse.readers.message_fields import (
    Content,
    failed,
    listed_calls,
    message_text,
    message_weight,
    of_an_answer,
    reasoning,
    role_named,
)
from tl_jax.tooluse.readers.nulls import is_padded, without_nulls, without_padding
from tl_jax.tooluse.readers.rows import parse
from tl_jax.tooluse.readers.texts import structured
from tl_jax.tooluse.schema import Call, DataError, Message, Role, Tool, Trajectory, latitude
from tl_jax.tooluse.text.parse import parse_answer
from tl_jax.tooluse.text.structure import bound
from tl_jax.tooluse.text.syntaxes import attempted

MESSAGES = ("messages", "conversations", "conversation")
"""What the messages of a row are called."""
TOOLS = ("tools", "functions", "tool_defs", "available_tools")
"""What the tools of a row are called."""
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

    Calls, tools and results that texts hold become structure, except in rows that we wrote ourselves.

    Args:
        hermes: in those, too; and what an answer begins with in ``<think>`` tags becomes its reasoning.
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
    name = str(row.take("id") if identity is None else row.take("id", default=identity))
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
    meta = row.keep(*SETTINGS) | described(row) | (without_nulls(meta) if reader.padded else meta)
    if hermes or not reader.own:
        places = [f"{way}.content" for way in ways]
        places[:0] = ["system"] * (len(messages) - len(read))
        reader.tools, messages = structured(messages, reader.tools, places, apart=hermes)
    return reader, Trajectory(name, reader.tools, finished(messages, reader.tools), suite, meta)


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


def finished(messages: Iterable[Message], tools: Iterable[Tool] = ()) -> tuple[Message, ...]:
    """The messages with results that follow one another in the order of their calls, as their ids and names tell it.

    Results with ids are named after their calls; those that answer none are counted.

    Args:
        tools: on offer.
    """
    read = tuple(messages)
    paired = pairs(read)
    for _ in range(paired.guessed):
        remark(BY_POSITION)
    for index, message in enumerate(read):
        if message.role == "tool" and index not in paired.call_of:
            before = read[index - 1].content if index else ""
            if attempted(before, [tool.name for tool in tools]) is None:  # of which it was said that it stays text
                remark(OF_NO_CALL, before)
    return in_order(named(read, paired, by_id=True), paired)


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


def tools(value: Any, where: str) -> tuple[Tool, ...]:
    """Tools as a list, as one object, or as the JSON text of either.

    Raises:
        DataError: anything else, or something in it is no tool.
    """
    if isinstance(value, str):
        value = literal(value, where) if value.strip() else []
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("tools"), list):
        with Fields(value, where) as listed:  # what a server answers to MCP's tools/list
            value, where = listed.take("tools"), listed.taken
            listed.keep("nextCursor", "_meta")
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise DataError(f"must be a list of tools, not {type(value).__name__}", field=where)
    return tuple(_tool(item, f"{where}[{i}]") for i, item in enumerate(value) if item is not None)


def _tool(value: Any, where: str) -> Tool:
    """A tool that may be JSON text itself."""
    return Tool.from_json(literal(value, where) if isinstance(value, str) else value, where)


@dataclass
class MessageReader:
    """Reads the messages of one row, one after another.

    Attributes:
        tools: those offered so far; a system message may hold some as well.
        padded: a table wrote the row, see `nulls`.
        own: the row is one that we wrote: every null in it was meant.
    """

    tools: tuple[Tool, ...] = ()
    padded: bool = False
    own: bool = False
    _ids: set[str] = field(default_factory=set, init=False)

    def offer(self, fields: Fields, *names: str) -> None:
        """Takes the tools in one of these fields.

        Raises:
            DataError: no tools, or others than were offered before.
        """
        value = fields.take(*names, default=None)
        if not value:
            return
        where = fields.taken
        found = tools(without_nulls(value) if self.padded else value, where)
        if self.tools and found != self.tools:
            raise DataError("other tools are offered elsewhere in the row", field=where)
        self.tools = found

    def message(self, value: Any, where: str) -> Message:
        """A message in our shape.

        Raises:
            DataError: something in it cannot be read, or is not known.
        """
        with Fields(value, where) as fields:
            role = fields.take("role", kind=str)
            role = role_named(role)
            content = message_text(fields, any_value=role == "tool", padded=self.padded)
            message = Message(cast(Role, role), content.text, refusal=content.refusal)
            if fields or content.reasoning:  # most messages have no more than that
                message = self._with_rest(message, fields, content)
        message.check(where)
        return message

    def _with_rest(self, message: Message, fields: Fields, content: Content) -> Message:
        """The message with everything beside its role and text."""
        function_id = _function_id(fields)
        calls = tuple(self._calls(fields, function_id))
        name = fields.take("name", "tool_name", kind=str, default=None)
        call_id = identity(fields, "tool_call_id", "call_id")
        if call_id is None and message.role == "tool" and function_id in self._ids:
            call_id = function_id
        if call_id is not None and call_id not in self._ids:
            raise DataError(f"{call_id!r} is the id of no earlier call", field=fields.taken)
        error = failed(fields)
        if message.role == "system":
            self.offer(fields, *TOOLS)
        return replace(
            message,
            content=message.content or (error if isinstance(error, str) else ""),
            tool_calls=calls,
            name=name if call_id is None else name or None,
            weight=message_weight(fields, message.role),
            call_id=call_id,
            error=bool(error),
            reasoning=reasoning(fields, content),
            refusal=fields.take("refusal", kind=str, default="") or message.refusal,
        )

    def _calls(self, fields: Fields, known_as: str | None) -> Iterable[Call]:
        """The calls of a message.

        Args:
            known_as: the id of the one in ``function_call``.
        """
        where = fields.at("tool_calls")
        found = [self.call(call, f"{where}[{i}]") for i, call in enumerate(listed_calls(fields))]
        of_an_answer(fields)
        for other in (fields.take("function_call", default=None), fields.take("function_calls", default=None)):
            if other and found:
                raise DataError("stands beside tool_calls", field=fields.taken)
            if other:
                found = self._older(other, fields.taken, known_as)
        return found

    def _older(self, value: Any, where: str, known_as: str | None) -> list[Call]:
        """The call of OpenAI's older messages, or OLMo's calls, which are text as Python writes them."""
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            answer = parse_answer(value, self.tools)
            if answer.problem is not None:
                raise DataError(f"cannot be read as calls: {answer.problem}", field=where)
            return list(bound(zip(answer.calls, answer.positional, strict=True), self.tools))
        found = self.call(value, where)
        if found.id is None and known_as is not None:
            self._ids.add(known_as)
            found = replace(found, id=known_as)
        return [found]

    def call(self, value: Any, where: str) -> Call:
        """A call, flat or with its name and arguments in ``function``; or the JSON text of one.

        Raises:
            DataError: something in it cannot be read, or is not known.
        """
        with Fields(literal(value, where) if isinstance(value, str) else value, where) as outer:
            known_as = identity(outer, "id", "call_id")
            outer.expect("type", "function", "tool_call", "function_call", "tool_use")
            outer.take("index", kind=int, default=None)
            if "function" in outer:
                with Fields(outer.take("function"), f"{where}.function") as inner:
                    inner.take("index", kind=int, default=None)
                    name, arguments = self._named(inner)
            else:
                name, arguments = self._named(outer)
            free = latitude(outer, arguments)
        if known_as is not None:
            self._ids.add(known_as)
        return Call(name, arguments, id=known_as, **free)

    def _named(self, fields: Fields) -> tuple[str, dict[str, Any]]:
        name = fields.take("name", kind=str)
        written = fields.take(*ARGUMENTS, default={})
        if isinstance(written, str):
            return name, arguments(written, fields.taken)
        given = arguments(written, fields.taken)
        if self.own and not self.padded:
            return name, given
        tool = next((tool for tool in self.tools if tool.name == name), None)
        return name, without_padding(given, tool, self.padded)


def _function_id(fields: Fields) -> str | None:
    """Qwen-Agent's id of a call and of its result, which stands in ``extra`` beside what else it notes of a message."""
    if "extra" not in fields:
        return None
    with Fields(fields.take("extra"), fields.taken) as extra:
        extra.keep("model_service_info")
        return identity(extra, "function_id")


def arguments(value: Any, where: str) -> dict[str, Any]:
    """The arguments of a call: an object, or the JSON text of one, once or twice; an empty text or null is none.

    Raises:
        DataError: anything else.
    """
    for _ in range(2):  # some writers make text of what is text already
        if isinstance(value, str):
            try:
                value = parse(value) if value.strip() else None
            except DataError as error:
                raise DataError(error.problem, field=where) from None
            value = {} if value is None or value == "" else value
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where)
    return value
