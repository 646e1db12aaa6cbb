"""Writes a Hugging Face directory that ``transformers`` loads as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tl_jax.config import Dtype
from tl_jax.files import write_json, write_text
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import (
    NAMED_TEMPLATES,
    CheckpointError,
    copy_tokenizer,
    new_directory,
    read_json,
)
from tl_jax.model.hf.tensors import INDEX_FILE, SINGLE_FILE, HfTensor, hf_tensors
from tl_jax.model.parameters import Params

MAX_SHARD_BYTES = 5 * 1000**3

# What the paper trains with (roles System, User, Assistant, Output); given to a tokenizer that has no template.
PAPER_CHAT_TEMPLATE = (
    "{% for message in messages %}{{message['role'] + ': ' + message['content']}}"
    "{% if loop.last %}{% if add_generation_prompt %}{{ '\\nAssistant:' }}{% else %}{{ '</s>'}}{% endif %}"
    "{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)


def export_hf(
    params: Params,
    config: LlamaConfig,
    tokenizer_dir: str | Path,
    out: str | Path,
    dtype: Dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
) -> None:
    """Writes a directory that ``transformers`` loads unchanged. ``dtype`` None keeps the parameters' own.

    One process must hold all of ``params``, on however many of its devices.

    Raises:
        CheckpointError: parameters that the format has no place for or that lack; ``out`` holds something else.
    """
    leaves = flatten_dict(params, sep=".")
    wanted = {tensor.path for tensor in hf_tensors(config)}
    if leaves.keys() != wanted:
        raise CheckpointError(
            f"cannot export: parameters that do not fit the configuration: {sorted(leaves.keys() ^ wanted)}"
        )

    def stored(tensor: HfTensor) -> np.ndarray:
        leaf = leaves[tensor.path]
        return tensor.to_hf(np.asarray(leaf if tensor.layer is None else leaf[tensor.layer]))

    kind = jnp.dtype(dtype or leaves["embed.embedding"].dtype)
    write_hf(config, stored, Path(tokenizer_dir), Path(out), kind, max_shard_bytes, overwrite)


def write_hf(
    config: LlamaConfig,
    value: Callable[[HfTensor], np.ndarray],
    tokenizer_dir: Path,
    out: Path,
    dtype: np.dtype,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
) -> None:
    """Writes a Hugging Face directory whose tensors ``value`` gives, one shard in memory at a time."""
    shards = _plan_shards(list(hf_tensors(config)), dtype.itemsize, max_shard_bytes)
    weight_map: dict[str, str] = {}
    with new_directory(out, "huggingface", tokenizer_dir, overwrite=overwrite) as new:
        for number, shard in enumerate(shards, start=1):
            file = SINGLE_FILE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            arrays = {tensor.name: np.ascontiguousarray(value(tensor), dtype) for tensor in shard}
            try:
                save_file(arrays, new / file, metadata={"format": "pt"})
            except SafetensorError as error:
                raise CheckpointError(f"{out}: cannot be written: {error}") from None
            (new / file).chmod(new.stat().st_mode & 0o666)  # safetensors makes it private, whatever the umask
            weight_map |= dict.fromkeys(arrays, file)
        if len(shards) > 1:
            size = dtype.itemsize * sum(int(np.prod(tensor.shape)) for shard in shards for tensor in shard)
            write_json(new / INDEX_FILE, {"metadata": {"total_size": size}, "weight_map": weight_map})
        write_json(new / "config.json", {**config.to_hf(), "torch_dtype": dtype.name})
        _write_generation_config(config, new / "generation_config.json")
        copy_tokenizer(tokenizer_dir, new)
        if not _has_chat_template(new):
            write_text(new / "chat_template.jinja", PAPER_CHAT_TEMPLATE)


def _plan_shards(tensors: list[HfTensor], itemsize: int, max_shard_bytes: int) -> list[list[HfTensor]]:
    """Consecutive tensors to a shard, as many as fit; a tensor that is too large has a shard of its own."""
    shards: list[list[HfTensor]] = [[]]
    room = max_shard_bytes
    for tensor in tensors:
        size = itemsize * int(np.prod(tensor.shape))
        if size > room and shards[-1]:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(tensor)
        room -= size
    return shards


def _write_generation_config(config: LlamaConfig, file: Path) -> None:
    """What `generate` needs to stop; replaced by the tokenizer directory's own file where it has one."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    write_json(file, {name: value for name, value in config.to_hf().items() if name in names and value is not None})


def _has_chat_template(directory: Path) -> bool:
    settings = directory / "tokenizer_config.json"
    in_settings = settings.is_file() and bool(read_json(settings).get("chat_template"))
    named = (directory / NAMED_TEMPLATES).is_dir()
    return in_settings or named or (directory / "chat_template.jinja").is_file()
