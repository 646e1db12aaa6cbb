"""The `reference` profile against a restatement of the released arithmetic on whole samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor
from transformers import PreTrainedTokenizerFast

from tl_jax.config import PktConfig
from tl_jax.data.codec import Codec
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

REFERENCE = PktConfig(mode="reference")
CLOSERS = {"',", "')", ")", ")_", "()", "()_", "▁'')", "▁')", '")', '▁")', '▁"")', '.")', ')")'}


class Crash(Exception):
    """The released code stops here."""


def released_loss(tokens: list[str], ce: np.ndarray, cap: float = 9.0) -> tuple[float, dict[int, float]]:
    """Loss of one sample (prompt, answer, EOS) from its token strings alone, and the weights it divides by.

    ``ce[t]`` is the cross-entropy of predicting token ``t + 1``. Everything is found by searching the tokens.
    """
    last = max(i for i, token in enumerate(tokens) if token == "istant")
    marker = max(i for i, token in enumerate(tokens) if token == "istant" and tokens[i + 1 : i + 2] == [":"])
    for opener in ("(", "()", "(_", "_(", "_()", "()_", '("'):
        if opener in tokens[marker:]:
            gold = tokens[marker + 2 : tokens.index(opener, marker)]
            break
    else:
        raise Crash("no argument list")
    supervised = list(range(last + 1, len(tokens) - 1))
    if not supervised:
        raise Crash("nothing to index")
    keys = {last + 1}
    for i in range(len(tokens) - 1):
        if tokens[i] in ("Function", "▁Function") and tokens[i + 1] == ":":
            stop = next((j for j in range(i + 4, len(tokens)) if tokens[j] in ("(", "()", "():")), None)
            if stop is None:
                raise Crash("a function without parentheses")
            name = tokens[i + 4 : stop]
            same = [a == b for a, b in zip(gold, name, strict=False)]
            shared = same.index(False) if False in same else len(same)
            if name != gold and shared:
                keys.add(last + 1 + shared)
    closers = {i - 1 for i in range(last + 2, len(tokens)) if tokens[i] in CLOSERS} or {len(tokens) - 3}
    closers = {t if t > last else supervised[-1] for t in closers}  # an index of -1 is the last one
    if not keys <= set(supervised):
        raise Crash("index out of range")
    others = [t for t in supervised if t not in keys | closers]
    weight = min(len(others) / len(keys), cap) if len(keys) < len(others) else 1.0
    numerator = weight * sum(ce[t] for t in keys) + sum(ce[t] for t in closers) + sum(ce[t] for t in others)
    weights = {t: weight if t in keys else 1.0 for t in supervised}
    return numerator / sum(weights.values()), weights


def samples(trajectory: Trajectory, name: str, tokenizer: PreTrainedTokenizerFast, library) -> Iterator[tuple]:
    """(token strings of the sample that ends with a turn, what our example has for that turn)."""
    codec = Codec.open(name, tokenizer)
    example = codec.supervise(trajectory, REFERENCE)
    for found in example.targets:
        text = codec.renderer.render(trajectory.tools, trajectory.messages[: found.message + 1]).text
        yield ["<s>", *library.encode(text, out_type=str), "</s>"], found, example


@pytest.mark.parametrize("name", ["paper", "released"])
def test_loss_of_real_turns(llama: PreTrainedTokenizerFast, shared_data: Path, every, name: str) -> None:
    library = SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / "llama2.model"))
    random, compared, crashed = np.random.default_rng(0), 0, 0
    for trajectory in every[::3]:
        if sum(len(message.content) for message in trajectory.messages) > 6000:
            continue
        for tokens, found, example in samples(trajectory, name, llama, library):
            ce = random.exponential(size=len(tokens))
            try:
                expected, weights = released_loss(tokens, ce)
            except Crash:
                crashed += 1
                continue
            ours = np.zeros(len(tokens))
            ours[: len(tokens) - 1] = example.weights[: len(tokens) - 1]
            ours[: found.predict_from] = 0
            assert float(ours @ ce) == pytest.approx(expected, rel=1e-6)
            assert found.normaliser == pytest.approx(sum(weights.values()), rel=1e-12)
            span = range(found.predict_from, found.predict_from + len(found.raw))
            assert found.raw.tolist() == pytest.approx([weights.get(t, 0.0) for t in span], rel=1e-6)
            compared += 1
    assert compared >= 500
    assert crashed > 0


def test_key_that_closes_an_argument_counts_twice(llama: PreTrainedTokenizerFast, shared_data: Path) -> None:
    """A tool without arguments whose name begins another's: its "()" is key token and closer at once."""
    library = SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / "llama2.model"))
    tools = tuple(
        Tool(name, "", {"type": "object", "properties": {}}) for name in ("random_advice", "random_advice_by_id")
    )
    messages = (Message("user", "?"), Message("assistant", "", (Call("random_advice", {}),)))
    ((tokens, found, example),) = samples(Trajectory("x", tools, messages), "paper", llama, library)
    ce = np.random.default_rng(1).exponential(size=len(tokens))
    expected, weights = released_loss(tokens, ce)
    span = found.span
    assert float(example.weights[span] @ ce[span]) == pytest.approx(expected, rel=1e-6)
    assert found.raw.sum() == pytest.approx(sum(weights.values()) + 1)
    assert example.weights.sum() > 1


@pytest.mark.parametrize("answer", ["I am your Assistant and I am done", "a distant (very distant) star", "istant"])
def test_the_word_that_shifts_the_answer(llama: PreTrainedTokenizerFast, shared_data: Path, answer: str) -> None:
    library = SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / "llama2.model"))
    tools = (Tool("finish", "", {"type": "object", "properties": {}}), Tool("ask_assistant"))
    for call in (Call("finish", {"answer": answer}), Call("ask_assistant", {"q": 1})):
        trajectory = Trajectory("x", tools, (Message("user", "?"), Message("assistant", "", (call,))))
        ((tokens, found, example),) = samples(trajectory, "paper", llama, library)
        ce = np.random.default_rng(2).exponential(size=len(tokens))
        expected, _ = released_loss(tokens, ce)
        assert float(example.weights @ ce[: len(example.weights)]) == pytest.approx(expected, rel=1e-6)
        hidden = found.raw[0] == 0
        assert hidden == ("istant" in tokens[found.predict_from + 1 :])


def test_only_the_stop_token_is_left(llama: PreTrainedTokenizerFast, shared_data: Path) -> None:
    """The answer's second last token is "istant": one target, which is key and (by a negative index) closer."""
    library = SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / "llama2.model"))
    trajectory = Trajectory("x", (), (Message("user", "?"), Message("assistant", "ask(x) my Assistant.")))
    ((tokens, found, example),) = samples(trajectory, "paper", llama, library)
    ce = np.random.default_rng(3).exponential(size=len(tokens))
    assert float(example.weights @ ce[: len(example.weights)]) == pytest.approx(released_loss(tokens, ce)[0], rel=1e-6)
    assert np.flatnonzero(found.raw).tolist() == [len(found.raw) - 1]
    assert example.weights.sum() == 2


def test_turns_on_which_the_released_code_stops_have_plain_weights(llama: PreTrainedTokenizerFast) -> None:
    messages = (Message("user", "?"), Message("assistant", "Just text."))
    example = Codec.open("paper", llama).supervise(Trajectory("x", (), messages), REFERENCE)
    assert set(example.targets[0].raw) == {1.0}
    assert example.targets[0].keys == ()
    assert example.weights.sum() == pytest.approx(1)
