"""Small random models for the tests of tl_jax/model, made by transformers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel

from tl_jax.model.config import LlamaConfig as OurConfig
from tl_jax.model.families import FAMILIES
from tl_jax.model.hf import load_hf
from tl_jax.model.llama import GraphDef, merge
from tl_jax.model.parameters import Params, init_params

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "rope_theta": 1e6,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def _of_family(name: str, tied: bool) -> Callable[[], PreTrainedConfig]:
    """Wider heads than the hidden size gives, where the family can say so, and attention without a window."""
    wide = {"head_dim": 12} if "head_dim" in AutoConfig.for_model(name).to_dict() else {}
    sizes = {**SIZES, **wide, "num_key_value_heads": 2, "sliding_window": None}
    return lambda: AutoConfig.for_model(name, **sizes, tie_word_embeddings=tied)


BY_FAMILY = {
    f"{name}{'-tied' * tied}": _of_family(name, tied) for name, tied in itertools.product(FAMILIES, (False, True))
}
"""Two of every family there is."""

VARIANTS = {
    **BY_FAMILY,
    "llama-mha": lambda: LlamaConfig(**SIZES),
    "llama3-scaling": lambda: LlamaConfig(**SIZES, num_key_value_heads=1, rope_scaling=dict(LLAMA3)),
    "linear-scaling": lambda: LlamaConfig(**SIZES, rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "coarse-norms": lambda: LlamaConfig(**SIZES, num_key_value_heads=1, rms_norm_eps=1e-3),
}


def hf_model(variant: str, seed: int = 0) -> PreTrainedModel:
    """A float32 model whose every parameter is random, norms and biases too, large enough for peaked predictions."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(VARIANTS[variant](), dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.2)
    return model


def load(model: PreTrainedModel, directory: Path) -> tuple[OurConfig, Params]:
    """The same model in our format, through files."""
    model.save_pretrained(directory)
    return load_hf(directory)


def hf_logits(model: PreTrainedModel, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(tokens, np.int64))).logits.numpy()


@lru_cache
def random_params(config: OurConfig) -> Params:
    """The same parameters for the same configuration; not to be donated."""
    return jax.jit(init_params, static_argnums=0)(config, jax.random.key(0))


@partial(jax.jit, static_argnums=0)
def forward(graphdef: GraphDef, params: Params, *batch: jax.Array) -> jax.Array:
    """What the merged model returns when called."""
    return merge(graphdef, params)(*batch)


def unpacked(tokens: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
    """tokens, positions and segment ids of rows that hold one sequence each."""
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    return jnp.asarray(tokens), jnp.asarray(positions), jnp.ones(tokens.shape, jnp.int32)
