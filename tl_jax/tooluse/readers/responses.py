"""OpenAI's Responses API: ``input`` (and ``output``) of items: messages, reasoning, calls and what they returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tl_jax.tooluse.fields import Fields, left_out
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, identity, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import ENCRYPTED, as_lines, is_parts, message_weight, unless_cut_off
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.settings import OF_RESPONSES, fitting
from tl_jax.tooluse.readers.tool_lists import RUN_BY_VENDOR, TEXT, tools
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_CALLS = ("function_call", "custom_tool_call", "mcp_call")
_RESULTS = ("function_call_output", "custom_tool_call_output")
_ITEMS = ("message", *_CALLS, *_RESULTS, "reasoning", "mcp_list_tools")
_RUN_BY_OPENAI = (
    *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "computer_call"),
    *("mcp_approval_request", "mcp_approval_response", "tool_search_call", "tool_search_output"),
)
"""Items of tools that OpenAI runs itself, whose results stand nowhere."""
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row: what went in, then what came out."""
    with Fields(row) as fields:
        offered = fields.take("tools", default=[])
        instructions = fields.take("instructions", "system_prompt", default="")
        system = instructions if isinstance(instructions, str) else ""
        items = [] if isinstance(instructions, str) else _items(instructions, "instructions")
        where = fields.at("input", "messages")
        items += _items(fields.take("input", "messages", default=[]), where, "user")
        items += _items(fields.take("output", default=[]), "output", "assistant")
        beside = around(fields, place.name, "responses", *fitting(fields, OF_RESPONSES))
    padded = is_padded([value for value, _ in items])
    offered = _with_servers(tools(offered, "tools", padded), items, padded)
    dialogue = _dialogue(items, offered, padded)
    dialogue.ended(beside.meta)
    return [dialogue.trajectory(beside, offered, _instructed(dialogue, system), where)]


def _items(value: Any, name: str, role: str = "") -> list[tuple[Any, str]]:
    """The items in a field, of which each says where it stands; a text is one message of this role."""
    if isinstance(value, str) and role:
        return [({"role": role, "content": value}, name)]
    if not isinstance(value, list):
        raise DataError(f"must be text or a list of items, not {type(value).__name__}", field=name)
    return [(item, f"{name}[{i}]") for i, item in enumerate(value)]


def _with_servers(offered: tuple[Tool, ...], items: Iterable[tuple[Any, str]], padded: bool) -> tuple[Tool, ...]:
    """The tools of a row and those that MCP servers list, perhaps several times.

    Raises:
        DataError: a tool of a server's has the name of another one.
    """
    found, added = by_name(offered), list[Tool]()
    for value, where in items:
        if isinstance(value, dict) and value.get("type") == "mcp_list_tools":
            with Fields(value, where) as item:
                item.keep("type", "id", "server_label", "error")
                for tool in tools(item.take("tools", default=[]), f"{where}.tools", padded):
                    if tool.name not in found:
                        added.append(tool)
                    if found.setdefault(tool.name, tool) != tool:
                        raise DataError(f"{tool.name!r} is another tool elsewhere in the row", field=f"{where}.tools")
    return (*offered, *added)


def _instructed(dialogue: Dialogue, system: str) -> str:
    """The system text that the instructions of a request are before the system message of its items.

    The API takes both at once. Most chat templates take one, so both become one, with an empty line between them.
    """
    first = dialogue.messages[0].content if dialogue.messages and dialogue.messages[0].role == "system" else ""
    if not first.strip() or not system.strip() or first == system:
        return system
    both = f"{system}\n\n{first}"
    dialogue.messages[0] = replace(dialogue.messages[0], content=both)
    return both


def _dialogue(items: Sequence[tuple[Any, str]], offered: Sequence[Tool], padded: bool) -> Dialogue:
    reader = _ItemReader(by_name(offered), padded)
    for value, where in items:
        reader.read(value, where)
    if reader.thoughts:
        reader.dialogue.add(Message("assistant", reasoning="\n".join(reader.thoughts)), items[-1][1])
    return reader.dialogue


