"""Low-rank adapters: two narrow matrices whose product is added to one of the model's (https://arxiv.org/abs/2106.09685).

A matrix ``layers.q`` is adapted where the parameters have ``layers.q_lora_a`` and ``layers.q_lora_b`` beside it.
Shapes, places and PEFT's names follow from the matrix's own record. B is 0 at first, so the model is the frozen one.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tl_jax.config import ConfigError, LoraConfig
from tl_jax.config.lora import ALL_LINEAR
from tl_jax.model.parameters import (
    Parameter,
    Params,
    abstract_params,
    abstract_tree,
    assemble,
    axis_sizes,
    initial_value,
    llama_parameters,
)
from tl_jax.model.quantize import quantize_params
from tl_jax.model.stored import StoredArray
from tl_jax.registry import suggestion

if TYPE_CHECKING:
    from tl_jax.model.config import LlamaConfig

A, B = "_lora_a", "_lora_b"
PEFT_PREFIX = "base_model.model."
"""Of the names of tensors that PEFT stores."""
EMBEDDING = "embed_tokens"
DROPOUT = "dropout_keys"
"""Beside a layer's parameters: the keys of `dropped`, where something is dropped."""


@dataclass(frozen=True)
class Use:
    """How a model uses its adapters."""

    scale: float = 1.0
    """of the product of A and B, see `LoraConfig.scale`"""
    dropout: float = 0.0
    """share of what A reads that counts as 0, where there are keys for it"""


AS_THEY_ARE = Use()
"""Added at scale 1, with nothing dropped."""


def adapter_of(matrix: Parameter) -> tuple[Parameter, Parameter]:
    """The records of A and B for a matrix of the layers."""
    outputs, inputs = matrix.hf_axes
    module = PEFT_PREFIX + matrix.hf_name.removesuffix(".weight")
    return (
        Parameter(
            matrix.path + A,
            ("layers", *inputs.split("*"), "lora_rank"),
            f"{module}.lora_A.weight",
            ("lora_rank", inputs),
            init="kaiming",
        ),
        Parameter(
            matrix.path + B,
            ("layers", "lora_rank", *outputs.split("*")),
            f"{module}.lora_B.weight",
            (outputs, "lora_rank"),
            init="zeros",
        ),
    )


def adaptable(config: LlamaConfig) -> tuple[Parameter, ...]:
    """The matrices that an adapter can add to: those of the layers."""
    return tuple(parameter for parameter in llama_parameters(config) if parameter.matrix and parameter.in_layers)


def lora_parameters(config: LlamaConfig, lora: LoraConfig) -> tuple[Parameter, ...]:
    """The records of all adapters.

    Raises:
        ConfigError: a target that the model does not have.
    """
    matrices = {matrix.module: matrix for matrix in adaptable(config)}
    for name in lora.targets:
        if name not in (ALL_LINEAR, *matrices):
            raise ConfigError(f"lora.targets: unknown {name!r}; {suggestion(name, (ALL_LINEAR, *matrices))}")
    chosen = [matrix for name, matrix in matrices.items() if {ALL_LINEAR, name} & set(lora.targets)]
    return tuple(record for matrix in chosen for record in adapter_of(matrix))


def saved_parameters(config: LlamaConfig, lora: LoraConfig) -> tuple[Parameter, ...]:
    """The records of what is trained whole beside the adapters, with their names as PEFT stores them.

    Raises:
        ConfigError: a module that the model does not have, or whose matrices adapters stand beside.
    """
    matrices = {matrix.module for matrix in adaptable(config)}
    known = {record.module: record for record in llama_parameters(config) if record.module not in matrices}
    for name in lora.modules_to_save:
        if name not in known:
            raise ConfigError(f"lora.modules_to_save: unknown {name!r}; {suggestion(name, known)}")
        if name == EMBEDDING and config.tie_word_embeddings:
            raise ConfigError(
                f"lora.modules_to_save: {name} is this model's head, too (tie_word_embeddings), and PEFT would "
                "train it apart; leave it out"
            )
    chosen = [record for name, record in known.items() if name in lora.modules_to_save]
    return tuple(replace(record, hf_name=PEFT_PREFIX + record.hf_name) for record in chosen)


