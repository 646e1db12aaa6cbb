"""ShareGPT's shape: Hermes and LLaMA-Factory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import (
    FINISH,
    LOOKUP,
    changed,
    lines,
    read_one,
    real_trajectories,
    stripped,
    turns,
)
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

HERMES = {
    "id": "h1",
    "conversations": turns(
        (
            "system",
            f"You call functions. <tools> {[{'type': 'function', 'function': LOOKUP}]!r} </tools> Use <tool_call>.",
        ),
        ("human", "What is a dog?"),
        (
            "gpt",
            "I look.\n<tool_call>\n{'name': 'lookup', 'arguments': {'word': 'dog'}}\n</tool_call>\n<tool_call>\n"
            '{"arguments": {"word": "cat"}, "name": "lookup"}\n</tool_call>',
        ),
        (
            "tool",
            '<tool_response>\n{"name": "lookup", "content": {"is": "a pet"}}\n</tool_response>\n'
            "<tool_response>\nno\n</tool_response>",
        ),
        ("gpt", "A pet."),
    ),
}


LLAMA_FACTORY = {
    "tools": json.dumps([LOOKUP]),
    "system": "Be brief.",
    "conversations": turns(
        ("human", "What is a dog?"),
        ("gpt", "I look."),
        ("function_call", '{"name": "lookup", "arguments": {"word": "dog"}}'),
        ("observation", '{"is": "a pet"}'),
        ("gpt", "A pet."),
    ),
}


EXAMPLES = [HERMES, LLAMA_FACTORY]


def conversation(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": turns(*pairs)}


def test_hermes(tmp_path: Path) -> None:
    found = read_one(tmp_path, HERMES)
    assert (found.id, found.tools) == ("h1", (Tool.from_json(LOOKUP),))
    calls = (Call("lookup", {"word": "dog"}), Call("lookup", {"word": "cat"}))
    assert found.messages == (
        Message("user", "What is a dog?"),
        Message("assistant", "I look.", calls),
        Message("tool", '{"is": "a pet"}', name="lookup"),
        Message("tool", "no", name="lookup"),
        Message("assistant", "A pet."),
    )


def test_tools_of_hermes_one_a_line(tmp_path: Path) -> None:
    listed = "\n".join(json.dumps({"type": "function", "function": item}) for item in (LOOKUP, FINISH))
    row = {"conversations": turns(("system", f"<tools>\n{listed}\n</tools>"), ("human", "x"))}
    assert read_one(tmp_path, row).tools == (Tool.from_json(LOOKUP), Tool.from_json(FINISH))


def test_llama_factory(tmp_path: Path) -> None:
    found = read_one(tmp_path, LLAMA_FACTORY)
    assert (found.id, found.tools) == ("data:1", (Tool.from_json(LOOKUP),))
    assert found.messages == (
        Message("system", "Be brief."),
        Message("user", "What is a dog?"),
        Message("assistant", "I look.", (Call("lookup", {"word": "dog"}),)),
        Message("tool", '{"is": "a pet"}', name="lookup"),
        Message("assistant", "A pet."),
    )


def test_apigen_mt(tmp_path: Path) -> None:
    """APIGen-MT-5k: LLaMA-Factory's shape, several calls one after another, a policy as the system text."""
    said = [("human", "What is a dog?")]
    for word in ("dog", "cat"):
        said.append(("function_call", json.dumps({"name": "lookup", "arguments": {"word": word}})))
        said.append(("observation", f"a {word}"))
    row = {"system": "# Policy\nBe kind.", "tools": json.dumps([LOOKUP]), **conversation(*said, ("gpt", "A pet."))}
    found = read_one(tmp_path, row)
    assert [message.role for message in found.messages] == ["system", "user", *["assistant", "tool"] * 2, "assistant"]
    assert [message.name for message in found.messages if message.role == "tool"] == ["lookup", "lookup"]


def test_results_are_unwrapped_only_if_their_tool_was_called_and_nothing_stands_beside(tmp_path: Path) -> None:
    for said, content in (
        ({"name": "lookup", "content": "a pet"}, "a pet"),
        ({"name": "Ada", "content": "a name"}, None),
        ({"name": "lookup", "content": "a pet", "age": 3}, None),
    ):
        row = changed(LLAMA_FACTORY, "conversations.3.value", json.dumps(said))
        assert read_one(tmp_path, row).messages[3] == Message("tool", content or json.dumps(said), name="lookup")


def test_results_in_the_users_words(tmp_path: Path) -> None:
    """As ReAct's prompts and some templates hand them over; the words themselves say nothing of a call."""
    asked = ("human", "What is a dog?")
    react = ("gpt", 'Action: lookup\nAction Input: {"word": "dog"}')
    for said in ('Observation: {"error": "no such word"}', 'Observation:\n{"error": "no such word"}\n'):
        row = {"tools": json.dumps([LOOKUP]), **conversation(asked, react, ("human", said), ("gpt", "No idea."))}
        assert read_one(tmp_path, row).messages[1:] == (
            Message("assistant", "", (Call("lookup", {"word": "dog"}),)),
            Message("tool", '{"error": "no such word"}', name="lookup"),
            Message("assistant", "No idea."),
        )
    unknown = read_one(tmp_path, conversation(asked, react, ("human", "Observation: none"), ("gpt", "No idea.")))
    assert [message.role for message in unknown.messages] == ["user", "assistant", "tool", "assistant"]
    words = ("human", "Observation: cats are no dogs.")
    assert read_one(tmp_path, conversation(words, ("gpt", "True."), words)).messages[-1] == Message("user", words[1])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (conversation(("gpt", "<tool_call>{</tool_call>")), r"conversations\[0\]\.value: tool_call: is neither JSON"),
        (conversation(("gpt", "<tool_call>{}</tool_call>")), r"conversations\[0\]\.value: tool_call\.name: is missing"),
        (conversation(("human", "x"), ("alien", "y")), r"conversations\[1\]\.from: unknown speaker 'alien'"),
        (conversation(("human", "x"), ("gpt", None)), r"conversations\[1\]\.value: is missing"),
        ({**LLAMA_FACTORY, "tools": "[{}]"}, r"tools\[0\]\.name: is missing"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, problem: str) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:2: " + problem):
        list(read_trajectories(lines(tmp_path / "data.jsonl", HERMES, row)))


