"""The optimizer of a configuration and its learning rate over time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tl_jax.config import OptimizerConfig
from tl_jax.config.optimizers import OPTIMIZERS
from tl_jax.config.schedules import SCHEDULES
from tl_jax.errors import UserError
from tl_jax.plugins import bind, resolve
from tl_jax.training.host_moments import from_host


def make_schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Learning rate of update ``n`` (from 0).

    With ``W`` warm-up updates it is ``peak * (n + 1) / W`` for ``n < W``; from there it takes the course of `SCHEDULES`
    that ``config`` names, up to ``n = total_steps``.
    """
    peak = config.learning_rate
    warmup = config.warmup_steps or round(config.warmup_ratio * total_steps)
    course = resolve(SCHEDULES.find(config.schedule).function)
    decay: optax.Schedule = course(peak, config.final_scale, max(total_steps - warmup, 1))
    if not warmup:
        return decay
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1)), decay], [warmup])


def constant(peak: float, final_scale: float, steps: int) -> optax.Schedule:
    """The peak throughout."""
    return optax.constant_schedule(peak)


def cosine(peak: float, final_scale: float, steps: int) -> optax.Schedule:
    """From the peak to ``final_scale`` of it along half a cosine (https://arxiv.org/abs/1608.03983, one cycle)."""
    return optax.cosine_decay_schedule(peak, steps, alpha=final_scale)


def linear(peak: float, final_scale: float, steps: int) -> optax.Schedule:
    """From the peak to ``final_scale`` of it along a line."""
    return optax.linear_schedule(peak, peak * final_scale, steps)


def make_optimizer(
    config: OptimizerConfig, total_steps: int, key: str = "optimizer"
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer that ``config`` names, after clipping by the global norm, and its learning rate.

    Args:
        config: the settings.
        total_steps: updates in all.
        key: of the settings, for messages.

    Raises:
        UserError: no such optimizer, or options that it does not take.
    """
    schedule = make_schedule(config, total_steps)
    known = OPTIMIZERS.get(config.name.name)
    where = f"{key}.name"
    function = bind(config.name, ("schedule", "config"), key=where, function=known.function if known else None)
    try:
        made = function(schedule, config)
    except UserError as error:
        raise UserError(f"{where}: {config.name.name}: {error}") from None
    if not isinstance(made, optax.GradientTransformation):
        raise UserError(
            f"{where}: {config.name.name} must return an optax.GradientTransformation, not {type(made).__name__}"
        )
    optimizer = from_host(in_float32(made), by_layer=known is not None)
    if config.clip_norm is None:
        return optimizer, schedule
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer), schedule


def check_optimizer(config: OptimizerConfig, key: str = "optimizer") -> None:
    """Raises what `make_optimizer` would, before it is known how many updates there are."""
    make_optimizer(config, 1, key)


def in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer as it works for float32 parameters, whatever theirs: its state and its updates are float32."""

    def wide(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)

    def update(gradient: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        return optimizer.update(wide(gradient), state, wide(params))

    return optax.GradientTransformation(lambda params: optimizer.init(wide(params)), update)


def updates_made(opt_state: optax.OptState, otherwise: jax.Array) -> jax.Array:
    """The updates that an optimizer has counted, by which its rate goes; ``otherwise`` where it counts none."""
    counts = [
        node.count
        for node in jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByScheduleState))
        if isinstance(node, optax.ScaleByScheduleState)
    ]
    return counts[0] if counts else otherwise
