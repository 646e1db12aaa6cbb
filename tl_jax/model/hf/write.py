"""Writes a Hugging Face directory that ``transformers`` loads as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

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
from tl_jax.model.hf.new_file import NewTensorFile
from tl_jax.model.hf.tensors import INDEX_FILE, SINGLE_FILE, HfTensor, hf_tensors
from tl_jax.model.parameters import Params
from tl_jax.model.stored import StoredArray

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

    One process must have all of ``params``, on however many of its devices, of which one parameter after another comes
    to the host; or on disk (`StoredArray`), of which one layer after another does.

    Raises:
        CheckpointError: parameters that the format has no place for or that lack; ``out`` holds something else.
    """
    leaves = flatten_dict(params, sep=".")
    tensors: dict[str, list[HfTensor]] = {}
    for tensor in hf_tensors(config):
        tensors.setdefault(tensor.path, []).append(tensor)
    if leaves.keys() != tensors.keys():
        raise CheckpointError(
            f"cannot export: parameters that do not fit the configuration: {sorted(leaves.keys() ^ tensors.keys())}"
        )

    def values() -> Iterator[tuple[HfTensor, np.ndarray]]:
        for path, parts in tensors.items():
            for first, layers in _blocks(leaves[path], in_layers=parts[0].layer is not None):
                for part in parts[first : first + len(layers)]:
                    yield part, part.to_hf(layers if part.layer is None else layers[part.layer - first])
                del layers  # before the next are read

    kind = jnp.dtype(dtype or leaves["embed.embedding"].dtype)
    write_hf(config, values(), Path(tokenizer_dir), Path(out), kind, max_shard_bytes, overwrite)


def _blocks(leaf: np.ndarray | jax.Array | StoredArray, in_layers: bool) -> Iterator[tuple[int, np.ndarray]]:
    """A parameter on the host, where it is on disk some layers at a time, and the first layer of each block."""
    if in_layers and isinstance(leaf, StoredArray):
        yield from leaf.parts()
    else:
        yield 0, np.asarray(leaf)


def write_hf(
    config: LlamaConfig,
    values: Iterable[tuple[HfTensor, np.ndarray]],
    tokenizer_dir: Path,
    out: Path,
    dtype: np.dtype,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
) -> None:
    """Writes a Hugging Face directory from all of its tensors, which come in any order and are written as they come."""
    shards = _plan_shards(list(hf_tensors(config)), dtype.itemsize, max_shard_bytes)
    weight_map: dict[str, str] = {}
    with new_directory(out, "huggingface", tokenizer_dir, overwrite=overwrite) as new:
        with ExitStack() as opened:
            files: dict[str, NewTensorFile] = {}
            for number, shard in enumerate(shards, start=1):
                name = SINGLE_FILE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
                shapes = {tensor.name: tensor.shape for tensor in shard}
                files |= dict.fromkeys(shapes, opened.enter_context(NewTensorFile(new / name, shapes, dtype)))
                weight_map |= dict.fromkeys(shapes, name)
            for tensor, value in values:
                files.pop(tensor.name).write(tensor.name, value)
                del value  # a view of a parameter, which must be gone before the next comes
            assert not files, f"not written: {sorted(files)}"
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
