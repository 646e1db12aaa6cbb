"""Optimizers: which there are, what each reads of the settings and where it comes from. One record is all that an
optimizer is told in besides its function."""

from __future__ import annotations

from dataclasses import dataclass

from tl_jax.plugins import Function
from tl_jax.registry import Registry

SOMETIMES_READ = ("b1", "b2", "eps", "mu_dtype")
"""Settings that mean something to some optimizers only."""


@dataclass(frozen=True)
class Optimizer:
    """How gradients become updates."""

    name: str
    """what ``optimizer.name`` says"""
    function: str | Function
    """``(schedule, config, **options) -> optax.GradientTransformation``, or its dotted path: settings are read without
    JAX"""
    update: str
    """of a parameter, for the documents"""
    state: str
    """what it keeps, in numbers a parameter, for the documents"""
    source: str
    """address of the paper or the authors' page"""
    options: str = ""
    """what the function's options mean, for the documents"""
    reads: tuple[str, ...] = SOMETIMES_READ
    """those of `SOMETIMES_READ` that it reads; another one that is set and not read is refused"""


OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    [
        Optimizer(
            "adamw",
            "tl_jax.training.optimizers:adamw",
            "first moment over the root of the second",
            "2: both moments",
            "https://arxiv.org/abs/1711.05101",
        ),
        Optimizer(
            "adafactor",
            "tl_jax.training.optimizers:adafactor",
            "gradient over the root of a second moment that is kept as the means of a matrix's rows and columns",
            "almost none (1 with `momentum`)",
            "https://arxiv.org/abs/1804.04235",
            "`decay_rate`: the second moment forgets by `1 - n^-decay_rate`; `clip_rms`: limit of the root mean square "
            "of a matrix's update, null = none; `by_parameter_scale`: the rate is multiplied by the matrix's root mean "
            "square; `momentum`: of the updates, null = none",
            reads=("mu_dtype",),
        ),
        Optimizer(
            "muon",
            "tl_jax.training.optimizers:muon",
            "matrices of the layers: the first moment made orthogonal by Newton-Schulz iterations; all else, such as "
            "embedding, head and norms: as `adamw`",
            "1 of the layers' matrices, 2 of the rest",
            "https://kellerjordan.github.io/posts/muon/",
            "`beta`: of the moment; `nesterov`; `ns_steps`: iterations; `rms`: root mean square of an update at rate "
            "1, as AdamW's are (https://arxiv.org/abs/2502.16982), so that its learning rates can be kept",
        ),
    ],
    columns={
        "`optimizer.name`": lambda record: f"`{record.name}`",
        "update of a parameter": lambda record: record.update,
        "state per parameter": lambda record: record.state,
        "options": lambda record: record.options,
        "source": lambda record: f"<{record.source}>",
    },
    also="module:function",
)