def written(item: Trajectory) -> dict[str, Any]:
    speakers = {"user": "human", "assistant": "gpt", "tool": "tool"}
    pairs = [("system", f"<tools>{json.dumps([tool.to_json() for tool in item.tools])}</tools>")]
    for message in item.messages:
        calls = "".join(f"\n<tool_call>\n{call.to_json()!r}\n</tool_call>" for call in message.tool_calls)
        content = {"name": message.name, "content": message.content}
        said = (
            f"<tool_response>{json.dumps(content)}</tool_response>"
            if message.role == "tool"
            else message.content + calls
        )
        pairs.append((speakers[message.role], said))
    return conversation(*pairs)


def test_real_conversations_written_in_the_raw_form_come_back(tmp_path: Path, shared_data: Path) -> None:
    real = [item for item in real_trajectories(shared_data) if item.suite == "glaive_demo"]
    found = list(read_trajectories(lines(tmp_path / "data.jsonl", *map(written, real))))
    assert len(found) == 153
    assert [item.tools for item in found] == [item.tools for item in real]
    for item, expected in zip(found, real, strict=True):
        assert [stripped(turn) for turn in item.messages] == [stripped(turn) for turn in expected.messages]


def test_weights_of_turns(tmp_path: Path) -> None:
    said = turns(("human", "Hi."), ("gpt", "BAD"), ("human", "1+1?"), ("gpt", "2"))
    for changes in ([{}, {"weight": 0}, {}, {"weight": 1}], [{"train": False}, {"train": False}, {}, {"train": True}]):
        row = {"conversations": [turn | change for turn, change in zip(said, changes, strict=True)]}
        assert [message.weight for message in read_one(tmp_path, row).messages] == [None, 0, None, 1]
    with pytest.raises(DataError, match=r"conversations\[0\]: only an assistant message has tool_calls or weight"):
        read_one(tmp_path, {"conversations": [said[0] | {"weight": 1}, said[1]]})


def test_what_is_not_known_is_told(tmp_path: Path) -> None:
    for way, where in (("conversations.1.foo", r"conversations\[1\]\.foo"), ("foo", "foo")):
        with pytest.raises(DataError, match=rf"data.jsonl:1: {where}: unknown field"):
            read_one(tmp_path, changed(LLAMA_FACTORY, way, 1))
    call = changed(LLAMA_FACTORY, "conversations.2.value", '{"name": "lookup", "argumens": {}}')
    with pytest.raises(DataError, match=r"conversations\[2\]\.value\.argumens: .*did you mean 'arguments'"):
        read_one(tmp_path, call)
    with pytest.raises(DataError, match="chosen: is preference data"):
        read_one(tmp_path, {**LLAMA_FACTORY, "chosen": {}, "rejected": {}})
    (other,) = turns(("system", "Be long."))
    with pytest.raises(DataError, match=r"conversations\[0\]: is a system message, and the row has another"):
        read_one(tmp_path, {**LLAMA_FACTORY, "conversations": [other, *LLAMA_FACTORY["conversations"]]})


def test_calls_and_results_that_are_no_text(tmp_path: Path) -> None:
    call, result = {"name": "lookup", "arguments": {"word": "dog"}}, {"is": "a pet"}
    said = turns(("human", "Go."), ("function_call", call), ("observation", result), ("gpt", "Done."))
    found = read_one(tmp_path, {"conversations": said, "tools": [LOOKUP]})
    assert found.messages[1].tool_calls == (Call("lookup", {"word": "dog"}),)
    assert found.messages[2].content == '{"is": "a pet"}'


def test_the_schema_of_hermes_json_mode_is_kept(tmp_path: Path) -> None:
    row = {"conversations": turns(("human", "A dog?"), ("gpt", '{"is": "a pet"}')), "schema": "{}"}
    assert read_one(tmp_path, row).meta == {"schema": "{}"}


def test_speakers_in_any_case_and_thoughts_before_a_call(tmp_path: Path) -> None:
    call = '{"name": "lookup", "arguments": {"word": "dog"}}'
    said = turns(
        ("User", "Go."), ("Function-Call", f"<think>Hm.</think>\n{call}"), ("OBSERVATION", "x"), ("bot", "Done.")
    )
    found = read_one(tmp_path, {"conversations": said, "tools": [LOOKUP]})
    assert found.messages[1:] == (
        Message("assistant", "", (Call("lookup", {"word": "dog"}),), reasoning="Hm."),
        Message("tool", "x", name="lookup"),
        Message("assistant", "Done."),
    )


def test_results_that_are_values_follow_their_calls(tmp_path: Path) -> None:
    """Such a call has no mark: the result after it tells that it is one."""
    call = {"name": "lookup", "arguments": {"word": "dog"}}
    turns = [
        {"from": "human", "value": "?"},
        {"from": "gpt", "value": f"I look.\n{json.dumps(call)}"},
        {"from": "observation", "value": {"is": "a pet"}},
    ]
    found = read_one(tmp_path, {"tools": [LOOKUP], "conversations": turns}).messages
    assert found[1] == Message("assistant", "I look.", (Call("lookup", {"word": "dog"}),))
