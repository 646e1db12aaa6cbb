"""Random weights of a published size, to try things without a download."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerBase

from tl_jax.config import Dtype
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import CheckpointError
from tl_jax.model.hf import HfTensor, hf_tensors, write_hf
from tl_jax.model.parameters import llama_parameters
from tl_jax.model.presets import PRESETS


def init_model(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    seed: int = 0,
    dtype: Dtype = "float32",
    overwrite: bool = False,
) -> LlamaConfig:
    """Writes a Hugging Face directory with random weights of preset ``name`` and ``tokenizer``.

    Matrices are normal with the config's ``initializer_range``, norms 1, biases 0, as in transformers. Each tensor has
    its own random stream, from ``seed`` and its name, and is made when it is written: one is in memory at a time.

    Raises:
        UserError: unknown preset, a tokenizer with more tokens than the preset has, or ``out`` is in use.
    """
    config = PRESETS.find(name).config
    if name == "tiny":
        config = replace(config, vocab_size=len(tokenizer))
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {len(tokenizer)} tokens, preset {name!r} has room for {config.vocab_size}; "
            "use the tokenizer that belongs to the model"
        )
    config = replace(
        config,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )

    inits = {parameter.path: parameter.init for parameter in llama_parameters(config)}

    def random_tensor(tensor: HfTensor) -> np.ndarray:
        init = inits[tensor.path]
        if init in ("ones", "zeros"):
            return np.full(tensor.shape, init == "ones", np.float32)
        stream = np.random.default_rng((seed, zlib.crc32(tensor.name.encode())))
        values = stream.standard_normal(tensor.shape, np.float32)
        values *= config.initializer_range
        return values

    with TemporaryDirectory() as tokenizer_dir:
        tokenizer.save_pretrained(tokenizer_dir)
        values = ((tensor, random_tensor(tensor)) for tensor in hf_tensors(config))
        write_hf(config, values, Path(tokenizer_dir), out, jnp.dtype(dtype), overwrite=overwrite)
    return config
