"""The losses of supervised training: their names, what they are and where they come from. One record is all that a loss
is told in besides its function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from tl_jax.config.base import Choice
from tl_jax.plugins import Function, Plugin
from tl_jax.registry import Registry


@dataclass(frozen=True)
class NamedLoss:
    """A loss that configurations call by a name of its own."""

    name: str
    """what ``loss`` says"""
    function: str | Function
    """a `tl_jax.training.losses.LossFn`, or its dotted path: settings are read without JAX"""
    loss: str
    """of a target token, for the documents"""
    source: str
    """address of the paper"""
    options: str = ""
    """what the function's options mean, for the documents"""
    one_reading: bool = False
    """whether the function calls ``model.hidden`` in no loop or condition of its own: see `make_train_step`"""


LOSSES: Registry[NamedLoss] = Registry(
    "loss",
    [
        NamedLoss(
            "weighted_cross_entropy",
            "tl_jax.training.losses:weighted_cross_entropy",
            "`-log p(label)`",
            "https://arxiv.org/abs/2412.15495",
            one_reading=True,
        ),
        NamedLoss(
            "label_smoothing",
            "tl_jax.training.losses:label_smoothing",
            "`-(1 - smoothing) log p(label) - smoothing (mean of log p over the vocabulary)`",
            "https://arxiv.org/abs/1512.00567",
            "`smoothing`: share of the target distribution that is uniform",
            one_reading=True,
        ),
    ],
    columns={
        "`loss`": lambda record: f"`{record.name}`",
        "of a target token": lambda record: record.loss,
        "options": lambda record: record.options,
        "source": lambda record: f"[{record.source.rsplit('/', 1)[-1]}]({record.source})",
    },
    also="module:function",
)


def _by_name(plugin: Plugin) -> Plugin:
    """A loss of the table that is given by its dotted path, under its name: it is the same setting."""
    names = {record.function: record.name for record in LOSSES.values()}
    return Plugin(names.get(plugin.name, plugin.name), plugin.options)


LossPlugin = Annotated[Plugin, Choice(LOSSES, other=LOSSES.also), AfterValidator(_by_name)]
