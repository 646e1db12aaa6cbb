"""Which advantages an estimator gives its tokens: 2 prompts with 3 answers each, by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.config import AlgorithmConfig
from tl_jax.config.estimators import ESTIMATORS, Estimator
from tl_jax.errors import UserError
from tl_jax.rl.estimators import Estimate, EstimatorInputs, estimate

MASK = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]], bool)
REWARDS = np.array([1.0, 2, 6, 0, 0, 3])
"""of the answers; each on its last token"""
KL = np.where(MASK, 0.5, 9.0)


def estimated(kl_coef: float = 0.0, group_size: int = 3, rewards: Any = REWARDS, **settings: Any) -> Estimate:
    """Of episodes of one turn; several rewards have the weights 1, 2, ..."""
    parts = np.atleast_2d(rewards.T).T
    tokens = np.zeros((*MASK.shape, parts.shape[1]))
    tokens[np.arange(6), MASK.sum(axis=1) - 1] = parts
    inputs = inputs_of(tokens, MASK, np.zeros(MASK.shape), group_size, **settings)
    return estimate(replace(inputs, kl=jnp.float32(KL), kl_coef=kl_coef))


def inputs_of(tokens: Any, mask: Any, turns: Any, group_size: int, kinds: Any = None, **settings: Any) -> Any:
    """Rewards [B, N, R] on tokens, without KL and values."""
    count = tokens.shape[2]
    return EstimatorInputs(
        rewards=jnp.float32(tokens),
        weights=jnp.arange(1, 1 + count, dtype=jnp.float32),
        kinds=kinds or ("turn",) * count,
        turns=jnp.int32(turns),
        kl=jnp.zeros(mask.shape),
        kl_coef=0.0,
        values=jnp.zeros(mask.shape),
        last_values=jnp.zeros(len(mask)),
        mask=jnp.asarray(mask),
        group_size=group_size,
        config=AlgorithmConfig(**settings),
    )


def per_answer(values: Any) -> np.ndarray:
    return np.where(MASK, np.asarray(values)[:, None], 0)


def whitened(tokens: np.ndarray) -> np.ndarray:
    inside = tokens[MASK]
    return np.where(MASK, (tokens - inside.mean()) / inside.std(), 0)


NORMALISED = np.array([-2, -1, 3, 0, 0, 0]) / np.sqrt(7) + np.array([0, 0, 0, -1, -1, 2]) / np.sqrt(3)
CENTRED = np.array([-2.0, -1, 3, -1, -1, 2])
"""In a group, against its mean: of 1, 2, 6 it is 3, with a sample variance of 7; of 0, 0, 3 it is 1, with 3."""
CLOSED_FORMS = {
    "gae": whitened(per_answer(REWARDS)),
    "grpo": per_answer(NORMALISED),
    "dr_grpo": per_answer(CENTRED),
    "rloo": per_answer(1.5 * CENTRED),
    "maxrl": per_answer([-2 / 3, -1 / 3, 1, -1, -1, 2]),
    "reinforce++": whitened(per_answer(CENTRED)),
    "gdpo": per_answer(NORMALISED / NORMALISED.std()),  # their mean is 0
}
"""[6, 3]: advantages without KL, discount and critic. Every estimator has one."""


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_closed_form(name: str) -> None:
    got = estimated(estimator=name, kl_in="loss", kl_estimator="k3", lam=1.0)
    np.testing.assert_allclose(got.advantages, CLOSED_FORMS[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got.scores, REWARDS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_outside_the_mask_changes_nothing(name: str) -> None:
    settings = {"estimator": name, "gamma": 0.9, "lam": 0.8} | ESTIMATORS[name].requires
    if settings.get("kl_in") == "loss":
        settings["kl_estimator"] = "k3"
    config = AlgorithmConfig(**settings)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(size=(*MASK.shape, *more)).astype(np.float32) for more in ((2,), (), ())]
    results = []
    for outside in (0.0, 1e30):
        rewards, kl, values = (
            np.where(MASK.reshape(*MASK.shape, *[1] * (array.ndim - 2)), array, np.float32(outside)) for array in arrays
        )
        inputs = EstimatorInputs(
            rewards=jnp.asarray(rewards),
            weights=jnp.array([1.0, 0.5]),
            kinds=("turn", "outcome"),
            turns=jnp.zeros(MASK.shape, jnp.int32),
            kl=jnp.asarray(kl),
            kl_coef=0.1,
            values=jnp.asarray(values),
            last_values=jnp.zeros(6),
            mask=jnp.asarray(MASK),
            group_size=3,
            config=config,
        )
        results.append(estimate(inputs))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.asarray(results[0].advantages)[~MASK].any()
    assert np.asarray(results[0].advantages)[MASK].any()


def no_returns(inputs: EstimatorInputs) -> jax.Array:
    return inputs.shaped


def too_short(inputs: EstimatorInputs) -> jax.Array:
    return inputs.returns[1:]


@pytest.mark.parametrize(
    ("compute", "needs_critic", "match"),
    [
        (no_returns, True, r"'mine': needs_critic=True, so .*no_returns.* must return \(advantages, returns\)"),
        (too_short, False, r"'mine': .*too_short.* gave advantages of shape \[5\]; for 6 episodes of 3 tokens"),
    ],
)
def test_an_estimator_that_does_not_keep_its_word(compute: Any, needs_critic: bool, match: str) -> None:
    mine = Estimator(name="mine", compute=compute, advantage="", source="", average="tokens", needs_critic=needs_critic)
    with ESTIMATORS.added(mine), pytest.raises(UserError, match=match):
        estimated(estimator="mine")


def test_the_kl_in_the_reward_counts_every_token_of_an_answer() -> None:
    """Lengths 2, 1, 3 and 1, 2, 3 cost 0.2 per token: returns .6, 1.8, 5.4 (mean 2.6) and -.2, -.4, 2.4 (mean .6)."""
    got = estimated(kl_coef=0.4, estimator="dr_grpo")
    np.testing.assert_allclose(got.advantages, per_answer([-2, -0.8, 2.8, -0.8, -1, 1.8]), rtol=1e-5)
    np.testing.assert_allclose(got.scores, REWARDS)  # reported without it
    apart = estimated(kl_coef=0.4, estimator="dr_grpo", kl_in="loss", kl_estimator="k3")
    np.testing.assert_allclose(apart.advantages, per_answer([-2, -1, 3, -1, -1, 2]), rtol=1e-5)


def test_reinforce_plus_plus() -> None:
    """Rewards to come with the KL, whitened over all twelve tokens; with groups less their mean return."""
    to_go = np.zeros(MASK.shape)
    for row, length in enumerate(MASK.sum(axis=1)):
        to_go[row, :length] = REWARDS[row] - 0.2 * np.arange(length, 0, -1)
    for group_size, baseline in ((1, np.zeros(6)), (3, np.repeat([2.6, 0.6], 3))):
        centred = to_go - baseline[:, None]
        expected = (centred - centred[MASK].mean()) / centred[MASK].std()
        got = estimated(kl_coef=0.4, estimator="reinforce++", group_size=group_size)
        np.testing.assert_allclose(np.asarray(got.advantages)[MASK], expected[MASK], rtol=1e-4, atol=1e-5)


def three_turns(*episodes: Sequence[Sequence[float]], outcomes: Sequence[float] = (), tokens: int = 1) -> Any:
    """Rewards of episodes turn by turn, each turn of so many tokens with a tool's word after it: what `inputs_of` takes
    first. With outcomes of the episodes there is a second reward."""
    width = max(map(len, episodes)) * (tokens + 1)
    rewards = np.zeros((len(episodes), width, 1 + bool(outcomes)))
    mask, turns = np.zeros((len(episodes), width), bool), np.zeros((len(episodes), width), int)
    for row, values in enumerate(episodes):
        for number, value in enumerate(values):
            place = slice(number * (tokens + 1), number * (tokens + 1) + tokens)
            mask[row, place], turns[row, place] = True, number
            rewards[row, place.stop - 1, 0] = value
        if outcomes:
            rewards[row, place.stop - 1, 1] = outcomes[row]
    return rewards, mask, turns


def by_turns(made: Any, advantages: Any) -> list[list[float]]:
    """Advantages of the turns of each episode; the tokens of a turn have the same."""
    _, mask, turns = made
    found = []
    for row in range(len(mask)):
        of_turns = [advantages[row][mask[row] & (turns[row] == n)] for n in range(turns[row].max() + 1)]
        assert all(np.ptp(values) < 1e-6 for values in of_turns)
        found.append([float(values[0]) for values in of_turns])
    return found


def assert_turns(made: Any, advantages: Any, expected: Any) -> None:
    for got, wanted in zip(by_turns(made, np.asarray(advantages)), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_reinforce_plus_plus_has_a_baseline_for_every_turn() -> None:
    """Two perfect episodes of three turns had advantages of 1.22, 0 and -1.22."""
    made = three_turns([1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 1])
    got = estimate(inputs_of(*made, 2, estimator="reinforce++"))
    # to come: 3, 2, 1 and 3, 2, 1, which is their mean; 3, 2, 1 and 1, 1, whose means are 2, 1.5, 1
    raw = np.array([[0, 0, 0], [0, 0, 0], [1, 0.5, 0], [-1, -0.5, 0]])
    std = np.concatenate([*raw[:3], raw[3][:2]]).std()
    assert_turns(made, got.advantages, [*(raw / std)[:3], (raw / std)[3][:2]])
    assert got.equal.tolist() == [True, True, False, False]


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        # of the first two groups' turns to come: 3, 2, 1 against 1, 1; their means are 2, 1.5 and 1
        ("dr_grpo", [[1, 0.5, 0], [-1, -0.5]]),
        ("rloo", [[2, 1, 0], [-2, -1]]),
        ("grpo", [[0.5**0.5, 0.5**0.5, 0], [-(0.5**0.5), -(0.5**0.5)]]),
        ("maxrl", [[0.5, 1 / 3, 0], [-0.5, -1 / 3]]),
    ],
)
def test_turns_are_compared_with_turns(estimator: str, expected: Any, tokens: int) -> None:
    made = three_turns([1, 1, 1], [0, 1], tokens=tokens)
    settings = {"estimator": estimator, "kl_in": "loss"}
    got = estimate(inputs_of(*made, 2, advantage_scope="turn", **settings))
    assert_turns(made, got.advantages, expected)
    whole = estimate(inputs_of(*made, 2, **settings))
    assert all(len(set(np.round(turns, 5))) == 1 for turns in by_turns(made, np.asarray(whole.advantages)))


def test_outcomes_are_compared_apart_from_turns() -> None:
    """A hundred times as large, normalised by itself: turns keep their say. Its weight is that of its kind."""
    made = three_turns([1, 0], [0, 0], outcomes=[0, 100])
    kinds = ("turn", "outcome")
    got = estimate(inputs_of(*made, 2, kinds, estimator="grpo", kl_in="loss", advantage_scope="turn"))
    half = 0.5**0.5
    assert_turns(made, got.advantages, [[half - half, -half], [-half + half, half]])
    centred = estimate(inputs_of(*made, 2, kinds, estimator="dr_grpo", advantage_scope="turn"))
    assert_turns(made, centred.advantages, [[0.5 - 100, -100], [-0.5 + 100, 100]])  # the weight of the second is 2


def test_groups_whose_turns_differ_are_not_equal_because_their_outcomes_make_up_for_it() -> None:
    """By turn the outcome is compared by itself; 2 and an outcome of 0, 0 and one of 1 that weighs 2."""
    made = three_turns([2], [0], outcomes=[0, 1])
    settings = {"estimator": "dr_grpo", "kl_in": "loss"}
    kinds = ("turn", "outcome")
    assert estimate(inputs_of(*made, 2, kinds, advantage_scope="turn", **settings)).equal.tolist() == [False, False]
    assert estimate(inputs_of(*made, 2, kinds, **settings)).equal.tolist() == [True, True]


def test_gae_by_turn_is_that_of_an_episode_of_turns() -> None:
    """Rewards 1, 0, 3 and values 0.5, 1, 2 at the first tokens; other tokens' values are not looked at."""
    made = three_turns([1, 0, 3], tokens=2)
    inputs = inputs_of(*made, 1, estimator="gae", advantage_scope="turn", gamma=0.9, lam=0.8, whiten_advantages=False)
    inputs = replace(inputs, values=jnp.array([[0.5, 9, 9, 1, 9, 9, 2, 9, 9]]))
    last = 3 - 2
    middle = 0.9 * 2 - 1 + 0.72 * last
    first = 1 + 0.9 * 1 - 0.5 + 0.72 * middle
    got = estimate(inputs)
    assert_turns(made, got.advantages, [[first, middle, last]])
    assert_turns(made, got.returns, [[first + 0.5, middle + 1, 3]])


