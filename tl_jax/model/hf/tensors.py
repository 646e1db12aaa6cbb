"""The tensors of a Hugging Face checkpoint, as they follow from the parameters of a configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import Parameter, axis_sizes, llama_parameters

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DTYPES = {"F16": jnp.float16, "BF16": jnp.bfloat16, "F32": jnp.float32}
"""What safetensors call the dtypes that are read."""


@dataclass(frozen=True)
class HfTensor:
    """One tensor of a Hugging Face model, and which part of which of our parameters it is."""

    name: str
    shape: tuple[int, ...]
    """as Hugging Face stores it"""
    path: str
    """our parameter, ``layers.q``"""
    layer: int | None
    """index into its leading axis; None where it has none"""
    split: tuple[int, ...]
    """``shape`` with joint axes such as ``heads*head_dim`` taken apart"""
    order: tuple[int, ...]
    """our axes as positions in ``split``"""

    def to_ours(self, stored: np.ndarray) -> np.ndarray:
        """A view of ``stored`` with our axes, the layer axis aside."""
        return stored.reshape(self.split).transpose(self.order)

    def to_hf(self, ours: np.ndarray) -> np.ndarray:
        """The inverse of `to_ours`."""
        return ours.transpose(np.argsort(self.order)).reshape(self.shape)


def hf_tensors(config: LlamaConfig) -> Iterator[HfTensor]:
    """Every tensor that a model of this configuration has: those outside of layers, then layer by layer."""
    return tensors_of(llama_parameters(config), axis_sizes(config))


def tensors_of(parameters: Sequence[Parameter], sizes: dict[str, int]) -> Iterator[HfTensor]:
    """The tensors of some parameters, with the axes' lengths from ``sizes``; in the order of `hf_tensors`."""
    yield from (_tensor(parameter, None, sizes) for parameter in parameters if not parameter.in_layers)
    for layer in range(sizes["layers"]):
        yield from (_tensor(parameter, layer, sizes) for parameter in parameters if parameter.in_layers)


def _tensor(parameter: Parameter, layer: int | None, sizes: dict[str, int]) -> HfTensor:
    ours = parameter.axes if layer is None else parameter.axes[1:]
    joint = [axis.split("*") for axis in parameter.hf_axes or ours]
    axes = [axis for group in joint for axis in group]
    return HfTensor(
        name=parameter.hf_name.format(layer),
        shape=tuple(math.prod(sizes[axis] for axis in group) for group in joint),
        path=parameter.path,
        layer=layer,
        split=tuple(sizes[axis] for axis in axes),
        order=tuple(axes.index(axis) for axis in ours),
    )
