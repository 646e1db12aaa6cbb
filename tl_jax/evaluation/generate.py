"""``tl-jax generate``: messages from a file, the model's answer to each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tl_jax.evaluation.answering import GREEDY, Answering
from tl_jax.evaluation.answers import Row, generated, progress_bar
from tl_jax.inference.room import ContextRoom
from tl_jax.terminal import SafeConsole
from tl_jax.tooluse.readers import Place, canonical, format_of
from tl_jax.tooluse.readers.messages import MESSAGES
from tl_jax.tooluse.readers.packed import open_file
from tl_jax.tooluse.readers.rows import EachRow, parse
from tl_jax.tooluse.schema import Case, DataError, Trajectory

Conversation: TypeAlias = Trajectory | Case
_PLAIN = ("canonical", "openai", "nemotron", "hermes")
"""Formats whose messages need no reader of their own."""
_OUTPUT = "output"
"""What the paper calls our role ``tool``."""


def generate_file(
    model: Path,
    source: Path,
    give: Callable[[str], None],
    answering: Answering = GREEDY,
    bar: bool = False,
) -> None:
    """Answers the conversations of ``source``.

    A ``.jsonl`` file gives one JSON line ``{"id", "prediction"}`` for each of its lines, any other file (one
    conversation) the bare answer.

    Args:
        model: a Hugging Face, PEFT, checkpoint or run directory.
        source: the file.
        give: given what is to be printed, in the order of the file: an answer when it and those before it have ended.
            Where an error or Ctrl-C ends it, the answers that were waiting for others are given as well.
        answering: how the model answers.
        bar: whether stderr shows how far it is.

    Raises:
        UserError: a file that cannot be read or a prompt the model has no room for.
    """
    many = ".jsonl" in source.suffixes
    found = read_lines(source) if many else [read_one(source)]
    sampler = answering.open(model)
    prompts = [sampler.codec.prompt(one.tools, one.messages) for one in found]
    room = ContextRoom(sampler.engine.model.max_position_embeddings, answering.sampling.max_new_tokens)
    for one, prompt in zip(found, prompts, strict=True):
        room.check(f"conversation {one.id}", len(prompt))
    ended: dict[int, str] = {}
    given = 0
    with progress_bar(SafeConsole(stderr=True), bar and many) as progress:
        task = progress.add_task("answering", total=len(found))

        def take(index: int, row: Row) -> None:
            nonlocal given
            text = row["prediction"]
            ended[index] = json.dumps({"id": found[index].id, "prediction": text}, ensure_ascii=False) if many else text
            while given in ended:
                give(ended.pop(given))
                given += 1
            progress.advance(task)

        try:
            generated(sampler, prompts, answering, take)
        finally:
            for index in sorted(ended):
                give(ended.pop(index))


def read_lines(path: Path) -> list[Conversation]:
    """The conversations of a file, one a line, each as `read_one` reads a whole file.

    Raises:
        DataError: a line that is none, or without anything to answer; two of one id; no line at all.
    """
    found: dict[str, Conversation] = {}
    with open_file(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    one = _conversation(parse(line), str(number))
                    if one.id in found:
                        problem = (
                            "appears twice; ids tell the answers apart, and a line without one is called by its number"
                        )
                        raise DataError(f"{one.id!r} {problem}", field="id")
                except DataError as error:
                    raise error.at(str(path), number) from None
                found[one.id] = one
    if not found:
        raise DataError("holds no conversation", path=str(path))
    return [*found.values()]


def read_one(path: Path) -> Conversation:
    """The conversation that a file is: a list of messages, or an object with ``messages``, ``tools`` and ``id``.

    Messages and tools are read in every shape that trajectories may have them in, requests to Anthropic's, Google's and
    other APIs among them. Roles are OpenAI's, or the paper's: System, User, Assistant, Output. The gold calls of a case
    are not looked at.

    Raises:
        DataError: it is neither, or there is nothing to answer.
    """
    with open_file(path) as file:
        content = file.read()
    try:
        return _conversation(parse(content), "0")
    except DataError as error:
        raise error.at(str(path), error.line) from None


def _conversation(value: Any, default_id: str) -> Conversation:
    row = {**value} if isinstance(value, dict) else {"messages": value}
    row["id"] = default_id if row.get("id") is None else row["id"]
    if isinstance(row.get("input"), str) and row.keys().isdisjoint(("output", *MESSAGES)):
        # As OpenAI's Responses API is asked. Beside an output it would be Alpaca's.
        row["input"] = [{"role": "user", "content": row["input"]}]
    for name in MESSAGES:
        if isinstance(row.get(name), list):
            row[name] = [_with_our_role(message) for message in row[name]]
    found = _read(row, Place(Path(default_id)))  # which formats whose rows have no id name it by
    if found[0].messages[-1].role == "assistant":
        raise DataError("the last message is the assistant's; there is nothing to answer", field="messages")
    return found[0]


def _read(row: dict[str, Any], place: Place) -> Sequence[Conversation]:
    """What a row says, in the shape of messages that are OpenAI's or ours, or in that of another format."""
    format = None if canonical.is_case(row) else format_of(row)
    if format is not None and format.name not in _PLAIN and isinstance(format.trajectories, EachRow):
        return list(format.trajectories.convert(row, place))
    return canonical.cases(row, place) if canonical.is_case(row) else canonical.trajectories(row, place)


def _with_our_role(message: Any) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return message
    role = message["role"].lower()
    return {**message, "role": "tool" if role == _OUTPUT else role}
