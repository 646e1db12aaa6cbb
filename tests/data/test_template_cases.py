"""Tokenizers whose chat templates users had trouble with; inputs of our own, and those kept outside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import byte_level, weather
from tl_jax.data.codec import Codec
from tl_jax.data.inspection.inspect import inspect_trajectory
from tl_jax.data.sources import trajectories
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Call, Case, Message, Tool, Trajectory
from tl_jax.tooluse.text.parse import parse_answer

TOOLS = "{% for t in tools %}{{ t | tojson }}{% endfor %}|"
SAFE_TOOLS = "{% if tools %}" + TOOLS + "{% endif %}"


def template(call: str, tools: str = SAFE_TOOLS, between: str = "") -> str:
    """Writes each call like this, and no text beside calls."""
    calls = "{% for c in m.tool_calls %}" + call + ("{% if not loop.last %}" + between + "{% endif %}") + "{% endfor %}"
    return (
        tools + "{% for m in messages %}{% if m.tool_calls %}<|im_start|>assistant\n" + calls + "<|im_end|>"
        "{% else %}<|im_start|>{{ m.role }}{{ ':' ~ m.tool_call_id if m.tool_call_id }}\n{{ m.content }}<|im_end|>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


JSON = "{{ c.function | tojson }}"
CASES = {
    "call in function tags": template("<function={{ c.function.name }}>{{ c.function.arguments | tojson }}</function>"),
    "call in its own tag": template("<tool_call>" + JSON + "</tool_call>"),
    "ids": template("{{ c.id }}:" + JSON),
    "tools always": template(JSON, TOOLS),
    "the first tool": template(JSON, "First: {{ tools[0].function.name }}{{ tools | tojson }}|"),
    "no text beside calls": template(JSON),
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_level([str(weather().to_json())] * 3, use_regex=True)


def opened(tokenizer: PreTrainedTokenizerFast, name: str) -> Codec:
    tokenizer.chat_template = CASES[name]
    return Codec.open("chat", tokenizer)


@pytest.mark.parametrize("name", CASES)
def test_gold_as_the_template_writes_it_is_right(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    codec, tools = opened(tokenizer, name), weather().tools
    gold = (Call("get_weather", {"city": "Köln"}), Call("get", {"city": "Bonn"}))
    for calls in (gold[:1], gold):
        written = codec.writer.answer(calls)
        assert parse_answer(written, tools).calls == calls
        case = Case("c", tools, (Message("user", "go"),), (calls,), "parallel" if len(calls) > 1 else "alternatives")
        assert score(written, case).value == 1


@pytest.mark.parametrize("name", CASES)
def test_conversations_with_tools_render(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    codec = opened(tokenizer, name)
    view = inspect_trajectory(weather(), codec)
    assert sum(turn.target for turn in view.turns) == 3
    assert "text of message 2" in view.notes[0]
    assert codec.stop_ids[0] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_each_result_has_the_id_of_its_call(tokenizer: PreTrainedTokenizerFast) -> None:
    calls = (Call("f", {"key": "A"}, id="c1"), Call("f", {"key": "B"}, id="c2"))
    messages = (
        Message("user", "A and B?"),
        Message("assistant", "", calls),
        Message("tool", "20", call_id="c2"),
        Message("tool", "10", call_id="c1"),
        Message("assistant", "10 and 20"),
    )
    tool = Tool("f", "", {"type": "object", "properties": {"key": {"type": "string"}}})
    text = opened(tokenizer, "ids").encode((tool,), messages).text
    assert "tool:c2\n20" in text
    assert "tool:c1\n10" in text
    assert 'c1:{"name": "f", "arguments": {"key": "A"}}c2:{"name"' in text


@pytest.mark.parametrize("name", ["xmlcall", "calltag", "withids", "needstools", "dropstext"])
def test_tokenizers_of_users(shared_data: Path, name: str) -> None:
    directory = shared_data.parent / "cases" / f"tok_{name}"
    if not directory.is_dir():
        pytest.skip(f"not found: {directory}")
    codec = Codec.open("chat", directory)
    (trajectory,) = trajectories(shared_data.parent / "cases" / "parallel_order.jsonl")
    view = inspect_trajectory(with_text(trajectory), codec)
    assert any("does not write the text of message 1" in note for note in view.notes)
    text = "".join(token.text for token in view.tokens)
    assert text.index("10</s>") < text.index("20</s>")
    assert ("<tool:c1>10</s>" in text) == ("<tool:c2>20</s>" in text) == (name == "withids")
    calls = trajectory.messages[1].tool_calls
    assert parse_answer(codec.writer.answer(calls), trajectory.tools).calls == calls


def with_text(trajectory: Trajectory) -> Trajectory:
    first, calling, *rest = trajectory.messages
    said = Message("assistant", "I look.", calling.tool_calls)
    return Trajectory(trajectory.id, trajectory.tools, (first, said, *rest))
