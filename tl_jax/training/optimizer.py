"""AdamW, its learning rate over time, and what is exempt from weight decay."""

from __future__ import annotations

from typing import Any

import optax

from tl_jax.config import OptimizerConfig
from tl_jax.model.families import map_parameters


def make_schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Learning rate of update ``n`` (from 0).

    With ``W`` warm-up updates it is ``peak * (n + 1) / W`` for ``n < W``; from there it stays (``constant``) or falls
    to ``peak * final_scale`` at ``n = total_steps``, along half a cosine or a line.
    """
    peak, final = config.learning_rate, config.learning_rate * config.final_scale
    warmup = config.warmup_steps or round(config.warmup_ratio * total_steps)
    rest = max(total_steps - warmup, 1)
    decay = {
        "constant": optax.constant_schedule(peak),
        "cosine": optax.cosine_decay_schedule(peak, rest, alpha=config.final_scale),
        "linear": optax.linear_schedule(peak, final, rest),
    }[config.schedule]
    if not warmup:
        return decay
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1)), decay], [warmup])


def make_optimizer(config: OptimizerConfig, total_steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """AdamW (https://arxiv.org/abs/1711.05101) after clipping by the global norm; norms and biases do not decay."""
    schedule = make_schedule(config, total_steps)
    adamw = optax.adamw(schedule, config.b1, config.b2, config.eps, weight_decay=config.weight_decay, mask=decays)
    if config.clip_norm is None:
        return adamw, schedule
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw), schedule


def decays(params: Any) -> Any:
    """True for each parameter that weight decay acts on, as its record says."""
    return map_parameters(lambda parameter, _: parameter.decays, params)
