"""Opens a model wherever it comes from, and keeps one as an Orbax checkpoint.

A checkpoint directory holds ``config.json`` and the tokenizer's files as a Hugging Face directory does, ``params/``
as Orbax writes it, and a marker with the version of this layout. It can be opened on any number of devices.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from tl_jax.files import write_json
from tl_jax.manifest import DamagedError, check_manifest, write_manifest
from tl_jax.model.adapted import StoredAdapter, adapter_home, adapters_down
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import (
    BEST_FILE,
    MARKER,
    TOKENIZER_FILES,
    VERSION,
    CheckpointError,
    copy_tokenizer,
    new_directory,
    read_json,
)
from tl_jax.model.finite import check_finite, finite
from tl_jax.model.hf import read_config, stored_hf, to_devices
from tl_jax.model.hf.peft import LoadedAdapter, base_fingerprint, load_adapter
from tl_jax.model.lora import abstract_adapters, merge_adapters, trained_parameters
from tl_jax.model.orbax_params import restore, save_params, stored_arrays
from tl_jax.model.parameters import Params, abstract_params, llama_parameters
from tl_jax.model.run_directory import MODEL, checkpoints_in, checkpoints_of, is_run


@dataclass(frozen=True)
class LoadedModel:
    """A model's configuration and parameters, and where they were found."""

    config: LlamaConfig
    params: Params
    tokenizer_dir: Path
    path: Path

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def open_model(
    path: str | Path,
    *,
    param_dtype: Literal["bfloat16", "float32"] | None = "float32",
    mesh: Mesh | None = None,
    verify: bool = True,
    base: Path | None = None,
) -> LoadedModel:
    """Opens a Hugging Face directory, a PEFT directory, a checkpoint of `save_model`, or a run's newest
    checkpoint: the best one, where the run keeps that (`BEST_FILE`).

    Adapters are merged into the model below them, which is ``base``, or where that is None, the one that they name.

    With ``mesh`` every parameter goes straight to its place on it; without, to the default device. ``param_dtype``
    None keeps the dtype that is stored. ``verify`` compares the files with their checksums, where they have some, and
    the model below a run's adapters with what it was, and looks for weights that are no numbers; every process does so
    for itself.

    Raises:
        CheckpointError: ``path`` is none of these, what it holds does not fit together, or it is damaged.
    """
    adapters = _adapters(Path(path), base)
    kept = _open_whole(adapters[-1].base if adapters else Path(path), param_dtype, verify)
    model = _merge(kept.config, kept.load(mesh), adapters, mesh, verify)
    if verify:
        check_finite(model, llama_parameters(kept.config), Path(path))
    return LoadedModel(kept.config, model, tokenizer_dir(Path(path), base), Path(path))


def stored_model(
    path: str | Path,
    *,
    param_dtype: Literal["bfloat16", "float32"] | None = None,
    verify: bool = True,
    base: Path | None = None,
) -> LoadedModel:
    """The same, but each of its parameters (`StoredArray`) is read, merged and looked at when it is used: for
    `save_model` and `export_hf`, which hold one of them at a time.

    Arguments and errors as for `open_model`; weights that are no numbers are found when they are read.
    """
    adapters = _adapters(Path(path), base)
    kept = _open_whole(adapters[-1].base if adapters else Path(path), param_dtype, verify)
    params = _merge(kept.config, kept.leave(), adapters, None, verify)
    if verify:
        params = finite(params, llama_parameters(kept.config), Path(path))
    return LoadedModel(kept.config, params, tokenizer_dir(Path(path), base), Path(path))


def _adapters(path: Path, base: Path | None) -> list[StoredAdapter]:
    adapters = list(adapters_down(path, base))
    if base is not None and not adapters:
        raise CheckpointError(f"{path}: is no adapter, so it has no model below it (--base, model.base)")
    return adapters


def _merge(
    config: LlamaConfig, params: Params, adapters: list[StoredAdapter], mesh: Mesh | None, verify: bool
) -> Params:
    """The model with its adapters, the lowest of which comes last."""
    if verify and adapters:
        _check_base(adapters[-1], params)
    for adapter in reversed(adapters):
        params = merge_adapters(params, load_adapters(adapter, config, mesh, verify), adapter.lora.scale)
    return params


def open_adapter(path: Path, base: Path | None = None, verify: bool = True) -> LoadedAdapter:
    """The adapter at ``path`` by itself; arguments as for `open_model`.

    ``verify`` reads the model below once, a parameter at a time, where it is known what that was.

    Raises:
        CheckpointError: it is none, or damaged, or the model below is another one.
    """
    adapters = list(adapters_down(path, base))
    if not adapters:
        raise CheckpointError(f"{path}: is no adapter, but a whole model; it is written without --adapter")
    first, last, config = adapters[0], adapters[-1], model_config(path, base)
    if verify and last.fingerprint is not None:
        _check_base(last, _open_whole(last.base, None, verify).leave())
    params = load_adapters(first, config, None, verify)
    if verify:
        check_finite(params, trained_parameters(config, first.lora), path)
    return LoadedAdapter(first.lora, params, config, first.base, tokenizer_dir(path, base))


def model_config(path: Path, base: Path | None = None) -> LlamaConfig:
    """The configuration of the model at ``path``, or below the adapters there; arguments as for `open_model`.

    Raises:
        CheckpointError: there is none.
    """
    adapters = list(adapters_down(path, base))
    return read_config(tokenizer_dir(adapters[-1].base if adapters else path))