def test_the_critic_may_learn_with_a_lambda_of_its_own() -> None:
    plain = {"estimator": "gae", "gamma": 1.0, "lam": 0.5, "whiten_advantages": False}
    values = jnp.float32(np.where(MASK, 0.25, 0))
    made = inputs_of(np.where(MASK, 1.0, 0)[..., None], MASK, np.zeros(MASK.shape), 1, **plain)
    usual = estimate(replace(made, values=values))
    decoupled = estimate(replace(made, values=values, config=made.config.model_copy(update={"critic_lam": 1.0})))
    np.testing.assert_array_equal(usual.advantages, decoupled.advantages)
    to_come = np.flip(np.cumsum(np.flip(MASK, 1), 1), 1) * MASK  # with lambda 1 whatever the values
    np.testing.assert_allclose(decoupled.returns, to_come, rtol=1e-5)
    assert not np.allclose(usual.returns, to_come)


def test_lambda_may_go_by_the_length_of_an_episode() -> None:
    """By hand: of three tokens with alpha 0.5, 1 - 1 / 1.5; of one token 0, since 1 - 1 / 0.5 is less."""
    mask = np.array([[True, True, True], [True, False, False]])
    rewards, values = np.array([[0, 0, 1.0], [3, 0, 0]]), np.array([[0.5, 0.25, 2], [1, 0, 0]])
    settings = {"estimator": "gae", "gamma": 1.0, "lam": 1.0, "lam_alpha": 0.5, "whiten_advantages": False}
    inputs = inputs_of(rewards[..., None], mask, np.zeros(mask.shape), 1, **settings)
    got = estimate(replace(inputs, values=jnp.float32(values)))
    last, middle, first = 1 - 2, 2 - 0.25, 0.25 - 0.5  # rewards and next values less values
    expected = [[first + middle / 3 + last / 9, middle + last / 3, last], [3 - 1, 0, 0]]
    np.testing.assert_allclose(got.advantages, expected, rtol=1e-5)
    np.testing.assert_allclose(got.returns, [[1, 1, 1], [3, 0, 0]], rtol=1e-5)  # the critic's lambda is still 1


