"""What the texts of a conversation hold beside words, as structure: calls in any syntax, tools, results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.notes import drops_unknown, remark, without_numbers
from tl_jax.tooluse.pairing import named
from tl_jax.tooluse.readers.results import Called, is_results, results
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.readers.tagged import between, calls
from tl_jax.tooluse.readers.tool_prompts import handed_over, offered, stays
from tl_jax.tooluse.schema import DataError, Message, Tool
from tl_jax.tooluse.text.normal_schema import normal_schema
from tl_jax.tooluse.text.parse import thoughts
from tl_jax.tooluse.text.structure import Unreadable, structure_calls, without_code

REORDERED = "text after a call in one turn: it stands before the call here"
OTHER_TOOLS = "system text that lists other tools than the row: it stays as it is"
SAID_TWICE = "text that says the call that its message makes: it is left out"
OTHER_CALLS = "text that says other calls than its message makes: it stays text"
IN_NO_SYNTAX = "text that may be a call in a syntax that is not known: it stays text"

_TAG_OF_CALLS = re.compile(
    r"[<\[][^\s<>\[\]]{0,20}(?:tool|function)[_-]?call[^\s<>\[\]]{0,20}[>\]]\s{0,9}", re.IGNORECASE
)
_OBSERVATION = "Observation:"


def structured(
    messages: Sequence[Message], tools: tuple[Tool, ...], places: Sequence[str], apart: bool = False
) -> tuple[tuple[Tool, ...], tuple[Message, ...]]:
    """The tools and messages that the texts of a conversation hold; what holds only words stays as it is.

    Args:
        tools: of the row; where it has none, those that its prompt lists.
        places: the field that each message's text stands in, for errors.
        apart: what stands in ``<think>`` tags becomes the reasoning of its message.

    Raises:
        DataError: a list of tools that cannot be read; a call that cannot be read, unless what is unknown is dropped;
            nothing is left.
    """
    result: list[Message] = []
    called = Called()
    asked = False
    for index, (message, where) in enumerate(zip(messages, places, strict=True)):
        if message.role == "assistant":
            following = messages[index + 1] if index + 1 < len(messages) else None
            answered = following is not None and may_be_result(following.role, following.content)
            message = said(message, tools, answered, where, apart)
            result.append(message)
        elif is_result(message.role, message.content, result):
            result += heard(message, called)
        elif message.role == "system":
            tools, words = prompt(message.content, tools, where)
            result += [replace(message, content=words)] if words or not message.content.strip() else []
        elif message.role == "user" and not asked and not tools:
            tools, words = handed_over(message.content, where)
            result.append(replace(message, content=words) if tools else message)
        else:
            result.append(message)
        called.note(message)
        asked = asked or message.role == "user"
    if len(result) == len(messages) and all(map(lambda new, old: new is old, result, messages)):
        return tools, tuple(messages)
    if not result:
        raise DataError("holds nothing but tools", field=places[0])
    return tools, tuple(named(result, by_id=False))


def prompt(text: str, tools: tuple[Tool, ...], where: str) -> tuple[tuple[Tool, ...], str]:
    """The tools of a row, or else those that a prompt lists; and what else the prompt says.

    Raises:
        DataError: the row has no tools, and the prompt marks a list in which something is no tool.
    """
    try:
        found, words = offered(text, where)
        same = not found or not tools or found == tools or _shapes(found) == _shapes(tools)
    except DataError as problem:
        if not tools:
            raise
        stays(problem)
        return tools, text
    if same:
        return tools or found, words
    remark(OTHER_TOOLS)
    return tools, text


def said(message: Message, tools: Sequence[Tool], answered: bool, where: str, apart: bool = False) -> Message:
    """An assistant's message with the calls in its text as calls.

    Args:
        answered: a result follows.
        apart: thoughts in tags become its reasoning.

    Raises:
        DataError: its text looks like a call and cannot be read, unless what is unknown is dropped.
    """
    message = _thought(message) if apart else message
    try:  # a result of the calls that it makes beside says nothing about its text
        found = structure_calls(message.content, tools, answered and not message.tool_calls)
    except Unreadable as problem:
        turn = None if problem.doubtful else _in_tags(message, where)
        return turn or _stays(message, problem, where)
    if found is None:
        if not message.tool_calls and _may_be_calls(message.content, tools):
            remark(IN_NO_SYNTAX, message.content)
        return message
    if message.tool_calls and _plain(message) != [(call.name, call.arguments) for call in found.calls]:
        remark(OTHER_CALLS)
        return message
    if message.tool_calls:
        remark(SAID_TWICE)
    if found.reordered:
        remark(REORDERED)
    return replace(message, content=found.content, tool_calls=message.tool_calls or found.calls)


def _may_be_calls(text: str, tools: Sequence[Tool]) -> bool:
    """Whether a tag or token that speaks of calls stands right before the name of a tool or an object."""
    names = [tool.name for tool in tools if tool.name]
    return any(text.startswith(("{", "[", *names), found.end()) for found in _TAG_OF_CALLS.finditer(without_code(text)))


def heard(message: Message, called: Called) -> list[Message]:
    """The results in a message, each as one; of a message whose id is that of one call there is only one."""
    text = message.content
    if message.role == "user" and _is_observation(text):
        text = text.lstrip().removeprefix(_OBSERVATION).strip()
    split = results(text, called)
    if message.call_id is not None and len(split) > 1:
        return [message]
    if len(split) == 1 and message.role == "tool" and split[0] == Message("tool", message.content):
        return [message]
    return [
        replace(
            item,
            name=item.name or message.name,
            call_id=message.call_id or (item.call_id if item.call_id in called.ids else None),
            error=message.error,
        )
        for item in split
    ]


def _shapes(tools: Iterable[Tool]) -> dict[str, Any]:
    """What tools say to a model, however it is written."""
    return {tool.name: (tool.description.split(), normal_schema(json_schema(tool.parameters))) for tool in tools}


def may_be_result(role: str | None, text: str) -> bool:
    """Whether what somebody says may be results, which some templates hand over as the user's words."""
    return role == "tool" or (role == "user" and (is_results(text) or _is_observation(text)))


