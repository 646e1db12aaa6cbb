"""The state of reinforcement learning, how it begins, and what a step is made of besides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from tl_jax.config import AlgorithmConfig, LoraConfig
from tl_jax.config.rewards import RewardKind
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef
from tl_jax.model.lora import adapt, init_adapters, saved_whole, switched_off
from tl_jax.model.parameters import Params, assemble, init_params
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.model.value import backbone, value_head, value_params
from tl_jax.training.state import TrainState


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RlState(TrainState):
    """``trainable`` and ``opt_state`` are ``{"actor": ..., "critic": ...}``; no critic where the estimator needs none.

    ``trainable["critic"]`` is a value model, or the head alone where it shares the actor's backbone. ``frozen`` is
    ``{"ref": ...}``, the actor's parameters at first, where there is a KL to them. ``step`` counts rollouts.

    Where adapters are trained, those of actor and critic take the place of the parameters they stand beside, and
    ``frozen`` is ``{"base": ..., "replaced": ...}``, the model below both: in two parts, of which the actor has its own
    in place of the second, whatever ``lora.modules_to_save`` names.
    """

    kl_coef: jax.Array
    """float32 scalar: the weight of the KL, which may adapt"""

    @property
    def params(self) -> Params:
        """``{"actor": ..., "critic": ...}``, each what a model is merged from."""
        return with_base(self.trainable, self.frozen)


def with_base(trainable: Params, frozen: Params) -> Params:
    """Actor and critic out of what a state trains and what it does not: adapters get the model below them."""
    if "base" not in frozen:
        return trainable
    models = dict(trainable)
    if "actor" in trainable:
        models["actor"] = assemble(trainable["actor"], frozen["base"])
    if "backbone" in trainable.get("critic", {}):
        adapted = assemble(trainable["critic"]["backbone"], backbone(assemble(frozen["replaced"], frozen["base"])))
        models["critic"] = trainable["critic"] | {"backbone": adapted}
    return models


class TrainableModel(NamedTuple):
    """A model's description and its optimizer."""

    graphdef: GraphDef
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule


def first_actor(state: RlState) -> Params:
    """The reference policy of full fine-tuning: the actor as it was before the first update. Kept for a KL only."""
    ref: Params = state.frozen["ref"]
    return ref


def adapter_off(state: RlState) -> Params:
    """The reference policy of adapters: the model below the actor's."""
    actor, replaced = (flatten_dict(params, sep=".") for params in (state.params["actor"], state.frozen["replaced"]))
    return switched_off(unflatten_dict(actor | replaced, sep="."))


class StepSpec(NamedTuple):
    """What a step is made of besides its state."""

    actor: TrainableModel
    """of a `Llama`"""
    critic: TrainableModel
    """of a `ValueModel`; only its optimizer is used where the backbone is shared, nothing where there is no critic"""
    config: AlgorithmConfig
    temperature: float = 1.0
    """of the log-probabilities"""
    group_size: int = 1
    reward_weights: tuple[float, ...] = (1.0,)
    """[R]"""
    reward_kinds: tuple[RewardKind, ...] = ("turn",)
    """[R]"""
    answer_length: int = 1
    """tokens that an episode can have at most, those of all its turns"""
    ref_params: Callable[[RlState], Params] = first_actor
    """parameters of the reference policy; pure"""
    frozen_dtype: str | None = None
    """that the reference policy is stored in; None = that of the computation"""
    lora: LoraConfig | None = None
    """what is trained beside the parameters of actor and critic; None = they are"""

    @property
    def drops(self) -> bool:
        """Whether updates drop some of what adapters read."""
        return self.lora is not None and self.lora.dropout > 0


def init_rl_state(params: Params, model: LlamaConfig, spec: StepSpec, seed: int) -> RlState:
    """The state before the first rollout, where ``params`` are the actor's and the reference policy's.

    The critic's head is 0, so that it starts by expecting nothing.
    """
    key = jax.random.key(seed)
    actor, frozen = params, Params()
    if spec.lora is not None:
        actor, base = adapt(params, jax.random.fold_in(key, 1), model, spec.lora)
        frozen = {"base": base, "replaced": saved_whole(params, model, spec.lora)}
    elif spec.config.kl_coef:
        frozen_dtype = spec.frozen_dtype or compute_dtype(spec.actor.graphdef, params)
        frozen = {"ref": in_compute_dtype(params, frozen_dtype)}
    trainable = {"actor": actor}
    opt_state = {"actor": spec.actor.optimizer.init(actor)}
    if spec.config.has_critic:
        trainable["critic"] = _init_critic(params, model, spec, jax.random.fold_in(key, 0))
        opt_state["critic"] = spec.critic.optimizer.init(trainable["critic"])
    return RlState(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        frozen=frozen,
        opt_state=opt_state,
        key=jax.random.key_data(key),
        kl_coef=jnp.float32(spec.config.kl_coef),
    )


def _init_critic(params: Params, model: LlamaConfig, spec: StepSpec, key: jax.Array) -> Params:
    """What is trained of the critic."""
    if spec.lora is not None:
        head = value_head(params, jnp.float32)
        shares = spec.config.critic_backbone == "shared"
        return head if shares else {"backbone": init_adapters(model, spec.lora, key), **head}
    if spec.config.critic_backbone == "shared":
        return value_head(params)
    if spec.config.critic_backbone == "random":
        return value_params(init_params(model, key, params["norm"].dtype, lm_head=False))
    return value_params(params)
