from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tl_jax.config import PktConfig
from tl_jax.data.codec import Codec
from tl_jax.data.supervision import Example
from tl_jax.data.windows import Windows, split
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory
from tl_jax.tooluse.text.render import PaperRenderer, Rendered

PKT = PktConfig()


def divide(trajectory: Trajectory, tokenizer: PreTrainedTokenizerFast, length: int, name: str = "paper") -> Windows:
    codec = Codec.open(name, tokenizer)
    return split(trajectory, codec.encode(trajectory.tools, trajectory.messages), codec, PKT, length)


def answers(example: Example) -> list[tuple[int, ...]]:
    """Labels of each target turn."""
    return [tuple(example.labels[found.span].tolist()) for found in example.targets]


def conversation(texts: list[str]) -> Trajectory:
    """A system message, then question, call, result and answer over and over; message texts are told apart."""
    messages = [Message("system", "S")]
    for i, text in enumerate(texts):
        messages += [
            Message("user", f"q{i} {text}"),
            Message("assistant", "", (Call("f", {"n": i}),)),
            Message("tool", f"r{i} {text}"),
            Message("assistant", f"a{i} {text}"),
        ]
    return Trajectory("long", (Tool("f"),), tuple(messages))


def missing_turns(text: str) -> int:
    """Turns of `conversation` that precede the last one in ``text`` without standing there."""
    marks = [mark for i in range(8) for mark in (f"f(n = {i})", f"Assistant: a{i} ")]
    there = [mark in text for mark in marks]
    return there[: max(i for i, found in enumerate(there) if found)].count(False)


def test_windows_of_a_long_conversation(bpe: PreTrainedTokenizerFast) -> None:
    trajectory = conversation(["x" * 40] * 8)
    found = divide(trajectory, bpe, 400)
    assert found.skipped_targets == 0
    texts = [bpe.decode(example.tokens.tolist()) for example in found.examples]
    assert len(texts) >= 2
    assert all(text.startswith("System: Function:\ndef f()") and "S\nUser: " in text for text in texts)
    assert texts[0].count("\nUser: ") >= 2  # the first window has whole turns from the beginning
    assert "User: q0" in texts[0]
    assert all("User: q0" not in text for text in texts[1:])
    assert found.dropped_turns == sum(map(missing_turns, texts)) > 0
    for example in found.examples[1:]:  # context, about half a row of it, precedes the first target
        assert 0 < example.targets[0].predict_from <= 400
        assert example.targets[0].predict_from >= 100


def test_no_target_is_lost_or_trained_twice(bpe: PreTrainedTokenizerFast) -> None:
    trajectory = conversation([f"text {i} " * (i % 5) for i in range(12)])
    whole = Codec.open("paper", bpe).supervise(trajectory, PKT)
    parts = divide(trajectory, bpe, 350)
    assert parts.skipped_targets == 0
    assert [answer for example in parts.examples for answer in answers(example)] == answers(whole)
    assert sum(example.turns for example in parts.examples) == whole.turns
    assert all(len(example.tokens) <= 350 for example in parts.examples)


def test_a_result_stays_with_its_call_and_question(bpe: PreTrainedTokenizerFast) -> None:
    """One question, many calls: windows that begin in the middle keep the question and the call before the target."""
    messages = [Message("user", "the question")]
    for i in range(12):
        messages += [Message("assistant", "", (Call("f", {"n": i}),)), Message("tool", f"result {i} " * 3)]
    trajectory = Trajectory("t", (Tool("f"),), (*messages, Message("assistant", "done")))
    parts = divide(trajectory, bpe, 260)
    texts = [bpe.decode(example.tokens.tolist()) for example in parts.examples]
    assert len(texts) > 1
    assert parts.skipped_targets == 0
    assert all(text.count("User: the question") == 1 for text in texts)
    for example in parts.examples[1:]:
        before = bpe.decode(example.tokens[: example.targets[0].predict_from].tolist())
        answer = bpe.decode(example.labels[example.targets[0].predict_from :].tolist())
        number = int(answer.split("n = ")[1].split(")")[0]) if answer.startswith(" f(") else 12
        assert f"f(n = {number - 1})" in before
        assert f"result {number - 1} " in before