def is_result(role: str | None, text: str, before: Sequence[Message]) -> bool:
    """Whether it is results, after the messages ``before``: what ReAct hands over as one is, after calls or results."""
    follows = bool(before) and (before[-1].role == "tool" or bool(before[-1].tool_calls))
    observed = role == "user" and _is_observation(text)
    return may_be_result(role, text) and (follows or not observed)


def _is_observation(text: str) -> bool:
    """Whether a user's words are what ReAct's prompts hand over as a result."""
    return text.lstrip().startswith(_OBSERVATION)


def _thought(message: Message) -> Message:
    """The message with what its text begins with in tags as its reasoning."""
    thought, start = thoughts(message.content)
    if not start or thought.startswith("Thought:"):
        return message
    reasoning = "\n".join(text for text in (message.reasoning, thought) if text) or None
    return replace(message, content=message.content[start:], reasoning=reasoning)


def _plain(message: Message) -> list[tuple[str, object]]:
    return [(call.name, call.arguments) for call in message.tool_calls]


def _in_tags(message: Message, where: str) -> Message | None:
    """The message with the objects in its ``<tool_call>`` tags, which may be left open, as calls.

    None where it holds others, or some that may be examples.
    """
    texts, rest = between(message.content, "tool_call")
    example = without_code(message.content).count("<tool_call>") < len(texts)
    if message.tool_calls or example or not texts or not all(text.startswith(("{", "[")) for text in texts):
        return None
    try:
        made = tuple(call for text in texts for call in calls(text, f"{where}: tool_call"))
    except DataError:
        if not drops_unknown():
            raise
        return None
    return replace(message, content=rest.strip(), tool_calls=made)


def _stays(message: Message, problem: Unreadable, where: str) -> Message:
    """A message whose text looks like a call and stays text, which is counted.

    Raises:
        DataError: something marks the call, the message makes no other, and what is not known is an error.
    """
    if not (problem.doubtful or message.tool_calls or drops_unknown()):
        raise DataError(f"{problem}; --unknown drop keeps it as text", field=where)
    remark(f"{without_numbers(where)}: {problem.looks} and cannot be read: it stays text")
    return message
