"""Templates that rewrite the past: an example for each turn, against samples built by hand with transformers alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import byte_level
from tests.tooluse.text.templates import STYLES
from tests.training.helpers import TINY, assert_trees_close
from tl_jax.config import DataConfig, PktConfig
from tl_jax.data.batch import Batch
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.packing import collate
from tl_jax.model.llama import Llama, init_params, make_graphdef, merge
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory
from tl_jax.training.losses import weighted_cross_entropy

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


def samples(one: Trajectory, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[list[int], list[int], list[float]]]:
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


def as_batch(rows: list[tuple[list[int], list[int], list[float]]]) -> Batch:
    tokens, labels, segments = (np.zeros((len(rows), LENGTH), np.int32) for _ in range(3))
    weights = np.zeros((len(rows), LENGTH), np.float32)
    for row, (inputs, targets, w) in enumerate(rows):
        size = len(inputs)
        tokens[row, :size], labels[row, :size], weights[row, :size], segments[row, :size] = inputs, targets, w, 1
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), (len(rows), 1))
    turns = np.ones(len(rows), np.float32)
    return Batch(tokens=tokens, labels=labels, weights=weights, segment_ids=segments, positions=positions, turns=turns)


@pytest.fixture(scope="module")
def loss_and_gradient() -> Any:
    config = replace(TINY, vocab_size=1024, num_layers=1)
    graphdef, params = make_graphdef(config, dtype="float32", remat="none"), init_params(config, jax.random.key(0))

    def total(p: Any, batch: Batch) -> tuple[jax.Array, Any]:
        model: Llama = merge(graphdef, p)
        loss = weighted_cross_entropy(model, batch)
        return loss.total, loss

    compiled = jax.jit(jax.grad(total, has_aux=True))
    return lambda batch: compiled(params, batch)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["qwen_3", "hermes_3"])
def test_examples_are_the_single_turn_construction(style: str, loss_and_gradient: Any, tmp_path: Path) -> None:
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
    gradient, loss = loss_and_gradient(collate(dataset.rows))
    expected_gradient, expected = loss_and_gradient(as_batch(separate))
    assert loss.denominator == expected.denominator == 6
    assert loss.metrics["targets"] == expected.metrics["targets"]
    np.testing.assert_allclose(loss.total, expected.total, rtol=1e-5)
    assert_trees_close(gradient, expected_gradient, rtol=1e-5)
