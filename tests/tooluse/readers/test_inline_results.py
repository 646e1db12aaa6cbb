"""Calls, results and answers in one text of the assistant: turns of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.growth import grows_linearly
from tests.tooluse.readers.helpers import LOOKUP, changed, read_one, refused
from tests.tooluse.readers.prompts import DOG, remarks
from tl_jax.tooluse.mae.apply import blocked_turns
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers.inline_results import parts
from tl_jax.tooluse.readers.texts import MAY_BE_RESULT, OF_OTHERS, OTHER_CALLS, SAID_TWICE
from tl_jax.tooluse.schema import Call, DataError, Message
from tl_jax.tooluse.text.syntaxes import SYNTAXES

CAT = Call("lookup", {"word": "cat"})
NO = "Error: no such word"
TAGGED = "<tool_response>\n{}\n</tool_response>"


def row(text: str, **beside: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, **beside}
    return {"messages": [{"role": "user", "content": "?"}, said], "tools": [LOOKUP]}


def written(call: Call, syntax: str = "hermes") -> str:
    return SYNTAXES[syntax].write([call])


def result(text: str, **beside: Any) -> Message:
    return Message("tool", text, name="lookup", **beside)


@pytest.mark.parametrize(
    ("syntax", "wrapped", "end"),
    [
        ("hermes", TAGGED, ""),
        ("hermes", "<tool_result>{}</tool_result>", ""),
        ("hermes", "<|im_end|>\n<|im_start|>user\n" + TAGGED + "<|im_end|>\n<|im_start|>assistant", "<|im_end|>"),
        ("hermes", "<result>{}</result>", ""),
        ("hermes", "```output\n{}\n```", ""),
        ("invoke", "<function_results>\n<result>\n{}\n</result>\n</function_results>", ""),
        ("invoke", "<function_results>{}</function_results>", ""),
        ("function_call_tag", "<function_output>{}</function_output>", ""),
        (
            "python_tag",
            "<|eom_id|><|start_header_id|>ipython<|end_header_id|>\n\n{}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n",
            "<|eot_id|>",
        ),
        ("mistral", "</s>[TOOL_RESULTS] {}[/TOOL_RESULTS]", "</s>"),
        ("glaive", " <|endoftext|>\n\n\nFUNCTION RESPONSE: {}\n\n\nASSISTANT:", " <|endoftext|>"),
        ("qwen_agent", "✿RESULT✿: {}\n✿RETURN✿:", ""),
        ("react", "Observation: {}\n", ""),
        (
            "deepseek",
            "<｜end▁of▁sentence｜><｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>{}<｜tool▁output▁end｜>"
            "<｜tool▁outputs▁end｜>",
            "",
        ),
        ("glm", "<|observation|>\n" + TAGGED + "\n<|assistant|>", ""),
        ("phi_4", "<|end|><|tool_response|>{}<|/tool_response|><|assistant|>", "<|end|>"),
    ],
)
@pytest.mark.parametrize("format", ["openai", "sharegpt"])
def test_a_text_of_several_turns(tmp_path: Path, syntax: str, wrapped: str, end: str, format: str) -> None:
    """A failed call, another one, and the answer: MAE blocks the first one alone."""
    steps = "\n".join(written(call, syntax) + "\n" + wrapped.format(said) for call, said in ((DOG, NO), (CAT, "a pet")))
    goes_on = "Thought: A pet.\n" if syntax == "react" else "A pet."
    value = row(f"{steps}\n{goes_on}{end}")
    if format == "sharegpt":
        speakers = {"user": "human", "assistant": "gpt"}
        turns = [{"from": speakers[one["role"]], "value": one["content"]} for one in value["messages"]]
        value = {"conversations": turns, "tools": [LOOKUP]}
    found = read_one(tmp_path, value, format)
    *steps_read, last = found.messages[1:]
    calls = [Message("assistant", "", (call,)) for call in (DOG, CAT)]
    assert steps_read == [calls[0], result(NO), calls[1], result("a pet")]
    assert last == Message("assistant", goes_on.strip())
    assert [block.message for block in blocked_turns(found, "paper")] == [1]


def test_words_thoughts_and_weights_of_a_text_of_several_turns(tmp_path: Path) -> None:
    text = f"<think>Dogs.</think>I look.\n{written(DOG)}{TAGGED.format(NO)}<think>Cats.</think>Again.\n{written(CAT)}"
    text += f"{TAGGED.format('a pet')}\n<think>So.</think>A pet."
    beside = {"weight": 0, "reasoning": "Hm.", "refusal": "No."}
    first, failed, second, done, last = read_one(tmp_path, row(text, **beside), "hermes").messages[1:]
    assert (failed, done) == (result(NO), result("a pet"))
    assert first == Message("assistant", "I look.", (DOG,), weight=0.0, reasoning="Hm.\nDogs.")
    assert second == Message("assistant", "Again.", (CAT,), weight=0.0, reasoning="Cats.")
    assert last == Message("assistant", "A pet.", weight=0.0, reasoning="So.", refusal="No.")


def test_parallel_calls_and_their_results(tmp_path: Path) -> None:
    text = written(DOG) + written(CAT) + TAGGED.format("a pet") + "\n" + TAGGED.format(NO)
    found = read_one(tmp_path, row(text)).messages[1:]
    assert found == (Message("assistant", "", (DOG, CAT)), result("a pet"), result(NO))


def test_text_that_says_what_its_message_calls(tmp_path: Path) -> None:
    def made(*calls: Call) -> list[Any]:
        return [{"id": f"c{i}", "name": call.name, "arguments": dict(call.arguments)} for i, call in enumerate(calls)]

    text = f"{written(DOG)}{TAGGED.format(NO)}{written(CAT)}{TAGGED.format('a pet')}A pet."
    found, told = remarks(tmp_path, row(text, tool_calls=made(DOG, CAT)))
    assert [call.id for message in found.messages for call in message.tool_calls] == ["c0", "c1"]
    assert [message.role for message in found.messages[1:]] == ["assistant", "tool", "assistant", "tool", "assistant"]
    assert told == {SAID_TWICE: 1}
    found, told = remarks(tmp_path, row(text, tool_calls=made(DOG)))
    assert (found.messages[1].content, told) == (text, {OTHER_CALLS: 1})


def test_a_result_right_after_the_message_that_calls(tmp_path: Path) -> None:
    value = row(written(DOG))
    value["messages"].append({"role": "assistant", "content": f"{TAGGED.format(NO)}\nSorry."})
    found = read_one(tmp_path, value).messages[1:]
    assert found == (Message("assistant", "", (DOG,)), result(NO), Message("assistant", "Sorry."))


def test_a_result_in_a_thought_is_a_thought(tmp_path: Path) -> None:
    thought = TAGGED.format(NO)
    text = f"<think>{thought}</think>{written(DOG)}{TAGGED.format('a pet')}<think>{thought}</think>A pet."
    first, heard, last = read_one(tmp_path, row(text), "openai").messages[1:]
    assert (first.content, first.tool_calls, heard, last.content) == ("", (DOG,), result("a pet"), "A pet.")
    assert first.reasoning == last.reasoning == thought.strip()


@pytest.mark.parametrize("role", ["tool", "user"])
def test_a_stop_word_is_no_result(tmp_path: Path, role: str) -> None:
    """ReAct's models are stopped where the result would begin."""
    value = row(f"Thought: Dogs.\n{written(DOG, 'react')}Observation:")
    value["messages"].append({"role": role, "content": f"Observation: {NO}"})
    assert read_one(tmp_path, value).messages[1:] == (Message("assistant", "Dogs.", (DOG,)), result(NO))


