"""Conversations that go on: whatever of them is kept, the answers are those of one that is read anew."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.config import MeshConfig, SamplingConfig
from tl_jax.inference import kept as module
from tl_jax.inference import reading
from tl_jax.inference.capacity import KEPT, place_bytes
from tl_jax.inference.generate import Ends, Generation, generate
from tl_jax.inference.kept import Kept
from tl_jax.inference.serving import ServedModel, for_generation
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import init_params
from tl_jax.model.sharding import make_mesh, shard_tree

pytestmark = pytest.mark.slow  # all compile

MODEL = LlamaConfig(
    vocab_size=24, hidden_size=16, intermediate_size=32, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=8
)
GRAPHDEF = make_graphdef(MODEL, dtype=jnp.float32)
PARAMS = init_params(MODEL, jax.random.key(0))
ENDS = Ends(eos_ids=(1, 2), pad_id=0)
NEW = 8
SAMPLING = SamplingConfig(max_new_tokens=NEW, temperature=2.0)
GROUP = 3
NUMBERS = [n + 5 for n in range(4 * GROUP)]
PROMPTS = [[n + 3, *range(4, 10 + 4 * n)] for n in range(4) for _ in range(GROUP)]
TURNS = 3


def result(turn: int, number: int) -> list[int]:
    """What a tool says: of another length each time, and once of more tokens than a prompt."""
    length = 140 if (turn, number) == (0, 14) else 2 + number % 5
    return np.random.default_rng([turn, number]).integers(3, 24, length).tolist()


def played(
    model: ServedModel, kept: Kept | None, at_once: int | None = None, sampling: SamplingConfig = SAMPLING
) -> list[tuple[list[int], list[int], Generation]]:
    """Of every turn the numbers and lengths of the prompts, and the answers. Answers that are cut off end, and after
    the first turn one conversation forgets its middle, as where a chat template drops thoughts."""
    asked, turns = dict(zip(NUMBERS, PROMPTS, strict=True)), []
    for turn in range(TURNS):
        sampling = sampling.model_copy(update={"batch_size": at_once})
        key = jax.random.key(120 + turn)  # of which several conversations go on, a long one among them
        made = generate(model, list(asked.values()), sampling, key, ENDS, numbers=list(asked), kept=kept)
        turns.append((list(asked), [*map(len, asked.values())], made))
        after = {}
        for row, (number, prompt) in enumerate(asked.items()):
            if made.finished[row] or sampling.temperature == 0:
                spoken = made.tokens[row, : made.lengths[row] - 1].tolist()
                after[number] = [*prompt, *spoken, *result(turn, number)]
        if turn == 0:
            forgetful = next(iter(after))
            del after[forgetful][3:5]
        asked = after
    return turns


def check_equal(ours: list[Any], expected: list[Any]) -> None:
    for (numbers, _, made), (others, _, anew) in zip(ours, expected, strict=True):
        assert numbers == others
        np.testing.assert_array_equal(made.tokens, anew.tokens)
        np.testing.assert_allclose(made.logprobs, anew.logprobs, atol=1e-5)


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return for_generation(GRAPHDEF, PARAMS)


@pytest.fixture(scope="module")
def anew(model: ServedModel) -> list[tuple[list[int], list[int], Generation]]:
    return played(model, None)


def test_only_what_is_new_is_read(model: ServedModel, anew: list[Any]) -> None:
    kept = played(model, Kept(model))
    check_equal(kept, anew)
    assert len(kept[1][0]) > GROUP  # several go on, one of them with a prompt that is read by blocks
    assert 14 in kept[1][0]
    for _, _, first in (kept[0], anew[0]):
        assert first.read.reshape(-1, GROUP)[:, 0].tolist() == [len(prompt) for prompt in PROMPTS[::GROUP]]
        assert not first.read.reshape(-1, GROUP)[:, 1:].any()
    for turn, ((numbers, lengths, made), (before, _, _)) in enumerate(zip(kept[1:], kept[:-1], strict=True)):
        for row, (number, length) in enumerate(zip(numbers, lengths, strict=True)):
            if turn == 0 and row == 0:
                assert made.read[row] == length - 3
            else:  # all but the last token spoken, which stood where the tool's result now begins, may be known
                assert made.read[row] == len(result(turn, number)), (turn, row, before)
    assert [one.read.tolist() for _, _, one in anew[1:]] == [lengths for _, lengths, _ in anew[1:]]


def test_with_fewer_slots_and_with_less_memory(
    model: ServedModel, anew: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three slots; rows for three of all conversations, then for two as they get longer, or for none."""
    check_equal(played(model, Kept(model), at_once=3), anew)
    one_place = place_bytes(model.layout, None)
    monkeypatch.setattr(module, "free_memory", lambda _: 3 * 32 * one_place / KEPT)
    some = played(model, Kept(model), at_once=3)
    check_equal(some, anew)
    assert 0 < sum(made.read.sum() for _, _, made in some) < sum(made.read.sum() for _, _, made in anew)
    monkeypatch.setattr(module, "free_memory", lambda _: 1000)
    none = played(model, Kept(model))
    check_equal(none, anew)
    assert [made.read.tolist() for _, _, made in none] == [made.read.tolist() for _, _, made in anew]


