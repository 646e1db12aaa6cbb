"""The state: what is trained, what is not, and that a step gives back what it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.helpers import TINY, assert_same_avals, assert_trees_close, random_batch
from tl_jax.config import MeshConfig, OptimizerConfig
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.model.parameters import assemble
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.training.compile import compile_step, start_frozen, start_state
from tl_jax.training.losses import weighted_cross_entropy
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.state import TrainState, fold_key, init_state
from tl_jax.training.step import accumulated_gradient, make_train_step

OPTIMIZER = OptimizerConfig(learning_rate=1e-2, weight_decay=0.1)


def head_only(params: Any) -> TrainState:
    """A state that trains the last norm and the head."""
    trainable = {name: params[name] for name in ("norm", "lm_head")}
    frozen = {name: value for name, value in params.items() if name not in trainable}
    return replace(init_state(trainable, make_optimizer(OPTIMIZER, 9)[0], 0), frozen=frozen)


def test_assembling_joins_trees_that_share_no_leaf() -> None:
    adapter, base = {"layers": {"q_adapter": 1}}, {"layers": {"q": 2}, "norm": 3}
    assert assemble(adapter, base) == {"layers": {"q_adapter": 1, "q": 2}, "norm": 3}
    assert assemble({}, base) == assemble(base, {}) == base
    assert (adapter, base) == ({"layers": {"q_adapter": 1}}, {"layers": {"q": 2}, "norm": 3})
    for other in ({"norm": 4}, {"norm": {"scale": 4}}, {"layers": 4}):
        with pytest.raises(ValueError, match="is both trainable and frozen"):
            assemble(other, base)


def test_gradient_and_norm_are_of_what_is_trained(graphdef: Any, params: Any) -> None:
    batch = random_batch(0, 8, 48)
    whole, _ = accumulated_gradient(graphdef, weighted_cross_entropy, init_state(params, optax.sgd(0.1), 0), batch, 1)
    state = head_only(params)
    part, loss = accumulated_gradient(graphdef, weighted_cross_entropy, state, batch, 2)
    assert_trees_close(part, {name: whole[name] for name in part}, rtol=1e-4)
    optimizer, schedule = make_optimizer(OPTIMIZER, 9)
    new, metrics = make_train_step(graphdef, weighted_cross_entropy, optimizer, schedule)(state, batch)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(part))) / loss.denominator
    assert metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-4)
    assert new.frozen is state.frozen
    moments = jax.tree.leaves(new.opt_state)
    assert {leaf.shape for leaf in moments if leaf.ndim} == {leaf.shape for leaf in part.values()}


def test_a_compiled_step_uses_up_all_but_what_is_frozen(graphdef: Any, params: Any) -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    optimizer, schedule = make_optimizer(OPTIMIZER, 9)
    step = make_train_step(graphdef, weighted_cross_entropy, optimizer, schedule)
    batch = random_batch(0, 8, 48)
    expected = jax.device_get(step(head_only(params), batch)[0])
    with jax.set_mesh(mesh):
        state = start_state(head_only, shard_tree(params, mesh), mesh)
        compiled = compile_step(step, state, mesh)
        new, _ = compiled(state, make_global_array(batch, batch_sharding(mesh)))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.trainable))
        assert new.frozen is state.frozen
        frozen = start_frozen(head_only, shard_tree(init_params(TINY, jax.random.key(7)), mesh), mesh)
    assert_trees_close(jax.device_get(new.trainable), expected.trainable, rtol=1e-4)
    assert_trees_close(jax.device_get(new.frozen), expected.frozen, rtol=0)
    assert_trees_close(jax.device_get(frozen), expected.frozen, rtol=0)
    assert jax.tree.map(lambda x: x.sharding, frozen) == jax.tree.map(lambda x: x.sharding, new.frozen)


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_gives_back_what_it_takes(param_dtype: Any, dtype: Any, accumulate: int) -> None:
    """What optimizers do, `test_optimizers.py` tries one by one."""
    optimizer, rate = make_optimizer(OPTIMIZER.model_copy(update={"mu_dtype": "bfloat16"}), 9)
    graphdef = make_graphdef(TINY, dtype=dtype)
    state = init_state(init_params(TINY, jax.random.key(0), param_dtype), optimizer, 0)
    step = make_train_step(graphdef, weighted_cross_entropy, optimizer, rate, accumulate)
    assert_same_avals(step, state, random_batch(0, 4, 16))


def test_the_key_differs_at_every_step_and_survives() -> None:
    optimizer = make_optimizer(OPTIMIZER, 10)[0]
    params = {"lm_head": jnp.ones((2, 2))}
    state = init_state(params, optimizer, seed=3)
    assert state.key.dtype == jnp.uint32
    later = replace(state, step=jnp.int32(1))
    drawn = [
        jax.random.uniform(fold_key(s)).item() for s in (state, later, replace(later), init_state(params, optimizer, 4))
    ]
    assert drawn[1] == drawn[2]
    assert len(set(drawn)) == 3
