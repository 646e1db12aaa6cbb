"""What the texts of a conversation hold beside words, as structure: calls in any syntax, tools, results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from tl_jax.tooluse.fields import remark, unreadable
from tl_jax.tooluse.pairing import by_name, named
from tl_jax.tooluse.readers.tagged import between, calls, results
from tl_jax.tooluse.readers.tool_prompts import offered
from tl_jax.tooluse.schema import DataError, Message, Tool
from tl_jax.tooluse.text.parse import thoughts
from tl_jax.tooluse.text.structure import structure_calls
from tl_jax.tooluse.text.syntaxes import Problem

REORDERED = "text after a call in one turn: it stands before the call here"
OTHER_TOOLS = "system text that lists other tools than the row: it stays as it is"

_GIVEN = re.compile(r"\bgiven the following (functions|tools)|\bfollowing (functions|tools)\b.*\bJSON\b", re.IGNORECASE)
"""What a user's message has that hands over tools, as a prompt of Llama 3's does."""


def structured(
    messages: Sequence[Message], tools: tuple[Tool, ...], at: str = "messages", apart: bool = False
) -> tuple[tuple[Tool, ...], tuple[Message, ...]]:
    """The tools and messages that the texts of a conversation hold; what holds only words stays as it is.

    Args:
        tools: of the row; where it has none, those that its prompt lists.
        at: the field that the messages stand in, for errors.
        apart: what stands in ``<think>`` tags becomes the reasoning of its message.

    Raises:
        DataError: a list of tools that cannot be read; a call that cannot be read, unless what is unknown is dropped.
    """
    result: list[Message] = []
    asked = False
    for index, message in enumerate(messages):
        where = f"{at}[{index}].content"
        if message.role == "assistant":
            result.append(said(message, tools, is_answered(messages, index), where, apart))
        elif message.role == "tool" or (message.role == "user" and is_results(message.content)):
            result += heard(message, result)
        elif message.role == "system" or (not asked and not tools and _GIVEN.search(message.content)):
            tools, words = prompt(message.content, tools, where)
            result += [replace(message, content=words)] if words or not message.content.strip() else []
        else:
            result.append(message)
        asked = asked or message.role == "user"
    if len(result) == len(messages) and all(map(lambda new, old: new is old, result, messages)):
        return tools, tuple(messages)
    return tools, tuple(by_name(named(result)))


def prompt(text: str, tools: tuple[Tool, ...], where: str) -> tuple[tuple[Tool, ...], str]:
    """The tools of a row, or else those that a prompt lists; and what else the prompt says.

    Raises:
        DataError: it lists something that is no tool.
    """
    found, words = offered(text, where)
    if found and tools and {tool.name for tool in found} != {tool.name for tool in tools}:
        remark(OTHER_TOOLS)
        return tools, text
    return tools or found, words


def said(message: Message, tools: Sequence[Tool], answered: bool, where: str, apart: bool = False) -> Message:
    """An assistant's message with the calls in its text as calls.

    Args:
        answered: a result follows.
        apart: thoughts in tags become its reasoning.

    Raises:
        DataError: its text looks like a call and cannot be read, unless what is unknown is dropped.
    """
    if apart:
        thought, start = thoughts(message.content)
        if thought and not thought.startswith("Thought:"):
            reasoning = "\n".join(text for text in (message.reasoning, thought) if text)
            message = replace(message, content=message.content[start:], reasoning=reasoning)
        elif start:
            message = replace(message, content=message.content[start:])
    try:
        found = structure_calls(message.content, tools, answered)
    except Problem as problem:
        return _in_tags(message, str(problem), where)
    if found is None or (message.tool_calls and message.tool_calls != found.calls):
        return message
    if found.reordered:
        remark(REORDERED)
    return replace(message, content=found.content, tool_calls=message.tool_calls or found.calls)


def heard(message: Message, before: Sequence[Message]) -> list[Message]:
    """The results in a message, each as one; of a message whose id is that of one call there is only one."""
    waiting = next((turn.tool_calls for turn in reversed(before) if turn.tool_calls), ())
    split = results(message.content, [call.name for call in waiting])
    if message.call_id is not None and len(split) > 1:
        return [message]
    if len(split) == 1 and message.role == "tool" and split[0] == Message("tool", message.content):
        return [message]
    return [
        replace(item, name=item.name or message.name, call_id=message.call_id, error=message.error) for item in split
    ]


def is_results(text: str) -> bool:
    """Whether a user's message is results: Qwen's template hands them over as the user's words."""
    if "<tool_response>" not in text:
        return False
    texts, rest = between(text, "tool_response")
    return bool(texts) and not rest.strip()


def is_answered(messages: Sequence[Message], index: int) -> bool:
    """Whether the message after this one is a result."""
    if index + 1 >= len(messages):
        return False
    following = messages[index + 1]
    return following.role == "tool" or (following.role == "user" and is_results(following.content))


def _in_tags(message: Message, problem: str, where: str) -> Message:
    """The message with the objects in its ``<tool_call>`` tags, which may be left open, as calls."""
    texts, rest = between(message.content, "tool_call")
    if not texts:
        unreadable(where, problem)
        return message
    try:
        made = tuple(call for text in texts for call in calls(text, f"{where}: tool_call"))
    except DataError as error:
        unreadable(error.field, error.problem)
        return message
    return replace(message, content=rest.strip(), tool_calls=message.tool_calls + made)
