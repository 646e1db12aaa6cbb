"""What a block computes besides attention, with backward passes of its own, and sums for single tokens.

Derived by JAX, they cost more than the products that they consist of: XLA turns the gradient of every output round in
memory before it multiplies inputs with it, and each step of an activation is kept for later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from tl_jax.model import gathering
from tl_jax.model.platform import platform


def einsum(equation: str, left: jax.Array, right: jax.Array) -> jax.Array:
    """`jnp.einsum` of two arrays of one dtype, in that dtype.

    On a processor sums of bfloat16 are rounded at the end: asked for bfloat16, XLA first makes float32 of both arrays.
    """
    wide = jnp.float32 if left.dtype == jnp.bfloat16 and platform() == "cpu" else None
    return jnp.einsum(equation, left, right, preferred_element_type=wide).astype(left.dtype)


FEW = 8
"""Rows that a processor multiplies at once: numbers of one register."""
STRIPE = 16
"""Terms of a sum that it adds up in registers."""
WIDE = 1024
"""Columns of a matrix from which on the work of a stripe is far above what it takes to start it."""


def few_rows(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Float32 ``x @ matrix``, [M, W] and [W, F] to [M, F]; for decoding, no gradient.

    XLA's product on a processor first copies the matrix in another order, which for a few rows takes as long as
    multiplying. `by_stripes` reads it once, as it lies. Where the matrix is narrow or spread over devices, or rows are
    many or one, the product is XLA's.
    """
    (rows, inner), width = x.shape, matrix.shape[1]
    here = platform() == "cpu" and jax.sharding.get_abstract_mesh().size <= 1
    if not here or not x.dtype == matrix.dtype == jnp.float32 or not 1 < rows <= FEW or width < WIDE or inner % STRIPE:
        return jnp.einsum("md,df->mf", x, matrix, preferred_element_type=jnp.float32)
    columns = jnp.pad(x, ((0, FEW - rows), (0, 0))).T
    total = by_stripes(lambda column, row: row[:, None] * column[None], (columns, matrix), (0, 0), (width, FEW))
    return total[:, :rows].T


def by_stripes(
    term: Callable[[jax.Array, jax.Array], jax.Array],
    arrays: tuple[jax.Array, jax.Array],
    axes: tuple[int, int],
    shape: tuple[int, ...],
) -> jax.Array:
    """The sum of ``term(a, b)`` over all places of an axis, in a loop that XLA makes of it on a processor.

    Args:
        term: float32 of the shape ``shape``, of what the arrays hold in one place.
        arrays: of which ``axes`` are the axes, as long as each other, a multiple of `STRIPE`.
        axes: that are summed over; the others are left to ``term``.
        shape: of the sum.
    """
    striped = [
        jnp.reshape(x, (*x.shape[:axis], -1, STRIPE, *x.shape[axis + 1 :]))
        for x, axis in zip(arrays, axes, strict=True)
    ]

    def place(number: int, stripe: jax.Array, row: int) -> jax.Array:
        x, axis = striped[number], axes[number]
        start: list[jax.Array | int] = [0] * x.ndim
        start[axis : axis + 2] = stripe, row
        sizes = (*x.shape[:axis], 1, 1, *x.shape[axis + 2 :])
        return jnp.squeeze(jax.lax.dynamic_slice(x, start, sizes), (axis, axis + 1))

    def add(stripe: jax.Array, total: jax.Array) -> jax.Array:
        for row in range(STRIPE):  # each slice by itself, or XLA copies the stripe before it reads it
            total = total + term(place(0, stripe, row), place(1, stripe, row))
        return total

    stripes = striped[0].shape[axes[0]]
    return jax.lax.fori_loop(0, stripes, add, jnp.zeros(shape, jnp.float32))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(equation: str, x: jax.Array, matrix: jax.Array) -> jax.Array:
    """``einsum(equation, x, matrix)`` in the dtype of both.

    Args:
        equation: each of its letters is in two of the three arrays, and none twice in one.
        x: activations.
        matrix: whose gradient is multiplied in the order in which it lies in memory; one of its letters is ``d``.
    """
    return einsum(equation, x, gathering.whole(_sides(equation)[1], matrix, x))


