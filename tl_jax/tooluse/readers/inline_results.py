"""Results in an assistant's own text, after the calls that they answer: where one turn ends and the next begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tl_jax.tooluse.readers.result_marks import LABELS, MARKS, PLAIN, Mark, MarkedResult, marked
from tl_jax.tooluse.schema import Tool
from tl_jax.tooluse.text.parse import thoughts
from tl_jax.tooluse.text.structure import Code, Unreadable, structure_calls, without_code
from tl_jax.tooluse.text.turn_end import between_turns

_IN_MARKS = re.compile(
    r"^[ \t]*Action:|<[^\s<>]{0,20}call[^\s<>]{0,20}>|\[TOOL_CALLS\]|[\"']name[\"']\s*:", re.MULTILINE
)
"""What says that something is a call: ReAct's word, tags and tokens, an object's name."""
_MAY_BE = re.compile(
    r"[<\[][^\s<>\[\]/]{0,20}(?:result|response|output|observation)[^\s<>\[\]]{0,20}[>\]]|^[ \t]*Observation:",
    re.IGNORECASE | re.MULTILINE,
)


class TurnPart(NamedTuple):
    """What an assistant says, and the results right after it."""

    words: str
    results: tuple[MarkedResult, ...] = ()


def parts(text: str, tools: Sequence[Tool], follows: bool = False) -> list[TurnPart]:
    """The parts of an assistant's text that holds results, each after the calls that it answers; none of any other.

    What stands before a result has to be calls, or to end with them. Results in blocks of code are examples, and those
    that nothing ends stay text.

    Args:
        follows: calls or results stand right before the text, so that it may begin with a result.

    Example:
        >>> text = '<tool_call>{"name": "f", "arguments": {}}</tool_call><tool_response>1</tool_response>It is 1.'
        >>> [part.words for part in parts(text, ())]
        ['<tool_call>{"name": "f", "arguments": {}}</tool_call>', 'It is 1.']
        >>> parts("A result stands in tags: <tool_response>1</tool_response>", ())
        []
    """
    tables = ((MARKS, follows), (LABELS, False), (PLAIN, False))
    return next((found for marks, begins in tables if (found := _parts(text, marks, tools, begins))), [])


def _parts(text: str, marks: Sequence[Mark], tools: Sequence[Tool], follows: bool) -> list[TurnPart]:
    code, position, found = Code(text), 0, list[TurnPart]()
    thought = thoughts(text)[1]
    for one in marked(text, marks):
        # a block of code may be a result itself
        if one.start < thought or not one.closed or code.holds(one.start - 1):
            continue
        words = between_turns(text[position : one.start])
        heard = () if marks is LABELS and not one.inside.strip() else (one,)  # a model is stopped after such a label
        if found and not words:
            found[-1] = TurnPart(found[-1].words, (*found[-1].results, *heard))
        elif (follows and not found and not words) or _calls(words, tools, marks):
            found.append(TurnPart(words, heard))
        else:
            break
        code.skip(one.start, one.end)
        position = one.end
        thought = position + thoughts(text[position:])[1]
    return [*found, TurnPart(between_turns(text[position:]))] if found else []


def _calls(text: str, tools: Sequence[Tool], marks: Sequence[Mark]) -> bool:
    """Whether a text before a result makes calls.

    Before marks that other words have, too, code with its output is none, nor is an example: before a label calls have
    to be marked as such, or all that is said; before a plain tag they are of tools on offer, and nothing follows them.
    """
    try:
        found = structure_calls(text, tools, answered=True)
    except Unreadable:
        return False
    if found is None or not found.calls:
        return False
    offered = {call.name for call in found.calls} <= {tool.name for tool in tools}
    if marks is PLAIN:
        return offered and not found.reordered
    return marks is MARKS or _IN_MARKS.search(text) is not None or (offered and not found.content.strip())


def may_hold_results(text: str) -> bool:
    """Whether the words right after a call may be its result, in marks that are not known.

    Example:
        >>> may_hold_results("<my_result>1</my_result>"), may_hold_results("In `<my_result>` tags.")
        (True, False)
    """
    return _MAY_BE.search(without_code(text)) is not None
