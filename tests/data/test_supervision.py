from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import weather
from tl_jax.config import PktConfig
from tl_jax.data.codec import Codec
from tl_jax.data.supervision import Example
from tl_jax.tooluse.mae.apply import apply_mae
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory
from tl_jax.tooluse.text.render import PaperRenderer

NONE, PAPER = PktConfig(mode="none"), PktConfig(mode="paper")
OBJECT = {"type": "object", "properties": {}}
PAPERS = tuple(Tool(name, "", OBJECT) for name in ("getPaperDetails", "getPapersByKeywords", "finish"))


def pieces(example: Example, tokenizer: PreTrainedTokenizerFast, turn: int = 0) -> list[str]:
    found = example.targets[turn]
    return tokenizer.convert_ids_to_tokens(example.labels[found.span].tolist())


@pytest.mark.parametrize("mode", ["none", "paper"])
@pytest.mark.parametrize("name", ["paper", "released"])
def test_each_turn_predicts_its_answer_then_eos(llama: PreTrainedTokenizerFast, some, name: str, mode: str) -> None:
    """Against samples made one per turn, as the released code trains: prompt, answer and EOS, encoded whole."""
    codec = Codec.open(name, llama)
    for trajectory in some:
        example = codec.supervise(trajectory, PktConfig(mode=mode))
        covered = np.zeros(len(example.tokens), bool)
        for found in example.targets:
            until = trajectory.messages[: found.message + 1]
            sample = [*llama(codec.renderer.render(trajectory.tools, until).text).input_ids, llama.eos_token_id]
            prompt = len(codec.prompt(trajectory.tools, until[:-1]))
            span = slice(prompt - 1, len(sample) - 1)
            assert example.tokens[: span.stop].tolist() == sample[:-1]
            assert example.labels[span].tolist() == sample[prompt:]
            assert example.weights[span].min() > 0
            assert example.weights[span].sum() == pytest.approx(1.0, abs=1e-5)
            assert not covered[span].any()
            covered[span] = True
        assert not example.weights[~covered].any()
        assert example.turns == len(example.targets) == len(list(trajectory.turns))


@pytest.mark.parametrize("mode", ["none", "paper", "reference"])
def test_answers_weigh_the_same_whatever_the_prompt_says_of_tools(llama: PreTrainedTokenizerFast, mode: str) -> None:
    trajectory = apply_mae(weather(), "paper")[0]
    brief, full = (
        Codec.open(name, llama).supervise(trajectory, PktConfig(mode=mode)) for name in ("paper", "paper_full")
    )
    assert len(full.tokens) != len(brief.tokens)
    assert (full.turns, len(full.targets)) == (brief.turns, len(brief.targets))
    for ours, papers in zip(full.targets, brief.targets, strict=True):
        assert (ours.message, ours.keys, ours.normaliser) == (papers.message, papers.keys, papers.normaliser)
        assert ours.raw.tolist() == papers.raw.tolist()
        assert full.labels[ours.span].tolist() == brief.labels[papers.span].tolist()


def test_stream_continues_with_a_newline_where_the_label_is_eos(llama: PreTrainedTokenizerFast) -> None:
    example = Codec.open("paper", llama).supervise(weather(), PAPER)
    found = example.targets[0]
    fork = found.predict_from + len(found.raw) - 1
    assert example.labels[fork] == llama.eos_token_id
    assert llama.convert_ids_to_tokens(int(example.tokens[fork + 1])) == "<0x0A>"
    assert example.tokens[-1] == llama.eos_token_id
    assert len(example.trimmed().tokens) == len(example.tokens) - 1


def test_turn_weights_scale_and_block(llama: PreTrainedTokenizerFast) -> None:
    base = weather()
    messages = list(base.messages)
    messages[2], messages[5] = replace(messages[2], weight=0.0), replace(messages[5], weight=0.25)
    example = Codec.open("paper", llama).supervise(replace(base, messages=tuple(messages)), PAPER)
    assert [found.message for found in example.targets] == [5, 8]
    assert example.turns == 1.25
    assert example.weights.sum() == pytest.approx(1.25)
    assert example.tokens.tolist() == Codec.open("paper", llama).supervise(base, NONE).tokens.tolist()


