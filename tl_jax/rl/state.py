"""What reinforcement learning starts from and keeps: the state, and the setup that a step is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from tl_jax.config import AlgorithmConfig
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef, init_params
from tl_jax.model.sharding import param_shardings, replicated
from tl_jax.model.value import value_head, value_params
from tl_jax.training.checkpoint import abstract
from tl_jax.training.state import Params, TrainState


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RlState(TrainState):
    """``params`` and ``opt_state`` are the actor's, so that a run directory opens as the actor; ``step`` counts
    rollouts."""

    critic: Params
    """empty where the estimator has none; the head alone where the actor's tower is shared"""
    critic_opt_state: optax.OptState
    reference: Params
    """the actor as it was at first; never changes"""
    kl_coef: jax.Array
    """float32 scalar: the weight of the KL, which may adapt"""


class TrainableModel(NamedTuple):
    """A model's description and how it learns."""

    graphdef: GraphDef
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule


class StepSpec(NamedTuple):
    """What a step is made of besides its state."""

    actor: TrainableModel
    """of a `Llama`"""
    critic: TrainableModel
    """of a `ValueModel`; where the tower is shared only its optimizer is used, where there is no critic nothing"""
    config: AlgorithmConfig
    temperature: float = 1.0
    """of the log-probabilities"""
    group_size: int = 1
    reward_weights: tuple[float, ...] = (1.0,)
    """[R]"""
    answer_length: int = 1
    """tokens that an answer can have at most"""


def init_rl_state(params: Params, model: LlamaConfig, setup: StepSpec, seed: int) -> RlState:
    """The state before the first rollout; ``params`` become the actor and the reference.

    The critic's head is 0, so that it starts by expecting nothing.
    """
    key, config = jax.random.key(seed), setup.config
    if not config.has_critic:
        critic: Params = {}
    elif config.critic_backbone == "shared":
        critic = value_head(params)
    elif config.critic_backbone == "random":
        critic = value_params(init_params(model, jax.random.fold_in(key, 0), params["norm"].dtype, lm_head=False))
    else:
        critic = value_params(params)
    return RlState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=setup.actor.optimizer.init(params),
        key=jax.random.key_data(key),
        critic=critic,
        critic_opt_state=setup.critic.optimizer.init(critic),
        reference=params,
        kl_coef=jnp.float32(config.kl_coef),
    )


def abstract_rl_state(init: Callable[[Params], RlState], params: Params, mesh: Mesh) -> RlState:
    """Shapes and places of the state that ``init`` makes of ``params`` (shapes suffice)."""
    shapes = jax.eval_shape(init, params)
    places = replace(param_shardings(replace(shapes, key=None), mesh), key=replicated(mesh))
    return abstract(shapes, places)


def start_rl_state(init: Callable[[Params], RlState], params: Params, mesh: Mesh) -> RlState:
    """``init(params)``, each array made where it lies. ``params`` are used up."""
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_rl_state(init, params, mesh))
    state: RlState = jax.jit(init, out_shardings=places, donate_argnums=0)(params)
    return state
