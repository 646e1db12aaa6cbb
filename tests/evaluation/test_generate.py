"""What ``tl-jax generate`` reads: conversations of all shapes, and what is wrong with them; and what it gives."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.inference.speaking import Speaking
from tests.tooluse.readers.examples import EXAMPLES
from tl_jax.config import SamplingConfig
from tl_jax.data.codec import Codec
from tl_jax.demo.course import BASE
from tl_jax.evaluation.answering import Answering
from tl_jax.evaluation.generate import generate_file, read_lines, read_one
from tl_jax.inference.engine import Generation, Listener
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

FIND = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}
OPENAI = [
    {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
    {"role": "user", "content": "Find tea and milk."},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": f"c{i}", "type": "function", "function": {"name": "find", "arguments": json.dumps({"word": word})}}
            for i, word in enumerate(("tea", "milk"))
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "in the fridge"},
    {"role": "tool", "tool_call_id": "c0", "content": "in the jar"},
]
READ = (
    Message("system", "Be brief."),
    Message("user", "Find tea and milk."),
    Message("assistant", "", (Call("find", {"word": "tea"}), Call("find", {"word": "milk"}))),
    Message("tool", "in the jar", name="find", call_id="c0"),
    Message("tool", "in the fridge", name="find", call_id="c1"),
)


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("indent", [None, 2])
def test_openais_messages_and_tools(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "messages.json"
    path.write_text(json.dumps({"messages": OPENAI, "tools": [FIND]}, indent=indent))
    found = read_one(path)
    assert found.messages == READ
    assert found.tools == (Tool("find", "Finds.", FIND["function"]["parameters"]),)


def test_a_list_of_messages_by_the_papers_roles(tmp_path: Path) -> None:
    said = [
        {"role": "System", "content": "Be brief."},
        {"role": "User", "content": "Tea?"},
        {"role": "Assistant", "content": "", "tool_calls": [{"name": "find", "arguments": {"word": "tea"}}]},
        {"role": "Output", "content": "in the jar"},
    ]
    roles = [message.role for message in read_one(written(tmp_path / "messages.json", said)).messages]
    assert roles == ["system", "user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("name", "field"), [("anthropic", "messages"), ("bedrock", "messages"), ("gemini", "contents")]
)
def test_requests_to_other_apis(tmp_path: Path, name: str, field: str) -> None:
    row = EXAMPLES[name][0]
    found = read_one(written(tmp_path / "request.json", {**row, field: row[field][:-1]}))
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "tool"]
    assert found.messages[2].tool_calls == (Call("lookup", {"word": "dog"}),)
    assert [tool.name for tool in found.tools] == ["lookup"]
    with pytest.raises(DataError, match="the last message is the assistant's"):
        read_one(written(tmp_path / "request.json", row))


@pytest.mark.parametrize(
    "more", [{}, {"instructions": "Be brief."}, {"tools": [{**FIND["function"], "type": "function"}]}]
)
def test_what_the_responses_api_is_asked_in_one_text(tmp_path: Path, more: dict[str, Any]) -> None:
    found = read_one(written(tmp_path / "request.json", {"model": "gpt-5", "input": "Find tea.", **more}))
    assert found.messages[-1] == Message("user", "Find tea.")
    assert [message.role for message in found.messages[:-1]] == ["system"] * ("instructions" in more)
    assert [tool.name for tool in found.tools] == ["find"] * ("tools" in more)


def test_a_line_of_a_format_without_ids_has_its_number(tmp_path: Path) -> None:
    row = EXAMPLES["toolbench"][1]
    row = {**row, "conversations": row["conversations"][:-1]}
    path = tmp_path / "asked.jsonl"
    path.write_text(f"{json.dumps(row)}\n" * 2, encoding="utf-8")
    assert [one.id for one in read_lines(path)] == ["1", "2"]


def test_one_conversation_a_line(tmp_path: Path) -> None:
    """As lists, as objects, as cases; packed or not."""
    asked = [{"role": "user", "content": "Tea?"}]
    case = {"id": "q", "tools": [FIND], "messages": asked, "gold": [[{"name": "find", "arguments": {"word": "tea"}}]]}
    text = "".join(f"{json.dumps(row)}\n" for row in (asked, {"messages": asked, "id": 7}, case)) + "\n"
    plain, packed = tmp_path / "c.jsonl", tmp_path / "c.jsonl.gz"
    plain.write_text("\ufeff" + text, encoding="utf-8")
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, packed):
        found = read_lines(path)
        assert [one.id for one in found] == ["1", "7", "q"]
        assert {one.messages for one in found} == {(Message("user", "Tea?"),)}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "messages.json"
    unknown = [{"role": "user", "content": "Tea?", "contents": "Milk?"}]
    with pytest.raises(DataError, match=r"messages.json: messages\[0\].contents: unknown field"):
        read_one(written(path, unknown))
    with Notes("drop").kept():
        assert read_one(path).messages == (Message("user", "Tea?"),)
    with pytest.raises(DataError, match=r"messages.json: messages: the last message is the assistant's"):
        read_one(written(path, [*OPENAI, {"role": "assistant", "content": "There."}]))
    with pytest.raises(DataError, match=r"messages\[0\].content\[0\]: only parts of text can be read"):
        read_one(written(path, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]))
    lines = tmp_path / "c.jsonl"
    lines.write_text('[{"role": "user", "content": "?"}]\n{"messages": 1}\n')
    with pytest.raises(DataError, match=r"c.jsonl:2: messages: must be a non-empty list"):
        read_lines(lines)
    lines.write_text('{"id": 2, "messages": [{"role": "user", "content": "?"}]}\n[{"role": "user", "content": "!"}]\n')
    with pytest.raises(DataError, match=r"c.jsonl:2: id: '2' appears twice"):
        read_lines(lines)
    lines.write_text("\n")
    with pytest.raises(DataError, match=r"c.jsonl: holds no conversation"):
        read_lines(lines)
    lines.write_text("[1,\n")
    with pytest.raises(DataError, match=r"c.jsonl:1: is not JSON"):
        read_lines(lines)


def test_the_shared_file(shared_data: Path) -> None:
    path = shared_data.parent / "cases" / "generate_openai.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    found = read_one(path)
    assert [message.role for message in found.messages] == ["system", "user", "assistant", "tool"]
    assert found.messages[2].tool_calls == (Call("lookup", {"key": "A"}),)
    assert found.messages[3].name == "lookup"


@dataclass(frozen=True)
class OutOfOrder(Speaking):
    """Numbers its answers, and tells of the third, then of the first; then it may be stopped."""

    stopped: bool = False

    def said(self, prompts: Sequence[Sequence[int]], listener: Listener) -> Sequence[str]:
        return [f"Answer {number}." for number in range(len(prompts))]

    def tell(self, answers: Generation, listener: Listener) -> None:
        for row in (2, 0):
            listener.ended([row], answers.of([row]))
        if self.stopped:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stopped", [False, True])
def test_answers_are_given_in_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """Where it is stopped, those that were there already, too."""
    codec = Codec.open("paper", BASE)
    engine: Any = SimpleNamespace(model=SimpleNamespace(max_position_embeddings=10_000))
    sampler = OutOfOrder(engine, codec, SamplingConfig(max_new_tokens=20), codec.stop_ids, stopped)
    monkeypatch.setattr(Answering, "open", lambda self, model: sampler)
    path, given = tmp_path / "asked.jsonl", list[str]()
    path.write_text('[{"role": "user", "content": "Tea?"}]\n' * 4)
    with pytest.raises(KeyboardInterrupt) if stopped else nullcontext():
        generate_file(tmp_path, path, given.append)
    rows = [json.loads(line) for line in given]
    told = (0, 2) if stopped else range(4)
    assert rows == [{"id": str(number + 1), "prediction": f"Answer {number}."} for number in told]
