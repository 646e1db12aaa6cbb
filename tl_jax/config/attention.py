"""The attention backends that `model.attention` chooses from.

A new one is a file in ``tl_jax/model/attention/`` and a line here.
"""

from __future__ import annotations

from dataclasses import dataclass

from tl_jax.plugins import Function
from tl_jax.registry import Registry


@dataclass(frozen=True)
class Backend:
    """One way to compute attention; all of them give the same numbers."""

    name: str
    function: str | Function
    """``(query, key, value, mask) -> output``, see `tl_jax.model.attention.attention`; or its dotted path, which is
    imported when the backend is used"""
    runs_on: str
    """devices, dtypes and shapes, in words"""
    is_for: str
    """when to choose it"""


BACKENDS: Registry[Backend] = Registry(
    "attention backend",
    [
        Backend(
            "xla",
            "tl_jax.model.attention.portable:portable",
            "every device, dtype and shape",
            "everything; blocks of queries and keys that see nothing of each other cost nothing",
        ),
        Backend(
            "cudnn",
            "tl_jax.model.attention.cudnn:cudnn",
            "NVIDIA GPUs, bfloat16 or float16",
            "training on NVIDIA GPUs",
        ),
        Backend(
            "splash",
            "tl_jax.model.attention.splash:splash",
            "TPUs, lengths that are multiples of 128",
            "training on TPUs",
        ),
    ],
    columns={
        "`model.attention`": lambda backend: f"`{backend.name}`",
        "runs on": lambda backend: backend.runs_on,
        "for": lambda backend: backend.is_for,
    },
)
