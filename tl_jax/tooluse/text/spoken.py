"""What of an assistant message is written: text and calls always, reasoning and refusals where the user asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Literal, TypeAlias

from tl_jax.tooluse.schema import Case, Message, Trajectory

Include: TypeAlias = Literal["reasoning", "refusal"]
"""Parts of a message that are no part of the answer unless somebody says so."""


def spoken(trajectory: Trajectory, include: Collection[Include] = ()) -> Trajectory:
    """The trajectory with what is included in its texts, and without targets that say nothing.

    An assistant message with neither text nor calls (``content: null`` in OpenAI's files, or blanks) has weight 0
    afterwards: a model must not learn to end its answer at once.
    """
    said = [with_parts(message, include) for message in trajectory.messages]
    messages = (replace(message, weight=0.0) if is_silent(message) else message for message in said)
    return replace(trajectory, messages=tuple(messages))


def spoken_case(case: Case, include: Collection[Include]) -> Case:
    """The case with what is included in the texts of its messages."""
    return replace(case, messages=tuple(with_parts(message, include) for message in case.messages)) if include else case


def is_silent(message: Message) -> bool:
    """Whether an assistant message has neither text nor calls."""
    return message.role == "assistant" and not message.content.strip() and not message.tool_calls


def left_out(messages: Iterable[Message], include: Collection[Include]) -> dict[Include, int]:
    """How many messages have a part that is not included."""
    found: dict[Include, int] = {"reasoning": 0, "refusal": 0}
    for message in messages:
        found["reasoning"] += message.reasoning is not None
        found["refusal"] += message.refusal is not None
    return {part: count for part, count in found.items() if count and part not in include}


def with_parts(message: Message, include: Collection[Include]) -> Message:
    """The message with what is included in its text.

    Reasoning stands before the answer between ``<think>`` tags, as most models write it; a refusal after it."""
    content = message.content
    if "refusal" in include and message.refusal is not None:
        content = "\n".join(part for part in (content, message.refusal) if part)
    if "reasoning" in include and message.reasoning is not None:
        content = f"<think>\n{message.reasoning}\n</think>\n\n{content}"
    return message if content == message.content else replace(message, content=content)
