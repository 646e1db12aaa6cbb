"""Templates that rewrite the past: an example for each turn, against samples built by hand with transformers alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import byte_level
from tests.tooluse.text.templates import STYLES
from tests.training.helpers import TINY, assert_trees_close
from tests.training.single_turns import Sample, as_batch, loss_and_gradient
from tl_jax.config import DataConfig, PktConfig
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.packing import collate
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

LENGTH = 640
TOOL = Tool("now", "Time.", {"type": "object", "properties": {"zone": {"type": "string"}}})


def trajectory(number: int) -> Trajectory:
    """Two calls, one of which fails and is no target, two answers in words, a second question."""
    messages = [
        Message("system", "Be brief."),
        Message("user", f"What time is it in {number}?"),
        Message("assistant", "", (Call("now", {"zone": "A"}),)),
        Message("tool", '{"error": "no such zone"}'),
        Message("assistant", "I try again.", (Call("now", {"zone": f"B{number}"}),)),
        Message("tool", '{"time": "12:00"}'),
        Message("assistant", "Noon."),
        Message("user", "Thanks"),
        Message("assistant", "Bye."),
    ]
    return Trajectory(f"t{number}", (TOOL,), tuple(messages))


def as_row(message: Message) -> dict[str, Any]:
    calls = [{"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in message.tool_calls]
    return {"role": message.role, "content": message.content} | ({"tool_calls": calls} if calls else {})


def samples(one: Trajectory, tokenizer: PreTrainedTokenizerFast) -> Iterator[Sample]:
    """Tokens, labels and weights of every turn but the failed one: the prompt that generation has, and the answer."""
    rows = [as_row(message) for message in one.messages]
    tools = [{"type": "function", "function": tool.to_json()} for tool in one.tools]
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for index in (4, 6, 8):
        prompt = tokenizer.apply_chat_template(rows[:index], tools=tools, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(rows[: index + 1], tools=tools, tokenize=False)
        answer = whole.rpartition("<|im_start|>assistant\n")[2].partition("<|im_end|>")[0]
        before, said = (tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, answer))
        weights = [0.0] * (len(before) - 1) + [1 / (len(said) + 1)] * (len(said) + 1)
        yield [*before, *said], [*before[1:], *said, stop], weights


@pytest.fixture(scope="module")
def of_a_model() -> Any:
    return loss_and_gradient(replace(TINY, vocab_size=1024, num_layers=1))


@pytest.mark.slow
@pytest.mark.parametrize("style", ["qwen_3", "hermes_3"])
def test_examples_are_the_single_turn_construction(style: str, of_a_model: Any, tmp_path: Path) -> None:
    tokenizer = byte_level([str(trajectory(0).to_json())] * 3, use_regex=True)
    tokenizer.chat_template = STYLES[style].template
    data = [trajectory(number) for number in range(2)]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(one.to_json()) + "\n" for one in data))
    config = DataConfig(path=path, max_length=LENGTH, pkt=PktConfig(mode="none"))
    dataset = build_dataset(config, Codec.open("chat", tokenizer))
    report = dataset.report
    assert (report.by_turn, report.examples, report.targets, report.blocked.total()) == (2, 6, 6, 2)
    assert any("2 trajectories have one example for each turn" in line for line in report.lines())
    assert report.rows < report.examples  # packed

    separate = [sample for one in data for sample in samples(one, tokenizer)]
    gradient, loss = of_a_model(collate(dataset.rows))
    expected_gradient, expected = of_a_model(as_batch(separate, LENGTH, len(separate)))
    assert loss.denominator == expected.denominator == 6
    assert loss.metrics["targets"] == expected.metrics["targets"]
    np.testing.assert_allclose(loss.total, expected.total, rtol=1e-5)
    assert_trees_close(gradient, expected_gradient, rtol=1e-5)
