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
from typing import Any, Literal

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh, SingleDeviceSharding

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
    unreadable,
)
from tl_jax.model.finite import check_finite
from tl_jax.model.hf import load_hf, read_config
from tl_jax.model.hf.peft import LoadedAdapter, base_fingerprint, load_adapter
from tl_jax.model.lora import abstract_adapters, lora_parameters, merge_adapters
from tl_jax.model.parameters import Params, abstract_params, llama_parameters
from tl_jax.model.sharding import param_shardings


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
    path = Path(path)
    adapters = list(adapters_down(path, base))
    if base is not None and not adapters:
        raise CheckpointError(f"{path}: is no adapter, so it has no model below it (--base, model.base)")
    bottom = adapters[-1].base if adapters else path
    config, params = _open_whole(bottom, param_dtype, mesh, verify)
    if verify and adapters:
        _check_base(adapters[-1], params)
    for adapter in reversed(adapters):
        params = merge_adapters(params, load_adapters(adapter, config, mesh, verify), adapter.lora.scale)
    if verify:
        check_finite(params, llama_parameters(config), path)
    return LoadedModel(config, params, tokenizer_dir(path, base), path)


def open_adapter(path: Path, base: Path | None = None, verify: bool = True) -> LoadedAdapter:
    """The adapter at ``path`` by itself; arguments as for `open_model`.

    Raises:
        CheckpointError: it is none, or damaged.
    """
    adapters = list(adapters_down(path, base))
    if not adapters:
        raise CheckpointError(f"{path}: is no adapter, but a whole model; it is written without --adapter")
    first, config = adapters[0], model_config(path, base)
    params = load_adapters(first, config, None, verify)
    if verify:
        check_finite(params, lora_parameters(config, first.lora), path)
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
    abstract = partial(abstract_adapters, config, adapter.lora)
    return _restore(_state_of_run(adapter.path, verify), abstract, "float32", mesh)


def _check_base(adapter: StoredAdapter, params: Params) -> None:
    """The model below is the one that the adapter was trained on, where that is known."""
    if adapter.fingerprint is not None and adapter.fingerprint != base_fingerprint(params):
        raise CheckpointError(
            f"{adapter.path}: its adapters were trained on other weights than {adapter.base} holds now; name the model "
            "as it was then: --base DIR, or model.base=DIR (model.verify=false or --no-verify opens it all the same)"
        )


def _open_whole(path: Path, param_dtype: str | None, mesh: Mesh | None, verify: bool) -> tuple[LlamaConfig, Params]:
    """Configuration and parameters of a model that is no adapter."""
    home, kind = tokenizer_dir(path), _kind(path)
    if kind == "huggingface":
        return load_hf(path, param_dtype, mesh)
    config = read_config(home)
    if kind == "run":
        directory = _state_of_run(path, verify)
    else:
        directory = path / "params"
        _check_version(path)
        if verify:
            _check_files(directory)
    return config, _restore(directory, partial(abstract_params, config), param_dtype, mesh)


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
            return place / "model" if kind == "run" else place
    raise CheckpointError(_not_a_model(place))


def save_model(
    path: str | Path,
    config: LlamaConfig,
    params: Params,
    tokenizer_dir: str | Path,
    *,
    overwrite: bool = False,
) -> None:
    """Writes a checkpoint directory; it appears whole or not at all. One process must hold all of ``params``.

    Raises:
        CheckpointError: ``path`` holds anything but an earlier checkpoint, and not ``overwrite``.
    """
    with new_directory(Path(path), "checkpoint", Path(tokenizer_dir), overwrite=overwrite) as new:
        write_json(new / "config.json", config.to_hf())
        copy_tokenizer(Path(tokenizer_dir), new)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            checkpointer.save(new / "params", args=ocp.args.PyTreeSave(params))
        write_manifest(new / "params")


def _kind(path: Path) -> Literal["huggingface", "checkpoint", "run", "adapter"] | None:
    if (path / "model" / "config.json").is_file() and (path / "checkpoints").is_dir():
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
    steps = sorted(ocp.path.step.checkpoint_steps(run / "checkpoints"), reverse=True)
    if not steps:
        raise CheckpointError(f"{run / 'checkpoints'}: the run has no finished checkpoint yet")
    best = read_json(run / BEST_FILE).get("step") if (run / BEST_FILE).is_file() else None
    chosen, *others = sorted(steps, key=lambda step: step != best)  # the rest stay in their order
    place = run / "checkpoints" / str(chosen)
    if verify:
        _check_files(place, f"; move {place} away, and the one of step {others[0]} is used" if others else "")
    return place / "state"


def _restore(
    directory: Path, abstract: Callable[[jax.typing.DTypeLike], Params], param_dtype: str | None, mesh: Mesh | None
) -> Params:
    """The parameters Orbax saved in ``directory``, on their own or as what a training state trains; ``abstract`` gives
    their shapes in a dtype.

    They go to ``mesh`` or the default device, whatever they were saved from; the rest of a state is not read.
    """
    directory = directory.resolve()  # Orbax takes absolute paths only
    with unreadable(directory), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        saved = checkpointer.metadata(directory).item_metadata.tree
        inside = _path_of_params(directory, saved)
        for name in inside:
            saved = saved[name]
        stored_dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(saved)))
        target = _placed(abstract(param_dtype or stored_dtype), mesh)
        _check_shapes(directory, saved, target)
        tree = target
        for name in reversed(inside):
            tree = {name: tree}
        arguments = ocp.args.PyTreeRestore(
            item=tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree), partial_restore=True
        )
        restored = checkpointer.restore(directory, args=arguments)
        for name in inside:
            restored = restored[name]
        return restored


def _path_of_params(directory: Path, saved: dict[str, Any]) -> tuple[str, ...]:
    """Keys that lead to the model's parameters in what was saved: in a state of SFT or of RL, or on their own."""
    if "trainable" in saved:
        return ("trainable", "actor") if "actor" in saved["trainable"] else ("trainable",)
    if "opt_state" in saved:
        run = directory.parents[2]
        raise CheckpointError(
            f"{directory.parent}: written by an older version of tl-jax, whose states have another layout; use that "
            f"version (named in {run / 'environment.json'}) for: tl-jax export --from {run} --to DIR, and then DIR"
        )
    return ()


def _placed(abstract: Params, mesh: Mesh | None) -> Params:
    """The same shapes with a sharding each."""
    if mesh is None:
        one = SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: one, abstract)
    else:
        shardings = param_shardings(abstract, mesh)
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), abstract, shardings)


def _check_shapes(directory: Path, saved: Params, target: Params) -> None:
    stored, wanted = flatten_dict(saved, sep="."), flatten_dict(target, sep=".")
    for problem, names in (("missing", wanted.keys() - stored.keys()), ("unexpected", stored.keys() - wanted.keys())):
        if names:
            raise CheckpointError(f"{directory}: {problem} parameter {', '.join(sorted(names))}, going by config.json")
    for name, leaf in wanted.items():
        if tuple(stored[name].shape) != leaf.shape:
            raise CheckpointError(
                f"{directory}: parameter {name} has shape {list(stored[name].shape)}, "
                f"config.json makes it {list(leaf.shape)}"
            )


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
