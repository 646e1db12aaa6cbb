"""Hugging Face directories: safetensors in, safetensors out, by one strict table of names and axes.

A tensor that is missing, unexpected or of the wrong shape is an error that names it. Nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, Sharding
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tl_jax.model.config import LlamaConfig, ModelConfigError
from tl_jax.model.directory import CheckpointError, copy_tokenizer, new_directory, read_json, write_json
from tl_jax.model.parameters import Params, abstract_params
from tl_jax.model.sharding import param_shardings

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5 * 1000**3

# Axes: V vocabulary, D hidden, H query heads, G key/value heads, K head size, F feed-forward. Hugging Face's axes are
# separated by spaces and "HK" is one axis that holds both, H outermost; ours are one letter each, after a layer axis
# where the name has a layer number.
_TABLE = (
    # Hugging Face name, its axes, our path, our axes
    ("model.embed_tokens.weight", "V D", "embed.embedding", "VD"),
    ("model.layers.{}.input_layernorm.weight", "D", "layers.attn_norm", "D"),
    ("model.layers.{}.self_attn.q_proj.weight", "HK D", "layers.q", "DHK"),
    ("model.layers.{}.self_attn.k_proj.weight", "GK D", "layers.k", "DGK"),
    ("model.layers.{}.self_attn.v_proj.weight", "GK D", "layers.v", "DGK"),
    ("model.layers.{}.self_attn.q_proj.bias", "HK", "layers.q_bias", "HK"),
    ("model.layers.{}.self_attn.k_proj.bias", "GK", "layers.k_bias", "GK"),
    ("model.layers.{}.self_attn.v_proj.bias", "GK", "layers.v_bias", "GK"),
    ("model.layers.{}.self_attn.o_proj.weight", "D HK", "layers.o", "HKD"),
    ("model.layers.{}.post_attention_layernorm.weight", "D", "layers.mlp_norm", "D"),
    ("model.layers.{}.mlp.gate_proj.weight", "F D", "layers.gate", "DF"),
    ("model.layers.{}.mlp.up_proj.weight", "F D", "layers.up", "DF"),
    ("model.layers.{}.mlp.down_proj.weight", "D F", "layers.down", "FD"),
    ("model.norm.weight", "D", "norm", "D"),
    ("lm_head.weight", "V D", "lm_head", "DV"),
)
_DERIVED = re.compile(r"\.rotary_emb\.inv_freq$")  # buffers that old checkpoints carry; computed from the config
_DTYPES = {"F16": jnp.float16, "BF16": jnp.bfloat16, "F32": jnp.float32}

# What the paper trains with (roles System, User, Assistant, Output); given to a tokenizer that has no template.
PAPER_CHAT_TEMPLATE = (
    "{% for message in messages %}{{message['role'] + ': ' + message['content']}}"
    "{% if loop.last %}{% if add_generation_prompt %}{{ '\\nAssistant:' }}{% else %}{{ '</s>'}}{% endif %}"
    "{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class HfTensor:
    """One tensor of a Hugging Face model, and which part of which of our parameters it is."""

    name: str
    shape: tuple[int, ...]
    """as Hugging Face stores it"""
    path: str
    """our parameter, ``layers.q``"""
    layer: int | None
    """index into its leading axis; None where it has none"""
    split: tuple[int, ...]
    """``shape`` with joint axes such as HK taken apart"""
    order: tuple[int, ...]
    """our axes as positions in ``split``"""

    def to_ours(self, stored: np.ndarray) -> np.ndarray:
        """A view of ``stored`` with our axes, the layer axis aside."""
        return stored.reshape(self.split).transpose(self.order)

    def to_hf(self, ours: np.ndarray) -> np.ndarray:
        """The inverse of `to_ours`."""
        return ours.transpose(np.argsort(self.order)).reshape(self.shape)


def hf_tensors(config: LlamaConfig) -> Iterator[HfTensor]:
    """Every tensor that a model of this configuration has, layer by layer."""
    sizes = {
        "V": config.vocab_size,
        "D": config.hidden_size,
        "H": config.num_heads,
        "G": config.num_kv_heads,
        "K": config.head_dim,
        "F": config.intermediate_size,
    }

    def tensor(row: tuple[str, str, str, str], layer: int | None) -> HfTensor:
        name, stored, path, ours = row
        joint = [[sizes[axis] for axis in group] for group in stored.split()]
        axes = stored.replace(" ", "")
        return HfTensor(
            name=name.format(layer),
            shape=tuple(int(np.prod(group)) for group in joint),
            path=path,
            layer=layer,
            split=tuple(size for group in joint for size in group),
            order=tuple(axes.index(axis) for axis in ours),
        )

    absent = {"lm_head"} if config.tie_word_embeddings else set()
    if not config.attention_bias:
        absent |= {"layers.q_bias", "layers.k_bias", "layers.v_bias"}
    rows = [row for row in _TABLE if row[2] not in absent]
    per_layer = [row for row in rows if "{}" in row[0]]
    yield tensor(rows[0], None)
    for layer in range(config.num_layers):
        yield from (tensor(row, layer) for row in per_layer)
    yield from (tensor(row, None) for row in rows[1:] if "{}" not in row[0])


def read_config(directory: Path) -> LlamaConfig:
    """``config.json`` of a Hugging Face directory, or of ours.

    Raises:
        CheckpointError: it is missing, not JSON, or describes a model that is not supported.
    """
    file = directory / "config.json"
    try:
        return LlamaConfig.from_hf(read_json(file))
    except ModelConfigError as error:
        raise CheckpointError(f"{file}: {error}") from None


def load_hf(
    path: str | Path, param_dtype: jax.typing.DTypeLike | None = jnp.float32, mesh: Mesh | None = None
) -> tuple[LlamaConfig, Params]:
    """Configuration and parameters from ``config.json`` and ``model.safetensors`` (one file, or shards and an index).

    Tensors are read one at a time into one of our stacked parameters, which goes to its device or devices before the
    next is read: the host holds a parameter or two besides what its devices hold, never the whole model.
    ``param_dtype`` None is the dtype they are stored in (where it is mixed, the one that holds all of them).

    Raises:
        CheckpointError: naming the file and the missing, unexpected or misshapen tensor; or only pickled weights.
    """
    directory = Path(path)
    config = read_config(directory)
    parts: dict[str, list[HfTensor]] = {}
    for tensor in hf_tensors(config):
        parts.setdefault(tensor.path, []).append(tensor)
    params = {}
    with ExitStack() as open_files:
        stored = _open_tensors(directory, open_files)
        stored_dtype = _check(stored, config, directory)
        abstract = abstract_params(config, stored_dtype if param_dtype is None else param_dtype)
        shardings = flatten_dict(param_shardings(abstract, mesh), sep=".") if mesh else {}
        for name, leaf in flatten_dict(abstract, sep=".").items():
            params[name] = _read(stored, parts[name], leaf, shardings.get(name))
    return config, unflatten_dict(params, sep=".")


def _read(
    stored: dict[str, Any], parts: list[HfTensor], leaf: jax.ShapeDtypeStruct, sharding: Sharding | None
) -> jax.Array:
    host = np.empty(leaf.shape, leaf.dtype)
    for part in parts:
        host[... if part.layer is None else part.layer] = part.to_ours(stored[part.name].get_tensor(part.name))
    if sharding is None:
        return jnp.asarray(host)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: host[index])


def _open_tensors(directory: Path, open_files: ExitStack) -> dict[str, Any]:
    """Tensor name -> the open file that holds it. Opening reads headers only."""
    stored: dict[str, Any] = {}
    for file in _weight_files(directory):
        try:
            handle = open_files.enter_context(safe_open(file, framework="np"))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: cannot be read as safetensors: {error}") from None
        for name in handle.keys():  # noqa: SIM118  (not a dict)
            if name in stored:
                raise CheckpointError(f"{file}: tensor {name} is in another file as well")
            stored[name] = handle
    return stored


def _weight_files(directory: Path) -> list[Path]:
    if (directory / INDEX_FILE).is_file():
        names = read_json(directory / INDEX_FILE).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise CheckpointError(f"{directory / INDEX_FILE}: weight_map must map tensor names to file names")
        for name in names.values():
            if Path(name).name != name:
                raise CheckpointError(f"{directory / INDEX_FILE}: weight_map names {name!r}, outside the directory")
        return [directory / name for name in sorted(set(names.values()))]
    if (directory / SINGLE_FILE).is_file():
        return [directory / SINGLE_FILE]
    pickled = sorted(file.name for kind in ("*.bin", "*.pt", "*.pth") for file in directory.glob(kind))
    if pickled:
        raise CheckpointError(
            f"{directory / pickled[0]}: pickled weights are not read, since unpickling runs code from the file; "
            "convert to safetensors in an environment with torch: AutoModelForCausalLM.from_pretrained(DIR)"
            ".save_pretrained(OUT)"
        )
    raise CheckpointError(f"{directory}: neither {SINGLE_FILE} nor {INDEX_FILE} is there")


def _check(stored: dict[str, Any], config: LlamaConfig, directory: Path) -> np.dtype:
    """Refuses tensors other than the configuration's, by their headers; returns the dtype that holds them all."""
    wanted = {tensor.name: tensor for tensor in hf_tensors(config)}
    missing = [name for name in wanted if name not in stored]
    unexpected = [name for name in stored if name not in wanted and not _DERIVED.search(name)]
    if config.tie_word_embeddings and "lm_head.weight" in unexpected:
        unexpected.remove("lm_head.weight")
        _check_tied(stored, directory)
    for problem, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(f"{directory}: {problem} tensor {', '.join(names[:3])}{more}, going by config.json")
    dtypes = set()
    for name, tensor in wanted.items():
        header = stored[name].get_slice(name)
        if tuple(header.get_shape()) != tensor.shape:
            raise CheckpointError(
                f"{directory}: tensor {name} has shape {list(header.get_shape())}, "
                f"config.json makes it {list(tensor.shape)}"
            )
        if header.get_dtype() not in _DTYPES:
            raise CheckpointError(
                f"{directory}: tensor {name} has dtype {header.get_dtype()}; read are {', '.join(_DTYPES)}"
            )
        dtypes.add(_DTYPES[header.get_dtype()])
    return jnp.result_type(*dtypes)


