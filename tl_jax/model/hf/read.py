"""Reads a Hugging Face directory. A tensor that is missing, unexpected or of the wrong shape is an error that names it.

Nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, Sharding
from safetensors import SafetensorError, safe_open

from tl_jax.model.config import LlamaConfig, ModelConfigError
from tl_jax.model.directory import CheckpointError, read_json
from tl_jax.model.hf.tensors import DTYPES, INDEX_FILE, SINGLE_FILE, HfTensor, hf_tensors
from tl_jax.model.parameters import Params, abstract_params
from tl_jax.model.sharding import param_shardings
from tl_jax.model.stored import StoredArray

_DERIVED = re.compile(r"\.rotary_emb\.inv_freq$")  # buffers that old checkpoints carry; computed from the config
_LISTED = 10


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

    Each of our stacked parameters goes to its device or devices before the next is read: the host holds one besides
    what its devices hold, never the whole model. ``param_dtype`` None is the dtype they are stored in (where it is
    mixed, the one that holds all of them).

    Raises:
        CheckpointError: naming the file and the missing, unexpected or misshapen tensor; or only pickled weights.
    """
    config, params = stored_hf(path, param_dtype)
    return config, to_devices(params, mesh)


def stored_hf(path: str | Path, param_dtype: jax.typing.DTypeLike | None) -> tuple[LlamaConfig, Params]:
    """What `load_hf` loads, left on disk: a tree of `StoredArray`. All headers are checked; raises as `load_hf`."""
    directory = Path(path)
    config = read_config(directory)
    stored = open_tensors(_weight_files(directory))
    stored_dtype = _check(stored, config, directory)
    abstract = abstract_params(config, stored_dtype if param_dtype is None else param_dtype)
    return config, stored_parameters(stored, hf_tensors(config), abstract)


def stored_parameters(stored: Mapping[str, TensorHeader], tensors: Iterable[HfTensor], abstract: Params) -> Params:
    """Parameters of the shapes ``abstract``, a tree of `StoredArray`."""
    parts: dict[str, list[HfTensor]] = {}
    for tensor in tensors:
        parts.setdefault(tensor.path, []).append(tensor)
    leaves = flatten_dict(abstract, sep=".")
    return unflatten_dict({name: _stored(stored, parts[name], leaf) for name, leaf in leaves.items()}, sep=".")


def to_devices(params: Params, mesh: Mesh | None) -> Params:
    """Reads a tree of `StoredArray`, one after another, onto the devices of ``mesh`` or the default device."""
    if mesh is None:
        return jax.tree.map(lambda leaf: jax.device_put(leaf.load(), may_alias=False), params)

    def cut(leaf: StoredArray, sharding: Sharding) -> jax.Array:
        host = leaf.load()
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: host[index])

    return jax.tree.map(cut, params, param_shardings(params, mesh))


def _stored(stored: Mapping[str, TensorHeader], parts: list[HfTensor], leaf: jax.ShapeDtypeStruct) -> StoredArray:
    """A parameter that is one tensor, or a tensor in every layer."""

    def whole(first: int, last: int) -> np.ndarray:
        (part,) = parts
        return np.array(part.to_ours(stored[part.name].read())[first:last], leaf.dtype, order="C")

    def layers(first: int, last: int) -> np.ndarray:
        host = np.empty((last - first, *leaf.shape[1:]), leaf.dtype)
        for row, part in zip(host, parts[first:last], strict=True):
            row[...] = part.to_ours(stored[part.name].read())
        return host

    if parts[0].layer is None:
        return StoredArray(leaf.shape, leaf.dtype, whole, rows=leaf.shape[0])
    return StoredArray(leaf.shape, leaf.dtype, layers, rows=1)


class TensorHeader(NamedTuple):
    """What a safetensors file says of one of its tensors."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    def read(self) -> np.ndarray:
        """The tensor. The file is open for no longer, since its pages count as this process's memory while it is."""
        with _opened(self.file) as file:
            return file.get_tensor(self.name)


def open_tensors(files: Iterable[Path]) -> dict[str, TensorHeader]:
    """The tensors in ``files`` by name; reads headers only.

    Raises:
        CheckpointError: a file is none of safetensors, or two have the same tensor.
    """
    stored: dict[str, TensorHeader] = {}
    for path in files:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118  (not a dict)
                if name in stored:
                    raise CheckpointError(f"{path}: tensor {name} is in another file as well")
                header = file.get_slice(name)
                stored[name] = TensorHeader(path, name, tuple(header.get_shape()), header.get_dtype())
    return stored


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="np") as content:
            yield content
    except (SafetensorError, OSError, UnicodeError) as error:  # the last: a name that no file can have
        raise CheckpointError(f"{file}: cannot be read as safetensors: {error}") from None


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


def _check(stored: dict[str, TensorHeader], config: LlamaConfig, directory: Path) -> np.dtype:
    """Refuses tensors other than the configuration's, by their headers; returns the dtype that holds them all."""
    # A configuration may ask for a billion layers: no more of its tensors are listed than there are, and a few.
    wanted = {tensor.name: tensor for tensor in islice(hf_tensors(config), len(stored) + _LISTED)}
    stored = {name: file for name, file in stored.items() if not _DERIVED.search(name)}
    if config.tie_word_embeddings and "lm_head.weight" in stored:
        _check_tied(stored, directory)
        stored.pop("lm_head.weight")
    return check_tensors(stored, wanted, directory, "config.json")


def check_tensors(
    stored: Mapping[str, TensorHeader], wanted: Mapping[str, HfTensor], directory: Path, source: str
) -> np.dtype:
    """Refuses tensors other than those wanted, by their headers.

    Args:
        stored: from `open_tensors`.
        wanted: by name.
        directory: where they lie.
        source: what says which are wanted.

    Returns:
        the dtype that holds them all.
    """
    missing = [name for name in wanted if name not in stored]
    unexpected = [name for name in stored if name not in wanted]
    for problem, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            more = " and more" if len(names) > 3 else ""
            raise CheckpointError(f"{directory}: {problem} tensor {', '.join(names[:3])}{more}, going by {source}")
    dtypes = set()
    for name, tensor in wanted.items():
        header = stored[name]
        if header.shape != tensor.shape:
            raise CheckpointError(
                f"{directory}: tensor {name} has shape {list(header.shape)}, {source} makes it {list(tensor.shape)}"
            )
        if header.dtype not in DTYPES:
            raise CheckpointError(f"{directory}: tensor {name} has dtype {header.dtype}; read are {', '.join(DTYPES)}")
        dtypes.add(DTYPES[header.dtype])
    return jnp.result_type(*dtypes)


def _check_tied(stored: dict[str, TensorHeader], directory: Path) -> None:
    """A head that a tied checkpoint carries as well may be dropped only if it is the embedding."""
    head, embedding = (stored[name].read() for name in ("lm_head.weight", "model.embed_tokens.weight"))
    if not np.array_equal(head, embedding):
        raise CheckpointError(
            f"{directory}: lm_head.weight differs from model.embed_tokens.weight, yet config.json has "
            "tie_word_embeddings=true; set it to false if the head is meant"
        )