@dataclass
class _ItemReader:
    """Reads items, one after another.

    Attributes:
        thoughts: of the turn that comes next.
    """

    offered: Mapping[str, Tool]
    padded: bool
    dialogue: Dialogue = field(default_factory=Dialogue)
    thoughts: list[str] = field(default_factory=list)

    def read(self, value: Any, where: str) -> None:
        with Fields(value, where) as item:
            kind = item.take("type", default="message")
            about = item.keep("status")
            if kind == "reasoning":
                self.thoughts += _reasoning(item)
            elif kind in _RESULTS:
                item.take("id", default=None)
                self._result(item.take("output", default=""), where, identity(item, "call_id"))
            elif kind in _CALLS:
                self._call(item, kind, where, unless_cut_off(None, about))
            elif kind == "message":
                self._say(_message(item, where, about), where)
            elif kind in _RUN_BY_OPENAI:
                item.keep(*value)
                left_out(where, f"an item of type {kind!r} {RUN_BY_VENDOR}")
            elif kind == "mcp_list_tools":  # see `_with_servers`
                item.keep(*value)
            else:
                raise DataError(f"an item of type {kind!r} cannot be read", field=where)

    def _say(self, message: Message, where: str) -> None:
        if message.role == "assistant" and self.thoughts:
            turn = AssistantTurn([message.content], self.thoughts, list(message.tool_calls), message.refusal)
            message, self.thoughts = turn.message(message.weight), []
        self.dialogue.join(message, where)

    def _call(self, item: Fields, kind: str, where: str, weight: float | None) -> None:
        """A call; one of an MCP server says its result as well."""
        of_the_item = identity(item, "id")
        known_as, name = of_the_item if kind == "mcp_call" else identity(item, "call_id"), item.take("name", kind=str)
        if kind == "custom_tool_call":
            given = {TEXT: item.take("input", kind=str)}
        else:
            given = call_arguments(item, self.offered.get(name), self.padded, "arguments")
        call = Call(name, given, id=known_as)
        self._say(Message("assistant", tool_calls=(call,), weight=weight), where)
        if kind == "mcp_call":
            item.keep("server_label", "approval_request_id")
            said, error = item.take("output", default=None), item.take("error", default=None)
            if said is not None or error is not None:
                self._result(error if said is None else said, where, call.id, error is not None)

    def _result(self, said: Any, where: str, known_as: str | None, error: bool = False) -> None:
        said = said if isinstance(said, str) or is_parts(said) else plain(said, self.padded)
        text, _ = _text(Fields({"output": said}, where), "output", as_lines)
        self.dialogue.result(text, f"{where}.call_id", known_as, error=error)


def _message(item: Fields, where: str, about: Mapping[str, Any]) -> Message:
    role = item.take("role", kind=str)
    item.keep("id", "phase")
    content, refusal = _text(item, "content")
    weight = message_weight(item, role)
    weight = unless_cut_off(weight, about) if role == "assistant" else weight
    if role not in _ROLES:
        raise DataError(f"unknown role {role!r}; expected one of {', '.join(_ROLES)}", field=f"{where}.role")
    message = Message(_ROLES[role], content, weight=weight, refusal=refusal)  # type: ignore[arg-type]
    message.check(where)
    return message


def _reasoning(item: Fields) -> list[str]:
    """The thoughts themselves if they are there, their summary otherwise."""
    item.take("id", default=None)
    if item.take("encrypted_content", default=None):
        remark(ENCRYPTED)
    texts: dict[str, list[str]] = {}
    for name in ("content", "summary"):
        for value, where in item.each(name):
            with Fields(value, where) as part:
                part.expect("type", "reasoning_text" if name == "content" else "summary_text")
                texts.setdefault(name, []).append(part.take("text", kind=str))
    return texts.get("content") or texts.get("summary") or []


def _text(item: Fields, name: str, together: Callable[[Sequence[str]], str] = "".join) -> tuple[str, str | None]:
    """The text in a field, whole or in parts, and the refusal among them."""
    where, value = item.at(name), item.take(name, default="")
    if isinstance(value, str):
        return value, None
    if not isinstance(value, list):
        raise DataError(f"must be text or a list of parts, not {type(value).__name__}", field=where)
    texts, refusal = [], None
    for index, entry in enumerate(value):
        with Fields(entry, f"{where}[{index}]") as part:
            kind = part.take("type", default="input_text")
            if kind == "refusal":
                refusal = part.take("refusal", kind=str)
            elif kind in ("input_text", "output_text", "text"):
                texts.append(part.take("text", kind=str))
                part.keep("annotations", "logprobs")
            else:
                raise DataError(f"a part of type {kind!r} cannot be read: only text", field=part.where)
    return together(texts), refusal


def _recognises(row: Mapping[str, Any]) -> bool:
    """Items under ``input`` or ``output`` of which one at least has a role or a type of this API; or its calls."""
    messages = row.get("messages")
    if isinstance(messages, list):
        kinds = [item.get("type") for item in messages if isinstance(item, dict) and "role" not in item]
        return any(kind in (*_CALLS, *_RESULTS) for kind in kinds)
    items = [item for name in ("input", "output") if isinstance(row.get(name), list) for item in row[name]]
    known = (
        item.get("type") in _ITEMS or item.get("role") in tuple(_ROLES) for item in items if isinstance(item, dict)
    )
    return "messages" not in row and any(known)


FORMAT = Format(
    name="responses",
    description="OpenAI's Responses API: `input` (and `output`) of items (`function_call`, `function_call_output`, "
    "`reasoning`, messages), `instructions`, `tools`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://platform.openai.com/docs/api-reference/responses",
)
