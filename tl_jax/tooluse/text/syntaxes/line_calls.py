"""Calls whose name stands before an object: the paper's raw data, functionary, Mistral, Llama 3.1 and ReAct."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes.attempts import special, written
from tl_jax.tooluse.text.syntaxes.base import NAME, Offer, Parsed, Problem, Reader, Syntax, expect
from tl_jax.tooluse.text.syntaxes.json_calls import is_call, written_as
from tl_jax.tooluse.text.syntaxes.values import json_object, python_value


def read_name_line(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """A line with the name, and the object with the arguments."""
    head = offer.name_line.match(text, position)
    if not head:
        raise Problem(f"expected a name on a line of its own, not {text[position : position + 40]!r}")
    arguments, end = json_object(text, head.end())
    if is_call(arguments):
        raise Problem("text before the call")  # the line is a word of prose, the object a call of its own
    return [(Call(head[1], arguments), ())], end


def headed(pattern: str, closing: str = "") -> Reader:
    """Reads what ``pattern`` matches, whose group ``name`` is the tool and ``id`` (if any) the call's, then an object.

    Args:
        closing: what has to stand after it.
    """
    head = re.compile(pattern)
    has_id = "id" in head.groupindex

    def read(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
        opened = head.match(text, position)
        if not opened:
            raise Problem(f"expected the name of a tool in {text[position : position + 40]!r}")
        arguments, end = json_object(text, opened.end())
        call = Call(opened["name"].strip(), arguments, id=opened["id"] if has_id else None)
        return [(call, ())], expect(text, end, closing) if closing else end

    return read


def each(written: Callable[[str, str], str]) -> Callable[[Sequence[Call]], str]:
    """Writes calls one after another, each by its name and its arguments as JSON."""
    return lambda calls: "".join(written(call.name, written_as(dict(call.arguments))) for call in calls)


_ACTION = re.compile(r"Action:[ \t]*([^\n]+?)[ \t]*\n\s*Action Input:[ \t]*\n?")


def _read_react(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """``Action: f`` and, on the next line, ``Action Input:`` with an object."""
    head = _ACTION.match(text, position)
    if not head:
        raise Problem("no line 'Action:' with 'Action Input:' after it")
    try:
        arguments, end = json_object(text, head.end())
    except Problem:
        arguments, end = python_value(text, head.end())
    if not isinstance(arguments, dict):
        raise Problem("the arguments are not an object")
    return [(Call(head[1], arguments), ())], end


SYNTAXES = (
    Syntax(
        name="functionary",
        description="`>>>f`, and the object on the next line: functionary 3.2",
        example='>>>f\n{"a": 1}',
        opening=r">>>[^\n>]+\n\s*\{",
        first=">",
        marked=True,
        read=headed(r">>>(?P<name>[^\n>]+)\n"),
        attempts=written(r"^>>>[ \t]*NAMES[ \t]*$", r">>>[\w.-]+[ \t]*\n\s*\{", hint=">>>"),
        write=each(lambda name, given: f">>>{name}\n{given}"),
        source="https://huggingface.co/meetkai/functionary-small-v3.2",
    ),
    Syntax(
        name="function_tag",
        description="`<function=f>` around the object: Llama 3.1, functionary 3.1",
        example='<function=f>{"a": 1}</function>',
        opening=r"<function=[^<>\n]+>\s*\{",
        first="<",
        marked=True,
        read=headed(r"<function=(?P<name>[^<>\n]+)>", "</function>"),
        attempts=special("<function="),
        write=each(lambda name, given: f"<function={name}>{given}</function>"),
        source="https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/",
    ),
    Syntax(
        name="mistral_args",
        description="`[TOOL_CALLS]f[ARGS]` before the object, perhaps with `[CALL_ID]` or without `[ARGS]`: Mistral "
        "from version 11 on",
        example='[TOOL_CALLS]f[ARGS]{"a": 1}',
        opening=r"\[TOOL_CALLS\](?:[^\[\]{}\n]+\[(?:ARGS|CALL_ID)\]|[\w.-]+\{)",
        first="[",
        marked=True,
        read=headed(r"\[TOOL_CALLS\](?P<name>[^\[\]{}\n]+)(?:\[CALL_ID\](?P<id>[^\[\]{}\s]+))?(?:\[ARGS\]|(?=\{))"),
        attempts=special("[ARGS]", "[CALL_ID]"),
        write=each(lambda name, given: f"[TOOL_CALLS]{name}[ARGS]{given}"),
        source="https://docs.mistral.ai/capabilities/function_calling/",
    ),
    Syntax(
        name="qwen_agent",
        description="the name after `✿FUNCTION✿:`, the object after `✿ARGS✿:`: Qwen 2 and Qwen-Agent",
        example='✿FUNCTION✿: f\n✿ARGS✿: {"a": 1}\n',
        opening="✿FUNCTION✿:",
        first="✿",
        marked=True,
        read=headed(r"✿FUNCTION✿:[ \t]*(?P<name>[^\n✿]+)\s*✿ARGS✿:"),
        attempts=special("✿FUNCTION✿:", "✿ARGS✿:"),
        write=each(lambda name, given: f"✿FUNCTION✿: {name}\n✿ARGS✿: {given}\n"),
        source="https://github.com/QwenLM/Qwen-Agent",
    ),
    Syntax(
        name="react",
        description="`Action:`, and the object after `Action Input:`; a `Thought:` before it is reasoning: ToolBench, "
        "LangChain",
        example='Action: f\nAction Input: {"a": 1}',
        opening=r"Action:[^\n]*\n\s*Action Input:",
        first="A",
        read=_read_react,
        attempts=written(
            r"^[ \t]*Action:[^\n]*\n\s*Action Input:",
            r"^[ \t]*Action(?: \d+)?:[ \t]*NAMES[ \t]*(?:[\[({]|\s*\Z|\n\s*A[^\n]*\Z)",
            hint="Action",
        ),
        write=each(lambda name, given: f"Action: {name}\nAction Input: {given}\n"),
        source="https://arxiv.org/abs/2210.03629",
    ),
)

NAME_LINE = Syntax(
    name="name_line",
    description="a name, and the object on the next line: the paper's raw data",
    example='f\n{"a": 1}',
    opening=rf"{NAME}[ \t]*\r?\n[ \t]*\{{",
    first="",
    read=read_name_line,
    attempts=written(
        r"^[ \t]*NAMES[ \t]*:?\s*\{\s*[\"'}]",
        # each after a label of its own
        r"^[ \t]*\w[\w ]{0,20}:[ \t]*NAMES[ \t]*\r?\n[ \t]*\w[\w ]{0,20}:\s*\{\s*(?:[\"'}]|\Z)",
        hint="{",
    ),
    write=each(lambda name, given: f"{name}\n{given}\n"),
    source="https://github.com/Junjie-Ye/TL-Training",
)
