"""Calls marked by tokens of a model's own: Llama 3.1 and 4, DeepSeek, Kimi, gpt-oss, Command R, LFM2, OLMo, Apertus."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes import json_calls, python
from tl_jax.tooluse.text.syntaxes.attempts import either, special, written
from tl_jax.tooluse.text.syntaxes.base import Offer, Parsed, Problem, Syntax, expect, section, skip_space
from tl_jax.tooluse.text.syntaxes.json_calls import written_as
from tl_jax.tooluse.text.syntaxes.line_calls import each, headed
from tl_jax.tooluse.text.syntaxes.values import json_object, json_value

# --- Llama -----------------------------------------------------------------------------------------------------------

_PYTHON_TAG = "<|python_tag|>"
_START, _END = "<|python_start|>", "<|python_end|>"


def _read_python_tag(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """An object or a list, or ``f.call(a=1)``; a tool's own name may end in ``.call`` as well."""
    position = skip_space(text, position + len(_PYTHON_TAG))
    if text.startswith(("{", "["), position):
        return json_calls.read(text, position, offer)
    (call, positional), end = python.read_call(text, position, offer)
    if offer.tool(call.name) is None:
        if not call.name.endswith(".call"):
            raise Problem(f"{_PYTHON_TAG} before {call.name!r}, and not {call.name + '.call'!r}")
        call = Call(call.name.removesuffix(".call"), call.arguments)
    return [(call, positional)], end


