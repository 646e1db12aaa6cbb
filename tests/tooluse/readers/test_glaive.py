"""Glaive function calling."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.growth import grows_linearly
from tests.tooluse.readers.helpers import (
    FINISH,
    LOOKUP,
    lines,
    read_one,
    real_trajectories,
    stripped,
)
from tests.tooluse.readers.prompts import remarks
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.readers.texts import ENDED
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

GLAIVE = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
    + json.dumps(LOOKUP, indent=4)
    + "\n"
    + json.dumps(FINISH),
    "chat": "USER: What's a dog's life?\n\n\nASSISTANT: <functioncall> "
    '{"name": "lookup", "arguments": \'{"word": "dog\'s life", "limit": 2}\'} <|endoftext|>\n\n\n'
    'FUNCTION RESPONSE: {"meaning": "USER: none"}\n\n\nASSISTANT: No idea. <|endoftext|>\n\n\n',
}


EXAMPLES = [GLAIVE]


def test_glaive(tmp_path: Path) -> None:
    found = read_one(tmp_path, GLAIVE)
    assert found.tools == (Tool.from_json(LOOKUP), Tool.from_json(FINISH))
    assert found.messages == (
        Message("user", "What's a dog's life?"),
        Message("assistant", "", (Call("lookup", {"word": "dog's life", "limit": 2}),)),
        Message("tool", '{"meaning": "USER: none"}', name="lookup"),
        Message("assistant", "No idea."),
    )
    assert read_one(tmp_path, {"sample": GLAIVE["system"] + "\n\n" + GLAIVE["chat"]}, "glaive") == found


@pytest.mark.parametrize("who", ["user", "tool"])
@pytest.mark.parametrize("format", ["openai", "sharegpt"])
def test_the_same_words_as_messages(tmp_path: Path, format: str, who: str) -> None:
    """Whoever hands the results over; the marks after each turn of the assistant go."""
    speakers = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": who}
    said = re.findall(
        r"(?ms)^(SYSTEM|USER|ASSISTANT|FUNCTION RESPONSE): (.*?)\s*(?=^[A-Z ]+:|\Z)",
        f"{GLAIVE['system']}\n{GLAIVE['chat']}",
    )
    turns = [
        (speakers[name], f"{name}: {text}" if name == "FUNCTION RESPONSE" and who == "user" else text)
        for name, text in said
    ]
    role, content = ("role", "content") if format == "openai" else ("from", "value")
    key = "messages" if format == "openai" else "conversations"
    value = {key: [{role: name, content: text} for name, text in turns]}
    found, told = remarks(tmp_path, value, format)
    expected = read_one(tmp_path, GLAIVE)
    assert (found.tools, found.messages) == (expected.tools, expected.messages)
    assert told[ENDED] == 1


def test_one_text_that_ends_with_a_mark_stays(tmp_path: Path) -> None:
    """It may speak of it."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "ChatML ends turns with <|im_end|>"}]
    assert read_one(tmp_path, {"messages": turns}).messages[1].content == turns[1]["content"]
    other = [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "Nothing else."}]
    assert read_one(tmp_path, {"messages": turns + other}).messages[1].content == turns[1]["content"]


def test_the_users_own_words_beside_the_tools_are_kept(tmp_path: Path) -> None:
    says, tools = GLAIVE["system"].removeprefix("SYSTEM: ").split("\n", 1)
    for system in (f"Answer in French. {says}\n{tools}", f"{says}\n{tools}\nAnswer in French."):
        found = read_one(tmp_path, {**GLAIVE, "system": f"SYSTEM: {system}"})
        assert found.messages[0] == Message("system", "Answer in French.")
        assert (found.tools, found.messages[1:]) == (
            read_one(tmp_path, GLAIVE).tools,
            read_one(tmp_path, GLAIVE).messages,
        )
    later = f"{GLAIVE['chat']}USER: Once more.\n\n\nSYSTEM: Be quick.\n\n\nASSISTANT: No."
    found = read_one(tmp_path, {**GLAIVE, "chat": later})
    assert (found.tools, found.messages[-2]) == (read_one(tmp_path, GLAIVE).tools, Message("system", "Be quick."))


