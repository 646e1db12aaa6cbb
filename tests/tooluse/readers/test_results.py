"""What templates write around a result goes; what the result itself says stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.growth import grows_linearly
from tests.tooluse.readers.helpers import called, read_one, turns
from tl_jax.tooluse.readers.results import results
from tl_jax.tooluse.schema import Message

HEADER = "<|start_header_id|>ipython<|end_header_id|>\n\n"


def said(text: str) -> list[str]:
    return [message.content for message in results(text, called("f"))]


@pytest.mark.parametrize("end", ["<|eot_id|>", "\n<|im_end|>\n", " <|eot_id|> "])
def test_the_end_of_a_turn_goes_with_what_begins_it(end: str) -> None:
    assert said(f" {HEADER}10{end}") == ["10"]
    assert said(f"<tool_response>\n10\n</tool_response>{end}") == ["10"]
    assert said(f"[TOOL_RESULTS] 10[/TOOL_RESULTS]{end}") == ["10"]
    assert said(f"{HEADER}<tool_response>10</tool_response><tool_response>\n11</tool_response>{end}") == ["10", "11"]
    assert said(f'{{"name": "f", "content": "10"}}{end}') == ["10"]
    assert said(f"{HEADER}It ends with {end.strip()} twice{end}") == [f"It ends with {end.strip()} twice"]


@pytest.mark.parametrize(
    "text",
    [
        "ChatML ends every turn with <|im_end|>",
        "<|im_end|>",
        "Llama 3's mark: <|eot_id|>\n",
        '{"template": "..."} <|eot_id|>',
        "<tool_response>10</tool_response> and then <|im_end|>",
        "[TOOL_RESULTS]10[/TOOL_RESULTS], in ChatML <|im_end|>",
        " 10 ",
    ],
)
def test_a_result_without_such_a_beginning_is_whole(text: str) -> None:
    assert said(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[TOOL_RESULTS]  10 \n [/TOOL_RESULTS]  \n[TOOL_RESULTS]11[/TOOL_RESULTS]\n", [("10", None), ("11", None)]),
        ("[TOOL_RESULTS]a1[TOOL_CONTENT]10[/TOOL_RESULTS]", [("10", "a1")]),
        ("[TOOL_RESULTS][TOOL_CONTENT][/TOOL_RESULTS]", [("", None)]),
        ('[TOOL_RESULTS]{"content": 10, "call_id": "a1"}[/TOOL_RESULTS]', [("10", "a1")]),
        ("[TOOL_RESULTS]10[TOOL_RESULTS]11[/TOOL_RESULTS]", None),
        ("[TOOL_RESULTS]10[/TOOL_RESULTS] and more", None),
        ("[TOOL_RESULTS]10", None),
    ],
)
def test_results_of_mistral(text: str, expected: list[tuple[str, str | None]] | None) -> None:
    found = results(text, called("f"))
    whole = [Message("tool", text)]
    assert found == ([Message("tool", one, call_id=id) for one, id in expected] if expected else whole)


def test_results_of_deepseek() -> None:
    around = "<function_results>\n<result>10</result>\n<result>11</result>\n</function_results>"
    assert said(around) == ["10", "11"]
    assert said("<function_results>10</function_results>") == ["10"]
    assert said("<function_results><result>10</result> or so</function_results>") == ["<result>10</result> or so"]

    for inside in ("<result>ok</result>", "<result>a</result><result>b</result>"):
        assert said(f"<tool_response>{inside}</tool_response>") == [inside]


@pytest.mark.parametrize("form", ["a{}b", "[TOOL_RESULTS]{}b", "[TOOL_RESULTS]a{}b[/TOOL_RESULTS]", HEADER + "a{}b"])
def test_long_white_space(form: str) -> None:
    assert grows_linearly(lambda text: results(text, called("f")), lambda count: form.format(" " * count), 1000)


@pytest.mark.parametrize("between", [[], [("gpt", "And:")]])
@pytest.mark.parametrize("format", ["sharegpt", "openai"])
def test_calls_of_messages_right_after_one_another_wait_together(
    tmp_path: Path, format: str, between: list[tuple[str, str]]
) -> None:
    """A result that names the tool of the first one is unwrapped as that of the last one is; older calls are over."""
    call = '<tool_call>{{"name": "{}", "arguments": {{}}}}</tool_call>'.format
    result = '<tool_response>{{"name": "{}", "content": {}}}</tool_response>'.format
    said = [("gpt", call("f")), ("tool", result("f", 1)), ("gpt", call("g")), *between, ("gpt", call("h"))]
    said += [("tool", result("h", 2) + result("g", 3)), ("tool", result("f", 4)), ("gpt", "So.")]
    row: dict[str, Any] = {"conversations": turns(("human", "Go."), *said)}
    if format == "openai":
        roles = {"gpt": "assistant"}
        row = {"messages": [{"role": roles.get(who, who), "content": text} for who, text in [("user", "Go."), *said]]}
    found = [message for message in read_one(tmp_path, row, format).messages if message.role == "tool"]
    assert sorted(message.content for message in found) == ["1", "2", "3", '{"name": "f", "content": 4}']
