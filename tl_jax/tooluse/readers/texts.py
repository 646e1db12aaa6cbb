"""What the texts of a conversation hold beside words, as structure: calls in any syntax, tools, results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from tl_jax.tooluse.notes import drops_unknown, remark, without_numbers
from tl_jax.tooluse.pairing import named
from tl_jax.tooluse.readers.inline_results import TurnPart, may_hold_results, parts
from tl_jax.tooluse.readers.results import Called, known, results, results_of_user
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.readers.tagged import between, calls
from tl_jax.tooluse.readers.thoughts import apart
from tl_jax.tooluse.readers.tool_prompts import handed_over, offered, stays
from tl_jax.tooluse.schema import Call, DataError, Message, Tool
from tl_jax.tooluse.text.normal_schema import normal_schema
from tl_jax.tooluse.text.structure import Unreadable, structure_calls, without_code
from tl_jax.tooluse.text.turn_end import every_turn_ended, other_turns, without_turn_end

REORDERED = "text after a call in one turn: it stands before the call here"
OTHER_TOOLS = "system text that lists other tools than the row: it stays as it is"
SAID_TWICE = "text that says the call that its message makes: it is left out"
OTHER_CALLS = "text that says other calls than its message makes: it stays text"
IN_NO_SYNTAX = "text that may be a call in a syntax that is not known: it stays text"
MAY_BE_RESULT = "text after a call that may be its result, in marks that are not known: it stays text"
ENDED = "mark of the end of a turn after every text of the assistant: it is left out"
OF_OTHERS = "holds results and turns of somebody else than the assistant: write each turn as a message"

_TAG_OF_CALLS = re.compile(
    r"[<\[][^\s<>\[\]]{0,20}(?:tool|function)[_-]?call[^\s<>\[\]]{0,20}[>\]]\s{0,9}", re.IGNORECASE
)


def structured(
    messages: Sequence[Message], tools: tuple[Tool, ...], places: Sequence[str]
) -> tuple[tuple[Tool, ...], tuple[Message, ...]]:
    """The tools and messages that the texts of a conversation hold; what holds only words stays as it is.

    Args:
        tools: of the row; where it has none, those that its prompt lists.
        places: the field that each message's text stands in, for errors.

    Raises:
        DataError: a list of tools that cannot be read; a call that cannot be read, unless what is unknown is dropped;
            nothing is left.
    """
    messages = without_ends(messages, (message.content for message in messages if message.role == "assistant"))
    result: list[Message] = []
    called = Called()
    asked = False
    for index, (message, where) in enumerate(zip(messages, places, strict=True)):
        found = [message]
        if message.role == "assistant":
            following = messages[index + 1] if index + 1 < len(messages) else None
            answered = following is not None and may_be_result(following.role, following.content)
            found = spoken(message, tools, answered, where, called, result)
        elif of_calls := heard(message, called, result):
            found = of_calls
        elif message.role == "system":
            tools, words = prompt(message.content, tools, where)
            found = [replace(message, content=words)] if words or not message.content.strip() else []
        elif message.role == "user" and not asked and not tools:
            tools, words = handed_over(message.content, where)
            found = [replace(message, content=words)] if tools else [message]
        result += found
        for one in found or [message]:
            called.note(one)
        asked = asked or message.role == "user"
    if len(result) == len(messages) and all(map(lambda new, old: new is old, result, messages)):
        return tools, tuple(messages)
    if not result:
        raise DataError("holds nothing but tools", field=places[0])
    return tools, tuple(named(result, by_id=False))


def without_ends(messages: Sequence[Message], written: Iterable[str]) -> Sequence[Message]:
    """The messages without the marks that end the turns of the assistant, if all that is ``written`` of it has them."""
    if not every_turn_ended(written):
        return messages
    remark(ENDED)
    return [
        replace(message, content=without_turn_end(message.content)) if message.role == "assistant" else message
        for message in messages
    ]


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


def spoken(
    message: Message,
    tools: Sequence[Tool],
    answered: bool,
    where: str,
    called: Called,
    before: Sequence[Message],
) -> list[Message]:
    """The turns that a message of the assistant is: itself, or what its text says, calls, hears and answers, in order.

    Args:
        answered: a result follows.
        called: the calls so far.
        before: the conversation so far.

    Raises:
        DataError: as `said` does; its text holds turns of others beside the results, unless what is unknown is dropped.
    """
    split = parts(message.content, tools, _waits(before))
    if any(other_turns(part.words) for part in split):
        if not drops_unknown():
            raise DataError(f"{OF_OTHERS}; --unknown drop keeps it as text", field=where)
        remark(f"{without_numbers(where)}: {OF_OTHERS}; it stays text")
        return [message]
    if not split:
        turn = said(message, tools, answered, where)
        _tell(turn, after_call=bool(turn.tool_calls) or _follows(before))
        return [turn]
    follow = [bool(part.results) or answered for part in split]
    turns = [said(one, tools, heard, where) for one, heard in zip(_divided(message, split), follow, strict=True)]
    if message.tool_calls and _plain(message) != [call for one in turns for call in _plain(one)]:
        remark(OTHER_CALLS)
        return [message]
    for turn in turns:
        _tell(turn, after_call=True)
    return _with_results(_with_calls(turns, message.tool_calls), split, called.copy())


def _tell(message: Message, after_call: bool) -> None:
    """Counts what stays text and may be the result of a call."""
    if after_call and may_hold_results(message.content):
        remark(MAY_BE_RESULT, message.content)


def _divided(message: Message, split: Sequence[TurnPart]) -> list[Message]:
    """A message as one for each part: all have its weight, the first one what was thought, the last one a refusal."""
    divided = [replace(message, content=part.words, tool_calls=(), reasoning=None, refusal=None) for part in split]
    first = next((index for index, part in enumerate(split) if part.words), 0)
    divided[first] = replace(divided[first], reasoning=message.reasoning)
    divided[-1] = replace(divided[-1], refusal=message.refusal)
    return [*map(apart, divided)]


def _with_calls(turns: Sequence[Message], made: Sequence[Call]) -> list[Message]:
    """The turns with these calls, if there are any, in place of the same ones in their texts."""
    if not made:
        return list(turns)
    remark(SAID_TWICE)
    left = iter(made)
    return [replace(one, tool_calls=tuple(islice(left, len(one.tool_calls)))) for one in turns]


def _with_results(turns: Sequence[Message], split: Sequence[TurnPart], called: Called) -> list[Message]:
    """The turns, each before the results of its calls; without those that say nothing."""
    found = list[Message]()
    for one, part in zip(turns, split, strict=True):
        if one.content or one.tool_calls or one.reasoning or one.refusal:
            found.append(one)
            called.note(one)
        for item in part.results:
            read = [result for said in item.results(len(called)) for result in known(said, called)]
            found += [_by_id(result, called) for result in read]
    return found


def said(message: Message, tools: Sequence[Tool], answered: bool, where: str) -> Message:
    """An assistant's message with the calls in its text as calls.

    Args:
        answered: a result follows.

    Raises:
        DataError: its text looks like a call and cannot be read, unless what is unknown is dropped.
    """
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


def heard(message: Message, called: Called, before: Sequence[Message]) -> list[Message]:
    """The results in a message, each as one, and what a user says beside them; nothing where it holds none.

    Of a message whose id is that of one call there is only one.

    Args:
        before: the conversation so far.
    """
    if message.role == "user":
        split = results_of_user(message.content, called, _waits(before))
        if not split:
            _tell(message, after_call=_follows(before))
    else:
        split = results(message.content, called, labels=message.call_id is None) if message.role == "tool" else []
    whole = len(split) > 1 and message.call_id is not None
    if message.role == "tool" and (whole or split == [Message("tool", message.content)]):
        return [message]
    if message.role == "user":
        return [_by_id(one, called) if one.role == "tool" else replace(one, name=message.name) for one in split]
    error, name, known_as = message.error, message.name, message.call_id
    found = [_by_id(one, called) for one in split]
    return [
        replace(one, name=one.name or name, call_id=known_as or one.call_id, error=error or one.error) for one in found
    ]


def _by_id(result: Message, called: Called) -> Message:
    """A result, with its id if that is one of a call."""
    return result if result.call_id in called.ids else replace(result, call_id=None)


def _shapes(tools: Iterable[Tool]) -> dict[str, Any]:
    """What tools say to a model, however it is written."""
    return {tool.name: (tool.description.split(), normal_schema(json_schema(tool.parameters))) for tool in tools}


def may_be_result(role: str | None, text: str) -> bool:
    """Whether what somebody says after calls may be results, which some templates hand over as the user's words."""
    return role == "tool" or (role == "user" and bool(results_of_user(text, Called(), follows=True)))


def _waits(before: Sequence[Message]) -> bool:
    """Whether fewer results than calls stand right before, of messages of calls right after one another together."""
    results = calls = 0
    for message in reversed(before):
        if message.role == "tool" and not calls:
            results += 1
        elif message.tool_calls:
            calls += len(message.tool_calls)
        else:
            break
    return calls > results


def _follows(before: Sequence[Message]) -> bool:
    """Whether calls or results stand right before."""
    return bool(before) and (before[-1].role == "tool" or bool(before[-1].tool_calls))


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