def _read_python_start(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """Python calls between the tokens; where there is nothing between them, as in the template, objects after them."""
    start = skip_space(text, position + len(_START))
    if text.startswith(_END, start):
        return json_calls.read(text, start + len(_END), offer)
    calls, end = (python.read_list if text.startswith("[", start) else python.read)(text, start, offer)
    return calls, expect(text, end, _END)


# --- sections of calls -----------------------------------------------------------------------------------------------


def within(opening: str, closing: str, written: Callable[[str, str], str]) -> Callable[[Sequence[Call]], str]:
    """Writes calls one after another between two marks."""
    return lambda calls: f"{opening}{each(written)(calls)}{closing}"


_DEEPSEEK = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_DEEPSEEK_CALL = re.compile(
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>([^\n<]+)\n```json\n|([^\n<]+)<｜tool▁sep｜>)"
)


_write_deepseek = within(
    *_DEEPSEEK, lambda name, given: f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{given}<｜tool▁call▁end｜>"
)


def _read_deepseek(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    opened = _DEEPSEEK_CALL.match(text, position)
    if not opened:
        raise Problem(f"expected a call, not {text[position : position + 40]!r}")
    arguments, end = json_object(text, opened.end())
    end = expect(text, end, "```") if opened[1] else end
    return [(Call(opened[1] or opened[2], arguments), ())], expect(text, end, "<｜tool▁call▁end｜>")


_KIMI = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
_KIMI_CALL = (
    r"<\|tool_call_begin\|>\s*(?P<id>(?:functions\.)?(?P<name>[^\s:<]+)(?::\d+)?)\s*<\|tool_call_argument_begin\|>"
)
_write_kimi = within(
    *_KIMI,
    lambda name, given: f"<|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>{given}<|tool_call_end|>",
)

# --- Command R -------------------------------------------------------------------------------------------------------

_ACTION, _ACTION_END = "<|START_ACTION|>", "<|END_ACTION|>"
_FENCED = re.compile(r"Action:\s*```json[ \t]*\n")
_COHERE_KEYS = {"tool_name": "name", "tool_call_id": "id"}


def _read_cohere(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    fenced = _FENCED.match(text, position)
    rows, end = json_value(text, fenced.end() if fenced else position + len(_ACTION))
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and "tool_name" in row for row in rows):
        raise Problem("not a list of objects with tool_name and parameters")
    calls = [json_calls.read_call({_COHERE_KEYS.get(key, key): value for key, value in row.items()}) for row in rows]
    return calls, expect(text, end, "```" if fenced else _ACTION_END)


def _write_cohere(calls: Sequence[Call]) -> str:
    rows = [
        {"tool_call_id": str(number), "tool_name": call.name, "parameters": dict(call.arguments)}
        for number, call in enumerate(calls)
    ]
    return f"{_ACTION}{written_as(rows)}{_ACTION_END}"


# --- gpt-oss ---------------------------------------------------------------------------------------------------------

_HARMONY = (
    r"(?:<\|start\|>assistant)?(?:<\|channel\|>(?:commentary|analysis) |\s*)to=functions\.(?P<name>[^\s<]+)"
    r"(?:<\|channel\|>(?:commentary|analysis))?\s*(?:<\|constrain\|>)?(?:json)?<\|message\|>"
)


def _read_harmony(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """The token after a call may be the one that ends the answer, and then is no part of its text."""
    calls, end = _HARMONY_CALL(text, position, offer)
    return calls, end + len("<|call|>") if text.startswith("<|call|>", end) else end


_HARMONY_CALL = headed(_HARMONY)

# --- LFM2 ------------------------------------------------------------------------------------------------------------

_LFM, _LFM_END = "<|tool_call_start|>", "<|tool_call_end|>"


def _read_lfm(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    start = skip_space(text, position + len(_LFM))
    if not text.startswith("[", start):
        raise Problem("not a list of calls")
    calls, end = python.read_list(text, start, offer)
    return calls, expect(text, end, _LFM_END)


# --- OLMo, Apertus ---------------------------------------------------------------------------------------------------

_OLMO = ("<function_calls>", "</function_calls>")
_OLMO_CALL = r"<function_calls>\s*[A-Za-z_][\w.-]*\("
"""A plain name and its bracket: after other words, ``<function_calls>`` is named, and Claude's goes on with a tag."""
_APERTUS, _APERTUS_END = "<|tools_prefix|>", "<|tools_suffix|>"


def _write_olmo(calls: Sequence[Call]) -> str:
    return f"{_OLMO[0]}{python.write(calls)}{_OLMO[1]}"


def _read_apertus(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """A list of objects, each of which has the name of a tool as its only key."""
    rows, end = json_value(text, position + len(_APERTUS))
    if not isinstance(rows, list) or not rows:
        raise Problem("not a list of calls")
    calls = list[Parsed]()
    for row in rows:
        if not isinstance(row, dict) or len(row) != 1 or not isinstance(given := next(iter(row.values())), dict):
            raise Problem("not a list of objects of one name, each with its arguments")
        calls.append((Call(next(iter(row)), given), ()))
    return calls, expect(text, end, _APERTUS_END)


def _write_apertus(calls: Sequence[Call]) -> str:
    return f"{_APERTUS}{written_as([{call.name: dict(call.arguments)} for call in calls])}{_APERTUS_END}"


_F = [Call("f", {"a": 1})]

SYNTAXES = (
    Syntax(
        name="python_tag",
        description="an object after `<|python_tag|>`, or `f.call(a=1)`: Llama 3.1",
        example='<|python_tag|>{"name": "f", "parameters": {"a": 1}}',
        opening=r"<\|python_tag\|>",
        first="<",
        marked=True,
        read=_read_python_tag,
        attempts=special(_PYTHON_TAG),
        write=lambda calls: _PYTHON_TAG + "; ".join(map(written_as, json_calls.rows(calls, "parameters"))),
        source="https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/",
    ),
    Syntax(
        name="llama_4",
        description="a list of Python calls between `<|python_start|>` and `<|python_end|>`, or objects after both",
        example="<|python_start|>[f(a=1)]<|python_end|>",
        opening=r"<\|python_start\|>",
        first="<",
        marked=True,
        read=_read_python_start,
        attempts=special(_START),
        write=lambda calls: _START + python.write_list(calls) + _END,
        source="https://www.llama.com/docs/model-cards-and-prompt-formats/llama4/",
    ),
    Syntax(
        name="lfm2",
        description="a list of Python calls between `<|tool_call_start|>` and `<|tool_call_end|>`: LFM2",
        example="<|tool_call_start|>[f(a=1)]<|tool_call_end|>",
        opening=r"<\|tool_call_start\|>",
        first="<",
        marked=True,
        read=_read_lfm,
        attempts=special(_LFM),
        write=lambda calls: _LFM + python.write_list(calls) + _LFM_END,
        source="https://huggingface.co/LiquidAI/LFM2-1.2B",
    ),
    Syntax(
        name="deepseek",
        description="`<｜tool▁call▁begin｜>`, the name, `<｜tool▁sep｜>` and the object: DeepSeek V3 and R1 (in a "
        "code fence), V3.1",
        example=_write_deepseek(_F),
        opening=r"<｜tool▁calls?▁begin｜>",
        first="<",
        marked=True,
        read=section(_read_deepseek, _DEEPSEEK),
        attempts=special("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
        write=_write_deepseek,
        source="https://huggingface.co/deepseek-ai/DeepSeek-V3.1",
    ),
    Syntax(
        name="kimi",
        description="`<|tool_call_begin|>`, `functions.f:0`, `<|tool_call_argument_begin|>` and the object: Kimi K2",
        example=_write_kimi(_F),
        opening=r"<\|tool_calls_section_begin\|>|<\|tool_call_begin\|>",
        first="<",
        marked=True,
        read=section(headed(_KIMI_CALL, "<|tool_call_end|>"), _KIMI),
        attempts=special("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
        write=_write_kimi,
        source="https://huggingface.co/moonshotai/Kimi-K2-Instruct",
    ),
    Syntax(
        name="harmony",
        description="the name after `<|channel|>commentary to=functions.`, the object after `<|message|>`: gpt-oss",
        example='<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>',
        opening=r"(?:<\|start\|>assistant)?(?:<\|channel\|>(?:commentary|analysis) to="
        r"|\s*to=functions\.[^\s<]+<\|channel\|>)",
        first="<t",
        marked=True,
        read=_read_harmony,
        attempts=either(
            written(r"<\|channel\|>[^<\n]{0,200}\bto=", r"\bto=functions\.[^\s<]*<\|channel\|>", hint="<|channel|>"),
            # what is left without the tokens
            written(r"\bto=functions\.NAMES\b(?:[ \t]|<\|\w+\|>|json|code|commentary){0,6}\{", hint="to=functions."),
        ),
        write=each(
            lambda name, given: f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{given}<|call|>"
        ),
        source="https://github.com/openai/harmony",
    ),
    Syntax(
        name="command_r",
        description="a list of `tool_name` and `parameters` between `<|START_ACTION|>` and `<|END_ACTION|>`, or "
        "in a code fence after `Action:`: Command R",
        example=_write_cohere(_F),
        opening=r"<\|START_ACTION\|>|Action:\s*```json",
        first="<A",
        marked=True,
        read=_read_cohere,
        attempts=either(special(_ACTION), written(r"^[ \t]*Action:\s*```", hint="Action:")),
        write=_write_cohere,
        source="https://docs.cohere.com/docs/tool-use",
    ),
    Syntax(
        name="olmo",
        description="Python calls, one a line, between `<function_calls>` and `</function_calls>`: OLMo 3",
        example=_write_olmo(_F),
        opening=_OLMO_CALL,
        first="<",
        marked=True,
        read=section(python.read, _OLMO),
        attempts=written(rf"(?<!`){_OLMO_CALL}", hint="<function_calls>"),
        write=_write_olmo,
        source="https://huggingface.co/allenai/Olmo-3-7B-Instruct",
    ),
    Syntax(
        name="apertus",
        description="a list of objects with the tool's name as key, between `<|tools_prefix|>` and `<|tools_suffix|>`: "
        "Apertus",
        example=_write_apertus(_F),
        opening=r"<\|tools_prefix\|>",
        first="<",
        marked=True,
        read=_read_apertus,
        attempts=special(_APERTUS),
        write=_write_apertus,
        source="https://huggingface.co/swiss-ai/Apertus-8B-Instruct-2509",
    ),
)
