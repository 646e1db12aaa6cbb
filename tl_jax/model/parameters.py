"""Every parameter, declared once, and the trees that follow from the declarations.

A `Parameter` says all there is to know of one: shape, initial value, sharding (by its axes), name and layout in a
Hugging Face checkpoint, whether it decays, in which dtype it is used. `PARAMETERS` has those that all families share;
what only some have is in their own records, see `tl_jax.model.families`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from tl_jax.registry import Registry

if TYPE_CHECKING:
    from tl_jax.model.config import LlamaConfig

Params = dict[str, Any]
"""Nested dictionary of arrays (or of whatever stands for them)."""


def always(config: LlamaConfig) -> bool:
    """Present in every model of the family."""
    return True


def untied(config: LlamaConfig) -> bool:
    """Present where the vocabulary projection is not the embedding."""
    return not config.tie_word_embeddings


def never(config: LlamaConfig) -> bool:
    """Present in no language model."""
    return False


class Sides(NamedTuple):
    """Which axes of a matrix, by number, are its inputs and which its outputs; the layers' is neither."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model; those of all layers are stacked along a first axis ``layers``."""

    path: str
    """keys of the nested dictionary, with dots: ``layers.q`` is ``params["layers"]["q"]``"""
    axes: tuple[str, ...]
    """logical axes, see `axis_sizes` for their lengths and `tl_jax.model.sharding.RULES` for their places"""
    hf_name: str
    """tensor in a Hugging Face checkpoint, ``{}`` where it has a layer's number; empty = not in one"""
    hf_axes: tuple[str, ...] = ()
    """axes as Hugging Face stores them, ``heads*head_dim`` where one holds two; empty = as here, without ``layers``"""
    init: Literal["normal", "embedding", "ones", "zeros", "kaiming"] = "normal"
    """``embedding`` and ``normal`` are normal with their own standard deviations, ``kaiming`` is uniform between
    ``-1 / sqrt(n)`` and that, with n the length of all axes but ``layers`` and the last"""
    present: Callable[[LlamaConfig], bool] = always
    decays: bool = True
    """weight decay acts on it"""
    casts: bool = True
    """used in the dtype of the computation, see `tl_jax.model.precision`; if not, in the dtype it is stored in"""
    matrix: bool = False
    """multiplies activations: counted as work, and what a LoRA adapter can add to"""

    @property
    def name(self) -> str:
        """What its registry calls it."""
        return self.path

    @property
    def in_layers(self) -> bool:
        return self.axes[0] == "layers"

    @property
    def sides(self) -> Sides | None:
        """The axes of a matrix; None of a vector. Hugging Face stores what a matrix gives first, then what it reads."""
        stored = self.hf_axes or tuple(axis for axis in self.axes if axis != "layers")
        if len(stored) != 2:
            return None
        outputs, inputs = (tuple(self.axes.index(axis) for axis in side.split("*")) for side in stored)
        return Sides(inputs, outputs)

    @property
    def module(self) -> str:
        """What Hugging Face calls a matrix by itself: ``q_proj``."""
        return self.hf_name.split(".")[-2]

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """With the axes' lengths from `axis_sizes`."""
        return tuple(sizes[axis] for axis in self.axes)


def matrix(path: str, axes: tuple[str, ...], hf_name: str, hf_axes: tuple[str, ...]) -> Parameter:
    """A matrix that multiplies activations."""
    return Parameter(path, axes, hf_name, hf_axes, matrix=True)


def bias(path: str, axes: tuple[str, ...], hf_name: str, hf_axes: tuple[str, ...] = ()) -> Parameter:
    """Added to a product: ``layers.q_bias`` to that of ``layers.q``."""
    return Parameter(path, axes, hf_name, hf_axes, init="zeros", decays=False)


def norm(path: str, axes: tuple[str, ...], hf_name: str, hf_axes: tuple[str, ...] = ()) -> Parameter:
    """The scale of a normalisation; ``layers.q_norm`` is one of the product of ``layers.q``."""
    return Parameter(path, axes, hf_name, hf_axes, init="ones", decays=False, casts=False)


PARAMETERS: Registry[Parameter] = Registry(
    "parameter",
    [
        Parameter("embed.embedding", ("vocab", "embed"), "model.embed_tokens.weight", init="embedding"),
        norm("layers.attn_norm", ("layers", "norm"), "model.layers.{}.input_layernorm.weight"),
        matrix(
            "layers.q",
            ("layers", "embed", "heads", "head_dim"),
            "model.layers.{}.self_attn.q_proj.weight",
            ("heads*head_dim", "embed"),
        ),
        matrix(
            "layers.k",
            ("layers", "embed", "kv_heads", "head_dim"),
            "model.layers.{}.self_attn.k_proj.weight",
            ("kv_heads*head_dim", "embed"),
        ),
        matrix(
            "layers.v",
            ("layers", "embed", "kv_heads", "head_dim"),
            "model.layers.{}.self_attn.v_proj.weight",
            ("kv_heads*head_dim", "embed"),
        ),
        matrix(
            "layers.o",
            ("layers", "heads", "head_dim", "embed"),
            "model.layers.{}.self_attn.o_proj.weight",
            ("embed", "heads*head_dim"),
        ),
        norm("layers.mlp_norm", ("layers", "norm"), "model.layers.{}.post_attention_layernorm.weight"),
        matrix("layers.gate", ("layers", "embed", "mlp"), "model.layers.{}.mlp.gate_proj.weight", ("mlp", "embed")),
        matrix("layers.up", ("layers", "embed", "mlp"), "model.layers.{}.mlp.up_proj.weight", ("mlp", "embed")),
        matrix("layers.down", ("layers", "mlp", "embed"), "model.layers.{}.mlp.down_proj.weight", ("embed", "mlp")),
        norm("norm", ("norm",), "model.norm.weight"),
        Parameter("lm_head", ("embed", "vocab"), "lm_head.weight", ("vocab", "embed"), present=untied, matrix=True),
        Parameter(
            "value_head", ("norm",), "", init="zeros", present=never, casts=False
        ),  # of `tl_jax.model.value` only
    ],
    columns={
        "path": lambda parameter: f"`{parameter.path}`",
        "axes": lambda parameter: ", ".join(parameter.axes),
        "Hugging Face tensor": lambda parameter: f"`{parameter.hf_name}`" if parameter.hf_name else "-",
        "its axes": lambda parameter: ", ".join(parameter.hf_axes) or "the same",
        "decays": lambda parameter: "yes" if parameter.decays else "no",
        "present": lambda parameter: parameter.present.__name__,
    },
)


