"""What stands around results, whoever speaks: a tool, or the user to whom some templates give their words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.growth import grows_linearly
from tests.tooluse.readers.helpers import LOOKUP, called, read_one
from tests.tooluse.readers.prompts import DOG, remarks
from tl_jax.tooluse.mae.apply import blocked_turns
from tl_jax.tooluse.readers.result_marks import LABELS, MARKS, PLAIN, marked
from tl_jax.tooluse.readers.results import results
from tl_jax.tooluse.readers.texts import MAY_BE_RESULT
from tl_jax.tooluse.schema import Call, Message
from tl_jax.tooluse.text.syntaxes import SYNTAXES

NO = "Error: no such word"
CAT = Call("lookup", {"word": "cat"})

WRITTEN = (
    "<tool_response>\n{}\n</tool_response>",
    "<tool_response>{}",
    '<tool_response name="lookup">\n{}\n</tool_response>',
    "<TOOL_RESPONSE>{}</TOOL_RESPONSE>",
    "<TOOL_RESPONSE>[{}]</TOOL_RESPONSE>",
    '<TOOL_RESPONSE>["{}"]</TOOL_RESPONSE>',
    "<function_output>{}</function_output>",
    "<tool_responses>\n<tool_response>\n{}\n</tool_response>\n</tool_responses>",
    "<tool_responses:opensource><tool_response:opensource>{}</tool_response:opensource></tool_responses:opensource>",
    "<seed:tool_response>{}</seed:tool_response>",
    "<|start_header_id|>ipython<|end_header_id|>\n\n{}<|eot_id|>",
    "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>{}<｜tool▁output▁end｜><｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>{}<｜tool▁output▁end｜>",
    "## Return of functions.lookup:0\n{}",
    '<|START_TOOL_RESULT|>[{{"tool_call_id": "0", "results": {{"0": "{}"}}, "is_error": null}}]<|END_TOOL_RESULT|>',
    "<start_function_response>response:lookup{{value:<escape>{}<escape>}}<end_function_response>",
    '<|tool_response>response:lookup{{value:<|"|>{}<|"|>}}<tool_response|>',
    "<|tool_response|>{}<|/tool_response|>",
    "<|start|>functions.lookup to=assistant<|channel|>commentary<|message|>{}<|end|>",
    "[TOOL_RESULTS]{}[/TOOL_RESULTS]",
    "✿RESULT✿: {}\n✿RETURN✿:",
    "Observation: {}",
    "FUNCTION RESPONSE: {}\n",
    "Tool output:\n{}",
    "Call id: c1\nObservation:\n{}",
    "Call id: c1\n{}",
)
"""Results as templates and data sets write them."""
BY_USERS = ("<response>{}</response>", "<result>\n{}\n</result>", "```output\n{}\n```")
"""As they hand them over as the user's words only."""


def conversation(role: str, said: str, *calls: Call) -> dict[str, Any]:
    made = "".join(SYNTAXES["hermes"].write([call]) for call in calls or (DOG,))
    turns = [("user", "?"), ("assistant", made), (role, said), ("assistant", "So.")]
    return {"messages": [{"role": who, "content": text} for who, text in turns], "tools": [LOOKUP]}


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("role", ["user", "tool", "observation"])
def test_results_as_they_are_written(tmp_path: Path, role: str, form: str) -> None:
    found = read_one(tmp_path, conversation(role, form.format(NO)), "openai")
    assert found.messages[1:3] == (Message("assistant", "", (DOG,)), Message("tool", NO, name="lookup"))
    assert [block.message for block in blocked_turns(found, "paper")] == [1]


@pytest.mark.parametrize("form", BY_USERS)
def test_what_a_tool_may_say_itself(tmp_path: Path, form: str) -> None:
    said = form.format(NO)
    assert read_one(tmp_path, conversation("user", said)).messages[2] == Message("tool", NO, name="lookup")
    assert read_one(tmp_path, conversation("tool", said)).messages[2] == Message("tool", said, name="lookup")


@pytest.mark.parametrize("form", [*WRITTEN[21:], *BY_USERS])
def test_what_a_user_says_before_any_call(tmp_path: Path, form: str) -> None:
    value = conversation("user", form.format(NO))
    del value["messages"][1]
    found, told = remarks(tmp_path, value)
    assert found.messages[1] == Message("user", form.format(NO))
    assert MAY_BE_RESULT not in told


@pytest.mark.parametrize("form", [form for form in WRITTEN[:21] if form.rstrip()[-1] in ">]" and "ipython" not in form])
@pytest.mark.parametrize("around", ["{}\n\nWhat now?", "{}What now?", "What now?\n{}", "What\n{}\nnow?"])
def test_words_beside_a_result(tmp_path: Path, form: str, around: str) -> None:
    """The words come after the result, as the user's own."""
    messages = read_one(tmp_path, conversation("user", around.format(form.format(NO)))).messages
    assert messages[2] == Message("tool", NO, name="lookup")
    assert (messages[3].role, messages[3].content.split()) == ("user", ["What", "now?"])


@pytest.mark.parametrize(
    "said",
    [
        "What is `<tool_response>1</tool_response>`?",
        "What is <tool_response>1</tool_response>?",
        "As in\n```\n<tool_response>1</tool_response>\n```",
    ],
)
def test_a_user_who_speaks_of_results(tmp_path: Path, said: str) -> None:
    assert read_one(tmp_path, conversation("user", said)).messages[2] == Message("user", said)
    assert said in [one.content for one in read_one(tmp_path, conversation("tool", said)).messages]