@pytest.mark.parametrize(
    ("written", "call"),
    [
        ("""{"name": "f", "arguments": '{"a": "it\\'s"}'}""", Call("f", {"a": "it's"})),
        ("""{"name": "f", "arguments": {"a": {"b": [1]}}}""", Call("f", {"a": {"b": [1]}})),
        ("""{"name": "f", "arguments": '{}'}""", Call("f")),
        ("""{"name": "f"}""", Call("f")),
        ("""{"name": "f", "arguments": '{"a": "it\\'s", "b": true}'}""", Call("f", {"a": "it's", "b": True})),
        ("""{"name": "f", "arguments": '{"a": "}'}  '}"}'}""", Call("f", {"a": "}'}  '}"})),
        ("""{\n"name": "f",\n"arguments": '{\n  "a": "}\\n"\n}'\n}""", Call("f", {"a": "}\n"})),
    ],
)
def test_calls_of_glaive(tmp_path: Path, written: str, call: Call) -> None:
    chat = f"USER: x\n\n\nASSISTANT: Wait. <functioncall> {written} <|endoftext|>"
    found = read_one(tmp_path, {"system": "SYSTEM: Hi.", "chat": chat})
    assert found.messages == (Message("system", "Hi."), Message("user", "x"), Message("assistant", "Wait.", (call,)))


def test_white_space_in_a_call_of_glaive(tmp_path: Path) -> None:
    def file(count: int) -> Path:
        call = """{"name": "f", "arguments": """ + " " * count + """'{}'""" + " " * count
        row = {"system": "SYSTEM: Hi.", "chat": f"USER: x\nASSISTANT: <functioncall> {call}"}
        return lines(tmp_path / f"{count}.jsonl", row)

    def read(path: Path) -> None:
        with pytest.raises(DataError, match="after <functioncall>"):
            list(read_trajectories(path))

    assert grows_linearly(read, file, 2000)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({**GLAIVE, "chat": "Hi"}, "chat: must begin with SYSTEM:, USER: or ASSISTANT:"),
        ({**GLAIVE, "chat": " "}, "chat: holds no turns"),
        ({"system": "Hi", "chat": "USER: x"}, "system: must begin with"),
        ({**GLAIVE, "system": "SYSTEM: functions: {x"}, r"chat: turn 0 \(SYSTEM\): the tools are not JSON"),
        (
            {**GLAIVE, "chat": "ASSISTANT: <functioncall> f()"},
            r"chat: turn 1 \(ASSISTANT\): after <functioncall> must be",
        ),
        (
            {**GLAIVE, "chat": """USER: x\nASSISTANT: <functioncall> {"name": "f", "arguments": '{a'}"""},
            r"chat: turn 2 \(ASSISTANT\): after <functioncall> must be an object with name and arguments: ",
        ),
        (
            {**GLAIVE, "chat": """USER: x\nASSISTANT: <functioncall> {"name": "f", "arguments": '{}'} and so on"""},
            r"chat: turn 2 \(ASSISTANT\): text after the call: 'and so on'",
        ),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, problem: str) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:2: " + problem):
        list(read_trajectories(lines(tmp_path / "data.jsonl", GLAIVE, row)))


def written(item: Trajectory) -> dict[str, str]:
    parts = []
    for message in item.messages:
        if message.tool_calls:
            (call,) = message.tool_calls
            arguments = json.dumps(call.arguments, ensure_ascii=False).replace("'", "\\'")
            said = f'{message.content} <functioncall> {{"name": "{call.name}", "arguments": \'{arguments}\'}}'
        else:
            said = message.content
        speaker = {"user": "USER", "assistant": "ASSISTANT", "tool": "FUNCTION RESPONSE"}[message.role]
        parts.append(f"{speaker}: {said}" + (" <|endoftext|>" if speaker == "ASSISTANT" else ""))
    tools = "\n".join(json.dumps(tool.to_json(), indent=4) for tool in item.tools)
    says = GLAIVE["system"].split("\n", 1)[0]
    return {"system": f"{says}\n{tools}", "chat": "\n\n\n".join(parts)}


def test_real_conversations_written_in_the_raw_form_come_back(tmp_path: Path, shared_data: Path) -> None:
    real = [item for item in real_trajectories(shared_data) if item.suite == "glaive_demo"]
    found = list(read_trajectories(lines(tmp_path / "data.jsonl", *map(written, real))))
    assert len(found) == 153
    assert [item.tools for item in found] == [item.tools for item in real]
    for item, expected in zip(found, real, strict=True):
        assert [stripped(turn) for turn in item.messages] == [stripped(turn) for turn in expected.messages]
