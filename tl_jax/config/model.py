"""Which weights are trained or run, and on which devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from tl_jax.config.attention import BACKENDS
from tl_jax.config.base import Choice, ModelPath, Node, Whole, one_or_more

Dtype: TypeAlias = Literal["bfloat16", "float32"]
Remat: TypeAlias = Literal["none", "dots", "attention", "block"]
Offload: TypeAlias = Literal["reference", "moments", "activations"]


@dataclass(frozen=True)
class Loops:
    """Which layers are compiled once, and run in a loop."""

    training: bool = True
    """all of them in one, or each on its own"""
    decode: int = 1
    """where answers are written: how many a loop has; 1 = each is on its own"""


class ModelConfig(Node):
    """Which weights, and how they are run."""

    path: ModelPath = Field(description="Hugging Face directory, tl-jax checkpoint or run directory to start from")
    base: ModelPath | None = Field(None, description="where path is an adapter: the model below it; null = as it says")
    verify: bool = Field(True, description="look for damaged files, NaN and infinity when the weights are read")
    dtype: Dtype = Field("bfloat16", description="dtype of the computation")
    param_dtype: Dtype = Field("float32", description="dtype of the stored parameters")
    frozen_dtype: Dtype | None = Field(
        None, description="dtype of what is stored and not trained (reference policy, base of lora); null = dtype"
    )
    attention: Annotated[str, Choice(BACKENDS)] = Field("auto", description="attention backend, see docs/models.md")
    remat: Remat = Field(
        "block",
        description="what the backward pass computes again of a layer: all (block), the feed-forward (attention), "
        "no product (dots), nothing (none); the less, the faster, and the more memory it takes",
    )
    scan_layers: bool = Field(True, description="run the layers with lax.scan (compiles once) or unrolled")
    scan_decode: Whole = Field(
        1, description="layers that answers are written with in one loop; more compile faster, 1 runs fastest"
    )
    offload: Annotated[tuple[Offload, ...], BeforeValidator(one_or_more)] = Field(
        (), description="kept in the host's memory, fetched where used: [reference, moments, activations]"
    )

    @model_validator(mode="after")
    def _something_is_kept_of_a_layer(self) -> ModelConfig:
        if "activations" in self.offload and self.remat == "none":
            raise ValueError("offload=activations moves what remat keeps; use another, such as remat=block")
        return self

    @property
    def computation(self) -> dict[str, Any]:
        """What `tl_jax.model.llama.Llama` is told of it."""
        return {
            "dtype": self.dtype,
            "attention": self.attention,
            "remat": self.remat,
            "loops": Loops(self.scan_layers, self.scan_decode),
            "offload": "activations" in self.offload,
        }


class MeshConfig(Node):
    """Devices along each axis; one of them may be -1: whatever is left. Several TPU slices divide ``data``."""

    data: Whole = 1
    fsdp: Whole = -1
    tensor: Whole = 1
