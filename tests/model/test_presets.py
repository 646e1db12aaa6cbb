"""Preset sizes against the published models."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

from tl_jax.model.config import LlamaConfig
from tl_jax.model.hf import hf_tensors
from tl_jax.model.parameters import abstract_params, count_parameters
from tl_jax.model.presets import PRESETS

# Sizes of the published checkpoints: total_size of their safetensors index / bytes per value, or the values in the one
# file that there is.
PUBLISHED = {
    "codellama-7b": 6_738_546_688,
    "codellama-13b": 13_016_028_160,
    "codellama-34b": 33_743_970_304,
    "llama-2-7b": 6_738_415_616,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "smollm2-135m": 134_515_008,
    "qwen2.5-coder-1.5b": 1_543_714_304,
    "qwen2.5-coder-7b": 7_615_616_512,
    "qwen3-0.6b": 751_632_384,
    "qwen3-1.7b": 2_031_739_904,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "mistral-7b-v0.3": 7_248_023_552,
}
STORED_TWICE = {"qwen3-0.6b": 151936 * 1024, "qwen3-1.7b": 151936 * 2048}
"""Checkpoints that hold the tied embedding as lm_head.weight, too."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_the_published_models(name: str) -> None:
    leaves = jax.tree.leaves(abstract_params(PRESETS[name].config, jnp.bfloat16))
    count = sum(math.prod(leaf.shape) for leaf in leaves)
    assert count + STORED_TWICE.get(name, 0) == PUBLISHED[name]
    assert count_parameters(PRESETS[name].config) == count


def test_every_preset_but_tiny_is_a_published_model() -> None:
    assert PRESETS.keys() - PUBLISHED.keys() == {"tiny"}


def test_codellama_is_not_llama() -> None:
    code, llama = PRESETS["codellama-7b"].config, PRESETS["llama-2-7b"].config
    assert (code.rope_theta, code.vocab_size, code.max_position_embeddings) == (1e6, 32016, 16384)
    assert (llama.rope_theta, llama.vocab_size, llama.max_position_embeddings) == (1e4, 32000, 4096)
    large = PRESETS["codellama-34b"].config
    assert (large.vocab_size, large.num_kv_heads) == (32000, 8)


def test_a_preset_is_the_released_config_json() -> None:
    """https://huggingface.co/Qwen/Qwen3-0.6B/blob/main/config.json"""
    released = {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 1024,
        "initializer_range": 0.02,
        "intermediate_size": 3072,
        "max_position_embeddings": 40960,
        "max_window_layers": 28,
        "model_type": "qwen3",
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": 151936,
    }
    assert LlamaConfig.from_hf(released) == PRESETS["qwen3-0.6b"].config


@pytest.mark.parametrize("name", PRESETS)
def test_table_of_names_covers_exactly_the_parameters(name: str) -> None:
    config = PRESETS[name].config
    sizes: dict[str, int] = {}
    for tensor in hf_tensors(config):
        sizes[tensor.path] = sizes.get(tensor.path, 0) + math.prod(tensor.shape)
    leaves = flatten_dict(abstract_params(config, jnp.float32), sep=".")
    assert sizes == {path: math.prod(leaf.shape) for path, leaf in leaves.items()}


@pytest.mark.parametrize("name", PRESETS)
def test_preset_survives_config_json(name: str) -> None:
    config = PRESETS[name].config
    assert type(config).from_hf(config.to_hf()) == config