def load_adapters(adapter: StoredAdapter, config: LlamaConfig, mesh: Mesh | None = None, verify: bool = True) -> Params:
    """What an adapter adds to a model of ``config``, float32.

    Raises:
        CheckpointError: it does not fit the model, or is damaged.
    """
    if adapter.home == adapter.path:
        return load_adapter(adapter.path, config, adapter.lora, mesh)
    abstract = abstract_adapters(config, adapter.lora)
    return restore(_state_of_run(adapter.path, verify), lambda _: abstract, mesh)


def _check_base(adapter: StoredAdapter, params: Params) -> None:
    """The model below is the one that the adapter was trained on, where that is known."""
    if adapter.fingerprint is not None and adapter.fingerprint != base_fingerprint(params):
        raise CheckpointError(
            f"{adapter.path}: its adapters were trained on other weights than {adapter.base} holds now; name the model "
            "as it was then: --base DIR, or model.base=DIR (model.verify=false or --no-verify opens it all the same)"
        )


class _OnDisk(NamedTuple):
    """A model that is no adapter, on disk."""

    config: LlamaConfig
    load: Callable[[Mesh | None], Params]
    """reads all of its parameters"""
    leave: Callable[[], Params]
    """a tree of `StoredArray`"""


def _open_whole(path: Path, param_dtype: str | None, verify: bool) -> _OnDisk:
    home, kind = tokenizer_dir(path), _kind(path)
    if kind == "huggingface":
        config, params = stored_hf(path, param_dtype)
        return _OnDisk(config, partial(to_devices, params), lambda: params)
    config = read_config(home)
    if kind == "run":
        directory = _state_of_run(path, verify)
    else:
        directory = path / "params"
        _check_version(path)
        if verify:
            _check_files(directory)

    def shapes(stored_dtype: np.dtype) -> Params:
        return abstract_params(config, param_dtype or stored_dtype)

    return _OnDisk(config, partial(restore, directory, shapes), partial(stored_arrays, directory, shapes))


def tokenizer_dir(path: Path, base: Path | None = None) -> Path:
    """Where a model's tokenizer is; no parameter is read.

    Args:
        path: of the model.
        base: as `open_model` takes it; an adapter may leave the tokenizer to the model below it.

    Raises:
        CheckpointError: ``path`` is no model.
    """
    for place in chain([path], (adapter.base for adapter in adapters_down(path, base))):
        kind = _kind(place)
        if kind is None:
            break
        if kind != "adapter" or any((place / name).is_file() for name in TOKENIZER_FILES):
            return place / MODEL if kind == "run" else place
    raise CheckpointError(_not_a_model(place))


def save_model(
    path: str | Path,
    config: LlamaConfig,
    params: Params,
    tokenizer_dir: str | Path,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a checkpoint directory; it appears whole or not at all.

    One process must have all of ``params``, on its devices or on disk (`StoredArray`).

    Raises:
        CheckpointError: ``path`` holds anything but an earlier checkpoint, and not ``overwrite``.
    """
    with new_directory(Path(path), "checkpoint", Path(tokenizer_dir), overwrite=overwrite) as new:
        write_json(new / "config.json", config.to_hf())
        copy_tokenizer(Path(tokenizer_dir), new)
        save_params(new / "params", params)
        write_manifest(new / "params")


def _kind(path: Path) -> Literal["huggingface", "checkpoint", "run", "adapter"] | None:
    if (path / MODEL / "config.json").is_file() and is_run(path):
        return "run"
    if adapter_home(path) is not None:
        return "adapter"
    if (path / "config.json").is_file():
        return "checkpoint" if (path / "params").is_dir() else "huggingface"
    return None


def _check_version(path: Path) -> None:
    marker = read_json(path / MARKER)
    if marker.get("kind") != "checkpoint" or marker.get("version") != VERSION:
        raise CheckpointError(
            f"{path / MARKER}: kind {marker.get('kind')!r} version {marker.get('version')!r}, "
            f"this version of tl-jax reads kind 'checkpoint' version {VERSION}"
        )


def _check_files(directory: Path, hint: str = "") -> None:
    try:
        check_manifest(directory)
    except DamagedError as error:
        raise CheckpointError(f"{error}{hint} (model.verify=false or --no-verify opens it all the same)") from None


def _state_of_run(run: Path, verify: bool) -> Path:
    """Of the run's best checkpoint, where it keeps one, or else of its newest."""
    home = checkpoints_of(run)
    found = checkpoints_in(home)
    if not found:
        raise CheckpointError(f"{home}: the run has no finished checkpoint yet")
    best = read_json(run / BEST_FILE).get("step") if (run / BEST_FILE).is_file() else None
    chosen, *others = sorted(found, key=lambda step: step != best)  # the rest stay in their order
    place = found[chosen]
    if verify:
        _check_files(place, f"; move {place} away, and the one of step {others[0]} is used" if others else "")
    return place / "state"


def _not_a_model(path: Path) -> str:
    message = (
        f"{path}: no model found. Looked for config.json with model.safetensors or model.safetensors.index.json "
        f"(Hugging Face), adapter_config.json (PEFT), config.json with params/ (tl-jax checkpoint), model/config.json "
        "with checkpoints/ (run)"
    )
    near = _near(path)
    if near:
        return f"{message}; did you mean {near}?"
    if not path.exists():
        return f"{message}; nothing is downloaded: fetch a model of the Hub first and name its directory"
    return message


def _near(path: Path) -> Path | None:
    """A model directory that may have been meant: above, below, or beside under a similar name."""
    if path.exists():
        around = [path.parent, *sorted(path.iterdir())] if path.is_dir() else [path.parent]
    elif path.parent.is_dir():
        names = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], 3)
        around = [path.parent / name for name in names]
    else:
        return None
    return next((directory for directory in around if _kind(directory)), None)