def test_a_result_that_holds_marks_is_told(tmp_path: Path) -> None:
    found, told = remarks(tmp_path, row(written(DOG) + TAGGED.format(f"In {TAGGED.format('marks')}.") + "A pet."))
    assert (len(found.messages), told[MAY_BE_RESULT]) == (4, 1)


def test_turns_of_others_are_refused(tmp_path: Path) -> None:
    text = f"{written(DOG)}{TAGGED.format('a pet')}A pet.<|im_end|>\n<|im_start|>user\nAnd a cat?<|im_end|>"
    refused(tmp_path, row(text), rf"messages\[1\]\.content: {OF_OTHERS}")
    notes = Notes(unknown="drop")
    with notes.kept():
        assert read_one(tmp_path, row(text)).messages[1].content == text
    assert OF_OTHERS in notes.lines()[0]


def test_a_broken_call_after_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"messages\[1\]\.content: .*tool_call"):
        read_one(tmp_path, row(f"{written(DOG)}{TAGGED.format(NO)}<tool_call>{{</tool_call>{TAGGED.format(1)}"))


@pytest.mark.parametrize(
    "text",
    [
        "Results stand in tags: <tool_response>a pet</tool_response>.",
        "It says `<tool_call>` and then:\n```\n<tool_response>a pet</tool_response>\n```",
        "<result>a pet</result>",
        "Thought: I know.\nObservation: a pet",
    ],
)
def test_words_about_results_stay(tmp_path: Path, text: str) -> None:
    found, told = remarks(tmp_path, row(text))
    assert (found.messages[1:], told) == ((Message("assistant", text),), {})


@pytest.mark.parametrize(
    "after", ["<my_result>a pet</my_result>", "Well:\n<result>a pet</result>", "<tool_response>\nNo"]
)
def test_what_may_be_a_result_is_told(tmp_path: Path, after: str) -> None:
    found, told = remarks(tmp_path, row(f"{written(DOG)}\n{after}"))
    assert (found.messages[1], told[MAY_BE_RESULT]) == (Message("assistant", after, (DOG,)), 1)


@pytest.mark.parametrize("form", ["{}", "x\n{}"])
@pytest.mark.parametrize(
    "piece", ["<tool_response>", "<tool_response>1</tool_response> ", "Observation: 1\n", "<result>"]
)
def test_many_marks(piece: str, form: str) -> None:
    assert grows_linearly(lambda text: parts(text, ()), lambda count: form.format(piece * count), 300)
    called = written(DOG) + TAGGED.format(1)
    assert grows_linearly(lambda text: parts(text, ()), lambda count: called * count, 30)


def test_rows_that_we_wrote_stay_as_they_are(tmp_path: Path) -> None:
    text = f"{written(DOG)}{TAGGED.format(NO)}"
    own = changed({**row(text), "suite": "", "meta": {}, "id": "x"}, "messages.1.content", text)
    assert read_one(tmp_path, own).messages[1] == Message("assistant", text)
