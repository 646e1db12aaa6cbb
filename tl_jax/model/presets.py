"""Published model sizes by name, and random weights of such a size to try things without a download.

The sizes are those of each model's ``config.json`` on the Hugging Face hub.
"""

from __future__ import annotations

import dataclasses
import difflib
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerBase

from tl_jax.model.config import LlamaConfig, RopeScaling
from tl_jax.model.directory import CheckpointError
from tl_jax.model.hf import HfTensor, write_hf
from tl_jax.model.parameters import PARAMETERS

_LLAMA_2_7B = LlamaConfig(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=11008,
    num_layers=32,
    num_heads=32,
    num_kv_heads=32,
    head_dim=128,
    rms_norm_eps=1e-5,
    rope_theta=1e4,
    max_position_embeddings=4096,
    bos_token_id=1,
    eos_token_id=2,
)
_CODELLAMA_7B = dataclasses.replace(_LLAMA_2_7B, vocab_size=32016, rope_theta=1e6, max_position_embeddings=16384)
_QWEN_CODER_7B = LlamaConfig(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    rms_norm_eps=1e-6,
    rope_theta=1e6,
    max_position_embeddings=32768,
    attention_bias=True,
    architecture="qwen2",
    bos_token_id=151643,
    eos_token_id=151643,
)

PRESETS: dict[str, LlamaConfig] = {
    # About a million parameters with a vocabulary of 1,024; takes the size of whatever tokenizer it is given.
    "tiny": LlamaConfig(
        vocab_size=1024,
        hidden_size=128,
        intermediate_size=344,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
    ),
    "codellama-7b": _CODELLAMA_7B,
    "codellama-13b": dataclasses.replace(
        _CODELLAMA_7B, hidden_size=5120, intermediate_size=13824, num_layers=40, num_heads=40, num_kv_heads=40
    ),
    "codellama-34b": dataclasses.replace(
        _CODELLAMA_7B,
        vocab_size=32000,
        hidden_size=8192,
        intermediate_size=22016,
        num_layers=48,
        num_heads=64,
        num_kv_heads=8,
    ),
    "llama-2-7b": _LLAMA_2_7B,
    "llama-3.1-8b": dataclasses.replace(
        _LLAMA_2_7B,
        vocab_size=128256,
        intermediate_size=14336,
        num_kv_heads=8,
        rope_theta=5e5,
        rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 8192),
        max_position_embeddings=131072,
        bos_token_id=128000,
        eos_token_id=128001,
    ),
    "qwen2.5-coder-1.5b": dataclasses.replace(
        _QWEN_CODER_7B,
        vocab_size=151936,
        hidden_size=1536,
        intermediate_size=8960,
        num_heads=12,
        num_kv_heads=2,
        tie_word_embeddings=True,
    ),
    "qwen2.5-coder-7b": _QWEN_CODER_7B,
    "mistral-7b-v0.3": dataclasses.replace(
        _LLAMA_2_7B,
        vocab_size=32768,
        intermediate_size=14336,
        num_kv_heads=8,
        rope_theta=1e6,
        max_position_embeddings=32768,
        architecture="mistral",
    ),
}


def preset(name: str) -> LlamaConfig:
    """The configuration called ``name``.

    Raises:
        CheckpointError: no such preset; the message names the nearest.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name.lower(), PRESETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(PRESETS)}"
        raise CheckpointError(f"unknown preset {name!r}; {hint}")
    return PRESETS[name]


def init_model(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    seed: int = 0,
    dtype: Literal["bfloat16", "float32"] = "float32",
    overwrite: bool = False,
) -> LlamaConfig:
    """Writes a Hugging Face directory with random weights of preset ``name`` and ``tokenizer``.

    Matrices are normal with the config's ``initializer_range``, norms 1, biases 0, as in transformers. Each tensor has
    its own random stream, from ``seed`` and its name, and is made when it is written: one shard is in memory at a time.

    Raises:
        CheckpointError: unknown preset, a tokenizer with more tokens than the preset has, or ``out`` is in use.
    """
    config = preset(name)
    if name == "tiny":
        config = dataclasses.replace(config, vocab_size=len(tokenizer))
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {len(tokenizer)} tokens, preset {name!r} has room for {config.vocab_size}; "
            "use the tokenizer that belongs to the model"
        )
    config = dataclasses.replace(
        config,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )

    def random_tensor(tensor: HfTensor) -> np.ndarray:
        init = PARAMETERS[tensor.path].init
        if init in ("ones", "zeros"):
            return np.full(tensor.shape, init == "ones", np.float32)
        stream = np.random.default_rng((seed, zlib.crc32(tensor.name.encode())))
        values = stream.standard_normal(tensor.shape, np.float32)
        values *= config.initializer_range
        return values

    with TemporaryDirectory() as tokenizer_dir:
        tokenizer.save_pretrained(tokenizer_dir)
        write_hf(config, random_tensor, Path(tokenizer_dir), out, jnp.dtype(dtype), overwrite=overwrite)
    return config
