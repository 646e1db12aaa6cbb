"""Calls in tags, each argument in its own: Qwen3-Coder, Anthropic, MiniMax, Step-3, and editors such as Cline.

What a tag holds is text; it is read as a number, truth value, list or object where the tool's schema wants one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes.attempts import either, marked, special, written
from tl_jax.tooluse.text.syntaxes.base import (
    MAX_ARGUMENTS,
    Offer,
    Parsed,
    Problem,
    Syntax,
    expect,
    section,
    skip_space,
)
from tl_jax.tooluse.text.syntaxes.json_calls import written_as
from tl_jax.tooluse.text.syntaxes.values import spelled


class ArgumentTags(NamedTuple):
    """How the tags of an argument look.

    Attributes:
        opening: its group 1 is the argument's name.
        lines: the value stands on lines of its own, whose first and last break are no part of it.
    """

    opening: re.Pattern[str]
    closing: str
    lines: bool = False


def tagged_arguments(
    text: str, position: int, call: str, offer: Offer, tags: ArgumentTags
) -> tuple[dict[str, Any], int]:
    """Arguments in such tags, one after another, and where the last one ends.

    Raises:
        Problem: one is given twice or not closed.
    """
    tool, arguments = offer.tool(call), dict[str, Any]()
    while opened := tags.opening.match(text, skip_space(text, position)):
        name, start = opened[1], opened.end()
        end = text.find(tags.closing, start)
        if end < 0 or tags.opening.search(text, start, end):
            raise Problem(f"argument {name!r} is not closed")
        if name in arguments:
            raise Problem(f"argument {name!r} is given twice")
        if len(arguments) == MAX_ARGUMENTS:
            raise Problem(f"more than {MAX_ARGUMENTS} arguments")
        value = text[start:end]
        arguments[name] = spelled(value.removeprefix("\n").removesuffix("\n") if tags.lines else value, tool, name)
        position = end + len(tags.closing)
    return arguments, position


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else written_as(value)


# --- <function=f><parameter=a>1</parameter></function> ---------------------------------------------------------------

_FUNCTION = re.compile(r"<function=([^<>\n]+)>")
_PARAMETER = ArgumentTags(re.compile(r"<parameter=([^<>\n]+)>"), "</parameter>", lines=True)


def _read_function(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """One function, or all of them in tags around."""
    around = text[position + 1 : text.find(">", position)]
    if around.startswith("function="):
        call, position = _function(text, position, offer)
        return [call], position
    calls, closing = [], f"</{around}>"
    position = skip_space(text, position + len(around) + 2)
    while not text.startswith(closing, position):
        call, position = _function(text, position, offer)
        calls.append(call)
        position = skip_space(text, position)
    return calls, position + len(closing)


def _function(text: str, position: int, offer: Offer) -> tuple[Parsed, int]:
    opened = _FUNCTION.match(text, position)
    if not opened:
        raise Problem(f"expected <function=...>, not {text[position : position + 40]!r}")
    arguments, end = tagged_arguments(text, opened.end(), opened[1], offer, _PARAMETER)
    return (Call(opened[1], arguments), ()), expect(text, end, "</function>")


def _write_functions(calls: Sequence[Call]) -> str:
    return "\n".join(
        f"<tool_call>\n<function={call.name}>\n"
        + "".join(f"<parameter={key}>\n{as_text(value)}\n</parameter>\n" for key, value in call.arguments.items())
        + "</function>\n</tool_call>"
        for call in calls
    )


# --- <invoke name="f"><parameter name="a">1</parameter></invoke>, and <function name="f">...</function> ---------------

_INVOKE = re.compile(r'<((antml:|steptml:)?invoke|function) name="([^"<>\n]+)">')
_NAMED = {
    prefix: ArgumentTags(re.compile(rf'<{prefix}parameter name="([^"<>\n]+)"[^<>\n]*>'), f"</{prefix}parameter>")
    for prefix in ("", "antml:", "steptml:")
}


def _invoke(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    opened = _INVOKE.match(text, position)
    if not opened:
        raise Problem(f'expected <invoke name="...">, not {text[position : position + 40]!r}')
    tag, prefix, name = opened.groups("")
    arguments, end = tagged_arguments(text, opened.end(), name, offer, _NAMED[prefix])
    return [(Call(name, arguments), ())], expect(text, end, f"</{tag}>")


_read_invoke = section(
    _invoke,
    *((f"<{tag}>", f"</{tag}>") for tag in ("function_calls", "antml:function_calls", "minimax:tool_call")),
)
"""One call, or all of them in tags around."""


def _write_named(calls: Sequence[Call], tag: str, inside: str = "parameter") -> str:
    return "\n".join(
        f'<{tag} name="{call.name}">\n'
        + "".join(f'<{inside} name="{key}">{as_text(value)}</{inside}>\n' for key, value in call.arguments.items())
        + f"</{tag}>"
        for call in calls
    )


def _write_invoke(calls: Sequence[Call]) -> str:
    return f"<function_calls>\n{_write_named(calls, 'invoke')}\n</function_calls>"


def _write_function_name(calls: Sequence[Call]) -> str:
    return _write_named(calls, "function")


# --- Step-3 ----------------------------------------------------------------------------------------------------------

_STEP = ("<｜tool_calls_begin｜>", "<｜tool_calls_end｜>")
_STEP_CALL, _STEP_END = "<｜tool_call_begin｜>function<｜tool_sep｜>", "<｜tool_call_end｜>"


def _read_step(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    calls, end = _invoke(text, skip_space(text, expect(text, position, _STEP_CALL)), offer)
    return calls, expect(text, end, _STEP_END)


def _write_step(calls: Sequence[Call]) -> str:
    made = (_write_named([call], "steptml:invoke", "steptml:parameter") for call in calls)
    return "\n".join([_STEP[0], *(f"{_STEP_CALL}{call}{_STEP_END}" for call in made), _STEP[1]])


# --- <f><a>1</a></f> -------------------------------------------------------------------------------------------------

_ELEMENT = re.compile(r"<([A-Za-z_][\w.-]*)>")


def _read_element(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """A call of an offered tool, with its parameters' names for the tags inside."""
    opened = _ELEMENT.match(text, position)
    tool = offer.tool(opened[1]) if opened else None
    if not opened or not tool:
        raise Problem(f"{text[position : position + 40]!r} begins with a tag that is no tool")
    name, arguments, position, closing = opened[1], dict[str, Any](), opened.end(), f"</{opened[1]}>"
    while not text.startswith(closing, position := skip_space(text, position)):
        inner = _ELEMENT.match(text, position)
        if not inner or inner[1] not in tool.properties:
            raise Problem(f"{text[position : position + 40]!r} is no parameter of {name!r}")
        found, position = tagged_arguments(
            text, position, name, offer, ArgumentTags(re.compile(f"<({re.escape(inner[1])})>"), f"</{inner[1]}>", True)
        )
        if not found.keys().isdisjoint(arguments):
            raise Problem(f"argument {inner[1]!r} is given twice")
        arguments |= found
    return [(Call(name, arguments), ())], position + len(closing)