def trained_parameters(config: LlamaConfig, lora: LoraConfig) -> tuple[Parameter, ...]:
    """The records of all that is trained; raises as `lora_parameters` and `saved_parameters`."""
    return (*lora_parameters(config, lora), *saved_parameters(config, lora))


def lora_sizes(config: LlamaConfig, lora: LoraConfig) -> dict[str, int]:
    """Lengths of the axes that adapters have."""
    assert lora.rank is not None
    return axis_sizes(config) | {"lora_rank": lora.rank}


def abstract_adapters(config: LlamaConfig, lora: LoraConfig, dtype: jax.typing.DTypeLike = jnp.float32) -> Params:
    """Shapes of all that is trained; raises as `trained_parameters`."""
    return abstract_tree(trained_parameters(config, lora), lora_sizes(config, lora), dtype)


def init_adapters(config: LlamaConfig, lora: LoraConfig, key: jax.Array) -> Params:
    """Adapters that change nothing yet, float32: A uniform as in PEFT, B 0."""
    sizes = lora_sizes(config, lora)
    return unflatten_dict(
        {record.path: initial_value(record, sizes, key) for record in lora_parameters(config, lora)}, sep="."
    )


def adapt(params: Params, key: jax.Array, config: LlamaConfig, lora: LoraConfig) -> tuple[Params, Params]:
    """What is trained, float32: fresh adapters and ``lora.modules_to_save``; and the rest of the model as it is kept.
    Pure.

    Raises:
        ConfigError: the model has no such target or module, or a width that ``lora.quantize`` cannot take.
    """
    saved = saved_whole(params, config, lora)
    trained = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), saved)
    leaves, whole = (flatten_dict(part, sep=".") for part in (params, saved))
    rest = {path: leaf for path, leaf in leaves.items() if path not in whole}
    return assemble(init_adapters(config, lora, key), trained), _kept(unflatten_dict(rest, sep="."), config, lora)


def saved_whole(params: Params, config: LlamaConfig, lora: LoraConfig) -> Params:
    """Those of a model's parameters that ``lora.modules_to_save`` names; raises as `saved_parameters`."""
    leaves = flatten_dict(params, sep=".")
    return unflatten_dict({record.path: leaves[record.path] for record in saved_parameters(config, lora)}, sep=".")


def adapted_shapes(config: LlamaConfig, lora: LoraConfig) -> Params:
    """Shapes of all that a model with adapters is merged from."""
    key = jax.eval_shape(jax.random.key, 0)
    return assemble(*jax.eval_shape(partial(adapt, config=config, lora=lora), abstract_params(config), key))


def _kept(params: Params, config: LlamaConfig, lora: LoraConfig) -> Params:
    if lora.quantize is None:
        return params
    if config.hidden_size % 16:
        raise ConfigError(f"lora.quantize={lora.quantize}: hidden_size={config.hidden_size} is no multiple of 16")
    return quantize_params(params, adaptable(config), lora.quantize)


