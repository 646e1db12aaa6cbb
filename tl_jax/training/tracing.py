"""Zeros for where something is not computed, without tracing it once for their shapes and once more to compute it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

Function = TypeVar("Function", bound=Callable[..., Any])
Tree = TypeVar("Tree")


def with_shapes(function: Function, *given: Any) -> tuple[Function, Any]:
    """``function``, and the shapes of what it makes of ``given``: a tree of ``jax.ShapeDtypeStruct``.

    The one that is returned is not traced again for arguments of these shapes.

    Example:
        >>> double, shapes = with_shapes(lambda x: {"twice": 2 * x}, jnp.ones(3))
        >>> shapes["twice"].shape, double(jnp.ones(3))["twice"].tolist()
        ((3,), [2.0, 2.0, 2.0])
    """
    once: Any = jax.jit(function, inline=True)
    return once, jax.eval_shape(once, *given)


def zeros(shapes: Tree, dtype: DTypeLike | None = None) -> Tree:
    """In these shapes and dtypes, or all of one."""
    made: Tree = jax.tree.map(lambda x: jnp.zeros(x.shape, dtype or x.dtype), shapes)
    return made
