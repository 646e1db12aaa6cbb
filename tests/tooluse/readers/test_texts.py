"""Calls, tools and results that are texts, in rows of messages: structure, or told that it cannot be read."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, lines, read_one
from tests.tooluse.readers.prompts import DOG, LLAMA, remarks, row
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_cases, read_trajectories
from tl_jax.tooluse.readers.texts import IN_NO_SYNTAX, OTHER_CALLS, REORDERED, SAID_TWICE
from tl_jax.tooluse.schema import Call, DataError, Message, Trajectory
from tl_jax.tooluse.text.syntaxes import SYNTAXES


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("shape", ["openai", "canonical", "sharegpt"])
def test_calls_in_every_syntax(tmp_path: Path, syntax: Any, shape: str) -> None:
    value = row(f"I look.\n{syntax.write([DOG])}")
    if shape == "sharegpt":
        speakers = {"user": "human", "assistant": "gpt", "tool": "tool"}
        turns = [{"from": speakers[one["role"]], "value": one["content"]} for one in value["messages"]]
        value = {"tools": json.dumps(value["tools"]), "conversations": turns}
    if shape == "canonical":
        value = {"id": "x", **value, "meta": {}}
    found = read_one(tmp_path, value)
    assert found.messages[1] == Message("assistant", "I look.", (DOG,))
    assert found.messages[2] == Message("tool", "a pet", name="lookup")


def test_rows_that_we_wrote_stay_as_they_are(tmp_path: Path) -> None:
    own = {"id": "x", "suite": "", "meta": {}, **row("lookup(word='dog')")}
    assert read_one(tmp_path, own).messages[1] == Message("assistant", "lookup(word='dog')")


def test_context_of_cases(tmp_path: Path) -> None:
    case = {**row("lookup(word='dog')"), "id": "x", "gold": [[{"name": "lookup", "arguments": {"word": "cat"}}]]}
    (found,) = read_cases(lines(tmp_path / "data.jsonl", case))
    assert found.messages[1].tool_calls == (DOG,)


def test_words_stay_words(tmp_path: Path) -> None:
    for said in ("I use lookup(word) now.", "See {this}.", "lookup: a word", "Action: rest"):
        assert read_one(tmp_path, row(said)).messages[1] == Message("assistant", said)


def test_weights_are_kept(tmp_path: Path) -> None:
    text = '<tool_call>{"name": "lookup", "arguments": {"word": "dog"}}</tool_call>'
    found = read_one(tmp_path, changed(row(text), "messages.1.weight", 0))
    assert found.messages[1] == Message("assistant", "", (DOG,), weight=0.0)


@pytest.mark.parametrize("syntax", ["hermes", "python", "json"])
def test_text_that_says_the_calls_of_its_message(tmp_path: Path, syntax: str) -> None:
    text = SYNTAXES[syntax].write([DOG])
    beside = [{"id": "1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "dog"}'}}]
    twice = changed(row(text), "messages.1.tool_calls", beside)
    found, told = remarks(tmp_path, twice, "openai")
    assert found.messages[1] == Message("assistant", "", (Call("lookup", {"word": "dog"}, id="1"),))
    assert told == {SAID_TWICE: 1}
    found, told = remarks(tmp_path, changed(twice, "messages.1.tool_calls.0.function.arguments", '{"word": "cat"}'))
    assert (found.messages[1].content, told) == (text, {OTHER_CALLS: 1})
    found, told = remarks(tmp_path, changed(twice, "messages.1.content", "<tool_call>{"))
    assert (found.messages[1].content, list(told.values())) == ("<tool_call>{", [1])


def test_words_about_the_call_that_their_message_makes_stay(tmp_path: Path) -> None:
    text = "I change it:\n\n```python\nlookup({'word': 'dog'})\n```"
    beside = [{"id": "1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "dog"}'}}]
    assert read_one(tmp_path, row(text)).messages[1] == Message("assistant", "I change it:", (DOG,))
    assert read_one(tmp_path, changed(row(text), "messages.1.tool_calls", beside)).messages[1].content == text


def test_real_conversations_stay_as_they_are(tmp_path: Path, shared_data: Path) -> None:
    """Where nothing says that we wrote them."""
    with (shared_data / "train" / "permissive_1018.jsonl").open(encoding="utf-8") as written:
        own = [Trajectory.from_json(json.loads(line)) for line in islice(written, 0, None, 6)]
    rows = [{"messages": value["messages"], "tools": value["tools"]} for value in map(Trajectory.to_json, own)]
    found = read_trajectories(lines(tmp_path / "data.jsonl", *rows))
    assert [(one.tools, one.messages) for one in found] == [(one.tools, one.messages) for one in own]


def test_text_after_a_call_is_told(tmp_path: Path) -> None:
    found, told = remarks(tmp_path, row('<function=lookup>{"word": "dog"}</function>\nI looked.'))
    assert found.messages[1] == Message("assistant", "I looked.", (DOG,))
    assert told == {REORDERED: 1}


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("<function=lookup>{</function>", "function_tag"),
        ("<tool_call><function=lookup></tool_call>", "qwen_xml"),
        ("<|python_tag|>import math", "python_tag"),
        ("[TOOL_CALLS] [", "mistral"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, syntax: str) -> None:
    path = lines(tmp_path / "data.jsonl", row("lookup(word='dog')"), row(text))
    place = rf"data\.jsonl:2: messages\[1\]\.content: looks like a call in the syntax '{syntax}' and cannot be read"
    with pytest.raises(DataError, match=place):
        list(read_trajectories(path))
    notes = Notes(unknown="drop")
    with notes.kept():
        found = list(read_trajectories(path))
    assert found[1].messages[1] == Message("assistant", text)
    (told,) = notes.lines()
    assert f"data.jsonl: messages[].content: looks like a call in the syntax '{syntax}' and cannot be read" in told


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("lookup(word=", "python"),
        ("Call:\n1. lookup(word='dog')\nand so on.", "python"),
        ("Action: lookup\nAction Input: dog", "react"),
        ('lookup\n{"word": dog}', "name_line"),
        ('{"name": "lookup", "arguments": {"word": }}', "json"),
        ("{'name': 'lookup', 'arguments': {'word': }}", "python_dict"),
    ],
)
def test_what_has_no_mark_stays_text_and_is_counted(tmp_path: Path, text: str, syntax: str) -> None:
    found, told = remarks(tmp_path, row(text))
    assert found.messages[1] == Message("assistant", text)
    assert told == {
        f"messages[].content: looks like a call in the syntax '{syntax}' and cannot be read: it stays text": 1
    }


def test_what_may_be_a_call_in_a_syntax_of_its_own_is_told(tmp_path: Path) -> None:
    call = "<my:tool_call>lookup\n<my:key>word</my:key></my:tool_call>"
    found, told = remarks(tmp_path, row(call))
    assert (found.messages[1].content, told[IN_NO_SYNTAX]) == (call, 1)
    for words in ("The tag <my:tool_call> begins a call.", "As in `<my:tool_call>lookup`."):
        _, told = remarks(tmp_path, row(words))
        assert IN_NO_SYNTAX not in told


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("<tool_response>\na pet\n</tool_response>", ["a pet"]),
        ("<tool_response>a pet</tool_response>\n<tool_response>no</tool_response>", ["a pet", "no"]),
        ('<tool_response>{"name": "lookup", "content": {"is": 1}}</tool_response>', ['{"is": 1}']),
        ('[{"name": "lookup", "results": {"is": 1}}, {"name": "lookup", "results": "no"}]', ['{"is": 1}', "no"]),
        ('[{"name": "other", "results": 1}]', ['[{"name": "other", "results": 1}]']),
        ('[{"name": "lookup", "results": 1, "more": 2}]', ['[{"name": "lookup", "results": 1, "more": 2}]']),
        ("<|start_header_id|>ipython<|end_header_id|>\n\na pet<|eot_id|>", ["a pet"]),
        ("[TOOL_RESULTS] a pet[/TOOL_RESULTS]", ["a pet"]),
        ("[TOOL_RESULTS]abc[TOOL_CONTENT]a pet[/TOOL_RESULTS] [TOOL_RESULTS]no[/TOOL_RESULTS]", ["a pet", "no"]),
        ('{"name": "lookup", "results": "a pet"}', ["a pet"]),
        ("<function_results>\na pet\n</function_results>", ["a pet"]),
        ("a pet", ["a pet"]),
        ("see <tool_response>a pet</tool_response> there", ["see <tool_response>a pet</tool_response> there"]),
    ],
)
def test_results(tmp_path: Path, result: str, expected: list[str]) -> None:
    calls = "\n".join(["lookup(word='dog')"] * len(expected))
    messages = read_one(tmp_path, row(calls, result)).messages
    assert messages[2:-1] == tuple(Message("tool", text, name="lookup") for text in expected)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("lookup(word='dog')", "<tool_response>a pet</tool_response>"),
        (LLAMA, "<|start_header_id|>ipython<|end_header_id|>\n\na pet<|eot_id|>"),
        ('[TOOL_CALLS]lookup[ARGS]{"word": "dog"}', "[TOOL_RESULTS] a pet [/TOOL_RESULTS]"),
        ('Action: lookup\nAction Input: {"word": "dog"}', "Observation: a pet\n"),
    ],
)
def test_results_in_the_words_of_the_user(tmp_path: Path, said: str, words: str) -> None:
    found = read_one(tmp_path, changed(row(said, words), "messages.2.role", "user"), format="openai")
    assert found.messages[1:3] == (Message("assistant", "", (DOG,)), Message("tool", "a pet", name="lookup"))


def test_an_observation_of_each_call(tmp_path: Path) -> None:
    value = changed(row("[lookup(word='dog'), lookup(word='cat')]", "Observation: a pet"), "messages.2.role", "user")
    value["messages"].insert(3, {"role": "user", "content": "Observation: one more"})
    results = read_one(tmp_path, value).messages[2:4]
    assert results == tuple(Message("tool", text, name="lookup") for text in ("a pet", "one more"))


def test_what_a_user_observes(tmp_path: Path) -> None:
    value = changed(row("Look up.", "Observation: a pet"), "messages.2.role", "user")
    assert read_one(tmp_path, value).messages[2] == Message("user", "Observation: a pet")


def test_ids_of_results_in_text(tmp_path: Path) -> None:
    made = json.dumps([{"name": "lookup", "arguments": {"word": word}, "id": word} for word in ("dog", "cat")])
    told = "".join(
        f'[TOOL_RESULTS] {{"content": "a {word}", "call_id": "{word}"}}[/TOOL_RESULTS]' for word in ("cat", "dog")
    )
    found = read_one(tmp_path, row(f"[TOOL_CALLS] {made}", told)).messages[2:4]
    assert found == tuple(Message("tool", f"a {word}", name="lookup", call_id=word) for word in ("dog", "cat"))


def test_functionarys_words(tmp_path: Path) -> None:
    found = read_one(tmp_path, row('>>>all\nI look.>>>lookup\n{"word": "dog"}'))
    assert found.messages[1] == Message("assistant", "I look.", (DOG,))
    assert read_one(tmp_path, row(">>>all\nHi.")).messages[1] == Message("assistant", "Hi.")


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": [{"role": "user", "content": "?"}], "completion": [{"role": "assistant", "content": "CALL"}]},
        {"messages": [{"type": "human", "content": "?"}, {"type": "ai", "content": "CALL"}]},
        {"system": "x", "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "CALL"}]},
        {"contents": [{"role": "user", "parts": [{"text": "?"}]}, {"role": "model", "parts": [{"text": "CALL"}]}]},
        {"input": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "CALL"}]},
        {
            "messages": [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": [{"type": "text", "value": "CALL"}]},
            ]
        },
        {"query": "?", "response": "CALL", "history": []},
        {
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "CALL"}],
            "question": "?",
            "target_tools": "x",
        },
    ],
    ids=["verifiers", "langchain", "openai", "gemini", "responses", "llamafactory", "swift", "toucan"],
)
def test_every_format_that_holds_messages(tmp_path: Path, value: dict[str, Any]) -> None:
    tools = [{"functionDeclarations": [LOOKUP]}] if "contents" in value else [LOOKUP]
    written = json.dumps({**value, "tools": tools}).replace(
        '"CALL"', json.dumps(f"I look.\n{SYNTAXES['glm'].write([DOG])}")
    )
    found = read_one(tmp_path, json.loads(written))
    assert found.messages[-1] == Message("assistant", "I look.", (DOG,))
    broken = written.replace("</arg_value>", "")
    with pytest.raises(DataError, match=r"data\.jsonl:1: \w+(\[\d\])?[.\w\[\]]*: looks like a call in the syntax"):
        read_one(tmp_path, json.loads(broken))


def test_a_tag_that_is_left_open(tmp_path: Path) -> None:
    text = 'I look.\n<tool_call>\n{"name": "lookup", "arguments": {"word": "dog"}}\n'
    assert read_one(tmp_path, row(text)).messages[1] == Message("assistant", "I look.", (DOG,))


@pytest.mark.parametrize("tools", [[], [{**LOOKUP, "name": "find"}]], ids=["no tools", "other tools"])
@pytest.mark.parametrize(
    "text",
    [
        'Write:\n\n```\n<tool_call>\n{"name": "lookup", "arguments": {"word": "dog"}}\n</tool_call>\n```\n\nEnd.',
        'Write:\n```\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>\n```',
        'It begins with `<tool_call>{"name": "x"`, which is all.',
        'Write `<tool_call>{"name": "lookup", "arguments": {}}</tool_call>`.',
    ],
)
def test_an_example_in_a_block_of_code_is_no_call(tmp_path: Path, text: str, tools: Any) -> None:
    value = changed({**row(text), "tools": tools}, "messages.2.role", "user")
    found, told = remarks(tmp_path, value)
    assert found.messages[1] == Message("assistant", text)
    (counted,) = told
    assert counted.endswith("cannot be read: it stays text")


def test_a_call_beside_an_example_of_one(tmp_path: Path) -> None:
    example = 'It was `<tool_call>{"name": "f", "arguments": {}}</tool_call>` once.\n'
    call = '<tool_call>{"name": "lookup", "arguments": {"word": "dog"}}'
    found = read_one(tmp_path, row(f"{example}{call}</tool_call>"))
    assert found.messages[1] == Message("assistant", example.strip(), (DOG,))
    with pytest.raises(DataError, match=r"messages\[1\]\.content: looks like a call in the syntax 'hermes'"):
        read_one(tmp_path, row(example + call))


def test_an_argument_that_is_given_twice(tmp_path: Path) -> None:
    for text in ('{"word": "dog", "word": "cat"}', "{'word': 'dog', 'word': 'cat'}"):
        value = row(f'<tool_call>{{"name": "lookup", "arguments": {text}}}</tool_call>')
        with pytest.raises(DataError, match=r"messages\[1\]\.content: tool_call: .* twice"):
            read_one(tmp_path, value)


def test_objects_in_tags_that_cannot_be_read(tmp_path: Path) -> None:
    text = '<tool_call>{"name": "lookup", "arguments": {"word": "dog"}</tool_call>'
    path = lines(tmp_path / "data.jsonl", row(text))
    with pytest.raises(DataError, match=r"data\.jsonl:1: messages\[1\]\.content: tool_call: is neither JSON"):
        list(read_trajectories(path))
    notes = Notes(unknown="drop")
    with notes.kept():
        (found,) = read_trajectories(path)
    assert found.messages[1] == Message("assistant", text)
    (told,) = notes.lines()
    assert "messages[].content: looks like a call in the syntax 'hermes' and cannot be read: it stays text" in told
