"""Glaive function calling v2 (https://huggingface.co/datasets/glaiveai/glaive-function-calling-v2).

``{system, chat}``, or one text ``sample`` in the first version: ``SYSTEM: ... {tools}``, then ``USER:``,
``ASSISTANT:`` and ``FUNCTION RESPONSE:`` turns. A call is ``<functioncall> {"name": ..., "arguments": '{...}'}`` with
its arguments as JSON in single quotes, and therefore no JSON itself.
"""

from __future__ import annotations

import re
from typing import Any

from tl_jax.tooluse.fields import Fields, row_id
from tl_jax.tooluse.pairing import named
from tl_jax.tooluse.readers.fields import described
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.own_words import GLAIVE
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import DataError, Message, Tool, Trajectory
from tl_jax.tooluse.strict_json import DECODER
from tl_jax.tooluse.text.syntaxes import Offer, Problem, glaive

_TURN = re.compile(r"^[ \t]*(SYSTEM|USER|ASSISTANT|FUNCTION RESPONSE):", re.MULTILINE)
_END = "<|endoftext|>"
_SAYS = re.compile(rf"(?:{GLAIVE})(?:\s*-)?\s*")


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The chat in a row. What a system prompt says beside its tools is a message, but for the sentences of `_SAYS`."""
    with Fields(row) as fields:
        field = "sample" if "sample" in fields else "chat"
        keys = ("sample",) if field == "sample" else ("system", "chat")
        texts = {key: fields.take(key, kind=str).strip() for key in keys}
        identity, meta = row_id(fields, place.name), described(fields)
    for key, text in texts.items():
        if text and not _TURN.match(text):
            raise DataError("must begin with SYSTEM:, USER: or ASSISTANT:", field=key)
    parts = _TURN.split("\n".join(texts.values()))
    tools: tuple[Tool, ...] = ()
    messages: list[Message] = []
    for index, (speaker, text) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
        where, text = f"{field}: turn {index} ({speaker})", text.replace(_END, "").strip()
        match speaker:
            case "SYSTEM":
                found, own = _tools(text, where)
                tools += found
                messages += [Message("system", own)] if own or not found else []
            case "USER":
                messages.append(Message("user", text))
            case "ASSISTANT":
                messages.append(_answer(text, where))
            case "FUNCTION RESPONSE":
                messages.append(Message("tool", text))
    if not messages:
        raise DataError("holds no turns", field=field)
    return [Trajectory(identity, tools, tuple(named(messages)), "glaive", meta)]


def _tools(prompt: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """The JSON objects that a system prompt ends with, one after another, and the user's own words around them."""
    tools, words, end = list[Tool](), list[str](), 0
    position = prompt.find("{")
    while position >= 0:
        words.append(prompt[end:position])
        try:
            value, end = DECODER.raw_decode(prompt, position)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the tools are not JSON: {error}", field=where) from None
        tools.append(Tool.from_json(value, f"{where}: tools[{len(tools)}]"))
        position = prompt.find("{", end)
    own = _SAYS.sub("", "\n".join((*words, prompt[end:]))).strip() if tools else prompt
    return tuple(tools), own


def _answer(text: str, where: str) -> Message:
    start = text.find(glaive.MARK)
    if start < 0:
        return Message("assistant", text)
    try:
        found, end = glaive.read_call(text, start, Offer())
    except Problem as problem:
        raise DataError(
            f"after {glaive.MARK} must be an object with name and arguments: {problem}", field=where
        ) from None
    if text[end:].strip():
        raise DataError(f"text after the call: {text[end:].strip()[:40]!r}", field=where)
    return Message("assistant", text[:start].strip(), tuple(call for call, _ in found))


FORMAT = Format(
    name="glaive",
    description="Glaive function calling v2: `system`, and `chat` with `<functioncall>`; version 1 (`sample`) by name",
    recognises=has("system", "chat", without="messages"),
    trajectories=each_row(trajectories),
    source="https://huggingface.co/datasets/glaiveai/glaive-function-calling-v2",
)