def test_greedy_answers(model: ServedModel) -> None:
    """They go on where they were cut off, too, of which nothing new is kept."""
    greedy = SamplingConfig(max_new_tokens=NEW, temperature=0)
    expected, kept = (played(model, there, sampling=greedy) for there in (None, Kept(model)))
    check_equal(kept, expected)
    finished = expected[0][2].finished
    assert finished.any()
    assert not finished.all()
    assert [len(numbers) for numbers, _, _ in kept] == [len(NUMBERS)] * TURNS
    assert 0 < sum(made.read.sum() for _, _, made in kept[1:]) < sum(made.read.sum() for _, _, made in expected[1:])


def test_few_long_conversations_are_read_at_once(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little of each is new: what is known of them takes memory beside the slots, too."""
    seen, extend, kept = [], reading.extend, Kept(model)

    def noted(*args: Any) -> Any:
        seen.append(int((np.asarray(args[4].lengths) > 0).sum()))
        return extend(*args)

    monkeypatch.setattr(reading, "extend", noted)
    sampling, ends = SamplingConfig(max_new_tokens=1), Ends(eos_ids=tuple(range(24)), pad_id=0)
    prompts = [[row + 3] * 600 for row in range(8)]
    for _ in range(2):
        made = generate(model, prompts, sampling, jax.random.key(0), ends, numbers=range(8), kept=kept)
        prompts = [[*prompt, 11, 12] for prompt in prompts]
    assert made.read is not None
    assert made.read.tolist() == [2] * 8
    assert seen == [2] * 4


def test_two_conversations_of_one_number(model: ServedModel) -> None:
    """Only one of them is kept; which part of the other is known, its tokens decide."""
    prompts, ends = [[3, 4, 5, 6, 7], [3, 4, 9, 9, 9, 9]], Ends(eos_ids=tuple(range(20)), pad_id=0)
    key, kept = jax.random.key(0), Kept(model)
    for turn in range(2):
        made = generate(model, prompts, SAMPLING, key, ends, numbers=[7, 7], kept=kept)
        anew = generate(model, prompts, SAMPLING, key, ends, numbers=[7, 7])
        np.testing.assert_array_equal(made.tokens, anew.tokens)
        assert made.finished.all()
        assert (made.read.sum() < anew.read.sum()) == (turn > 0)
        prompts = [[*prompt, *row[row > 0].tolist(), 11] for prompt, row in zip(prompts, made.tokens, strict=True)]


@pytest.mark.parametrize("sizes", [{"data": 8, "fsdp": 1}, {"data": 2, "fsdp": 4}])
def test_on_a_mesh(sizes: dict[str, int], anew: list[Any]) -> None:
    mesh = make_mesh(MeshConfig(**sizes))
    spread = for_generation(GRAPHDEF, shard_tree(PARAMS, mesh), mesh)
    kept = played(spread, Kept(spread))
    check_equal(kept, anew)
    assert sum(made.read.sum() for _, _, made in kept) < sum(made.read.sum() for _, _, made in anew) / 2
