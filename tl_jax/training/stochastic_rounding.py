"""Updates of parameters that are stored narrower than they are computed with.

Half of a bfloat16's last digit is 0.2 % of its value: at a learning rate of 1e-6 rounding to the nearest loses almost
every update. Rounded up or down at random, by how near either is, a parameter moves on average as it should
(https://arxiv.org/abs/1502.02551, section 3; https://arxiv.org/abs/2010.06192).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from tl_jax.model.parameters import Params

_ROUNDING = 0x726F756E
"""Folded into a step's key, so that nothing else that is drawn in the step has the same noise."""


def apply_updates(params: Params, updates: optax.Updates, key: jax.Array) -> Params:
    """``params + updates``, in the dtypes of ``params``: as `optax.apply_updates`, but bfloat16 is rounded at random.

    Args:
        params: float32 or bfloat16.
        updates: float32.
        key: of this update alone; the same key gives the same parameters, on any mesh.
    """
    leaves, structure = jax.tree.flatten(params)
    keys = jax.tree.unflatten(structure, list(jax.random.split(jax.random.fold_in(key, _ROUNDING), len(leaves))))

    def moved(leaf: jax.Array, update: jax.Array, own_key: jax.Array) -> jax.Array:
        total = leaf.astype(jnp.float32) + update
        return to_bfloat16(total, own_key) if leaf.dtype == jnp.bfloat16 else total.astype(leaf.dtype)

    new: Params = jax.tree.map(moved, params, updates, keys)
    return new


def to_bfloat16(x: jax.Array, key: jax.Array) -> jax.Array:
    """Float32 as one of the two neighbouring bfloat16, the nearer one with the larger probability: its mean is ``x``.

    A bfloat16 is the upper half of a float32. Noise from 0 to 1 in units of the upper half's last digit is added to the
    lower half, which is then cut off.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    cut = (bits + noise) & jnp.uint32(0xFFFF0000)
    rounded = jax.lax.bitcast_convert_type(cut, jnp.float32)
    return jnp.where(jnp.isfinite(x), rounded, x).astype(jnp.bfloat16)
