"""Vercel's AI SDK: messages for models (parts ``tool-call`` and ``tool-result``) and for pages (``parts`` in steps).

A message of a page holds whole turns: what the model said and called, what came back, and what it said then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tl_jax.tooluse.fields import Fields, left_out
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, identity, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import as_lines, message_weight
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import TOOLS, tools
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_ABOUT = (
    *("providerOptions", "providerMetadata", "callProviderMetadata", "resultProviderMetadata"),
    *("experimental_providerMetadata", "state", "step"),
)
_OF_AN_OUTPUT = {"type", "value", "reason", *_ABOUT}
_ABOUT_A_CALL = ("providerExecuted", "preliminary", "title", "dynamic", "toolMetadata", "rawInput", "approval")
_OF_A_PAGE = ("id", "createdAt", "metadata", "annotations", "revisionId")
_SCHEMAS = ("inputSchema", "parameters")
_OUTPUTS = ("text", "json", "error-text", "error-json", "content", "execution-denied")


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        system = fields.take("system", kind=str, default="")
        turns = fields.each("messages")
        padded = is_padded([value for value, _ in turns])
        offered = tools(fields.take(*TOOLS, default=[]), fields.taken, padded)
        beside = around(fields, place.name, "ai_sdk", "toolChoice", "maxSteps", "maxOutputTokens", "providerOptions")
    reader = _Turns(by_name(offered), padded)
    for value, where in turns:
        reader.read(value, where)
    return [reader.dialogue.trajectory(beside, offered, system, "messages")]


def _by_name(value: Any) -> bool:
    """Whether these are tools by name, each with a schema or a description."""
    items = [tool for tool in value.values() if tool is not None] if isinstance(value, dict) else []
    about = {"description", *_SCHEMAS}
    return bool(items) and all(isinstance(tool, dict) and "name" not in tool and tool.keys() & about for tool in items)


@dataclass
class _Turns:
    """Reads messages, one after another."""

    offered: Mapping[str, Tool]
    padded: bool
    dialogue: Dialogue = field(default_factory=Dialogue)

    def read(self, value: Any, where: str) -> None:
        with Fields(value, where) as fields:
            role = fields.take("role", kind=str)
            if role not in ("system", "user", "assistant", "tool"):
                raise DataError(f"unknown role {role!r}", field=f"{where}.role")
            weight = message_weight(fields, role)
            fields.keep(*_OF_A_PAGE, *_ABOUT)
            parts = _parts(fields)
        step, begun = _Step(self.offered, self.padded), False
        for part, at in parts:
            with Fields({"type": "text", "text": part} if isinstance(part, str) else part, at) as inside:
                kind = inside.take("type", kind=str)
                if step.ends_before(kind):
                    self._add(step, role, where, weight)
                    step, begun = _Step(self.offered, self.padded), True
                step.take(kind, inside)
                inside.keep(*_ABOUT)
        if step.turn.says_something or step.results or not begun:
            self._add(step, role, where, weight)

    def _add(self, step: _Step, role: str, where: str, weight: float | None) -> None:
        """What was said in a step, and the results in it."""
        turn = step.turn
        if role == "assistant" and (turn.says_something or not step.results):
            self.dialogue.add(turn.message(weight), where)
        elif role in ("system", "user"):
            message = Message("system" if role == "system" else "user", "".join(turn.texts), tuple(turn.calls))
            self.dialogue.add(message, where)
        elif role == "tool" and turn.says_something:
            raise DataError("only results can be read in a message of 'tool'", field=where)
        for result in step.results:
            self.dialogue.result(*result)


def _parts(fields: Fields) -> list[tuple[Any, str]]:
    """The parts of a message. Pages say a text beside its parts once more, and older ones their calls."""
    where, content = fields.at("content"), fields.take("content", default="")
    parts = fields.each("parts")
    calls = [({"type": "tool-invocation", "toolInvocation": call}, at) for call, at in fields.each("toolInvocations")]
    thought = fields.take("reasoning", kind=str, default="")
    if isinstance(content, list) and not parts:
        parts, content = [(part, f"{where}[{i}]") for i, part in enumerate(content)], ""
    if not isinstance(content, str):
        raise DataError(f"must be text or a list of parts, not {type(content).__name__}", field=where)
    before = [({"type": "reasoning", "text": thought}, fields.at("reasoning"))] if thought else []
    if not parts:
        return [*before, *calls, *([(content, where)] if content or not calls else [])]
    kinds = [part.get("type") for part, _ in parts if isinstance(part, dict)]
    texts = [str(part.get("text")) for part, _ in parts if isinstance(part, dict) and part.get("type") == "text"]
    if content and content not in ("".join(texts), "\n".join(texts), "".join(texts[-1:])):
        raise DataError("says something else than the parts", field=where)
    missing = [] if "reasoning" in kinds else before
    return [*missing, *([] if "tool-invocation" in kinds else calls), *parts]


@dataclass
class _Step:
    """What is said, called and returned up to where the model speaks again."""

    offered: Mapping[str, Tool]
    padded: bool
    turn: AssistantTurn = field(default_factory=AssistantTurn)
    results: list[tuple[str, str, str | None, str | None, bool]] = field(default_factory=list)
    """Those of its calls, as `Dialogue.result` takes them."""

    def ends_before(self, kind: str) -> bool:
        """Whether a part of this kind belongs to the next step."""
        return bool(self.results) and kind in ("text", "reasoning", "step-start")

    def take(self, kind: str, part: Fields) -> None:
        """One more part.

        Raises:
            DataError: a picture, a file or something that is not known.
        """
        if kind == "text":
            self.turn.text(part.take("text", kind=str))
        elif kind == "reasoning":
            self.turn.reasoning.append(part.take("text", "reasoning", kind=str, default=""))
            part.keep("details", "signature", "id")
        elif kind == "tool-invocation":
            with Fields(part.take("toolInvocation"), part.taken) as call:
                self._called(call, call.take("toolName", kind=str))
        elif kind == "tool-call":
            self._call(part, part.take("toolName", kind=str))
        elif kind == "tool-result":
            self._result(part, part.take("toolName", kind=str, default=None))
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            name = part.take("toolName", kind=str) if kind == "dynamic-tool" else kind.removeprefix("tool-")
            self._called(part, name)
        elif kind.startswith(("source", "data-")):  # where an answer comes from; what a page shows
            part.keep("source", "sourceId", "url", "title", "mediaType", "filename", "id")
            if part.take("data", default=None) is not None:
                left_out(part.where, "is what a page shows, and no text")
        elif kind != "step-start":
            raise DataError(f"a part of type {kind!r} cannot be read", field=part.where)

    def _call(self, part: Fields, name: str) -> str | None:
        known_as = identity(part, "toolCallId")
        given = call_arguments(part, self.offered.get(name), self.padded, "input", "args")
        part.keep(*_ABOUT_A_CALL)
        self.turn.calls.append(Call(name, given, id=known_as))
        return known_as

    def _called(self, part: Fields, name: str) -> None:
        """A call, and its result if it has one already: a user who does not approve of it says why."""
        with Fields(part.take("approval", default={}), part.at("approval")) as asked:
            asked.keep("id", "approved", "isAutomatic")
            refusal = asked.take("reason", kind=str, default="")
        known_as = self._call(part, name)
        error, said = part.take("errorText", kind=str, default=None), part.take("output", "result", default=None)
        state = part.take("state", default=None)
        part.keep(*_ABOUT)
        failed = error is not None or state in ("output-error", "output-denied")
        if failed or said is not None or state in ("output-available", "result"):  # perhaps nothing
            text = plain((error or refusal or "") if said is None else said, self.padded)
            self.results.append((text, part.where, known_as, name, failed))

    def _result(self, part: Fields, name: str | None) -> None:
        known_as, error = identity(part, "toolCallId"), part.take("isError", kind=bool, default=False)
        said = part.take("output", "result", default="")
        part.keep("providerExecuted", "dynamic", "experimental_content", "preliminary")
        kind = ""
        if isinstance(said, dict) and said.get("type") in _OUTPUTS and said.keys() <= _OF_AN_OUTPUT:
            kind = "json" if said["type"] in ("json", "error-json") else ""
            error = error or said["type"] in ("error-text", "error-json", "execution-denied")
            said = said.get("value", said.get("reason", ""))
        if kind != "json" and isinstance(said, list) and said and all(_is_text(item) for item in said):
            said = as_lines(item["text"] for item in said)
        elif kind != "json" and isinstance(said, list) and any(_is_media(item) for item in said):
            raise DataError("only text can be read", field=part.at("output"))
        self.results.append((plain(said, self.padded), part.where, known_as, name, error))


def _is_text(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str)


def _is_media(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("type")).startswith(("media", "image", "file"))


def _recognises(row: Mapping[str, Any]) -> bool:
    """Messages with a part, or a field, that only this library writes; or tools by name."""
    messages = row.get("messages")
    items = [item for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    lists = [item[name] for item in items for name in ("content", "parts") if isinstance(item.get(name), list)]
    kinds = [part.get("type") for parts in lists for part in parts if isinstance(part, dict)]
    own = any(isinstance(kind, str) and kind.startswith(("tool-", "dynamic-tool", "step-start")) for kind in kinds)
    paged = bool(items) and all("role" in item and isinstance(item.get("parts"), list) for item in items)
    asked = _by_name(row.get("tools")) and not any(item.get("tool_calls") for item in items)
    return own or (paged and "text" in kinds) or asked or any(item.get("toolInvocations") for item in items)


FORMAT = Format(
    name="ai_sdk",
    description="Vercel's AI SDK, 4 to 6: messages for models (parts `tool-call`, `tool-result`) and for pages "
    "(`parts` such as `tool-NAME`, or `toolInvocations`)",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://ai-sdk.dev/docs/reference/ai-sdk-core/model-message",
)