def test_windows_are_prompts_as_at_inference(bpe: PreTrainedTokenizerFast) -> None:
    """A window is an ordinary conversation: what precedes each answer is the prompt of its messages."""
    trajectory = conversation(["abc " * 20] * 6)
    for example in divide(trajectory, bpe, 400, "chat").examples:
        assert len(example.tokens) <= 400
        text = bpe.decode(example.tokens.tolist())
        assert text.startswith("<|im_start|>system")
    start = divide(trajectory, bpe, 400).examples[0]
    prompt = Codec.open("paper", bpe).prompt(trajectory.tools, trajectory.messages[:2])
    assert start.tokens[: len(prompt)].tolist() == prompt


def test_what_does_not_fit_is_counted(bpe: PreTrainedTokenizerFast) -> None:
    trajectory = conversation(["short", "long " * 200, "short again"])
    parts = divide(trajectory, bpe, 300)
    assert parts.skipped_targets == 2
    assert sum(len(example.targets) for example in parts.examples) == 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 120), min_size=1, max_size=6),
    length=st.integers(60, 400),
    blocked=st.sets(st.integers(0, 11)),
)
def test_accounts_always_balance(
    bpe: PreTrainedTokenizerFast, sizes: list[int], length: int, blocked: set[int]
) -> None:
    base = conversation(["w " * size for size in sizes])
    messages = list(base.messages)
    turns = [index for index, _ in base.turns]
    for index in (turns[i] for i in blocked if i < len(turns)):
        messages[index] = Message("assistant", messages[index].content, messages[index].tool_calls, weight=0.0)
    trajectory = Trajectory("x", base.tools, tuple(messages))
    whole = Codec.open("paper", bpe).supervise(trajectory, PKT)
    parts = divide(trajectory, bpe, length)
    found = Counter(answer for example in parts.examples for answer in answers(example))
    assert found <= Counter(answers(whole))
    assert sum(found.values()) + parts.skipped_targets == len(whole.targets)
    for example in parts.examples:
        assert 0 < len(example.tokens) <= length
        assert example.targets
        assert np.isclose(example.weights.sum(), example.turns)


class Counting(PaperRenderer):
    """Knows how many conversations it wrote."""

    def __init__(self) -> None:
        self.written = 0

    def render(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        self.written += 1
        return super().render(tools, messages)


@pytest.mark.parametrize("name", ["paper", "released", "chat"])
@pytest.mark.parametrize("kind", ["bpe", "merging"])
def test_a_window_from_the_beginning_is_what_its_messages_give_by_themselves(
    request: pytest.FixtureRequest, kind: str, name: str
) -> None:
    """Its tokens are taken from the whole's, and are those of its messages encoded anew."""
    codec, trajectory = Codec.open(name, request.getfixturevalue(kind)), conversation(["abc " * 12] * 6)
    first = divide(trajectory, codec.tokenizer, 400, name).examples[0]
    alone = replace(trajectory, messages=trajectory.messages[: first.targets[-1].message + 1])
    anew = codec.supervise(alone, PKT).trimmed()
    assert 2 <= len(first.targets) < len(list(trajectory.turns))
    for ours, expected in ((first.tokens, anew.tokens), (first.labels, anew.labels), (first.weights, anew.weights)):
        assert ours.tolist() == expected.tolist()
    assert first.turns == anew.turns


def test_only_windows_with_dropped_context_are_written_again(bpe: PreTrainedTokenizerFast) -> None:
    renderer, trajectory = Counting(), conversation(["x" * 40] * 8)
    codec = Codec(renderer, bpe)
    windows = split(trajectory, codec.encode(trajectory.tools, trajectory.messages), codec, PKT, 400)
    assert renderer.written == len(windows.examples) > 2  # the whole, and all windows but the first