def _product_forward(equation: str, x: jax.Array, matrix: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return product(equation, x, matrix), (x, matrix)


def _product_backward(
    equation: str, kept: tuple[jax.Array, jax.Array], given: jax.Array
) -> tuple[jax.Array, jax.Array]:
    (x, matrix), (of_x, of_matrix, out) = kept, _sides(equation)
    d_x = einsum(f"{out},{of_matrix}->{of_x}", given, gathering.whole(of_matrix, matrix, x))
    return d_x, gathering.summed(of_matrix, einsum(f"{of_x},{out}->{of_matrix}", x, given), x)


def _sides(equation: str) -> list[str]:
    """The letters of the activations, of the matrix, and of what they give."""
    return equation.replace("->", ",").split(",")


product.defvjp(_product_forward, _product_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def projected(x: jax.Array, matrix: jax.Array, axis: int) -> jax.Array:
    """Float32 [..., V], of ``x`` [..., D] and a matrix of D and V, whose ``axis`` is D."""
    return jax.lax.dot_general(x, matrix, (((x.ndim - 1,), (axis,)), ((), ())), preferred_element_type=jnp.float32)


def _projected_forward(x: jax.Array, matrix: jax.Array, axis: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return projected(x, matrix, axis), (x, matrix)


def _projected_backward(axis: int, kept: tuple[jax.Array, jax.Array], given: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gradient of ``x``, and of the matrix as it lies in memory."""
    (x, matrix), last = kept, given.ndim - 1
    tokens = tuple(range(last))
    d_x = projected(given, matrix, 1 - axis)
    sides = (x, given) if axis == 0 else (given, x)
    d_matrix = jax.lax.dot_general(*sides, ((tokens, tokens), ((), ())), preferred_element_type=jnp.float32)
    return d_x.astype(x.dtype), d_matrix.astype(matrix.dtype)


projected.defvjp(_projected_forward, _projected_backward)


@jax.custom_vjp
def gated(gate: jax.Array, up: jax.Array) -> jax.Array:
    """``silu(gate) * up`` (SwiGLU, https://arxiv.org/abs/2002.05202). Nothing but the two is kept for its gradient."""
    return jax.nn.silu(gate) * up


def _gated_backward(kept: tuple[jax.Array, jax.Array], given: jax.Array) -> tuple[jax.Array, jax.Array]:
    gate, up = kept
    open_ = jax.nn.sigmoid(gate)
    passed = gate * open_
    return given * up * (open_ + passed * (1 - open_)), given * passed


gated.defvjp(lambda gate, up: (gated(gate, up), (gate, up)), _gated_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """x / rms(x) * scale, in float32, over the axes that ``scale`` has (https://arxiv.org/abs/1910.07467, eq. 4)."""
    return (_normed(x, scale, eps)[0] * scale.astype(jnp.float32)).astype(x.dtype)


def _normed(x: jax.Array, scale: jax.Array, eps: float) -> tuple[jax.Array, jax.Array]:
    """``x / rms(x)`` and ``1 / rms(x)``, float32."""
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(wide * wide, axis=tuple(range(-scale.ndim, 0)), keepdims=True)
    inverse = jax.lax.rsqrt(mean_square + eps)
    return wide * inverse, inverse


def _norm_forward(x: jax.Array, scale: jax.Array, eps: float) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return rms_norm(x, scale, eps), (x, scale)


def _norm_backward(eps: float, kept: tuple[jax.Array, jax.Array], given: jax.Array) -> tuple[jax.Array, jax.Array]:
    """With n = x / rms(x): ``d_x = (g - n * mean(g * n)) / rms(x)`` where ``g = given * scale``."""
    x, scale = kept
    normed, inverse = _normed(x, scale, eps)
    wide = given.astype(jnp.float32)
    scaled = wide * scale.astype(jnp.float32)
    along = jnp.mean(scaled * normed, axis=tuple(range(-scale.ndim, 0)), keepdims=True)
    d_x = (scaled - normed * along) * inverse
    # A product with ones: XLA adds up columns many times more slowly on a processor.
    by_slot = (wide * normed).reshape(-1, scale.size)
    d_scale = jnp.einsum("n,nd->d", jnp.ones(len(by_slot)), by_slot, precision=jax.lax.Precision.HIGHEST)
    return d_x.astype(x.dtype), d_scale.reshape(scale.shape).astype(scale.dtype)


rms_norm.defvjp(_norm_forward, _norm_backward)