def _check_tied(stored: dict[str, Any], directory: Path) -> None:
    """A head that a tied checkpoint carries as well may be dropped only if it is the embedding."""
    head, embedding = (stored[name].get_tensor(name) for name in ("lm_head.weight", "model.embed_tokens.weight"))
    if not np.array_equal(head, embedding):
        raise CheckpointError(
            f"{directory}: lm_head.weight differs from model.embed_tokens.weight, yet config.json has "
            "tie_word_embeddings=true; set it to false if the head is meant"
        )


def export_hf(
    params: Params,
    config: LlamaConfig,
    tokenizer_dir: str | Path,
    out: str | Path,
    dtype: Literal["bfloat16", "float32"] | None = None,
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
    with new_directory(out, "huggingface", overwrite=overwrite) as new:
        for number, shard in enumerate(shards, start=1):
            file = SINGLE_FILE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            arrays = {tensor.name: np.ascontiguousarray(value(tensor), dtype) for tensor in shard}
            save_file(arrays, new / file, metadata={"format": "pt"})
            (new / file).chmod(new.stat().st_mode & 0o666)  # safetensors makes it private, whatever the umask
            weight_map |= dict.fromkeys(arrays, file)
        if len(shards) > 1:
            size = dtype.itemsize * sum(int(np.prod(tensor.shape)) for shard in shards for tensor in shard)
            write_json(new / INDEX_FILE, {"metadata": {"total_size": size}, "weight_map": weight_map})
        write_json(new / "config.json", {**config.to_hf(), "torch_dtype": dtype.name})
        _write_generation_config(config, new / "generation_config.json")
        copy_tokenizer(tokenizer_dir, new)
        if not _has_chat_template(new):
            (new / "chat_template.jinja").write_text(PAPER_CHAT_TEMPLATE, encoding="utf-8")


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
    return in_settings or (directory / "chat_template.jinja").is_file()