def test_a_user_with_a_name(tmp_path: Path) -> None:
    value = conversation("user", f"<tool_response>{NO}</tool_response>\nAnd?")
    value["messages"][2]["name"] = "Bob"
    said = read_one(tmp_path, value).messages[2:4]
    assert said == (Message("tool", NO, name="lookup"), Message("user", "And?", name="Bob"))


def test_what_may_be_a_result_is_told(tmp_path: Path) -> None:
    said = "<my:tool_result>1</my:tool_result>"
    found, told = remarks(tmp_path, conversation("user", said))
    assert (found.messages[2], told) == (Message("user", said), {MAY_BE_RESULT: 1})


@pytest.mark.parametrize("role", ["user", "tool"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('[{"v": 1}, "2"]', ['{"v": 1}', "2"]),
        ("[[1, 2], 3]", ["[1, 2]", "3"]),
        ("[1]", ["1"]),
        ("[1, 2, 3]", ["[1, 2, 3]"]),
        ("[]", ["[]"]),
        ("[Error: no, 10]", ["Error: no, 10"]),
        ('{"v": 1}', ['{"v": 1}']),
    ],
)
def test_nemotrons_list_of_results_of_two_calls(tmp_path: Path, role: str, said: str, expected: list[str]) -> None:
    value = conversation(role, f"<TOOL_RESPONSE>{said}</TOOL_RESPONSE>", DOG, CAT)
    assert [message.content for message in read_one(tmp_path, value).messages[2:-1]] == expected


def test_a_list_in_other_tags_is_one_result(tmp_path: Path) -> None:
    value = conversation("tool", "<tool_response>[1, 2]</tool_response>", DOG, CAT)
    assert read_one(tmp_path, value).messages[2].content == "[1, 2]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '<tool_response name="f" id="a" is_error="true">1</tool_response>',
            Message("tool", "1", name="f", call_id="a", error=True),
        ),
        ("<tool_result tool_call_id='a' status='success'>1</tool_result>", Message("tool", "1", call_id="a")),
        ('<tool_result other="a">1</tool_result>', None),
        ('<tool_result id="a" checked>1</tool_result>', None),
        (
            '<|START_TOOL_RESULT|>[{"tool_call_id": "1", "results": {"0": {"a": 1}, "1": 2}, "is_error": true}]'
            "<|END_TOOL_RESULT|>",
            Message("tool", '[{"a": 1}, 2]', call_id="1", error=True),
        ),
        ("<|START_TOOL_RESULT|>[1]<|END_TOOL_RESULT|>", Message("tool", "[1]")),
        ("## Return of functions.f:3\n1", Message("tool", "1", name="f", call_id="functions.f:3")),
        ("## Return of the king\n1", None),
        (
            "<start_function_response>response:f{a:1,b:<escape>x<escape>}<end_function_response>",
            Message("tool", '{"a": 1, "b": "x"}', name="f"),
        ),
        ("<start_function_response>1<end_function_response>", Message("tool", "1")),
        ("Call id: a\nObservation:\n1", Message("tool", "1", call_id="a")),
        ("Call id: a\nand more", None),
    ],
)
def test_what_marks_say_of_a_result(text: str, expected: Any) -> None:
    assert results(text, called("f")) == [expected or Message("tool", text)]


def test_ids_that_marks_say(tmp_path: Path) -> None:
    """Of the calls in a text, or of those of a message."""
    kimi = "<|tool_call_begin|>functions.lookup:{0}<|tool_call_argument_begin|>{{}}<|tool_call_end|>"
    value = conversation("tool", "## Return of functions.lookup:1\n11\n## Return of functions.lookup:0\n10")
    value["messages"][1]["content"] = kimi.format(0) + kimi.format(1)
    found = read_one(tmp_path, value).messages[2:4]
    assert [(one.content, one.call_id) for one in found] == [("10", "functions.lookup:0"), ("11", "functions.lookup:1")]


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("lookup", {"word": "dog"}, {"word": "dog"}),
        ("python_interpreter", "print(1)", {"code": "print(1)"}),
        ("python_interpreter", '{"code": "print(1)"}', {"code": "print(1)"}),
    ],
)
def test_smolagents_messages(tmp_path: Path, name: str, given: Any, read: dict[str, str]) -> None:
    call = f"Calling tools:\n{[{'id': 'c1', 'type': 'function', 'function': {'name': name, 'arguments': given}}]}"
    failed = f"Call id: c1\n{NO}\nNow let's retry: take care not to repeat previous errors!"
    turns = [("user", "?"), ("tool-call", call), ("tool-response", failed), ("assistant", "So.")]
    value = {"messages": [{"role": who, "content": [{"type": "text", "text": text}]} for who, text in turns]}
    found = read_one(tmp_path, {**value, "tools": [LOOKUP]})
    assert found.messages[1].tool_calls == (Call(name, read, id="c1"),)
    assert (found.messages[2].call_id, found.messages[2].content) == ("c1", failed.partition("\n")[2])
    assert [block.message for block in blocked_turns(found, "paper")] == [1]


@pytest.mark.parametrize("marks", [MARKS, LABELS, PLAIN], ids=["marks", "labels", "plain"])
@pytest.mark.parametrize("form", WRITTEN)
def test_many_marks_left_open(form: str, marks: Any) -> None:
    opening = form.partition("{}")[0]
    assert grows_linearly(lambda text: list(marked(text, marks)), lambda count: opening * count, 200)
