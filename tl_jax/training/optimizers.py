"""The optimizers of `tl_jax.config.optimizers`: functions of a schedule, the settings and options of their own.

They see float32 parameters and gradients whatever is stored, see `tl_jax.training.optimizer.in_float32`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tl_jax.config import OptimizerConfig
from tl_jax.errors import UserError
from tl_jax.model.families import map_parameters
from tl_jax.model.parameters import Parameter
from tl_jax.training.factored_moments import over_matrix, scale_by_factored_moments
from tl_jax.training.orthogonal_moments import scale_by_orthogonal


def adamw(schedule: optax.Schedule, config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW (https://arxiv.org/abs/1711.05101); norms and biases do not decay."""
    return optax.adamw(
        schedule,
        config.b1,
        config.b2,
        config.eps,
        mu_dtype=config.mu_dtype,
        weight_decay=config.weight_decay,
        mask=decays,
    )


def adafactor(
    schedule: optax.Schedule,
    config: OptimizerConfig,
    decay_rate: float = 0.8,
    clip_rms: float | None = 1.0,
    by_parameter_scale: bool = False,
    momentum: float | None = None,
) -> optax.GradientTransformation:
    """Adafactor (https://arxiv.org/abs/1804.04235, algorithm 4) at a rate that is given; weights decay as AdamW's do.

    Args:
        decay_rate: ``c`` of the second moment's ``1 - n^-c``.
        clip_rms: ``d``, the largest root mean square of an update; None = any.
        by_parameter_scale: multiplies the rate by the matrix's root mean square, or 1e-3 if that is less.
        momentum: of the updates, kept in ``config.mu_dtype``; None = none is kept.

    Raises:
        UserError: an option is out of its range.
    """
    _check("decay_rate", decay_rate, 0 < decay_rate <= 1, "above 0, up to 1")
    _check("clip_rms", clip_rms, clip_rms is None or clip_rms > 0, "above 0, or null")
    _check("momentum", momentum, momentum is None or 0 <= momentum < 1, "from 0 to below 1, or null")
    parts = [scale_by_factored_moments(decay_rate)]
    if clip_rms is not None:
        parts.append(optax.stateless(lambda updates, _: _clipped(updates, clip_rms)))
    if by_parameter_scale:
        parts.append(optax.stateless(_by_scale))
    if momentum is not None:
        parts.append(optax.ema(momentum, debias=False, accumulator_dtype=jnp.dtype(config.mu_dtype)))
    return optax.chain(
        *parts, optax.add_decayed_weights(config.weight_decay, decays), optax.scale_by_learning_rate(schedule)
    )


def muon(
    schedule: optax.Schedule,
    config: OptimizerConfig,
    beta: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    rms: float = 0.2,
) -> optax.GradientTransformation:
    """Muon (https://kellerjordan.github.io/posts/muon/) for the layers' matrices, each layer's by itself; all else, as
    its authors have it, by `adamw`.

    Args:
        beta: of the first moment.
        nesterov: the gradient counts once more.
        ns_steps: iterations.
        rms: root mean square of an update at rate 1, whatever the matrix's shape.

    Raises:
        UserError: an option is out of its range.
    """
    _check("beta", beta, 0 <= beta < 1, "from 0 to below 1")
    _check("ns_steps", ns_steps, 1 <= ns_steps <= 100, "from 1 to 100")
    _check("rms", rms, 0 < rms <= 10, "above 0, up to 10")
    of_matrices = optax.chain(
        scale_by_orthogonal(beta, nesterov=nesterov, ns_steps=ns_steps, rms=rms, mu_dtype=config.mu_dtype),
        optax.add_decayed_weights(config.weight_decay, decays),
        optax.scale_by_learning_rate(schedule),
    )
    return optax.partition(
        {"muon": of_matrices, "adamw": adamw(schedule, config)},
        lambda params: map_parameters(lambda p, _: "muon" if p.matrix and p.in_layers else "adamw", params),
    )


def decays(params: Any) -> Any:
    """True for each parameter that weight decay acts on, as its record says."""
    return map_parameters(lambda parameter, _: parameter.decays, params)


def _clipped(updates: Any, limit: float) -> Any:
    return map_parameters(lambda p, x: x / jnp.maximum(1.0, _root_mean_square(p, x) / limit), updates)


def _by_scale(updates: Any, params: Any) -> Any:
    scales = map_parameters(lambda p, x: jnp.maximum(1e-3, _root_mean_square(p, x)), params)
    return jax.tree.map(jnp.multiply, updates, scales)


def _root_mean_square(parameter: Parameter, leaf: jax.Array) -> jax.Array:
    """Of each layer's matrix or vector, with axes of length 1."""
    return jnp.sqrt(jnp.mean(jnp.square(leaf), axis=over_matrix(parameter), keepdims=True))


def _check(option: str, value: object, fits: bool, range_in_words: str) -> None:
    if not fits:
        raise UserError(f"{option} must be {range_in_words}, got {value!r}")
