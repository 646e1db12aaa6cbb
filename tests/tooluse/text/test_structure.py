"""Calls that recorded messages hold as text: in every syntax, with words around them, and what is no call."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.growth import takes_less
from tests.thoroughness import examples
from tests.tooluse.rewards.abstentions import PROSE, TOOLS
from tests.tooluse.text.test_syntaxes import OFFERED, PIECES, F, parts
from tl_jax.tooluse.schema import Call, Tool
from tl_jax.tooluse.text.structure import Structured, Unreadable, structure_calls
from tl_jax.tooluse.text.syntaxes import MAX_LENGTH, SYNTAXES, Problem, Syntax
from tl_jax.tooluse.text.turn_end import TURN_ENDS

ALL = [pytest.param(syntax, id=syntax.name) for syntax in SYNTAXES.values()]
MARKED = [pytest.param(syntax, id=syntax.name) for syntax in SYNTAXES.values() if syntax.marked]


@pytest.mark.parametrize("syntax", ALL)
@pytest.mark.parametrize("answered", [False, True])
def test_a_text_that_is_a_call(syntax: Syntax, answered: bool) -> None:
    assert structure_calls(syntax.example, OFFERED, answered) == Structured("", (F,))
    for end in (*TURN_ENDS, "<|im_end|>\n<|endoftext|>\n"):
        assert structure_calls(syntax.example + end, OFFERED, answered) == Structured("", (F,))
    thought = f"<think>\nhm\n</think>\n\n{syntax.example}"
    assert structure_calls(thought, OFFERED, answered) == Structured("<think>\nhm\n</think>", (F,))


@pytest.mark.parametrize("syntax", MARKED)
def test_words_around_calls_that_a_mark_begins(syntax: Syntax) -> None:
    text = syntax.example
    assert structure_calls(f"I look.\n{text}", OFFERED) == Structured("I look.", (F,))
    assert structure_calls(f"{text}\nI looked.", OFFERED) == Structured("I looked.", (F,), reordered=True)
    found = structure_calls(f"Once\n{text}\nand twice\n{text}", OFFERED)
    assert found is not None
    assert (found.calls, found.reordered, found.content.split()) == ((F, F), True, ["Once", "and", "twice"])


def undoubted(text: str, tools: Sequence[Tool], answered: bool = False) -> Structured | None:
    """What is found; None for words and what may be words."""
    try:
        return structure_calls(text, tools, answered)
    except Unreadable as problem:
        if problem.doubtful:
            return None
        raise


@pytest.mark.parametrize("syntax", ALL)
def test_other_calls_need_a_result_if_words_stand_before_them(syntax: Syntax) -> None:
    if syntax.marked:
        return
    text = f"I look.\n{syntax.example}"
    with pytest.raises(Unreadable) as caught:  # it may be an example
        structure_calls(text, OFFERED)
    assert caught.value.doubtful
    assert structure_calls(text, OFFERED, answered=True) == Structured("I look.", (F,))
    other = undoubted(text, (Tool("other"),), answered=True)
    assert (other is not None) == (syntax.name == "react")  # two labels are as good as a mark


@pytest.mark.parametrize("syntax", ALL)
def test_a_tool_that_is_not_offered(syntax: Syntax) -> None:
    other = (Tool("other"),)
    found = undoubted(syntax.example, other)
    assert (found is not None) == syntax.marked
    answered = undoubted(syntax.example, other, answered=True)
    assert (answered is not None) or syntax.name == "element"  # which is a call only of a tool on offer


@pytest.mark.parametrize("syntax", ["json", "python", "python_list"])
def test_a_block_of_code_that_is_answered(syntax: str) -> None:
    text = f"<think>hm</think>\n```json\n{SYNTAXES[syntax].example.strip()}\n```"
    assert structure_calls(text, OFFERED, answered=True) == Structured("<think>hm</think>", (F,))
    assert undoubted(text, OFFERED) is None


@pytest.mark.parametrize("syntax", ALL)
def test_a_block_of_code_at_the_end_before_a_result(syntax: Syntax) -> None:
    block = f"```json\n{syntax.example}\n```"
    for text in (f"I look:\n{block}", f"I look:\n\n{block}\n"):
        assert structure_calls(text, OFFERED, answered=True) == Structured("I look:", (F,))
    assert structure_calls(f"{block}\n{block}", OFFERED, answered=True) == Structured("", (F, F))
    twice = structure_calls(f"I look:\n{block}\n\n{block}", OFFERED, answered=True)
    assert twice == Structured("I look:", (F, F))
    if not syntax.marked:
        assert undoubted(f"I look:\n{block}", OFFERED) is None
        assert undoubted(f"I look:\n{block}\nThat is all.", OFFERED, answered=True) is None


def test_other_blocks_of_code_before_a_result_stay() -> None:
    code = "```python\nprint(1)\n```"
    call = '```\n{"name": "f", "arguments": {"a": 1}}\n```'
    assert structure_calls(f"So:\n{code}\n{call}", OFFERED, answered=True) == Structured(f"So:\n{code}", (F,))
    for text in (f"So:\n{code}", f"So:\n{call}\n{code}", "So:\n```", "```", "```\n```", "```\n\n```\n```"):
        assert undoubted(text, OFFERED, answered=True) is None


def test_react_with_a_thought() -> None:
    text = 'Thought: I look.\nAction: f\nAction Input: {"a": 1}'
    assert structure_calls(text, OFFERED, answered=True) == Structured("I look.", (F,))


def test_functionary_speaks_to_all_first() -> None:
    assert structure_calls('>>>all\nI look.>>>f\n{"a": 1}', OFFERED) == Structured("I look.", (F,))


def test_arguments_without_a_name_are_named() -> None:
    assert structure_calls("f(1)", OFFERED) == Structured("", (F,))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [({"type": "integer"}, {"a": 1}), ({"type": "object"}, {"a": {"a": 1}}), ({}, {"a": {"a": 1}})],
)
def test_an_object_in_brackets_is_the_arguments(kind: dict[str, str], arguments: dict[str, Any]) -> None:
    tool = Tool("h", "", {"type": "object", "properties": {"a": kind}})
    assert structure_calls('h({"a": 1})', (tool,)) == Structured("", (Call("h", arguments),))


def test_a_long_text() -> None:
    call = Call("g", {"b": "x " * MAX_LENGTH})
    for syntax in ("hermes", "python", "json", "qwen_xml"):
        assert structure_calls(SYNTAXES[syntax].write([call]), OFFERED) == Structured("", (call,))


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "f", "arguments": {"a": 1}',
        "<tool_call>\nnonsense\n</tool_call>",
        '<tool_call>{"name": "f", "arguments": {"a": 1}, "why": "x"}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>\n<tool_call>{"name": </tool_call>',
        "<function=f>{</function>",
        "[TOOL_CALLS] [",
        "<|python_tag|>import math",
    ],
)
def test_a_call_that_cannot_be_read(text: str) -> None:
    for answered in (False, True):
        with pytest.raises(Unreadable, match=r"looks like a call in the syntax '.*' and cannot be read: \S") as caught:
            structure_calls(text, OFFERED, answered)
        assert not caught.value.doubtful


@pytest.mark.parametrize("text", ["f(a=", 'f\n{"a": x}', '{"name": "f", "arguments": }', "[f(a=1), g(b=c)]"])
def test_one_without_a_mark_may_be_words(text: str) -> None:
    for answered in (False, True):
        with pytest.raises(Unreadable, match=r"cannot be read: \S") as caught:
            structure_calls(text, OFFERED, answered)
        assert caught.value.doubtful


def test_examples_in_code_are_words_unless_they_call_what_is_offered() -> None:
    for name, found in (("f", (Call("f", {}),)), ("other", None)):
        call = f'<tool_call>{{"name": "{name}", "arguments": {{}}}}</tool_call>'
        for text in (f"Hermes writes:\n```\n{call}\n```\nand so on.", f"It is `{call}` there."):
            structured = undoubted(text, OFFERED)
            assert (structured and structured.calls) == found
    with pytest.raises(Unreadable) as caught:
        structure_calls("So:\n```\n<tool_call>{\n```", OFFERED)
    assert caught.value.doubtful


@pytest.mark.parametrize("tools", [(), OFFERED], ids=["no tools", "tools"])
@pytest.mark.parametrize("fence", ["```", "`", "```py\n"])
def test_a_block_of_code_that_begins_inside_of_a_call(tools: Sequence[Tool], fence: str) -> None:
    call = Call("f", {"a": f"see {fence} there"})
    for syntax in ("hermes", "qwen_xml", "function_tag"):
        written = SYNTAXES[syntax].write([call])
        found = structure_calls(f"{written}{written}{written}", tools)
        assert found is not None
        assert (found.calls, found.content) == ((call, call, call), "")
    example = f"It was:\n```\n{SYNTAXES['hermes'].write([Call('g', {})])}\n```"
    found = undoubted(f"{example}\n{SYNTAXES['hermes'].write([call])}", ())
    assert found == Structured(example, (call,))


@pytest.mark.parametrize("text", PROSE)
def test_words_stay_words(text: str) -> None:
    assert structure_calls(text, TOOLS) is None
    assert structure_calls(text, ()) is None


def test_a_name_of_several_words_after_a_token_is_no_sentence() -> None:
    with pytest.raises(Unreadable):
        structure_calls("I look. [TOOL_CALLS] get weather of Oslo", (Tool("get weather"),))


@pytest.mark.fuzz
@settings(deadline=None, max_examples=examples(200))
@given(st.one_of(st.lists(parts, max_size=30).map("".join), st.text()), st.booleans())
def test_nothing_else_is_raised(text: str, answered: bool) -> None:
    try:
        found = structure_calls(text, OFFERED, answered)
    except Problem:
        return
    assert found is None or found.calls or text.startswith(">>>all")


@pytest.mark.parametrize("piece", PIECES)
def test_no_text_costs_more_than_its_length(piece: str) -> None:
    text = piece * (MAX_LENGTH // len(piece))

    def read() -> None:
        with contextlib.suppress(Problem):
            structure_calls(text, OFFERED, answered=True)

    assert takes_less(read, 0.15)