def test_key_tokens_of_every_call_and_none_of_text(llama: PreTrainedTokenizerFast) -> None:
    example = Codec.open("paper", llama).supervise(weather(), PAPER)
    first, both, text = (pieces(example, llama, i) for i in range(3))
    keys = [
        [tokens[key] for key in found.keys] for tokens, found in zip((first, both, text), example.targets, strict=True)
    ]
    # the first name after text is a token of its own; "get" shares one token with "get_weather", which shares all
    # of its tokens with "get_weather_by_id": then the token after the name decides
    assert keys[0] == ["get", "_", "("]
    assert keys[1] == ["▁get", "_", "(", "get", "("]
    assert keys[2] == []
    assert set(example.targets[2].raw) == {1.0}
    both_size = len(both) - 1
    assert example.targets[1].raw.max() == pytest.approx(max(1.0, min(9.0, (both_size - 5) / 5)))
    assert example.targets[1].raw[-1] == 1.0


def test_key_tokens_against_whole_prompts(llama: PreTrainedTokenizerFast, shared_data: Path, every) -> None:
    """K recomputed from prompt + " name(" tokenised as a whole by the sentencepiece library, for every tool offered."""
    library = SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / "llama2.model"))
    renderer, checked = PaperRenderer(), 0
    for trajectory in every[::12]:
        example = Codec(renderer, llama).supervise(trajectory, PAPER)
        for found in example.targets:
            message = trajectory.messages[found.message]
            if len(message.tool_calls) != 1 or message.content:
                continue
            prompt = renderer.prompt(trajectory.tools, trajectory.messages[: found.message]).text[-300:]
            start = len(library.encode(prompt))
            gold = library.encode(f"{prompt} {message.tool_calls[0].name}(")[start:]
            keys = {0}
            for tool in trajectory.tools:
                other = library.encode(f"{prompt} {tool.name}(")[start:]
                same = 0
                while tool.name != message.tool_calls[0].name and other[same] == gold[same]:
                    same += 1
                keys.add(same)
            assert set(found.keys) == keys
            answer = len(found.raw) - 1
            assert found.raw[0] == pytest.approx(min(9, max(1, (answer - len(keys)) / len(keys))))
            checked += 1
    assert checked >= 100


def test_chat_template_turns_end_with_its_own_token(bpe: PreTrainedTokenizerFast) -> None:
    trajectory = weather()
    example = Codec.open("chat", bpe).supervise(trajectory, PAPER)
    stop = bpe.convert_tokens_to_ids("<|im_end|>")
    for found in example.targets:
        end = found.predict_from + len(found.raw) - 1
        assert example.labels[end] == stop == example.tokens[end + 1]
        answer = example.tokens[found.predict_from + 1 : end + 1].tolist()
        assert example.labels[found.predict_from : end].tolist() == answer
        calls = trajectory.messages[found.message].tool_calls
        assert len(found.keys) >= len(calls)
        if calls:  # the key token is the name's first, not the token that opens every call
            written = bpe.decode(example.labels[found.predict_from + found.keys[0] : end].tolist())
            assert written.lstrip('"').startswith(calls[0].name)


text = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8), st.sampled_from(["\nAssistant: f(", "</s>", "istant", " "])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(st.tuples(text, text, st.booleans()), min_size=1, max_size=4),
    mode=st.sampled_from(["paper", "reference"]),
)
@pytest.mark.parametrize("kind", ["llama", "merging"])
def test_what_messages_say_moves_no_target(request, kind: str, contents, mode) -> None:
    """Whatever the texts are: each turn has n + 1 targets, its answer and the stop token, and weights that add up."""
    tokenizer = request.getfixturevalue(kind)
    messages: list[Message] = []
    for question, answer, call in contents:
        calls = (Call("f", {"a": answer}),) if call else ()
        messages += [Message("user", question), Message("assistant", "" if call else answer, calls)]
    trajectory = Trajectory("x", (Tool("f", "", OBJECT),), tuple(messages))
    codec = Codec.open("paper", tokenizer)
    example = codec.supervise(trajectory, PktConfig(mode=mode))
    encoded = codec.encode(trajectory.tools, trajectory.messages)
    assert len(example.targets) == len(contents) == example.turns
    for found, turn in zip(example.targets, encoded.turns, strict=True):
        expected = [*encoded.ids[turn.start : turn.end], tokenizer.eos_token_id]
        assert example.labels[turn.start - 1 : turn.end].tolist() == expected
        if mode == "paper":
            assert example.weights[turn.start - 1 : turn.end].min() > 0
            assert example.weights[turn.start - 1 : turn.end].sum() == pytest.approx(1, abs=1e-5)
        assert found.normaliser > 0
