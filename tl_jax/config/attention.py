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
    fastest_on: str = ""
    """the platform, ``gpu`` or ``tpu``, where ``auto`` takes it if nothing speaks against it"""
    why_not: str | Function = ""
    """of the same arguments, why it cannot compute them here, or None; or its dotted path"""


BACKENDS: Registry[Backend] = Registry(
    "attention backend",
    [
        Backend(
            "auto",
            "tl_jax.model.attention.dispatch:auto",
            "every device, dtype and shape",
            "everything: the fastest of the others that can; the log says which, and why none faster",
        ),
        Backend(
            "xla",
            "tl_jax.model.attention.portable:portable",
            "every device, dtype and shape",
            "what the others cannot; blocks of queries and keys that see nothing of each other cost nothing",
        ),
        Backend(
            "cudnn",
            "tl_jax.model.attention.cudnn:cudnn",
            "NVIDIA GPUs from Ampere on, bfloat16 or float16",
            "NVIDIA GPUs; from Hopper on, segments of packed rows cost nothing to each other",
            fastest_on="gpu",
            why_not="tl_jax.model.attention.cudnn:why_not",
        ),
        Backend(
            "splash",
            "tl_jax.model.attention.splash:splash",
            "TPUs, queries and keys of the same tokens",
            "TPUs",
            fastest_on="tpu",
            why_not="tl_jax.model.attention.splash:why_not",
        ),
    ],
    columns={
        "`model.attention`": lambda backend: f"`{backend.name}`",
        "runs on": lambda backend: backend.runs_on,
        "for": lambda backend: backend.is_for,
    },
)
