"""Glaive, ShareGPT (Hermes, LLaMA-Factory) and xLAM: training sets of function calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import FINISH, GLAIVE, HERMES, LLAMA_FACTORY, LOOKUP, XLAM, lines, turns
from tl_jax.tooluse.readers import read_cases, read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory


def read(tmp_path: Path, row: Any, format: str = "auto") -> Trajectory:
    (found,) = read_trajectories(lines(tmp_path / "data.jsonl", row), format)
    return found


def test_glaive(tmp_path: Path) -> None:
    found = read(tmp_path, GLAIVE)
    assert found.tools == (Tool.from_json(LOOKUP), Tool.from_json(FINISH))
    assert found.messages == (
        Message("user", "What's a dog's life?"),
        Message("assistant", "", (Call("lookup", {"word": "dog's life", "limit": 2}),)),
        Message("tool", '{"meaning": "USER: none"}', name="lookup"),
        Message("assistant", "No idea."),
    )
    assert read(tmp_path, {"sample": GLAIVE["system"] + "\n\n" + GLAIVE["chat"]}, "glaive") == found


@pytest.mark.parametrize(
    ("written", "call"),
    [
        ("""{"name": "f", "arguments": '{"a": "it\\'s"}'}""", Call("f", {"a": "it's"})),
        ("""{"name": "f", "arguments": {"a": {"b": [1]}}}""", Call("f", {"a": {"b": [1]}})),
        ("""{"name": "f", "arguments": '{}'}""", Call("f")),
        ("""{"name": "f"}""", Call("f")),
        ("""{\n"name": "f",\n"arguments": '{\n  "a": "}\\n"\n}'\n}""", Call("f", {"a": "}\n"})),
    ],
)
def test_calls_of_glaive(tmp_path: Path, written: str, call: Call) -> None:
    chat = f"USER: x\n\n\nASSISTANT: Wait. <functioncall> {written} <|endoftext|>"
    found = read(tmp_path, {"system": "SYSTEM: Hi.", "chat": chat})
    assert found.messages == (Message("system", "Hi."), Message("user", "x"), Message("assistant", "Wait.", (call,)))


def test_hermes(tmp_path: Path) -> None:
    found = read(tmp_path, HERMES)
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
    assert read(tmp_path, row).tools == (Tool.from_json(LOOKUP), Tool.from_json(FINISH))


def test_llama_factory(tmp_path: Path) -> None:
    found = read(tmp_path, LLAMA_FACTORY)
    assert (found.id, found.tools) == ("data:1", (Tool.from_json(LOOKUP),))
    assert found.messages == (
        Message("system", "Be brief."),
        Message("user", "What is a dog?"),
        Message("assistant", "I look.", (Call("lookup", {"word": "dog"}),)),
        Message("tool", '{"is": "a pet"}', name="lookup"),
        Message("assistant", "A pet."),
    )


def test_xlam(tmp_path: Path) -> None:
    found = read(tmp_path, XLAM)
    calls = tuple(Call("lookup", {"word": word}) for word in ("dog", "cat"))
    assert found.messages == (Message("user", "What are a dog and a cat?"), Message("assistant", tool_calls=calls))
    (offered,) = found.tools
    assert offered.required == ("word",)
    assert offered.properties == {
        "word": {"type": "string", "x-type": "str", "description": "It."},
        "limit": {"type": "integer", "x-type": "int, optional", "description": "How many."},
        "kinds": {
            "type": "array",
            "items": {"type": "string"},
            "x-type": "List[str]",
            "description": "Which.",
            "default": "noun",
        },
    }
    (case,) = read_cases(lines(tmp_path / "data.jsonl", XLAM))
    assert (case.id, case.gold, case.gold_kind) == ("xlam/7", (calls,), "parallel")


def test_xlam_where_no_tool_helps(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", {**XLAM, "answers": "[]"})
    (case,) = read_cases(path)
    assert case.gold == ((),)
    with pytest.raises(DataError, match=r"data\.jsonl:1: answers: is empty"):
        list(read_trajectories(path))


def conversation(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": turns(*pairs)}


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
            r"chat: turn 2 \(ASSISTANT\): arguments: is neither JSON",
        ),
        (conversation(("gpt", "<tool_call>{</tool_call>")), r"conversations\[0\]\.value: tool_call: is neither JSON"),
        (conversation(("gpt", "<tool_call>{}</tool_call>")), r"conversations\[0\]\.value: tool_call\.name: is missing"),
        (conversation(("human", "x"), ("alien", "y")), r"conversations\[1\]\.from: unknown speaker 'alien'"),
        (conversation(("human", "x"), ("gpt", None)), r"conversations\[1\]\.value: is missing"),
        ({**LLAMA_FACTORY, "tools": "[{}]"}, r"tools\[0\]\.name: is missing"),
        ({**XLAM, "tools": "[3]"}, r"tools\[0\]: must be a JSON object, not int"),
        ({**XLAM, "answers": "{}"}, "answers: must be a list as JSON text, not dict"),
        ({**XLAM, "answers": '[{"name": "f"}]'}, r"answers\[0\]\.arguments: is missing"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, problem: str) -> None:
    path = lines(tmp_path / "data.jsonl", GLAIVE if "chat" in row else XLAM if "query" in row else HERMES, row)
    with pytest.raises(DataError, match=r"data\.jsonl:2: " + problem):
        list(read_trajectories(path))


def glaive(item: Trajectory) -> dict[str, str]:
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
    return {"system": f"SYSTEM: You have functions -\n{tools}", "chat": "\n\n\n".join(parts)}


def hermes(item: Trajectory) -> dict[str, Any]:
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


@pytest.mark.parametrize("written", [glaive, hermes])
def test_real_conversations_written_in_the_raw_form_come_back(tmp_path: Path, shared_data: Path, written: Any) -> None:
    everything = read_trajectories(shared_data / "train" / "permissive_1018.jsonl")
    real = [item for item in everything if item.suite == "glaive_demo"]
    found = list(read_trajectories(lines(tmp_path / "data.jsonl", *map(written, real))))
    assert len(found) == 153
    assert [item.tools for item in found] == [item.tools for item in real]
    for item, expected in zip(found, real, strict=True):
        assert [stripped(turn) for turn in item.messages] == [stripped(turn) for turn in expected.messages]


def stripped(message: Message) -> Any:
    return message.role, message.content.strip(), message.tool_calls, message.name
