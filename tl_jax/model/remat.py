"""What is kept of a layer for the backward pass, by ``model.remat``, and what is computed again there instead."""

from __future__ import annotations

import math
from typing import Any

import jax

from tl_jax.config.model import Remat
from tl_jax.model.attention.mask import KEPT
from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import Parameter, axis_sizes, count_in, llama_parameters

LEVELS: tuple[Remat, ...] = ("none", "dots", "attention", "block")
"""Each keeps less than the one before, and computes more again."""
LAYER_INPUT = "layer_input"
"""`checkpoint_name` of what a layer reads, which is always kept."""
LAST = "layers.down"
"""The matrix whose product is a layer's last: nothing of the backward pass asks for it."""
ATTENTION_AXES = {"heads", "kv_heads"}


def kept(remat: Remat, config: LlamaConfig) -> tuple[str, ...]:
    """Names of what is kept of a layer besides its input: products with matrices, and what attention gave.

    Example:
        >>> from tl_jax.model.presets import PRESETS
        >>> kept("attention", PRESETS["codellama-7b"].config)
        ('q', 'k', 'v', 'o', 'attention')
    """
    made = tuple(p.path.removeprefix("layers.") for p in _kept_products(remat, config))
    return made if remat == "block" else (*made, KEPT)


def policy(remat: Remat, config: LlamaConfig, offload: str | None) -> Any:
    """For `jax.checkpoint`; ``offload`` is the kind of memory in which what is kept waits, None = where it is."""
    names = kept(remat, config)
    if offload is None:
        return jax.checkpoint_policies.save_only_these_names(*names)
    return jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=(),
        names_which_can_be_offloaded=(LAYER_INPUT, *names),
        offload_src="device",
        offload_dst=offload,
    )


def computing_less(remat: Remat) -> tuple[Remat, ...]:
    """What computes less again, the least first; not ``none``, of which nobody knows what it keeps.

    Example:
        >>> computing_less("block"), computing_less("dots")
        (('dots', 'attention'), ())
    """
    return LEVELS[1 : max(LEVELS.index(remat), 1)]


def multiplied_again(remat: Remat, config: LlamaConfig) -> int:
    """Parameters of the layers' matrices with which each token is multiplied once more in the backward pass.

    Example:
        >>> from tl_jax.model.presets import PRESETS
        >>> model = PRESETS["codellama-7b"].config
        >>> [round(multiplied_again(remat, model) / 1e9, 2) for remat in ("block", "attention", "dots", "none")]
        [5.03, 2.89, 0.0, 0.0]
    """
    made = _kept_products(remat, config)
    return count_in((p for p in _matrices(config) if p not in made and p.path != LAST), config)


def kept_numbers(remat: Remat, config: LlamaConfig) -> int:
    """Numbers of each token that are kept of all layers, inputs included; not those of remat ``none``.

    Example:
        >>> from tl_jax.model.presets import PRESETS
        >>> model = PRESETS["codellama-7b"].config
        >>> [kept_numbers(remat, model) // model.num_layers for remat in ("block", "attention", "dots")]
        [4096, 24576, 46592]
    """
    sizes, of_layer = axis_sizes(config), config.hidden_size
    for p in _kept_products(remat, config):
        if p.sides is not None and p.path != LAST:
            shape = p.shape(sizes)
            of_layer += math.prod(shape[axis] for axis in p.sides.outputs)
    if remat != "block":
        of_layer += config.num_heads * config.head_dim
    return config.num_layers * of_layer


def _kept_products(remat: Remat, config: LlamaConfig) -> list[Parameter]:
    """The matrices whose products are kept."""
    if remat == "block":
        return []
    return [p for p in _matrices(config) if remat != "attention" or ATTENTION_AXES & {*p.axes}]


def _matrices(config: LlamaConfig) -> list[Parameter]:
    return [p for p in llama_parameters(config) if p.matrix and p.in_layers]
