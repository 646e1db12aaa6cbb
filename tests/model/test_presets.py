"""Preset sizes against the published models, and what `init_model` writes against transformers."""

from __future__ import annotations

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

from tl_jax.data.codec import load_tokenizer
from tl_jax.errors import UserError
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import CheckpointError
from tl_jax.model.hf import hf_tensors, load_hf
from tl_jax.model.parameters import abstract_params, count_parameters
from tl_jax.model.presets import PRESETS, init_model

# Sizes of the published checkpoints: total_size of their safetensors index / bytes per value, or the values in the one
# file that there is.
PUBLISHED = {
    "codellama-7b": 6_738_546_688,
    "codellama-13b": 13_016_028_160,
    "codellama-34b": 33_743_970_304,
    "llama-2-7b": 6_738_415_616,
    "llama-3.1-8b": 8_030_261_248,
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


def make_tokenizer(words: int) -> transformers.PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(words - 3))])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


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


def test_tiny_model_of_a_tokenizer(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(300)
    config = init_model("tiny", tokenizer, tmp_path / "out", seed=3)
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (300, 1, 2)

    loaded_config, params = load_hf(tmp_path / "out")
    assert loaded_config == config
    leaves = flatten_dict(params, sep=".")
    for path, leaf in leaves.items():
        values = np.asarray(leaf)
        if "norm" in path:
            assert (values == 1).all()
        else:
            assert abs(values.mean()) < 1e-3
            assert values.std() == pytest.approx(0.02, rel=0.05)
    assert not np.array_equal(leaves["layers.gate"][0], leaves["layers.gate"][1])
    assert not np.array_equal(leaves["layers.gate"], leaves["layers.up"])

    model, problems = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(problems.values())
    assert 0.6e6 < model.num_parameters() < 1.2e6
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again("w7 </s>")["input_ids"] == tokenizer("w7 </s>")["input_ids"]


def test_the_llama_2_tokenizer_comes_along(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(shared_data / "tokenizer" / "llama2.model")
    config = init_model("tiny", tokenizer, tmp_path / "out", dtype="bfloat16")
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (32000, 1, 2)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "Assistant: getPapersByKeywords(query = 'tool learning') </s>\né中"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.decode(again(text)["input_ids"]) == tokenizer.decode(tokenizer(text)["input_ids"])
    with pytest.raises(CheckpointError, match=r"preset 'codellama-34b' has room"):
        init_model("codellama-34b", _with_extra_token(tokenizer), tmp_path / "large")


def _with_extra_token(tokenizer: transformers.PreTrainedTokenizerBase) -> transformers.PreTrainedTokenizerBase:
    tokenizer.add_tokens(["<one-more>"])
    return tokenizer


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(20)
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        init_model("tiny", tokenizer, tmp_path / out, seed=seed, dtype="bfloat16")
    a, b, c = ((tmp_path / out / "model.safetensors").read_bytes() for out in "abc")
    assert a == b
    assert a != c
    assert {str(value.dtype) for value in load_file(tmp_path / "a" / "model.safetensors").values()} == {"bfloat16"}


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"32017 tokens.*'codellama-7b' has room for 32016"):
        init_model("codellama-7b", make_tokenizer(32017), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_preset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown preset 'CodeLlama-7b'; did you mean 'codellama-7b'"):
        init_model("CodeLlama-7b", make_tokenizer(20), tmp_path / "out")
    with pytest.raises(UserError, match="known: tiny"):
        init_model("gpt-4", make_tokenizer(20), tmp_path / "out")
