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
from tl_jax.tooluse.readers.fields import ARGUMENTS, BY_POSITION, described, identity, literal
from tl_jax.tooluse.readers.nulls import is_padded, without_nulls, without_padding
from tl_jax.tooluse.readers.rows import parse
from tl_jax.tooluse.readers.texts import structured
from tl_jax.tooluse.schema import Call, DataError, Message, Role, Tool, Trajectory, latitude, loss_weight

MESSAGES = ("messages", "conversations", "conversation")
"""What the messages of a row are called."""
TOOLS = ("tools", "functions", "tool_defs", "available_tools")
"""What the tools of a row are called."""
WEIGHTS = ("weight", "loss_weight", "loss", "train", "training", "mask", "masked")
"""What the weight of a message is called, see `message_weight`."""
REASONING = ("reasoning", "reasoning_content", "thinking")
"""What the thoughts before an answer are called."""

OF_NO_CALL = "result of no call: what stands before it may be a call in a syntax that is not known, and then is text"

_ROLES = {
    "developer": "system",
    **dict.fromkeys(("human",), "user"),
    **dict.fromkeys(("model", "gpt", "ai"), "assistant"),
    **dict.fromkeys(("function", "ipython", "environment", "observation", "tool_response"), "tool"),
}
"""What other APIs and data sets call our roles."""
_TEXT_PARTS = ("text", "input_text", "output_text")


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
    if not isinstance(values, list) or not values:
        raise DataError("must be a non-empty list of messages", field=at)
    reader = MessageReader(padded=is_padded(values), own=is_own(row))
    reader.offer(row, *TOOLS)
    name = str(row.take("id") if identity is None else row.take("id", default=identity))
    system = row.take("system", "system_prompt", kind=str, default="")
    read = [reader.message(value, f"{at}[{i}]") for i, value in enumerate(values)]
    messages: Sequence[Message] = with_system(read, system, at)
    suite = row.take("suite", kind=str, default="")
    notes = row.take("metadata", default={})
    meta = (notes if isinstance(notes, dict) else {"metadata": notes}) | row.take("meta", kind=dict, default={})
    meta = described(row) | (without_nulls(meta) if reader.padded else meta)
    if hermes or not reader.own:
        places = [f"{at}[{i}].content" for i in range(len(read))]
        places[:0] = ["system"] * (len(messages) - len(read))
        reader.tools, messages = structured(messages, reader.tools, places, apart=hermes)
    return reader, Trajectory(name, reader.tools, finished(messages), suite, meta)


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


def finished(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages with results that follow one another in the order of their calls, as their ids and names tell it.

    Results with ids are named after their calls; those that answer none are counted.
    """
    read = tuple(messages)
    paired = pairs(read)
    for _ in range(paired.guessed):
        remark(BY_POSITION)
    for index, message in enumerate(read):
        if message.role == "tool" and index not in paired.call_of:
            remark(OF_NO_CALL, read[index - 1].content if index else "")
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
            role = _ROLES.get(role, role)
            content, refusal = message_text(fields)
            message = Message(cast(Role, role), content, refusal=refusal)
            if fields:  # most messages have no more than that
                message = self._with_rest(message, fields)
        message.check(where)
        return message

    def _with_rest(self, message: Message, fields: Fields) -> Message:
        """The message with everything beside its role and text."""
        calls = tuple(self._calls(fields))
        name = fields.take("name", kind=str, default=None)
        call_id = identity(fields, "tool_call_id", "call_id")
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
            reasoning=fields.take(*REASONING, kind=str, default="") or None,
            refusal=fields.take("refusal", kind=str, default="") or message.refusal,
        )

    def _calls(self, fields: Fields) -> Iterable[Call]:
        calls = fields.each("tool_calls")
        older = fields.take("function_call", default=None)
        if older is not None:
            if calls:
                raise DataError("stands beside tool_calls", field=fields.taken)
            calls = [(older, fields.taken)]
        return [self.call(call, where) for call, where in calls]

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


def arguments(value: Any, where: str) -> dict[str, Any]:
    """The arguments of a call: an object, or the JSON text of one; an empty text is no arguments.

    Raises:
        DataError: anything else.
    """
    if isinstance(value, str):
        try:
            value = parse(value) if value.strip() else {}
        except DataError as error:
            raise DataError(error.problem, field=where) from None
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where)
    return value


def message_weight(fields: Fields, role: str = "assistant") -> float | None:
    """The weight of a message's loss, under whichever of its names; None where it says nothing.

    ``mask`` and ``masked`` mean, as in torchtune, that a message is left *out* of the loss. As a number they could mean
    either, as loss masks are 1 where a token counts, and are refused. Of other messages than the assistant's only the
    weight 0 is read: they are no targets anyway.

    Raises:
        DataError: no weight, or two that differ.
    """
    found: dict[str, float | None] = {}
    for name, value in fields.keep(*WEIGHTS).items():
        if name in ("mask", "masked"):
            if not isinstance(value, bool):
                raise DataError("must be true (no target) or false; write numbers as weight", field=fields.at(name))
            value = not value
        found[name] = loss_weight(float(value) if isinstance(value, bool) else value, fields.at(name))
    if len(set(found.values())) > 1:
        first, *others = found
        raise DataError(f"says something else than {first!r}, which means the same", field=fields.at(others[-1]))
    weight = next(iter(found.values()), None)
    return None if role != "assistant" and weight == 0 else weight


def failed(fields: Fields) -> bool | str:
    """Whether the environment says that a call failed, by any of the names for it; or the error, where that is text.

    Raises:
        DataError: something else than true and false; a ``status`` that is neither ``error`` nor ``success``.
    """
    flag = fields.take("is_error", "isError", kind=bool, default=False)
    error = fields.take("error", default=False)
    if not isinstance(error, (bool, str)):
        raise DataError(f"must be true, false or text, not {type(error).__name__}", field=fields.taken)
    status = fields.take("status", default="success")
    if status not in ("success", "error"):
        raise DataError(f"must be 'success' or 'error', not {status!r}", field=fields.taken)
    return error or flag or status == "error"


def message_text(fields: Fields) -> tuple[str, str | None]:
    """Takes the text of a message, joined of its parts, and the refusal among these.

    Raises:
        DataError: its content is something else, such as a picture.
    """
    content = fields.take("content", default="")
    if isinstance(content, str):
        return content, None
    where = fields.taken
    if not isinstance(content, list):
        raise DataError(f"must be text, not {type(content).__name__}", field=where)
    texts, refusal = [], None
    for index, value in enumerate(content):
        if isinstance(value, str):
            texts.append(value)
            continue
        with Fields(value, f"{where}[{index}]") as part:
            kind = part.take("type", default="text")
            if kind == "refusal":
                refusal = part.take("refusal", kind=str)
                continue
            if kind not in _TEXT_PARTS or not isinstance(text := part.take("text", default=None), str):
                raise DataError("only parts of text can be read", field=part.where)
            texts.append(text)
            part.take("cache_control", default=None)  # how long a server keeps the prompt
    return "".join(texts), refusal
