"""Cohere's chat API, version 1: ``chat_history``, then ``message`` and ``tool_results``, then what was answered.

Calls have no ids. Results say the whole call once more; where a request has results of calls that no message makes, as
in one step, the calls stand there alone. Version 2 has ``messages``, which are read as `openai`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tl_jax.tooluse.fields import Fields, left_out
from tl_jax.tooluse.readers.dialogue import Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import message_weight, role_named
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import RUN_BY_VENDOR, tools
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_SETTINGS = (
    *("stream", "prompt_truncation", "citation_quality", "search_queries_only", "raw_prompting", "k", "p"),
    *("max_input_tokens", "stop_sequences", "frequency_penalty", "presence_penalty", "return_prompt"),
    *("force_single_step", "safety_mode", "response_format"),
    *("generation_id", "response_id", "citations", "finish_reason", "is_search_required", "search_queries", "prompt"),
)
"""What a request asks for, and what an answer says about itself."""


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        turns = fields.each("chat_history")
        padded = is_padded([value for value, _ in turns])
        offered = tools(fields.take("tools", default=[]), "tools", padded)
        system = fields.take("preamble", "preamble_override", kind=str, default="")
        reader = _Chat(by_name(offered), padded)
        for value, where in turns:
            with Fields(value, where) as turn:
                reader.read(turn)
        reader.asked(fields)
        reader.answered(fields)
        for name, problem in _NOT_READ.items():
            if fields.take(name, default=None):
                left_out(fields.taken, problem)
        beside = around(fields, place.name, "cohere", *_SETTINGS)
    reader.dialogue.ended(beside.meta)
    return [reader.dialogue.trajectory(beside, offered, system, "chat_history")]


_NOT_READ = {
    "documents": "holds documents that the model was given, which are not read; write them into a message",
    "search_results": "holds documents that the model was given, which are not read; write them into a message",
    "connectors": RUN_BY_VENDOR,
}


@dataclass
class _Chat:
    """Reads turns, one after another."""

    offered: Mapping[str, Tool]
    padded: bool
    dialogue: Dialogue = field(default_factory=Dialogue)

    def read(self, turn: Fields) -> None:
        """A turn of the history."""
        role = role_named(turn.take("role", kind=str))
        weight = message_weight(turn, role)
        if role == "tool":
            self._results(turn, turn.where)
        elif role in ("user", "assistant", "system"):
            text, calls = turn.take("message", kind=str, default=""), self._calls(turn)
            message = Message(role, text, calls, weight=weight)  # type: ignore[arg-type]
            self.dialogue.add(message, turn.where)
        else:
            raise DataError(f"unknown role {role!r}; expected USER, CHATBOT, SYSTEM or TOOL", field=turn.at("role"))

    def asked(self, row: Fields) -> None:
        """What a request says after the history: a question, and results."""
        question = row.take("message", kind=str, default="")
        if question:
            self.dialogue.add(Message("user", question), row.at("message"))
        self._results(row, row.at("tool_results"))

    def answered(self, row: Fields) -> None:
        """What the API answered, which the history of its answer says once more."""
        at, text, calls = row.at("text"), row.take("text", kind=str, default=""), self._calls(row)
        answer, last = Message("assistant", text, calls), self.dialogue.messages[-1:]
        if (text or calls) and [(one.role, one.content, one.tool_calls) for one in last] != [
            ("assistant", text, calls)
        ]:
            self.dialogue.add(answer, at)

    def _calls(self, turn: Fields) -> tuple[Call, ...]:
        return tuple(self._call(value, where) for value, where in turn.each("tool_calls"))

    def _call(self, value: Any, where: str) -> Call:
        with Fields(value, where) as call:
            name = call.take("name", kind=str)
            given = call_arguments(call, self.offered.get(name), self.padded, "parameters")
            call.take("generation_id", default=None)
        return Call(name, given)

    def _results(self, turn: Fields, where: str) -> None:
        """Results in the order of their calls, which they say."""
        found = list[tuple[Call, str]]()
        for value, at in turn.each("tool_results"):
            with Fields(value, at) as result:
                call = self._call(result.take("call"), result.taken)
                found.append((call, plain(result.take("outputs", default=[]), self.padded)))
        made = self._waiting()
        if found and not made:
            made = tuple(call for call, _ in found)
            self.dialogue.add(Message("assistant", tool_calls=made), where)
        for call, said in sorted(found, key=lambda one: made.index(one[0]) if one[0] in made else len(made)):
            self.dialogue.result(said, where, name=call.name)

    def _waiting(self) -> Sequence[Call]:
        """The calls of the last message."""
        return self.dialogue.messages[-1].tool_calls if self.dialogue.messages else ()


def _recognises(row: Mapping[str, Any]) -> bool:
    """A history of turns that have a ``message`` or results; or a ``message`` beside what only such a request has."""
    history = row.get("chat_history")
    turns = [turn for turn in history if isinstance(turn, dict)] if isinstance(history, list) else []
    told = any("role" in turn and ("message" in turn or "tool_results" in turn) for turn in turns)
    asked = isinstance(row.get("message"), str) and any(name in row for name in ("preamble", "tool_results", "tools"))
    return "messages" not in row and (told or asked)


FORMAT = Format(
    name="cohere",
    description="Cohere's chat API, version 1: `chat_history` by `USER`, `CHATBOT` and `TOOL`, `message`, `tool_calls` "
    "with `parameters`, `tool_results` with their `call` and `outputs`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://docs.cohere.com/reference/chat-v1",
)