def test_gdpo_drops_no_group_that_one_of_its_rewards_can_tell_apart() -> None:
    """Rewards 1, 0 and 0, 0.5 add up, by their weights of 1 and 2, to the same."""
    made = three_turns([1], [0], [1], [1], outcomes=[0, 0.5, 1, 1])
    settings = {"estimator": "gdpo", "kl_in": "loss"}
    got = estimate(inputs_of(*made, 2, ("turn", "turn"), **settings))
    assert got.scores.tolist() == [1, 1, 3, 3]
    assert got.equal.tolist() == [False, False, True, True]
    summed = estimate(inputs_of(*made, 2, ("turn", "turn"), **settings | {"estimator": "dr_grpo"}))
    assert summed.equal.tolist() == [True] * 4


def test_a_penalty_keeps_its_size_beside_normalised_rewards() -> None:
    """Penalties of 1 and of 100 gave the same advantages."""
    advantages = []
    for penalty in (1.0, 100.0):
        made = three_turns([1], [0], [1], [0], outcomes=[-penalty, 0, 0, 0])
        inputs = inputs_of(*made, 2, ("turn", "penalty"), estimator="gdpo", kl_in="loss")
        advantages.append(np.asarray(estimate(inputs).advantages)[:, 0])
        half = 0.5**0.5  # the penalty's weight is 2, its mean in the first group half of it
        raw = np.array([half - penalty, -half + penalty, half, -half])
        np.testing.assert_allclose(advantages[-1], raw / raw.std(), rtol=1e-4)
    assert not np.allclose(*advantages, atol=0.1)