def axis_sizes(config: LlamaConfig) -> dict[str, int]:
    """Length of every logical axis that parameters have."""
    return {
        "layers": config.num_layers,
        "vocab": config.vocab_size,
        "embed": config.hidden_size,
        "norm": config.hidden_size,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "mlp": config.intermediate_size,
    }


def llama_parameters(config: LlamaConfig, lm_head: bool = True) -> tuple[Parameter, ...]:
    """The parameters a model of this configuration has; ``lm_head=False`` for one that predicts no tokens."""
    known = (*PARAMETERS.values(), *config.family.parameters)
    return tuple(p for p in known if p.present(config) and (lm_head or p.path != "lm_head"))


def count_parameters(config: LlamaConfig) -> int:
    """All parameters of a model."""
    return count_in(llama_parameters(config), config)


def count_in_products(config: LlamaConfig) -> int:
    """Parameters in matrix products: all but embedding, norms and biases. A tied head counts, for it is computed."""
    matrices = [parameter for parameter in llama_parameters(config) if parameter.matrix]
    tied_head = [PARAMETERS["embed.embedding"]] if config.tie_word_embeddings else []
    return count_in([*matrices, *tied_head], config)


def count_in(parameters: Iterable[Parameter], config: LlamaConfig) -> int:
    """All numbers of some parameters."""
    sizes = axis_sizes(config)
    return sum(math.prod(parameter.shape(sizes)) for parameter in parameters)


def abstract_params(
    config: LlamaConfig, param_dtype: jax.typing.DTypeLike = jnp.float32, lm_head: bool = True
) -> Params:
    """The tree of a model's parameters as ``jax.ShapeDtypeStruct``: shapes without memory."""
    return abstract_tree(llama_parameters(config, lm_head), axis_sizes(config), param_dtype)


def abstract_tree(parameters: Iterable[Parameter], sizes: dict[str, int], dtype: jax.typing.DTypeLike) -> Params:
    """The tree of these parameters as ``jax.ShapeDtypeStruct``, with the axes' lengths from ``sizes``."""
    leaves = {p.path: jax.ShapeDtypeStruct(p.shape(sizes), jnp.dtype(dtype)) for p in parameters}
    return unflatten_dict(leaves, sep=".")


def init_params(
    config: LlamaConfig,
    key: jax.Array,
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    lm_head: bool = True,
    embedding_std: float | None = None,
) -> Params:
    """Random parameters: normal with the configuration's ``initializer_range``, norms 1, biases 0.

    A parameter's values depend on ``key`` and its path only. ``embedding_std`` None is ``initializer_range``.
    """
    stds = {"normal": config.initializer_range, "embedding": embedding_std or config.initializer_range}
    records = llama_parameters(config, lm_head)
    return unflatten_dict(
        {p.path: initial_value(p, axis_sizes(config), key, stds).astype(param_dtype) for p in records}, sep="."
    )


def initial_value(
    parameter: Parameter, sizes: dict[str, int], key: jax.Array, stds: Mapping[str, float] = MappingProxyType({})
) -> jax.Array:
    """A parameter before any training, float32; it depends on ``key`` and the parameter's path only.

    Args:
        parameter: its record.
        sizes: lengths of its axes.
        key: of all parameters.
        stds: the standard deviations that are not the record's, by ``init``.
    """
    shape = parameter.shape(sizes)
    if parameter.init == "ones":
        return jnp.ones(shape, jnp.float32)
    if parameter.init == "zeros":
        return jnp.zeros(shape, jnp.float32)
    own_key = jax.random.fold_in(key, zlib.crc32(parameter.path.encode()))
    if parameter.init == "kaiming":
        bound = 1 / math.sqrt(math.prod(shape[1:-1]))
        return jax.random.uniform(own_key, shape, jnp.float32, -bound, bound)
    return stds[parameter.init] * jax.random.normal(own_key, shape, jnp.float32)


def assemble(trainable: Params, frozen: Params) -> Params:
    """One nested dictionary with the leaves of both.

    Raises:
        ValueError: a leaf stands in both.

    Example:
        >>> assemble({"layers": {"q_lora_a": 1}}, {"layers": {"q": 2}, "norm": 3})
        {'layers': {'q_lora_a': 1, 'q': 2}, 'norm': 3}
    """
    both = dict(trainable)
    for name, value in frozen.items():
        if name in both and not (isinstance(both[name], dict) and isinstance(value, dict)):
            raise ValueError(f"parameter {name} is both trainable and frozen")
        both[name] = assemble(both[name], value) if name in both else value
    return both
