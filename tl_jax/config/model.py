"""Which weights are trained or run, and on which devices."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from tl_jax.config.attention import BACKENDS
from tl_jax.config.base import AnyPath, Choice, Node, Whole

Dtype: TypeAlias = Literal["bfloat16", "float32"]
Remat: TypeAlias = Literal["none", "block", "dots"]


class ModelConfig(Node):
    """Which weights, and how they are run."""

    path: AnyPath = Field(description="Hugging Face directory, tl-jax checkpoint or run directory to start from")
    base: AnyPath | None = Field(None, description="where path is an adapter: the model below it; null = as it says")
    verify: bool = Field(True, description="look for damaged files, NaN and infinity when the weights are read")
    dtype: Dtype = Field("bfloat16", description="dtype of the computation")
    param_dtype: Dtype = Field("float32", description="dtype of the stored parameters")
    frozen_dtype: Dtype | None = Field(
        None, description="dtype of what is stored and not trained (reference policy, base of lora); null = dtype"
    )
    attention: Annotated[str, Choice(BACKENDS)] = Field("auto", description="attention backend, see docs/models.md")
    remat: Remat = Field("block", description="what the backward pass recomputes")
    scan_layers: bool = Field(True, description="run the layers with lax.scan (compiles once) or unrolled")


class MeshConfig(Node):
    """Devices along each axis; one of them may be -1: whatever is left. Several TPU slices divide ``data``."""

    data: Whole = 1
    fsdp: Whole = -1
    tensor: Whole = 1
