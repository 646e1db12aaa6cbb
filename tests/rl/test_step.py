"""One PPO step against dense NumPy restatements of what it should do."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.rl.helpers import (
    SCORE,
    SGD,
    dense,
    dense_advantages,
    dense_logprobs,
    dense_values,
    drifted_state,
    initial,
    moved,
    one_step,
    random_rollout,
    spec_of,
)
from tests.thoroughness import THOROUGH
from tests.training.helpers import TINY, assert_same_avals, assert_trees_close
from tl_jax.config import AlgorithmConfig, MeshConfig, OptimizerConfig, RlConfig, load_config
from tl_jax.config.model import Offload
from tl_jax.model.host_memory import HOST
from tl_jax.model.llama import Llama, init_params, make_graphdef
from tl_jax.model.sharding import batch_devices, batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.model.value import make_value_graphdef
from tl_jax.rl.compiled import CompiledRlStep
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.rubric import make_rubric
from tl_jax.rl.state import RlState, StepSpec, TrainableModel, init_rl_state
from tl_jax.rl.step import make_rl_step
from tl_jax.rl.train import make_step_spec
from tl_jax.training.compile import start_state
from tl_jax.training.optimizer import make_optimizer


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
    state, new, metrics = one_step(config, rollout := random_rollout())
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


def test_no_update_follows_once_the_policy_is_too_far() -> None:
    """The first update moves it; the second minibatch shows that, and nothing is learnt from it or after it."""
    held, free = (AlgorithmConfig(epochs=2, minibatches=2, target_kl=limit) for limit in (0.0, 1e9))
    state, new, metrics = one_step(held, rollout := random_rollout(layout=Layout(epochs=2, minibatches=2)))
    assert metrics["updates"] == 1  # 0 is not exceeded by a policy that has not moved
    assert moved(state.trainable["actor"], new.trainable["actor"])
    _, further, all_of_it = one_step(free, rollout, state)
    assert all_of_it["updates"] == 4
    assert moved(new.trainable["actor"], further.trainable["actor"])


@pytest.mark.slow
def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    """Nor does any limit of the only update, before which the policy has not moved."""
    free, far = (AlgorithmConfig(epochs=2, minibatches=2, target_kl=limit) for limit in (None, 1e9))
    rollout = random_rollout(layout=Layout(epochs=2, minibatches=2))
    state, expected, told = one_step(free, rollout)
    _, same, metrics = one_step(far, rollout, state)
    assert told["updates"] == metrics["updates"] == 4
    assert_trees_close(same.trainable["actor"], expected.trainable["actor"], rtol=1e-5)
    state, once, _ = one_step(AlgorithmConfig(target_kl=0.0), random_rollout())
    assert moved(state.trainable["actor"], once.trainable["actor"])


def test_the_entropy_bonus_raises_entropy() -> None:
    config = AlgorithmConfig(whiten_advantages=False, kl_coef=0, entropy_coef=1.0)
    silent = replace(rollout := random_rollout(), rewards=np.zeros_like(rollout.rewards))
    state = initial(config, optax.sgd(1.0))(init_params(TINY, jax.random.key(7)))
    _, new, before = one_step(config, silent, state)
    _, after = SCORE(new, silent, config.model_copy(update={"old_log_probs": "recompute"}))
    assert after["entropy"] > before["entropy"]


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
    config, rollout = AlgorithmConfig(whiten_advantages=False, kl_coef=0, lam=1.0), random_rollout()

    def change(factors: np.ndarray) -> Any:
        state, new, _ = one_step(config, replace(rollout, weights=np.float32(rollout.mask * factors[:, None])))
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


def test_a_fixed_coefficient_of_the_kl_is_that_of_the_configuration() -> None:
    """A run that was continued with another one went on with the old, which the checkpoint holds for adaptive ones."""
    config = AlgorithmConfig(kl_coef=0.4, whiten_advantages=False)
    state, expected, told = one_step(config, rollout := random_rollout())
    _, new, metrics = one_step(config, rollout, replace(state, kl_coef=jnp.float32(0.1)))
    assert_trees_close(new, expected, rtol=0)
    assert metrics["reward_with_kl"] == told["reward_with_kl"]


def test_importance_weights_reach_the_gradient() -> None:
    """A sampler that says every token was half as likely as the policy finds it doubles them, up to the cap."""
    config = AlgorithmConfig(whiten_advantages=False, importance_cap=1.5)
    state, rollout = drifted_state(config, SGD), random_rollout()
    found = np.where(rollout.mask, dense_logprobs(state.trainable["actor"], *dense(rollout)), 0)
    changes = []
    for times, weight in ((1, 1), (1.25, 1.25), (2, 1.5)):
        drawn = replace(rollout, drawn_logprobs=np.float32(found - np.log(times)))
        _, new, metrics = one_step(config, drawn, state)
        changes.append(jax.tree.map(jnp.subtract, state.trainable["actor"], new.trainable["actor"]))
        assert_trees_close(changes[-1], jax.tree.map(lambda x, by=weight: by * x, changes[0]), rtol=1e-3)
        assert metrics["importance"] == pytest.approx(weight, rel=1e-4)
    assert metrics["importance"] == pytest.approx(1.5)  # the cap itself


REST = [("tokens", "shared"), ("answers", "sft"), ("length", "sft"), ("length", "shared")]


@pytest.mark.parametrize(
    ("average", "critic_backbone"),
    [
        ("tokens", "sft"),
        ("answers", "shared"),
        *(pytest.param(*both, marks=THOROUGH) for both in REST),
    ],
)
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


DTYPES = [
    ("float32", "bfloat16", "adamw", "float32"),
    ("bfloat16", "float32", "adafactor", "float32"),
    ("bfloat16", "bfloat16", "muon", "bfloat16"),
]
"""Of parameters, computation; an optimizer, and of its first moments."""
OPTIONS: dict[str, dict[str, Any]] = {
    "a critic of its own": {"epochs": 2, "minibatches": 2, "accumulate": 2, "target_kl": 0.1},
    "shared backbone": {"critic_backbone": "shared", "kl_target": 0.5},
    "no critic": {"estimator": "rloo", "kl_in": "loss", "kl_estimator": "k3", "entropy_coef": 0.1},
}
EACH_ONCE = list(zip(OPTIONS, DTYPES, strict=True))


@pytest.mark.parametrize(
    ("kind", "dtypes"),
    [pytest.param(*both, marks=() if both in EACH_ONCE else THOROUGH) for both in itertools.product(OPTIONS, DTYPES)],
)
def test_a_step_gives_back_what_it_takes(kind: str, dtypes: tuple[str, ...]) -> None:
    param_dtype, dtype, name, mu_dtype = dtypes
    optimizer, rate = make_optimizer(OptimizerConfig(name=name, mu_dtype=mu_dtype), 9)
    actor = TrainableModel(make_graphdef(TINY, dtype=dtype), optimizer, rate)
    critic = TrainableModel(make_value_graphdef(TINY, dtype=dtype), optimizer, rate)
    spec = StepSpec(actor, critic, AlgorithmConfig(**OPTIONS[kind]), group_size=2, answer_length=8)
    state = init_rl_state(init_params(TINY, jax.random.key(0), param_dtype), TINY, spec, seed=1)
    for layout in (Layout(epochs=2, minibatches=2), Layout()):
        assert_same_avals(make_rl_step(spec), state, random_rollout(layout=layout))


def test_what_models_read_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By reference and policy before the updates, and in them: not again for the shapes of what is skipped."""
    traced: list[Llama] = []
    hidden = Llama.hidden

    def counted(self: Llama, *arguments: Any) -> jax.Array:
        traced.append(self)
        return hidden(self, *arguments)

    monkeypatch.setattr(Llama, "hidden", counted)
    config = AlgorithmConfig(estimator="rloo", epochs=2, target_kl=0.1)
    rollout = random_rollout(rows=24, width=24, layout=Layout(group_size=2, epochs=2, tokens=128))
    assert rollout.rows.tokens.shape[2] > 1  # parts, which are read one after another
    jax.eval_shape(make_rl_step(spec_of(SGD, config, group_size=2)), drifted_state(config, SGD), rollout)
    assert len(traced) == 3


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
            step = CompiledRlStep(spec_of(adam, config), state, mesh)
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
