"""``tl-jax generate``: messages from a file, the model's answer to each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from tl_jax.evaluation.answering import GREEDY, Answering
from tl_jax.inference.room import ContextRoom
from tl_jax.tooluse.schema import DataError, Message, Tool

_ROLES = {"output": "tool", "function": "tool"}
"""Names of roles, in lower case, that other formats use for ours."""


def generate_file(
    model: Path,
    source: Path,
    answering: Answering = GREEDY,
) -> Iterator[str]:
    """Answers to the conversations of ``source``, in their order, ready to print.

    A ``.jsonl`` file gives one JSON line ``{"id", "prediction"}`` for each of its lines, any other file (one
    conversation) the bare answer. A conversation is a list of messages, or an object with ``messages`` and optionally
    ``tools`` and ``id``. Roles are ours or the paper's (System, User, Assistant, Output).

    Raises:
        UserError: a file that cannot be read or a prompt the model has no room for.
    """
    many = source.suffix == ".jsonl"
    conversations = list(_read_lines(source) if many else [_read_one(source)])
    sampler, loaded = answering.open(model)
    prompts = [sampler.codec.prompt(tools, messages) for _, tools, messages in conversations]
    room = ContextRoom(loaded.config.max_position_embeddings, answering.sampling.max_new_tokens)
    for (identity, _, _), prompt in zip(conversations, prompts, strict=True):
        room.check(f"conversation {identity}", len(prompt))
    for start in range(0, len(prompts), answering.batch_size):
        key = jax.random.fold_in(jax.random.key(answering.seed), start)
        generation = sampler.generate(loaded.params, prompts[start : start + answering.batch_size], key)
        for (identity, _, _), text in zip(conversations[start:], sampler.texts(generation), strict=False):
            yield json.dumps({"id": identity, "prediction": text}, ensure_ascii=False) if many else text


Conversation = tuple[str, list[Tool], list[Message]]


def _read_one(path: Path) -> Conversation:
    try:
        return _conversation(json.loads(path.read_text(encoding="utf-8-sig")), "0")
    except ValueError as error:
        raise _located(error, path, None) from None


def _read_lines(path: Path) -> Iterator[Conversation]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield _conversation(json.loads(line), str(number))
                except ValueError as error:
                    raise _located(error, path, number) from None


def _located(error: ValueError, path: Path, line: int | None) -> DataError:
    found = error if isinstance(error, DataError) else DataError(f"not valid JSON: {error}")
    return found.at(str(path), line)


def _conversation(value: Any, default_id: str) -> Conversation:
    row: Mapping[str, Any] = value if isinstance(value, dict) else {"messages": value}
    messages, tools = row.get("messages"), row.get("tools") or []
    if not isinstance(messages, list) or not messages:
        raise DataError("must be a non-empty list of messages", field="messages")
    if not isinstance(tools, list):
        raise DataError("must be a list of tools", field="tools")
    parsed = [Message.from_json(_with_our_role(message), f"messages[{i}]") for i, message in enumerate(messages)]
    if parsed[-1].role == "assistant":
        raise DataError("the last message is the assistant's; there is nothing to answer", field="messages")
    return str(row.get("id", default_id)), [Tool.from_json(tool, f"tools[{i}]") for i, tool in enumerate(tools)], parsed


def _with_our_role(message: Any) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return message
    role = message["role"].lower()
    return {**message, "role": _ROLES.get(role, role)}