def _write_elements(calls: Sequence[Call]) -> str:
    return "\n".join(
        f"<{call.name}>\n"
        + "".join(f"<{key}>{_on_lines(as_text(value))}</{key}>\n" for key, value in call.arguments.items())
        + f"</{call.name}>"
        for call in calls
    )


def _on_lines(text: str) -> str:
    return f"\n{text}\n" if "\n" in text else text


_TAGS = marked("<tool_call>", "<seed:tool_call>", closing="</tool_call>")

SYNTAXES = (
    Syntax(
        name="qwen_xml",
        description="`<function=f>` with `<parameter=a>` inside, in `<tool_call>` tags or alone: Qwen3-Coder, "
        "Qwen 3.5, Seed-OSS",
        example=_write_functions([Call("f", {"a": 1})]),
        opening=r"<(?:seed:)?tool_call>\s*<function=|<function=[^<>\n]+>\s*(?:<parameter=|</function>)",
        first="<",
        marked=True,
        read=_read_function,
        attempts=either(_TAGS, special("<parameter=")),
        write=_write_functions,
        source="https://huggingface.co/Qwen/Qwen3-Coder-30B-A3B-Instruct",
    ),
    Syntax(
        name="invoke",
        description='`<invoke name="f">` with `<parameter name="a">` inside, in `<function_calls>` tags or alone: '
        "Anthropic, MiniMax",
        example=_write_invoke([Call("f", {"a": 1})]),
        opening=r'<(?:antml:)?(?:function_calls>|invoke name=")|<minimax:tool_call>',
        first="<",
        marked=True,
        read=_read_invoke,
        attempts=either(
            special("<invoke name=", "<invoke", "<minimax:tool_call>"),
            marked("<function_calls>", "<invoke>", closing="</function_calls>"),
        ),
        write=_write_invoke,
        source="https://huggingface.co/MiniMaxAI/MiniMax-M2",
    ),
    Syntax(
        name="function_name",
        description='`<function name="f">` with `<parameter name="a">` inside: Qwen3-Coder and Anthropic mixed',
        example=_write_function_name([Call("f", {"a": 1})]),
        opening=r'<function name="[^"<>\n]+">\s*(?:<parameter name=|</function>)',
        first="<",
        marked=True,
        read=_read_invoke,
        attempts=written(
            r"(?<!`)<function name=\"NAMES\"",
            r"(?<!`)<function name=\"[^\"<>\n]+\">\s*(?:<parameter name=|</function>)",
            hint="<function name=",
        ),
        write=_write_function_name,
    ),
    Syntax(
        name="step_3",
        description='`<steptml:invoke name="f">` with `<steptml:parameter name="a">` inside, after '
        "`<｜tool_call_begin｜>function<｜tool_sep｜>`: Step-3",
        example=_write_step([Call("f", {"a": 1})]),
        opening="<｜tool_calls?_begin｜>",
        first="<",
        marked=True,
        read=section(_read_step, _STEP),
        attempts=special("<｜tool_calls_begin｜>", "<｜tool_call_begin｜>", "<steptml:invoke"),
        write=_write_step,
        source="https://huggingface.co/stepfun-ai/step3",
    ),
)

ELEMENTS = Syntax(
    name="element",
    description="a tag with the tool's name around tags with the names of its parameters: Cline, Roo Code",
    example=_write_elements([Call("f", {"a": 1})]),
    opening=r"<[A-Za-z_][\w.-]*>",
    first="<",
    read=_read_element,
    attempts=written(
        r"<NAMES>\s*(?:</NAMES>|<\w|<?\Z)",
        r"(?<!`)<NAMES(?:\s+[\w:.-]+\s*=[^<>]*|\s*)/>",  # with attributes, which is not understood
        r"\A\s*<NAMES\s+[\w:.-]+\s*=\s*[\"'{]",
        hint="<",
    ),
    write=_write_elements,
    source="https://github.com/cline/cline",
)