def low_rank(x: jax.Array, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    """``scale * (x A) B``: what an adapter adds to the product of ``x`` [B, T, *inputs] with its matrix.

    Args:
        x: in the dtype of the computation.
        a: [*inputs, r].
        b: [r, *outputs].
        scale: of `LoraConfig.scale`.
    """
    narrow = jnp.tensordot(x, a.astype(x.dtype), a.ndim - 1)
    return jnp.tensordot(narrow, b.astype(x.dtype), 1) * scale


def added(x: jax.Array, weights: Params, name: str, use: Use) -> jax.Array:
    """What the adapter beside the matrix ``name`` of a layer adds to the product of ``x`` [B, T, *inputs] with it."""
    if DROPOUT in weights:
        x = dropped(x, weights[DROPOUT], name, use.dropout)
    return low_rank(x, weights[name + A], weights[name + B], use.scale)


def keys_of_layers(keys: jax.Array, layers: int) -> jax.Array:
    """Keys [layers, B] out of one for each row [B]; all of them typed."""
    of_rows = jax.vmap(jax.random.fold_in, (0, None))
    return jax.vmap(of_rows, (None, 0))(keys, jnp.arange(layers))


def dropped(x: jax.Array, keys: jax.Array, name: str, rate: float) -> jax.Array:
    """``x`` with ``rate`` of its numbers 0 and the others larger, so that its mean stays (https://arxiv.org/abs/1207.0580).

    Args:
        x: [B, T, *inputs].
        keys: [B], typed, of this layer; a row's own, so that it does not matter which rows are computed together.
        name: of the matrix beside which the adapter stands; each draws for itself.
        rate: from 0 to below 1.
    """

    def kept(key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, zlib.crc32(name.encode())), 1 - rate, x.shape[1:])

    return jnp.where(jax.vmap(kept)(keys), x / jnp.asarray(1 - rate, x.dtype), 0)


def switched_off(params: Params) -> Params:
    """The same with adapters of rank 0, which add nothing: the model below them, for the program of the adapted one."""
    leaves = flatten_dict(params, sep=".")
    for path in [name.removesuffix(A) for name in leaves if name.endswith(A)]:
        leaves[path + A], leaves[path + B] = leaves[path + A][..., :0], leaves[path + B][:, :0]
    return unflatten_dict(leaves, sep=".")


def merge_adapters(params: Params, adapters: Params, scale: float) -> Params:
    """The model with its adapters added to its matrices, and what was trained whole in place of its own, in its own
    dtypes. ``params`` are used up.

    The sums are made in float32, a layer at a time; those of a `StoredArray` each time that it is read.
    """
    leaves, trained = flatten_dict(params, sep="."), flatten_dict(adapters, sep=".")
    for path in [name.removesuffix(A) for name in trained if name.endswith(A)]:
        matrix, a, b = leaves[path], trained.pop(path + A), trained.pop(path + B)
        if isinstance(matrix, StoredArray):
            leaves[path] = matrix.then(partial(_merge_in_place, a=a, b=b, scale=scale))
        else:
            leaves[path] = _merged(matrix, a, b, scale)
    for path, whole in trained.items():
        old = leaves[path]
        leaves[path] = old.then(partial(_in_place, new=whole)) if isinstance(old, StoredArray) else _like(old, whole)
    return unflatten_dict(leaves, sep=".")


def _in_place(old: np.ndarray, first: int, new: jax.Array) -> np.ndarray:
    """``old`` is a part of what ``new`` takes the place of."""
    old[...] = np.asarray(new[first : first + len(old)]).astype(old.dtype)
    return old


def _merge_in_place(matrix: np.ndarray, first: int, a: jax.Array, b: jax.Array, scale: float) -> np.ndarray:
    """``matrix`` is a part of what ``a`` and ``b`` adapt."""
    for layer in range(len(matrix)):
        here, there = (slice(start, start + 1) for start in (layer, first + layer))
        matrix[here] = _sums(matrix[here], a[there], b[there], scale)
    return matrix


def _sum_layers(matrix: jax.Array, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    def layer(parts: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        w, a, b = (part.astype(jnp.float32) for part in parts)
        product = jnp.tensordot(a, b, 1, precision=jax.lax.Precision.HIGHEST)
        return (w + scale * product).astype(matrix.dtype)

    return jax.lax.map(layer, (matrix, a, b))


_sums = jax.jit(_sum_layers, static_argnames="scale")
_merged = jax.jit(_sum_layers, static_argnames="scale", donate_argnums=0)
_like = jax.jit(lambda old, new: new.astype(old.dtype), donate_argnums=0)
