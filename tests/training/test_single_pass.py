"""One pass over a trajectory against the released construction: a sample for each turn, which ends there with EOS.

The samples are built here from the method's definition, with the SentencePiece library and the plain text format;
nothing of `tl_jax.data` is used but the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor

from tests.thoroughness import first_then_slow
from tests.training.helpers import TINY, assert_trees_close
from tests.training.single_turns import Sample, as_batch, loss_and_gradient
from tl_jax.config import DataConfig, PktConfig
from tl_jax.data.codec import Codec
from tl_jax.data.packing import collate, pack
from tl_jax.tooluse.mae.apply import apply_mae, blocked_turns
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Message, Trajectory
from tl_jax.tooluse.text.render import PaperRenderer

LENGTH, SAMPLES = 768, 16


@pytest.fixture(scope="module")
def trajectories(shared_data: Path) -> list[Trajectory]:
    """Five short ones with several turns, among them errors, turns of plain text and prose before a call."""
    spm = SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / "llama2.model"))
    erring: list[Trajectory] = []
    clean: list[Trajectory] = []
    for trajectory in read_trajectories(shared_data / "train" / "permissive_1018.jsonl"):
        turns = [message for _, message in trajectory.turns]
        single = all(len(turn.tool_calls) <= 1 for turn in turns)
        if not single or not 2 <= len(turns) <= 4 or len(trajectory.tools) < 2:
            continue
        if len(spm.encode(PaperRenderer().text(trajectory.tools, trajectory.messages))) < LENGTH - 4:
            (erring if blocked_turns(trajectory, "paper") else clean).append(trajectory)
    chosen = erring[:2] + clean[:3]
    assert len(chosen) == 5
    turns = [turn for trajectory in chosen for _, turn in trajectory.turns]
    assert any(not turn.tool_calls for turn in turns)
    assert any(turn.tool_calls and turn.content for turn in turns)
    return chosen


def key_tokens(spm: SentencePieceProcessor, message: Message, names: list[str]) -> set[int]:
    """Where, in the answer, stand ``{0} and L_j > 0``: lengths of the names' common prefixes in the call's place.

    The definition is of an answer that is a call. Where prose precedes the call, it is counted from the tool's name.
    """
    lead = f"Assistant: {message.content}\n" if message.content else "Assistant:"
    gap = "" if message.content else " "
    before, gold = len(spm.encode(lead)), message.tool_calls[0].name

    def tokens(name: str) -> list[int]:
        return list(spm.encode(lead + gap + name))[before:]

    found = {0}
    for other in (tokens(name) for name in names if name != gold):
        mine = tokens(gold)
        length = 0
        while length < min(len(mine), len(other)) and mine[length] == other[length]:
            length += 1
        found |= {length} if length else set()
    return {before - len(spm.encode("Assistant:")) + key for key in found}


def samples(trajectory: Trajectory, spm: SentencePieceProcessor, mae: bool, pkt: bool) -> Iterator[Sample]:
    """One for each turn that is a target."""
    blocked = {block.message for block in blocked_turns(trajectory, "paper")} if mae else set()
    renderer, names = PaperRenderer(), [tool.name for tool in trajectory.tools]
    for index, message in trajectory.turns:
        if index in blocked:
            continue
        prompt = renderer.text(trajectory.tools, trajectory.messages[:index], add_generation_prompt=True)
        whole = renderer.text(trajectory.tools, trajectory.messages[: index + 1])
        assert whole.startswith(prompt)
        assert whole.endswith("</s>")
        stream = [spm.bos_id(), *spm.encode(whole.removesuffix("</s>")), spm.eos_id()]
        first = 1 + len(spm.encode(prompt))
        answer = len(stream) - 1 - first
        raw = np.ones(answer + 1)
        if pkt and message.tool_calls:
            keys = sorted(key_tokens(spm, message, names))
            raw[keys] = np.clip((answer - len(keys)) / len(keys), 1, 9)
        weights = np.zeros(len(stream) - 1)
        weights[first - 1 :] = raw / raw.sum()
        yield stream[:-1], stream[1:], weights.tolist()


@pytest.fixture(scope="module")
def of_a_model() -> Any:
    """With the Llama-2 vocabulary. 32,000 logits a target: compiling better than the other tests pays."""
    return loss_and_gradient(replace(TINY, vocab_size=32000, initializer_range=0.1), xla_backend_optimization_level=1)


@pytest.mark.parametrize("mae", first_then_slow([True, False]))
@pytest.mark.parametrize("pkt", first_then_slow([True, False]))
def test_one_pass_equals_a_sample_for_each_turn(
    trajectories: list[Trajectory], shared_data: Path, of_a_model: Any, mae: bool, pkt: bool
) -> None:
    model_file = shared_data / "tokenizer" / "llama2.model"
    spm = SentencePieceProcessor(model_file=str(model_file))
    separate = [sample for trajectory in trajectories for sample in samples(trajectory, spm, mae, pkt)]
    all_turns = sum(len(list(trajectory.turns)) for trajectory in trajectories)
    assert len(separate) < all_turns if mae else len(separate) == all_turns

    codec = Codec.open(DataConfig.model_fields["renderer"].default, model_file)
    weighing = PktConfig(mode="paper" if pkt else "none")
    marked = [apply_mae(trajectory, "paper" if mae else "none")[0] for trajectory in trajectories]
    examples = [codec.supervise(trajectory, weighing) for trajectory in marked]
    one_pass = collate(pack(examples, LENGTH))

    gradient, loss = of_a_model(one_pass)
    expected_gradient, expected = of_a_model(as_batch(separate, LENGTH, SAMPLES))
    assert loss.denominator == expected.denominator == len(separate)
    assert loss.metrics["targets"] == expected.metrics["targets"]
    np.testing.assert_allclose(loss.total, expected.total, rtol=1e-5)
    assert_trees_close(gradient, expected_gradient, rtol=1e-5)
