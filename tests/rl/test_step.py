"""One PPO step against dense NumPy restatements of what it should do."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh

from tests.thoroughness import first_then_slow
from tests.training.helpers import TINY, assert_same_avals, assert_trees_close
from tl_jax.config import AlgorithmConfig, MeshConfig, OptimizerConfig, RlConfig, load_config
from tl_jax.config.model import Offload
from tl_jax.model.host_memory import HOST
from tl_jax.model.llama import init_params, make_graphdef, merge
from tl_jax.model.sharding import MESH_AXES, batch_devices, batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.model.value import make_value_graphdef
from tl_jax.rl.batch import RolloutBatch, collate
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.rows import Layout
from tl_jax.rl.rubric import make_rubric
from tl_jax.rl.scores import score_rollout
from tl_jax.rl.state import RlState, StepSpec, TrainableModel, init_rl_state
from tl_jax.rl.step import make_rl_step
from tl_jax.rl.train import make_step_spec
from tl_jax.tooluse.schema import Case
from tl_jax.training.compile import compile_step, start_state
from tl_jax.training.optimizer import make_optimizer

TEMPERATURE = 0.7
ACTOR_GRAPH = make_graphdef(TINY, dtype=jnp.float32)
CRITIC_GRAPH = make_value_graphdef(TINY, dtype=jnp.float32)

SCORE = jax.jit(
    lambda state, rollout, config: score_rollout(state, rollout, spec_of(optax.sgd(0.0), config)), static_argnums=2
)


def spec_of(optimizer: optax.GradientTransformation, config: AlgorithmConfig, **more: Any) -> StepSpec:
    rate = optax.constant_schedule(0.0)
    actor, critic = TrainableModel(ACTOR_GRAPH, optimizer, rate), TrainableModel(CRITIC_GRAPH, optimizer, rate)
    return StepSpec(actor, critic, config, temperature=TEMPERATURE, answer_length=8, **more)


def initial(config: AlgorithmConfig, optimizer: optax.GradientTransformation) -> partial[RlState]:
    return partial(init_rl_state, model=TINY, spec=spec_of(optimizer, config), seed=1)


def drifted_state(config: AlgorithmConfig, optimizer: optax.GradientTransformation) -> RlState:
    """A state whose actor has left the reference and whose critic expects something."""
    state = initial(config, optimizer)(init_params(TINY, jax.random.key(7)))
    other = init_params(TINY, jax.random.key(8))
    trainable = {"actor": jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.trainable["actor"], other)}
    if critic := state.trainable.get("critic"):
        trainable["critic"] = critic | {"value_head": jax.random.normal(jax.random.key(9), (TINY.hidden_size,)) / 8}
    return replace(state, trainable=trainable)


CASE = Case("c", (), ())


def random_rollout(rows: int = 8, width: int = 8, seed: int = 0, layout: Layout | None = None) -> RolloutBatch:
    """Ragged prompts and answers; EOS (2) is also the pad id and occurs in prompts. By default for one update.

    Those of a group have the same prompt.
    """
    rng = np.random.default_rng(seed)
    episodes, rewards = [], []
    layout = layout or Layout()
    for number in range(rows):
        if number % layout.group_size == 0:
            prompt = [1, 2, *rng.integers(3, TINY.vocab_size, rng.integers(2, 14)).tolist()]
        written = [*rng.integers(3, TINY.vocab_size, rng.integers(0, width)).tolist(), 2]
        logprobs = rng.normal(size=len(written)).tolist()
        turn = Turn(CASE, "", True, len(prompt) - 1, tuple(written), tuple(logprobs))
        episodes.append(Episode(CASE, prompt + written, len(prompt), [turn]))
        rewards.append(np.float32([[rng.choice([-2.0, -1.3, -0.25, 1.0])]]))
    return collate(episodes, rewards, layout=layout)


def streams(rollout: RolloutBatch) -> list[np.ndarray]:
    """What each episode of one turn reads, found in the rows of the first update's parts that it stands in."""
    rows, found = rollout.rows, []
    width = rollout.mask.shape[1]
    for number in range(len(rollout.mask)):
        places = np.argwhere(rows.sources[:, 0] // width == number)
        (row,) = {tuple(place[:2]) for place in places}
        tokens, segments, positions = (x[row[0], 0, row[1]] for x in (rows.tokens, rows.segment_ids, rows.positions))
        own = segments == segments[places[0, 2]]
        if rows.branches is not None:
            branches = rows.branches[row[0], 0, row[1]]
            own &= np.isin(branches, (0, branches[places[0, 2]]))
        assert sorted(positions[own]) == list(range(own.sum()))
        found.append(tokens[own][np.argsort(positions[own])])
    return found


def dense(rollout: RolloutBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rollout laid out differently: a row for each episode, where its answer stands in it, and its end.

    Returns:
        tokens [B, T], the answers' columns [B, N] (any column outside the mask), length of each row [B]. The answers
        are read to their end, so the last tokens of a row are its labels.
    """
    rows = streams(rollout)
    lengths = np.array([len(row) for row in rows])
    tokens = np.zeros((len(rows), lengths.max()), np.int32)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    columns = (lengths - rollout.mask.sum(axis=1))[:, None] + np.arange(rollout.mask.shape[1])
    return tokens, np.where(rollout.mask, columns, 1), lengths


@jax.jit
def dense_logprobs(params: Any, tokens: jax.Array, columns: jax.Array, lengths: jax.Array) -> jax.Array:
    """[B, N] with the whole softmax at once."""
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    logits = merge(ACTOR_GRAPH, params)(tokens, places, (places < lengths[:, None]).astype(jnp.int32))
    logprobs = jax.nn.log_softmax(logits / TEMPERATURE)
    rows = jnp.arange(len(tokens))[:, None]
    return logprobs[rows, columns - 1, tokens[rows, columns]]


@jax.jit
def dense_values(critic: Any, tokens: jax.Array, columns: jax.Array, lengths: jax.Array) -> jax.Array:
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    values = merge(CRITIC_GRAPH, critic)(tokens, places, (places < lengths[:, None]).astype(jnp.int32))
    return jnp.take_along_axis(values, columns - 1, axis=1)


def policies(state: RlState) -> tuple[Any, Any]:
    """Parameters of the actor and of the reference policy."""
    return state.trainable["actor"], state.frozen["ref"]


def dense_advantages(state: RlState, rollout: RolloutBatch, config: AlgorithmConfig) -> np.ndarray:
    """[B, N] in float64 by the definition, before whitening; 0 outside the mask."""
    args = dense(rollout)
    policy, reference = (np.asarray(dense_logprobs(p, *args), np.float64) for p in policies(state))
    values, decay = np.asarray(dense_values(state.trainable["critic"], *args), np.float64), config.gamma * config.lam
    advantages = np.zeros(values.shape)
    for row, length in enumerate(rollout.mask.sum(axis=1)):
        rewards = -config.kl_coef * (policy - reference)[row, :length]
        rewards[-1] += rollout.rewards[row].sum()
        expected = np.append(values[row, :length], 0.0)
        deltas = rewards + config.gamma * expected[1:] - expected[:-1]
        for start in range(length):
            advantages[row, start] = sum(decay ** (t - start) * deltas[t] for t in range(start, length))
    return advantages


def test_scores_equal_a_dense_restatement() -> None:
    config = AlgorithmConfig(kl_coef=0.4, gamma=0.95, lam=0.9, whiten_advantages=False, minibatches=4)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    experience, metrics = SCORE(state, rollout, config)
    args, mask = dense(rollout), rollout.mask
    logprobs, reference = (dense_logprobs(params, *args) for params in policies(state))
    values, advantages = dense_values(state.trainable["critic"], *args), dense_advantages(state, rollout, config)
    for actual, expected in (
        (experience.old_logprobs, logprobs),
        (experience.old_values, values),
        (experience.advantages, advantages),
        (experience.returns, advantages + values),
    ):
        np.testing.assert_allclose(np.asarray(actual)[mask], np.asarray(expected)[mask], rtol=1e-3, atol=1e-4)
    kl = np.where(mask, logprobs - reference, 0)
    assert metrics["kl"] == pytest.approx(kl.sum() / mask.sum(), rel=1e-4)
    assert metrics["kl_per_answer"] == pytest.approx(kl.sum(axis=1).mean(), rel=1e-4)
    drift = np.abs(rollout.logprobs - logprobs)[mask]
    assert metrics["sampler_drift"] == pytest.approx(drift.mean(), rel=1e-4)
    assert metrics["sampler_drift_max"] == pytest.approx(drift.max(), rel=1e-4)


def test_reference_logprobs_have_the_policys_temperature() -> None:
    """Before any update policy and reference are the same model: the KL is 0 at every temperature."""
    config = AlgorithmConfig(kl_coef=0.4, gamma=0.95, lam=0.9, whiten_advantages=False, minibatches=4)
    state = initial(config, optax.sgd(1.0))(init_params(TINY, jax.random.key(7)))
    _, metrics = SCORE(state, random_rollout(), config)
    assert metrics["kl"] == 0
    assert metrics["kl_per_answer"] == 0


@pytest.mark.slow
def test_a_reference_in_bfloat16_is_the_policy_before_any_update() -> None:
    """Half the memory and no difference, for the policy's matrices are cast as the reference's were."""
    config = AlgorithmConfig(estimator="rloo", kl_in="loss", old_log_probs="recompute")
    model = TrainableModel(make_graphdef(TINY, dtype=jnp.bfloat16), optax.sgd(1.0), optax.constant_schedule(1.0))
    spec = StepSpec(model, model, config, group_size=2, answer_length=8)
    state = init_rl_state(init_params(TINY, jax.random.key(7)), TINY, spec, seed=1)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.trainable)} == {"float32"}
    assert state.frozen["ref"]["layers"]["q"].dtype == jnp.bfloat16
    metrics = jax.jit(partial(score_rollout, spec=spec))(state, random_rollout(2))[1]
    assert metrics["kl"] == metrics["kl_per_answer"] == 0
    wide = init_rl_state(state.trainable["actor"], TINY, spec._replace(frozen_dtype="float32"), seed=1)
    assert wide.frozen["ref"]["layers"]["q"].dtype == jnp.float32


def test_whitening_is_global_over_all_minibatches() -> None:
    config = AlgorithmConfig(whiten_advantages=True, minibatches=4)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    experience, _ = SCORE(state, rollout, config)
    raw = dense_advantages(state, rollout, config)[rollout.mask]
    white = np.asarray(experience.advantages)[rollout.mask]
    np.testing.assert_allclose(white, (raw - raw.mean()) / raw.std(), rtol=1e-3, atol=1e-3)


def test_first_step_ratio_is_one() -> None:
    """Old log-probabilities come from the function that the loss uses: nothing is clipped before the first update."""
    config = AlgorithmConfig(clip_low=1e-6, clip_high=1e-6, minibatches=4, epochs=3)
    still = optax.sgd(0.0)
    state, rollout = drifted_state(config, still), random_rollout(layout=Layout(epochs=3, minibatches=4))
    _, metrics = jax.jit(make_rl_step(spec_of(still, config)))(state, rollout)
    assert metrics["updates"] == 12
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-9)
    assert metrics["clip_fraction"] == 0


def test_one_update_is_the_policy_gradient_and_the_value_regression() -> None:
    """With one epoch and one minibatch the gradient is -A grad(log p) / n, whatever the clip: the ratio is 1."""
    config = AlgorithmConfig(kl_coef=0.4, whiten_advantages=False)
    sgd = optax.sgd(1.0)
    state, rollout = drifted_state(config, sgd), random_rollout()
    new, metrics = jax.jit(make_rl_step(spec_of(sgd, config)))(state, rollout)
    args, mask = dense(rollout), rollout.mask
    advantages = dense_advantages(state, rollout, config).astype(np.float32)
    returns, count = advantages + dense_values(state.trainable["critic"], *args), mask.sum()

    def surrogate(params: Any) -> jax.Array:
        return -jnp.sum(jnp.where(mask, advantages * dense_logprobs(params, *args), 0)) / count

    def regression(critic: Any) -> jax.Array:
        return 0.5 * jnp.sum(jnp.where(mask, (dense_values(critic, *args) - returns) ** 2, 0)) / count

    change = jax.tree.map(jnp.subtract, state.trainable["actor"], new.trainable["actor"])
    assert_trees_close(change, jax.grad(surrogate)(state.trainable["actor"]), rtol=2e-3)
    change = jax.tree.map(jnp.subtract, state.trainable["critic"], new.trainable["critic"])
    assert_trees_close(change, jax.grad(regression)(state.trainable["critic"]), rtol=2e-3)
    assert metrics["policy_loss"] == pytest.approx(-advantages.sum() / count, rel=1e-3)
    assert metrics["value_loss"] == pytest.approx(0.5 * np.sum(advantages**2) / count, rel=1e-3)
    assert_trees_close(new.frozen, state.frozen, rtol=0)
    assert (int(state.step), int(new.step)) == (0, 1)


def test_critic_weights_are_actually_loaded() -> None:
    params = init_params(TINY, jax.random.key(7))
    state = initial(AlgorithmConfig(critic_backbone="sft"), optax.sgd(1.0))(params)
    expected = {name: value for name, value in params.items() if name != "lm_head"}
    assert_trees_close(state.trainable["critic"]["backbone"], expected, rtol=0)
    assert not np.asarray(state.trainable["critic"]["value_head"]).any()
    random = initial(AlgorithmConfig(critic_backbone="random"), optax.sgd(1.0))(params)
    assert np.abs(random.trainable["critic"]["backbone"]["layers"]["q"] - params["layers"]["q"]).mean() > 0.1


def one_step(config: AlgorithmConfig, rollout: RolloutBatch, state: RlState | None = None, **more: Any) -> Any:
    """A step of gradient descent at rate 1: state before, state after, metrics."""
    sgd = optax.sgd(1.0)
    state = state or drifted_state(config, sgd)
    new, metrics = jax.jit(make_rl_step(spec_of(sgd, config, **more)))(state, rollout)
    return state, new, metrics


def moved(before: Any, after: Any) -> bool:
    return any(np.any(a != b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))


def test_stopping_is_trained() -> None:
    """Where every answer is worth something, their last token, EOS, becomes more likely."""
    rollout = random_rollout()
    rollout = replace(rollout, rewards=np.abs(rollout.rewards))
    config = AlgorithmConfig(whiten_advantages=False, kl_coef=0, lam=1.0)
    state = initial(config, optax.sgd(1.0))(init_params(TINY, jax.random.key(7)))
    _, new, _ = one_step(config, rollout, state)
    args, ends = dense(rollout), np.array([np.flatnonzero(row)[-1] for row in rollout.rewards[..., 0]])
    before, after = (
        np.asarray(dense_logprobs(p, *args))[np.arange(8), ends]
        for p in (state.trainable["actor"], new.trainable["actor"])
    )
    assert np.all(rollout.labels[np.arange(8), ends] == 2)
    assert after.mean() > before.mean() + 1e-3


def test_a_shared_backbone_learns_from_both_losses() -> None:
    config = AlgorithmConfig(critic_backbone="shared", whiten_advantages=False, value_coef=0.5)
    state, new, metrics = one_step(config, rollout := random_rollout())
    assert state.trainable["critic"].keys() == {"value_head"}
    assert moved(state.trainable["critic"], new.trainable["critic"])
    own, _ = SCORE(state, rollout, config)
    mask = rollout.mask
    tokens, columns, lengths = args = dense(rollout)
    places = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    segment_ids = (places < lengths[:, None]).astype(np.int32)

    def loss(params: Any, head: Any) -> jax.Array:
        hidden = merge(ACTOR_GRAPH, params).hidden(tokens, places, segment_ids)
        values = jnp.take_along_axis(hidden @ head["value_head"], columns - 1, axis=1)
        logprobs = dense_logprobs(params, *args)
        policy = -jnp.sum(jnp.where(mask, own.advantages * jnp.exp(logprobs - own.old_logprobs), 0))
        return (policy + 0.25 * jnp.sum(jnp.where(mask, (values - own.returns) ** 2, 0))) / mask.sum()

    change = jax.tree.map(jnp.subtract, state.trainable, new.trainable)
    expected = jax.grad(loss, argnums=(0, 1))(state.trainable["actor"], state.trainable["critic"])
    assert_trees_close((change["actor"], change["critic"]), expected, rtol=2e-3)
    assert "explained_variance" in metrics


def test_only_the_critic_learns_while_it_warms_up() -> None:
    config = AlgorithmConfig(critic_warmup=1, kl_target=1.0)
    state, after_one, _ = one_step(config, random_rollout())
    assert after_one.kl_coef == state.kl_coef
    for before, after in ((state.trainable, after_one.trainable), (state.opt_state, after_one.opt_state)):
        assert not moved(before["actor"], after["actor"])
    assert moved(state.trainable["critic"], after_one.trainable["critic"])
    _, after_two, _ = one_step(config, random_rollout(), after_one)
    assert moved(after_one.trainable["actor"], after_two.trainable["actor"])
    assert after_two.kl_coef != state.kl_coef


def test_no_update_follows_once_the_policy_is_too_far() -> None:
    """The first update moves it; the second minibatch shows that, and nothing is learnt from it or after it."""
    free = AlgorithmConfig(epochs=2, minibatches=2)
    held = free.model_copy(update={"target_kl": 1e-6})
    state, new, metrics = one_step(held, rollout := random_rollout(layout=Layout(epochs=2, minibatches=2)))
    assert metrics["updates"] == 1
    assert moved(state.trainable["actor"], new.trainable["actor"])
    _, _, all_of_it = one_step(free, rollout)
    assert all_of_it["updates"] == 4
    _, same, far_limit = one_step(free.model_copy(update={"target_kl": 1e9}), rollout)
    assert far_limit["updates"] == 4
    once = AlgorithmConfig(target_kl=0.0)
    _, nothing, _ = one_step(once, random_rollout())
    assert moved(
        state.trainable["actor"], nothing.trainable["actor"]
    )  # 0 is not exceeded by a policy that has not moved
    assert_trees_close(same.trainable["actor"], one_step(free, rollout)[1].trainable["actor"], rtol=1e-5)


def test_the_entropy_bonus_raises_entropy() -> None:
    config = AlgorithmConfig(whiten_advantages=False, kl_coef=0, entropy_coef=1.0)
    silent = replace(rollout := random_rollout(), rewards=np.zeros_like(rollout.rewards))
    state = initial(config, optax.sgd(1.0))(init_params(TINY, jax.random.key(7)))
    _, new, before = one_step(config, silent, state)
    _, after = SCORE(new, silent, config.model_copy(update={"old_log_probs": "recompute"}))
    assert after["entropy"] > before["entropy"]


def test_a_truncated_episode_is_worth_what_the_critic_still_expects() -> None:
    config = AlgorithmConfig(whiten_advantages=False, bootstrap_truncated=True, gamma=0.9)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    cut = replace(rollout, cut_off=np.arange(8) < 3)
    ended, bootstrapped = (SCORE(state, one, config)[0].returns for one in (rollout, cut))
    off, _ = SCORE(state, cut, config.model_copy(update={"bootstrap_truncated": False}))
    np.testing.assert_array_equal(off.returns, ended)
    tokens, columns, lengths = dense(rollout)
    after_all = dense_values(
        state.trainable["critic"], tokens, np.tile(lengths[:, None], (1, columns.shape[1])), lengths
    )[:, 0]
    for row, last in enumerate(rollout.mask.sum(axis=1) - 1):
        gained = bootstrapped[row, last] - ended[row, last]
        assert gained == pytest.approx(0.9 * float(after_all[row]) if row < 3 else 0, rel=1e-3, abs=1e-5)


def test_equal_groups_are_counted_and_dropped() -> None:
    """Dropping them changes no direction, only what the average is over: a third of the answers here."""
    rollout = random_rollout(rows=6)
    rewards = np.zeros_like(rollout.rewards)
    rewards[:, 0, 0] = [1, 1, -2, 1, -0.25, -0.25]
    rollout = replace(rollout, rewards=rewards)
    base = AlgorithmConfig(estimator="grpo", kl_in="loss", kl_estimator="k3", kl_coef=0)
    state, kept, metrics = one_step(base, rollout, group_size=2)
    assert metrics["equal_groups"] == pytest.approx(2 / 3)
    _, dropped, _ = one_step(base.model_copy(update={"drop_equal_groups": True}), rollout, group_size=2)
    small, large = (
        jax.tree.map(jnp.subtract, state.trainable["actor"], new.trainable["actor"]) for new in (kept, dropped)
    )
    assert moved(kept.trainable["actor"], state.trainable["actor"])
    assert_trees_close(large, jax.tree.map(lambda x: 3 * x, small), rtol=1e-3)
    assert state.trainable.keys() == kept.trainable.keys() == kept.opt_state.keys() == {"actor"}


def test_weights_of_turns_reach_the_gradient_of_the_policy_alone() -> None:
    """A quarter of the weight is a quarter of the gradient; 0 takes rows out of the average, and the critic learns."""
    config = AlgorithmConfig(whiten_advantages=False, kl_coef=0)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    step = jax.jit(make_rl_step(spec_of(optax.sgd(1.0), config)))

    def change(factors: np.ndarray) -> Any:
        new, _ = step(state, replace(rollout, weights=np.float32(rollout.mask * factors[:, None])))
        return jax.tree.map(jnp.subtract, state.trainable, new.trainable)

    first = np.arange(8) < 4
    whole, quarter, some, others = map(change, (np.ones(8), np.full(8, 0.25), first, ~first))
    share = rollout.mask[:4].sum() / rollout.mask.sum()
    parts = jax.tree.map(lambda x, y: share * x + (1 - share) * y, some, others)
    assert moved(some["actor"], others["actor"])
    assert_trees_close(parts["actor"], whole["actor"], rtol=1e-3)
    assert_trees_close(quarter["actor"], jax.tree.map(lambda x: x / 4, whole["actor"]), rtol=1e-3)
    for changed in (some, quarter):
        assert_trees_close(changed["critic"], whole["critic"], rtol=1e-4)


def test_where_all_groups_are_dropped_nothing_moves() -> None:
    """Adam moved weights by the moments of earlier updates, and counted an update."""
    rollout = random_rollout(rows=4)
    equal = replace(rollout, rewards=np.zeros_like(rollout.rewards))
    config = AlgorithmConfig(estimator="dr_grpo", kl_coef=0, drop_equal_groups=True)
    optimizer, schedule = make_optimizer(OptimizerConfig(learning_rate=1e-3, schedule="linear"), 20)
    spec = spec_of(optimizer, config, group_size=2)
    spec = spec._replace(actor=spec.actor._replace(schedule=schedule))
    step = jax.jit(make_rl_step(spec))
    start, first = step(init_rl_state(init_params(TINY, jax.random.key(7)), TINY, spec, seed=1), rollout)
    state, metrics = step(start, equal)
    assert (first["updates"], metrics["updates"], metrics["equal_groups"]) == (1, 0, 1)
    assert not moved((start.trainable, start.opt_state), (state.trainable, state.opt_state))
    _, metrics = step(state, rollout)
    assert metrics["learning_rate"] == pytest.approx(float(schedule(1)))  # of one update, after two rollouts


def test_the_coefficient_of_the_kl_adapts_and_is_used() -> None:
    config = AlgorithmConfig(kl_coef=0.4, kl_target=1e-3, kl_rate=0.5)
    state, new, metrics = one_step(config, rollout := random_rollout())
    too_large = float(metrics["kl_per_answer"]) > 1e-3
    assert new.kl_coef == pytest.approx(0.4 * (1.1 if too_large else 0.9))
    _, doubled = SCORE(replace(state, kl_coef=jnp.float32(0.8)), rollout, config)
    assert doubled["reward_with_kl"] == pytest.approx(
        float(metrics["score"] - 0.8 * metrics["kl_per_answer"]), rel=1e-4
    )


def test_importance_weights_reach_the_gradient() -> None:
    """A sampler that says every token was half as likely as the policy finds it doubles them, up to the cap."""
    config = AlgorithmConfig(whiten_advantages=False)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    told = SCORE(state, rollout, config)[0].old_logprobs - np.log(2)
    rollout = replace(rollout, drawn_logprobs=np.asarray(told, np.float32))
    changes = []
    for cap in (None, 10.0, 1.5):
        _, new, metrics = one_step(config.model_copy(update={"importance_cap": cap}), rollout, state)
        changes.append(jax.tree.map(jnp.subtract, state.trainable["actor"], new.trainable["actor"]))
    assert_trees_close(changes[1], jax.tree.map(lambda x: 2 * x, changes[0]), rtol=1e-3)
    assert_trees_close(changes[2], jax.tree.map(lambda x: 1.5 * x, changes[0]), rtol=1e-3)
    assert metrics["importance"] == pytest.approx(1.5)


@pytest.mark.parametrize("average", first_then_slow(["tokens", "answers", "length"]))
@pytest.mark.parametrize("critic_backbone", ["sft", "shared"])
def test_parts_of_a_minibatch_make_the_same_update(average: str, critic_backbone: str) -> None:
    """Answers differ in length, so that parts with weights of their own would pull elsewhere."""
    options = {"average": average, "critic_backbone": critic_backbone, "entropy_coef": 0.1, "kl_coef": 0.2}
    whole = AlgorithmConfig(**options, kl_in="loss", kl_estimator="k2")
    state = drifted_state(whole, optax.sgd(1.0))
    rollouts = [random_rollout(rows=24, width=24, layout=Layout(tokens=tokens)) for tokens in (1024, 128)]
    read = [rollout.rows.segment_ids.any(axis=(0, 1, 3)).tolist() for rollout in rollouts]
    assert read == [[True], [True] * 5 + [False] * 3]  # these are there for the sake of a rare change of shape
    results = [one_step(whole, rollout, state) for rollout in rollouts]
    (_, one, expected), (_, parted, metrics) = results
    assert moved(one.trainable["actor"], state.trainable["actor"])
    assert_trees_close(parted.trainable["actor"], one.trainable["actor"], rtol=1e-5)
    assert_trees_close(parted.trainable["critic"], one.trainable["critic"], rtol=1e-5)
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "grpo", "kl_coef": 0, "importance_cap": 2.0},
        {"estimator": "rloo", "kl_in": "loss", "kl_estimator": "k3", "kl_coef": 0.3, "entropy_coef": 0.1},
        {"kl_coef": 0, "critic_backbone": "shared"},
    ],
    ids=["grpo", "KL in the loss", "shared backbone"],
)
def test_the_only_update_finds_the_old_log_probs_itself(options: dict[str, Any]) -> None:
    """Same update, same metrics, in several parts; and the policy reads the rollout once less."""
    whole = AlgorithmConfig(**options, old_log_probs="recompute")
    auto = whole.model_copy(update={"old_log_probs": "auto"})
    groups = {"group_size": 4} if options.get("estimator") else {}
    state, rollout = drifted_state(whole, optax.sgd(1.0)), random_rollout(16, 24, layout=Layout(**groups, tokens=128))
    _, expected, told = one_step(whole, rollout, state, **groups)
    _, new, metrics = one_step(auto, rollout, state, **groups)
    assert moved(state.trainable, new.trainable)
    assert_trees_close(new.trainable, expected.trainable, rtol=1e-5)
    assert metrics.keys() == told.keys()
    for name, value in told.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    if options.get("critic_backbone") != "shared":  # there the critic reads before, for both
        assert work(auto, state, rollout, **groups) < 0.85 * work(whole, state, rollout, **groups)


def work(config: AlgorithmConfig, state: RlState, rollout: RolloutBatch, **more: Any) -> float:
    """FLOPs of a step as they are written, loops counted once."""
    step = make_rl_step(spec_of(optax.sgd(1.0), config, **more))
    return float(jax.jit(step).lower(state, rollout).cost_analysis()["flops"])


def test_there_is_no_reference_without_a_kl() -> None:
    free = AlgorithmConfig(estimator="grpo", kl_coef=0, old_log_probs="recompute")
    state, rollout = drifted_state(free, optax.sgd(1.0)), random_rollout(layout=Layout(group_size=4))
    broken = replace(state, frozen=jax.tree.map(lambda x: x * jnp.nan, state.frozen))
    _, new, metrics = one_step(free, rollout, broken, group_size=4)
    _, expected, _ = one_step(free, rollout, state, group_size=4)
    assert_trees_close(new.trainable, expected.trainable, rtol=0)
    assert "kl" not in metrics
    assert np.isfinite(list(metrics.values())).all()


def test_the_samplers_log_probs_serve_as_the_old_ones() -> None:
    """Where it computes what the policy does, the update is the same; drift is told all the same."""
    config = AlgorithmConfig(kl_coef=0.3)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    rollout = replace(rollout, logprobs=SCORE(state, rollout, config)[0].old_logprobs)
    _, expected, told = one_step(config, rollout, state)
    _, new, metrics = one_step(config.model_copy(update={"old_log_probs": "sampler"}), rollout, state)
    assert_trees_close(new.trainable, expected.trainable, rtol=1e-5)
    assert metrics.keys() == told.keys()
    for name, value in told.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    off = replace(rollout, logprobs=rollout.logprobs + rollout.mask * np.float32(0.5))
    _, _, metrics = one_step(config.model_copy(update={"old_log_probs": "sampler"}), off, state)
    assert metrics["sampler_drift"] == pytest.approx(0.5, abs=1e-4)
    assert metrics["clip_fraction"] > 0


@pytest.mark.parametrize("critic_backbone", ["sft", "shared"])
def test_the_critic_warms_up_as_it_learns_later(critic_backbone: str) -> None:
    """Without the actor's gradient, the critic's update and its metrics are those of a step that teaches both."""
    both = AlgorithmConfig(critic_backbone=critic_backbone, kl_coef=0.2)
    state, rollout = drifted_state(both, optax.sgd(0.1)), random_rollout()
    _, expected, told = one_step(both, rollout, state)
    _, new, metrics = one_step(both.model_copy(update={"critic_warmup": 1}), rollout, state)
    assert_trees_close(new.trainable["critic"], expected.trainable["critic"], rtol=1e-5)
    assert metrics["grad_norm"] == 0
    for name in told.keys() - {"grad_norm"}:
        assert metrics[name] == pytest.approx(float(told[name]), rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize(
    ("param_dtype", "dtype", "optimizer", "mu_dtype"),
    [
        ("float32", "bfloat16", "adamw", "float32"),
        ("bfloat16", "float32", "adafactor", "float32"),
        ("bfloat16", "bfloat16", "muon", "bfloat16"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 2, "minibatches": 2, "accumulate": 2, "target_kl": 0.1},
        {"critic_backbone": "shared", "kl_target": 0.5},
        {"estimator": "rloo", "kl_in": "loss", "kl_estimator": "k3", "entropy_coef": 0.1},
    ],
    ids=["a critic of its own", "shared backbone", "no critic"],
)
def test_a_step_gives_back_what_it_takes(
    options: dict[str, Any], param_dtype: Any, dtype: Any, optimizer: Any, mu_dtype: Any
) -> None:
    optimizer, rate = make_optimizer(OptimizerConfig(name=optimizer, mu_dtype=mu_dtype), 9)
    actor = TrainableModel(make_graphdef(TINY, dtype=dtype), optimizer, rate)
    critic = TrainableModel(make_value_graphdef(TINY, dtype=dtype), optimizer, rate)
    spec = StepSpec(actor, critic, AlgorithmConfig(**options), group_size=2, answer_length=8)
    state = init_rl_state(init_params(TINY, jax.random.key(0), param_dtype), TINY, spec, seed=1)
    assert_same_avals(make_rl_step(spec), state, random_rollout(layout=Layout(epochs=2, minibatches=2)))


def test_sharded_step_equals_the_one_on_a_single_device() -> None:
    config = AlgorithmConfig(epochs=2, minibatches=2, accumulate=2, kl_coef=0.2)
    adam = optax.adam(1e-3)
    init = initial(config, adam)

    def two_steps(mesh: Mesh) -> tuple[Any, Any]:
        layout = Layout(group_size=4, epochs=2, minibatches=2, devices=batch_devices(mesh), tokens=128)
        rollout = random_rollout(rows=32, layout=layout)
        assert rollout.rows.branches is not None
        with jax.set_mesh(mesh):
            params = shard_tree(init_params(TINY, jax.random.key(7)), mesh)
            state = start_state(init, params, mesh)
            step = compile_step(make_rl_step(spec_of(adam, config)), state, mesh)
            for _ in range(2):
                state, metrics = step(state, make_global_array(rollout, batch_sharding(mesh)))
                jax.block_until_ready(state)
            return jax.device_get(state.trainable), jax.device_get(metrics)

    one = jax.make_mesh((1, 1, 1), MESH_AXES, devices=jax.devices()[:1], axis_types=(AxisType.Auto,) * 3)
    expected, expected_metrics = two_steps(one)
    actual, metrics = two_steps(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2)))
    assert_trees_close(actual, expected, rtol=1e-4)
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@pytest.mark.slow
def test_a_step_from_the_hosts_memory_is_that_of_the_devices() -> None:
    """The critic learns, the actor does not yet: its moments stay as they are."""
    config = AlgorithmConfig(minibatches=2, kl_coef=0.2, critic_warmup=1, critic_backbone="shared")
    adam, _ = make_optimizer(OptimizerConfig(learning_rate=1e-3, eps=1e-5), 8)
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    rollout = random_rollout(layout=Layout(minibatches=2, devices=batch_devices(mesh)))
    init = initial(config, adam)

    def two_steps(*offload: Offload) -> RlState:
        with jax.set_mesh(mesh):
            state = start_state(init, shard_tree(init_params(TINY, jax.random.key(7)), mesh), mesh, offload)
            step = compile_step(make_rl_step(spec_of(adam, config)), state, mesh)
            for _ in range(2):
                state, _ = step(state, make_global_array(rollout, batch_sharding(mesh)))
                jax.block_until_ready(state)
        return state

    there, here = two_steps("reference", "moments"), two_steps()
    assert {leaf.sharding.memory_kind for leaf in jax.tree.leaves(there.frozen)} == {HOST}
    for new, old in zip(jax.tree.leaves(there), jax.tree.leaves(here), strict=True):
        np.testing.assert_allclose(np.asarray(new), np.asarray(old), rtol=1e-5, atol=1e-6)  # of updates of 1e-3


@pytest.mark.parametrize(("settings", "tokens"), [([], 40), (["environment=replay", "max_turns=3"], 120)])
def test_the_longest_answer_is_that_of_all_turns(settings: list[str], tokens: int) -> None:
    """It divides what ``average=length`` sums up; without an environment there is one turn, whatever max_turns says."""
    base = ["run_dir=r", "model.path=m", "data.path=d", "max_turns=3", "sampling.max_new_tokens=40"]
    config = load_config(RlConfig, [], [*base, *settings])
    assert make_step_spec(config, TINY, make_rubric(config)).answer_length == tokens
