"""Reads a Hugging Face directory. A tensor that is missing, unexpected or of the wrong shape is an error that names it.

Nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, Sharding
from safetensors import SafetensorError, safe_open

from tl_jax.model.config import LlamaConfig, ModelConfigError
from tl_jax.model.directory import CheckpointError, read_json
from tl_jax.model.hf.tensors import INDEX_FILE, SINGLE_FILE, HfTensor, hf_tensors
from tl_jax.model.parameters import Params, abstract_params
from tl_jax.model.sharding import param_shardings

_DERIVED = re.compile(r"\.rotary_emb\.inv_freq$")  # buffers that old checkpoints carry; computed from the config
_LISTED = 10
_DTYPES = {"F16": jnp.float16, "BF16": jnp.bfloat16, "F32": jnp.float32}


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
    with ExitStack() as open_files:
        stored = open_tensors(_weight_files(directory), open_files)
        stored_dtype = _check(stored, config, directory)
        abstract = abstract_params(config, stored_dtype if param_dtype is None else param_dtype)
        return config, read_parameters(stored, hf_tensors(config), abstract, mesh)


def read_parameters(
    stored: Mapping[str, Any], tensors: Iterable[HfTensor], abstract: Params, mesh: Mesh | None
) -> Params:
    """Parameters of the shapes ``abstract`` from open files, one after another onto their devices."""
    parts: dict[str, list[HfTensor]] = {}
    for tensor in tensors:
        parts.setdefault(tensor.path, []).append(tensor)
    shardings = flatten_dict(param_shardings(abstract, mesh), sep=".") if mesh else {}
    leaves = flatten_dict(abstract, sep=".")
    return unflatten_dict(
        {name: _read(stored, parts[name], leaf, shardings.get(name)) for name, leaf in leaves.items()}, sep="."
    )


def _read(
    stored: Mapping[str, Any], parts: list[HfTensor], leaf: jax.ShapeDtypeStruct, sharding: Sharding | None
) -> jax.Array:
    host = np.empty(leaf.shape, leaf.dtype)
    for part in parts:
        host[... if part.layer is None else part.layer] = part.to_ours(stored[part.name].get_tensor(part.name))
    if sharding is None:
        return jnp.asarray(host)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: host[index])


def open_tensors(files: Iterable[Path], open_files: ExitStack) -> dict[str, Any]:
    """Tensor name -> the open file that holds it. Opening reads headers only.

    Raises:
        CheckpointError: a file is none of safetensors, or two have the same tensor.
    """
    stored: dict[str, Any] = {}
    for file in files:
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
    # A configuration may ask for a billion layers: no more of its tensors are listed than there are, and a few.
    wanted = {tensor.name: tensor for tensor in islice(hf_tensors(config), len(stored) + _LISTED)}
    stored = {name: file for name, file in stored.items() if not _DERIVED.search(name)}
    if config.tie_word_embeddings and "lm_head.weight" in stored:
        _check_tied(stored, directory)
        stored.pop("lm_head.weight")
    return check_tensors(stored, wanted, directory, "config.json")


def check_tensors(stored: Mapping[str, Any], wanted: Mapping[str, HfTensor], directory: Path, source: str) -> np.dtype:
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
        header = stored[name].get_slice(name)
        if tuple(header.get_shape()) != tensor.shape:
            raise CheckpointError(
                f"{directory}: tensor {name} has shape {list(header.get_shape())}, "
                f"{source} makes it {list(tensor.shape)}"
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
