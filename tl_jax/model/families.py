"""Every family of models, declared once: what it has that others do not, and how its ``config.json`` reads.

All of them are computed by `tl_jax.model.llama`. A product such as ``layers.q`` gets a bias where the family has a
parameter ``layers.q_bias`` and a norm where it has ``layers.q_norm``, so a family is a record here and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from tl_jax.model.lora import adapter_of
from tl_jax.model.parameters import PARAMETERS, Parameter, bias, norm
from tl_jax.model.quantize import scale_of
from tl_jax.registry import Registry

HfConfig = Mapping[str, Any]
"""The content of a ``config.json``."""


def no_window(config: HfConfig) -> int | None:
    """Every token sees all before it, whatever the file says of windows."""
    return None


def window_everywhere(config: HfConfig) -> int | None:
    """The window of every layer; transformers assumes 4096 where the file names none."""
    window: int | None = config.get("sliding_window", 4096)
    return window


def window_in_upper_layers(config: HfConfig) -> int | None:
    """The window of the layers from ``max_window_layers`` on or those in ``layer_types``, if ``use_sliding_window``."""
    layers, first = config.get("num_hidden_layers"), config.get("max_window_layers")
    kinds = config.get("layer_types")
    none_has_it = "sliding_attention" not in kinds if kinds else first is not None and first >= layers
    return window_everywhere(config) if config.get("use_sliding_window") and not none_has_it else None


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family. Fields of ``config.json`` that all families share are read by `tl_jax.model.config`."""

    name: str
    """``model_type`` in ``config.json``"""
    hf_class: str
    """in its ``architectures``"""
    parameters: tuple[Parameter, ...] = ()
    """what it has besides `PARAMETERS`"""
    defaults: HfConfig = field(default_factory=dict)
    """fields that ``config.json`` may leave out, where transformers' value is not the one of `DEFAULTS`"""
    computed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """values of further fields that the code computes, others are refused; wins over `COMPUTED`"""
    written: HfConfig = field(default_factory=dict)
    """fields it needs in a ``config.json`` besides those that all families share"""
    window: Callable[[HfConfig], int | None] = no_window
    """tokens that a layer's attention is limited to, None = not limited"""
    source: str = ""
    """address of the paper"""


DEFAULTS: HfConfig = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
}
"""Fields that ``config.json`` may leave out, with the values transformers assumes."""

COMPUTED: Mapping[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish", None),
    "mlp_bias": (False, None),
    "attention_bias": (False, None),  # in transformers' Llama it also puts a bias on the output projection
    "attention_dropout": (0, None),
    "partial_rotary_factor": (1, None),
    "quantization_config": (None,),
}
"""Fields that change the computation, and their values that the code computes."""

_HEADS, _KV_HEADS = ("layers", "heads", "head_dim"), ("layers", "kv_heads", "head_dim")

FAMILIES: Registry[Family] = Registry(
    "model family",
    [
        Family(
            name="llama",
            hf_class="LlamaForCausalLM",
            written={"attention_bias": False, "mlp_bias": False},
            source="https://arxiv.org/abs/2302.13971",
        ),
        Family(
            name="qwen2",
            hf_class="Qwen2ForCausalLM",
            parameters=(
                bias("layers.q_bias", _HEADS, "model.layers.{}.self_attn.q_proj.bias", ("heads*head_dim",)),
                bias("layers.k_bias", _KV_HEADS, "model.layers.{}.self_attn.k_proj.bias", ("kv_heads*head_dim",)),
                bias("layers.v_bias", _KV_HEADS, "model.layers.{}.self_attn.v_proj.bias", ("kv_heads*head_dim",)),
            ),
            defaults={"max_position_embeddings": 32768},
            written={"use_sliding_window": False},
            window=window_in_upper_layers,
            source="https://arxiv.org/abs/2407.10671",
        ),
        Family(
            name="qwen3",
            hf_class="Qwen3ForCausalLM",
            parameters=(
                norm("layers.q_norm", ("layers", "head_dim"), "model.layers.{}.self_attn.q_norm.weight"),
                norm("layers.k_norm", ("layers", "head_dim"), "model.layers.{}.self_attn.k_norm.weight"),
            ),
            defaults={"head_dim": 128, "max_position_embeddings": 32768},
            written={"attention_bias": False, "use_sliding_window": False},
            window=window_in_upper_layers,
            source="https://arxiv.org/abs/2505.09388",
        ),
        Family(
            name="mistral",
            hf_class="MistralForCausalLM",
            defaults={"max_position_embeddings": 131072},
            written={"sliding_window": None},
            window=window_everywhere,
            source="https://arxiv.org/abs/2310.06825",
        ),
    ],
    columns={
        "`model_type`": lambda family: f"`{family.name}`",
        "class": lambda family: f"`{family.hf_class}`",
        "parameters of its own": lambda family: ", ".join(f"`{p.path}`" for p in family.parameters) or "-",
        "sliding window": lambda family: family.window.__name__.replace("_", " "),
        "source": lambda family: f"<{family.source}>",
    },
)


def parameter_of(path: tuple[Any, ...], rank: int | None = None) -> Parameter:
    """The record of a leaf in a tree of parameters, of a critic or of an optimizer state, by the end of its path.

    Args:
        path: as `jax.tree_util` gives it.
        rank: number of axes; families may give one path different axes.

    Raises:
        LookupError: no parameter of any family has this path.
    """
    names = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
    own = [*PARAMETERS.values(), *(p for family in FAMILIES.values() for p in family.parameters)]
    known = [*own, *(record for p in own if p.matrix and p.in_layers for record in (*adapter_of(p), scale_of(p)))]
    for start in range(len(names)):  # longest first: "layers.q" before a parameter that might be called "q"
        suffix = ".".join(names[start:])
        found = [p for p in known if p.path == suffix]
        if found:
            return next((p for p in found if len(p.axes) == rank), found[0])
    raise LookupError(
        f"parameter {'.'.join(names)} is in no record of tl_jax/model/parameters.py or tl_jax/model/families.py"
    )


def map_parameters(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """``function(record, leaf, ...)`` of every leaf of a tree of parameters, and of other trees like it."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: function(parameter_of(path), *leaves), tree, *others)
