"""Key tokens and lengths of `tl-jax analyze` against the arrays that training sees."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import failing, weather
from tl_jax.config import PktConfig
from tl_jax.data.analysis import TokenAnalyser
from tl_jax.data.codec import Codec
from tl_jax.tooluse.analysis import Analyser
from tl_jax.tooluse.schema import Trajectory


@pytest.mark.parametrize("renderer", ["paper", "chat"])
def test_key_tokens_are_those_of_training(bpe: PreTrainedTokenizerFast, renderer: str) -> None:
    """Without normalisation a turn's weights are 1 and the weight of its key tokens, so they can be counted."""
    codec = Codec.open(renderer, bpe)
    analyser = TokenAnalyser(codec, max_weight=3.0)
    analyser.add(weather())
    found = analyser.result
    example = codec.supervise(weather(), PktConfig(max_weight=3.0))
    assert (found.tokens.total, found.targets.total) == (len(example.tokens), np.count_nonzero(example.weights))
    calling = [turn.raw for turn in example.targets[:2]]  # the third turn is text
    assert found.calling_turns == 2
    assert found.answer_tokens.total == sum(len(raw) - 1 for raw in calling)
    assert found.keys.total == sum(np.count_nonzero(raw > 1) for raw in calling)
    assert found.weights == {3.0: 2}
    expected = np.mean([raw[raw > 1].sum() / raw.sum() for raw in calling])
    assert found.loss_share == pytest.approx(expected)


def test_names_share_tokens_with_those_offered_beside_them(llama: PreTrainedTokenizerFast) -> None:
    """▁get _ we ather (, ▁get _ we ather _ by _ id ( and ▁get (: all share the first token, two of them four."""
    analyser = TokenAnalyser(Codec.open("paper", llama))
    analyser.add(weather())
    assert analyser.result.names.counts == {1: 1, 4: 2}


def test_blocked_turns_have_no_key_tokens(bpe: PreTrainedTokenizerFast) -> None:
    analyser = TokenAnalyser(Codec.open("paper", bpe))
    analyser.add(Analyser().add(failing()))
    assert analyser.result.calling_turns == 1


def test_nothing_to_count(bpe: PreTrainedTokenizerFast) -> None:
    analyser = TokenAnalyser(Codec.open("paper", bpe))
    analyser.add(Trajectory("text", (), weather().messages[:2]))
    found = analyser.result.to_json()
    assert (found["key_share"], found["loss_share"], found["names"]["count"]) == (0.0, 0.0, 0)
