"""One message in the shapes of chat APIs: OpenAI's, old and new, with calls flat (LangChain) or in ``function``.

Arguments, weights, reasoning and errors are known under every name that is in use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import ARGUMENTS, call_arguments, identity, literal
from tl_jax.tooluse.readers.message_fields import (
    OF_A_CALL,
    OF_MCP,
    SMOLAGENTS,
    Content,
    failed,
    listed_calls,
    message_text,
    message_weight,
    of_an_answer,
    reasoning,
    role_named,
    unless_cut_off,
    value_of_mcp,
)
from tl_jax.tooluse.readers.rows import parse
from tl_jax.tooluse.readers.tool_lists import TEXT, TOOLS, tools
from tl_jax.tooluse.schema import Call, DataError, Message, Role, Tool, latitude
from tl_jax.tooluse.text.parse import parse_answer
from tl_jax.tooluse.text.structure import bound


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
    answers: dict[str, str] = field(default_factory=dict, init=False)
    """Where each id of a result stands for the first time: its call may be a text that is yet to be read."""
    _ids: set[str] = field(default_factory=set, init=False)

    def offer(self, fields: Fields, *names: str) -> None:
        """Takes the tools in these fields; several say the same, perhaps in other shapes.

        Raises:
            DataError: no tools, or others than were offered before.
        """
        for name in names:
            value = fields.take(name, default=None)
            if not value:
                continue
            found = tools(value, fields.taken, self.padded)
            if self.tools and found != self.tools:
                raise DataError("other tools are offered elsewhere in the row", field=fields.taken)
            self.tools = found

    def message(self, value: Any, where: str) -> Message:
        """A message in our shape.

        Raises:
            DataError: something in it cannot be read, or is not known.
        """
        with Fields(value, where) as fields:
            speaker = fields.take("role", kind=str)
            role = role_named(speaker)
            content = message_text(fields, result=role == "tool", padded=self.padded)
            text = content.text.removeprefix(SMOLAGENTS.get(speaker, ""))
            message = Message(cast(Role, role), text, error=content.failed, refusal=content.refusal)
            if fields or content.reasoning:  # most messages have no more than that
                message = self._with_rest(message, fields, content)
        message.check(where)
        return message

    def _with_rest(self, message: Message, fields: Fields, content: Content) -> Message:
        """The message with everything beside its role and text."""
        function_id, about = _function_id(fields), of_an_answer(fields)
        calls = tuple(self._calls(fields, function_id))
        name = fields.take("name", "tool_name", kind=str, default=None)
        call_id = identity(fields, "tool_call_id", "call_id")
        if call_id is None and message.role == "tool" and function_id in self._ids:
            call_id = function_id
        if call_id is not None:
            self.answers.setdefault(call_id, fields.taken)
        error = failed(fields) or message.error
        weight = message_weight(fields, message.role)
        of_mcp = fields.keep(*OF_MCP) if message.role == "tool" else {}
        if message.role == "system":
            self.offer(fields, *TOOLS)
        return replace(
            message,
            content=message.content or (error if isinstance(error, str) else value_of_mcp(of_mcp, self.padded)),
            tool_calls=calls,
            name=name if call_id is None else name or None,
            weight=unless_cut_off(weight, about) if message.role == "assistant" else weight,
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
            outer.expect("type", "function", "tool_call", "function_call", "tool_use", "custom")
            outer.take("index", kind=int, default=None)
            outer.keep(*OF_A_CALL)
            if "function" in outer:
                with Fields(outer.take("function"), f"{where}.function") as inner:
                    inner.take("index", kind=int, default=None)
                    inner.keep(*OF_A_CALL)
                    name, arguments = self._named(inner)
            elif "custom" in outer:
                with Fields(outer.take("custom"), f"{where}.custom") as inner:
                    name, arguments = inner.take("name", kind=str), {TEXT: inner.take("input", kind=str)}
            else:
                name, arguments = self._named(outer)
            free = latitude(outer, arguments)
        if known_as is not None:
            self._ids.add(known_as)
        return Call(name, arguments, id=known_as, **free)

    def _named(self, fields: Fields) -> tuple[str, dict[str, Any]]:
        name = fields.take("name", kind=str)
        tool = next((tool for tool in self.tools if tool.name == name), None)
        padded = self.padded or (None if self.own else False)
        return name, call_arguments(fields, tool, padded, *ARGUMENTS, read=arguments)


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