def test_gdpo_normalises_rewards_apart_and_whitens_over_answers() -> None:
    rewards = np.stack([REWARDS, [600.0, 200, 100, 300, 0, 0]], axis=1)  # the weights are 1 and 2
    one = np.array([-2, -1, 3, 0, 0, 0]) / np.sqrt(7) + np.array([0, 0, 0, -1, -1, 2]) / np.sqrt(3)
    other = np.array([3, -1, -2, 0, 0, 0]) / np.sqrt(7) + np.array([0, 0, 0, 2, -1, -1]) / np.sqrt(3)
    # 600, 200, 100: mean 300, sample variance (9 + 1 + 4) 10^4 / 2, a standard deviation of 100 sqrt(7)
    summed = one + 2 * other
    got = estimated(rewards=rewards, estimator="gdpo", kl_in="loss", kl_estimator="k3")
    np.testing.assert_allclose(
        got.advantages, per_answer((summed - summed.mean()) / summed.std()), rtol=1e-4, atol=1e-5
    )


def test_gae_without_a_critic_that_knows_anything_is_the_discounted_return() -> None:
    got = estimated(estimator="gae", lam=1.0, gamma=0.5, whiten_advantages=False)
    expected = [[0.5, 1, 0], [2, 0, 0], [1.5, 3, 6], [0, 0, 0], [0, 0, 0], [0.75, 1.5, 3]]
    np.testing.assert_allclose(got.advantages, expected, rtol=1e-6)
    np.testing.assert_allclose(got.returns, expected, rtol=1e-6)


def test_whitened_rewards_keep_their_mean() -> None:
    got = estimated(estimator="gae", lam=0.0, gamma=0.0, whiten_advantages=False, whiten_rewards=True)
    tokens = np.zeros(MASK.shape)
    tokens[np.arange(6), MASK.sum(axis=1) - 1] = REWARDS
    inside = tokens[MASK]
    expected = (inside - inside.mean()) / inside.std() + inside.mean()
    np.testing.assert_allclose(np.asarray(got.advantages)[MASK], expected, rtol=1e-4)


def test_equal_groups() -> None:
    same = np.array([1.0, 1, 1, 0, 0, 3])
    assert estimated(estimator="grpo", rewards=same).equal.tolist() == [True] * 3 + [False] * 3
    assert not np.any(estimated(estimator="grpo").equal)
    assert not np.any(estimated(estimator="reinforce++", group_size=1).equal)


def test_the_documents_example(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "rl.md"
    (example,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.setattr(ESTIMATORS, "_records", dict(ESTIMATORS))  # what it adds goes with this test
    exec(example, {})
    got = estimated(estimator="against_the_best")
    np.testing.assert_allclose(got.advantages, per_answer([-5, -4, 0, -3, -3, 0]))
