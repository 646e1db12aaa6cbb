"""Rollouts: order of prompts, arrays, text and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.helpers import TINY
from tl_jax.config import PpoAlgorithmConfig
from tl_jax.data.encode import load_tokenizer, renderer_for
from tl_jax.errors import UserError
from tl_jax.evaluation.sampler import Sampler, answer_stops
from tl_jax.evaluation.suites import Prompt
from tl_jax.model.generate import Generation, Sampling
from tl_jax.model.llama import make_graphdef
from tl_jax.model.store import open_model
from tl_jax.tooluse.reward import Reward
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.training.rollout import Completion, PromptOrder, assemble, collect, final_score, resolve_reward

CASE = Case("c", (Tool("go"),), (Message("user", "go"),), ((Call("go"),),))


def third(prediction: str, case: Case) -> float:
    """A user's reward."""
    return 1 / 3 if case.id == "c" else float("nan")


def generation(rows: list[list[int]], width: int, pad: int, finished: list[bool]) -> Generation:
    tokens = np.full((len(rows), width), pad, np.int32)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    lengths = np.array([len(ids) for ids in rows], np.int32)
    return Generation(
        tokens=tokens, logprobs=np.zeros(tokens.shape, np.float32), lengths=lengths, finished=np.array(finished)
    )


def test_every_epoch_visits_every_prompt_once_in_a_new_order() -> None:
    prompts = [Prompt(CASE, (i,)) for i in range(6)]
    order = PromptOrder(prompts, batch_size=2, seed=3)
    epochs = [
        [prompt.tokens[0] for step in range(3 * epoch, 3 * epoch + 3) for prompt in order[step]] for epoch in range(4)
    ]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    again = PromptOrder(prompts, batch_size=2, seed=3)
    assert [p.tokens for p in again[7]] == [p.tokens for p in order[7]]  # without having drawn those before


def test_an_order_that_changed_cannot_be_continued() -> None:
    prompts = [Prompt(CASE, (i,)) for i in range(6)]
    state = PromptOrder(prompts, 2, 0).state(5)
    PromptOrder(prompts, 2, 0).check(state)
    with pytest.raises(UserError, match="prompts: 6 then, 5 now"):
        PromptOrder(prompts[:5], 2, 0).check(state)


def test_prompts_end_where_answers_begin() -> None:
    made = generation([[9, 8, 2], [7, 2]], width=8, pad=2, finished=[True, True])
    rollout = assemble([[5, 6], [4, 5, 6, 7]], made, [1.0, -0.25])
    width = rollout.mask.shape[1]
    start = rollout.tokens.shape[1] - width
    assert rollout.tokens.shape == (2, 16)
    assert rollout.tokens[0, start - 2 : start + 3].tolist() == [5, 6, 9, 8, 2]
    assert rollout.positions[0, start - 2 : start + 3].tolist() == [0, 1, 2, 3, 4]
    assert rollout.positions[1, start - 4 : start + 2].tolist() == [0, 1, 2, 3, 4, 5]
    assert rollout.segment_ids.sum(axis=1).tolist() == [5, 6]
    assert rollout.scores.dtype == np.float32
    assert rollout.scores.tolist() == [1.0, -0.25]


def test_mask_is_not_derived_from_the_pad_id_when_pad_is_eos() -> None:
    """EOS inside the mask, the same id outside it, and a prompt that is full of it."""
    rollout = assemble([[2, 2, 5]], generation([[9, 2]], width=4, pad=2, finished=[True]), [0.0])
    assert rollout.mask.tolist() == [[True, True, False, False]]
    assert rollout.segment_ids.sum() == 5
    longer = assemble([[2, 2, 5]] * 2, generation([[9, 2], [9, 9, 9, 9]], 4, pad=2, finished=[True, False]), [0.0, 0.0])
    assert longer.tokens[0, -4:].tolist() == [9, 2, 2, 2]
    assert longer.mask[0].tolist() == [True, True, False, False]


def test_eos_is_kept_and_trained() -> None:
    rollout = assemble([[5]], generation([[9, 2]], width=4, pad=0, finished=[True]), [0.0])
    assert rollout.tokens[0][-4:][rollout.mask[0]].tolist() == [9, 2]
    assert rollout.segment_ids[0].sum() == 3


def test_sizes_are_few() -> None:
    shapes = set()
    for size in range(1, 60):
        rollout = assemble([[5] * size], generation([[9] * (1 + size % 13)], 16, 0, [False]), [0.0])
        shapes.add((rollout.tokens.shape, rollout.mask.shape))
        assert rollout.segment_ids.sum() == size + 1 + size % 13
    assert len(shapes) < 18


@pytest.mark.parametrize(
    ("value", "finished", "expected"), [(-0.25, True, -0.25), (-9.0, True, -5.0), (7.5, True, 5.0), (1.0, False, 0.5)]
)
def test_final_score(value: float, finished: bool, expected: float) -> None:
    config = PpoAlgorithmConfig(missing_eos_penalty=0.5, reward_clip=5.0)
    assert final_score(Completion(CASE, "", Reward(value, "x", ""), finished), config) == expected


def test_none_switches_reward_clip_and_eos_penalty_off() -> None:
    config = PpoAlgorithmConfig(missing_eos_penalty=None, reward_clip=None)
    assert final_score(Completion(CASE, "", Reward(-9.5, "x", ""), False), config) == -9.5


def test_reward_by_profile_and_by_dotted_path() -> None:
    assert resolve_reward("paper")("go() ", CASE).value == 1
    assert resolve_reward("paper")("stop() ", CASE).value == -2
    custom = resolve_reward(f"{__name__}:third")
    assert custom("anything", CASE).value == pytest.approx(1 / 3)
    with pytest.raises(UserError, match=r"gave nan for case 'other'"):
        custom("anything", Case("other", (), ()))
    with pytest.raises(UserError, match="did you mean 'paper'"):
        resolve_reward("papre")


@pytest.fixture(scope="module")
def sampler(model_dir: Path) -> tuple[Sampler, Any]:
    """A real tokenizer and a real, random, model."""
    model, tokenizer = open_model(model_dir), load_tokenizer(model_dir)
    stops = answer_stops(renderer_for("paper", tokenizer), tokenizer, model.config)
    assert stops == (TINY.eos_token_id,)
    graphdef = make_graphdef(model.config, dtype=jnp.float32)
    return Sampler(graphdef, tokenizer, Sampling(max_new_tokens=6), stops), model.params


def test_text_is_what_was_written_without_eos(sampler: tuple[Sampler, Any]) -> None:
    speaker, _ = sampler
    ids = speaker.tokenizer(" find_city(name = 'Place 3') ", add_special_tokens=False)["input_ids"]
    made = generation([[*ids, 2], ids], len(ids) + 3, pad=2, finished=[True, False])
    assert speaker.texts(made) == ["find_city(name = 'Place 3') "] * 2


def test_fresh_key_gives_fresh_answers_and_the_same_key_the_same(sampler: tuple[Sampler, Any]) -> None:
    speaker, params = sampler
    prompts, key = [Prompt(CASE, (1, 40, 50))] * 4, jax.random.key(0)

    def answers(step: int) -> list[str]:
        chosen = jax.random.fold_in(key, step)
        _, completions = collect(speaker, params, prompts, chosen, resolve_reward("paper"), PpoAlgorithmConfig())
        return [completion.text for completion in completions]

    assert answers(0) == answers(0)
    assert answers(0) != answers(1)
    assert len(set(answers(0))) > 1  # rows have noise of their own
