"""Adapters as PEFT keeps them: ``adapter_config.json`` and ``adapter_model.safetensors``, by the records of parameters.

What a configuration asks for and the code does not compute is an error that names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh
from pydantic import ValidationError
from safetensors.numpy import save_file

from tl_jax.addresses import full_name
from tl_jax.config import ConfigError, LoraConfig
from tl_jax.files import write_json
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import CheckpointError, copy_tokenizer, new_directory, read_json
from tl_jax.model.fingerprint import fingerprint
from tl_jax.model.hf.read import check_tensors, open_tensors, stored_parameters, to_devices
from tl_jax.model.hf.tensors import HfTensor, tensors_of
from tl_jax.model.lora import (
    PEFT_PREFIX,
    abstract_adapters,
    adaptable,
    adapter_of,
    lora_parameters,
    lora_sizes,
    saved_parameters,
    trained_parameters,
)
from tl_jax.model.parameters import Parameter, Params

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_COMPUTED: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM", None),
    "bias": ("none", None),
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal"),  # the others change the base as well
}
"""Fields that change the computation, with the values that are computed."""
BASE = "base_fingerprint"
"""Field of our own, in runs only, for PEFT does not know it: what the weights below were, see `base_fingerprint`."""
_READ = ("base_model_name_or_path", "r", "lora_alpha", "use_rslora", "modules_to_save", BASE)
_IDLE = (
    "auto_mapping",
    "inference_mode",
    "lora_dropout",  # of training
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "target_modules",  # the tensors say which
)
"""Fields that change nothing once the adapter is trained, or nothing by themselves."""


class Adapter(NamedTuple):
    """What ``adapter_config.json`` says."""

    lora: LoraConfig
    base: str
    """the model below: a directory, or a name on the Hub"""
    fingerprint: str | None
    """of the model below, where it is known"""


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter by itself."""

    lora: LoraConfig
    params: Params
    config: LlamaConfig
    """of the model below"""
    base: Path
    """the model below"""
    tokenizer_dir: Path

    @property
    def size(self) -> int:
        """How many parameters it has."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def read_adapter_config(directory: Path) -> Adapter:
    """What lies in ``directory``; targets and modules to save are those that have tensors there, or where there are no
    tensors, those it names.

    Raises:
        CheckpointError: it is missing, or asks for what is not computed.
    """
    file = directory / CONFIG_FILE
    content = read_json(file)
    for name, value in content.items():
        wrong = value not in _COMPUTED[name] if name in _COMPUTED else bool(value)
        if name not in (*_READ, *_IDLE) and wrong:
            raise CheckpointError(f"{file}: field {name!r} is {value!r}, which is not supported")
    base, names = content.get("base_model_name_or_path"), content.get("target_modules")
    if not isinstance(base, str) or not base:
        raise CheckpointError(f"{file}: field 'base_model_name_or_path' must name a model")
    settings = {"rank": content.get("r"), "alpha": content.get("lora_alpha")}
    settings["rslora"] = content.get("use_rslora") or False
    stored = _modules(directory)
    saved = stored.saved if stored.targets else _last_words(content.get("modules_to_save"))
    try:
        lora = LoraConfig(**settings, targets=stored.targets or names, modules_to_save=saved)
    except ValidationError as error:
        where = {"rank": "r", "alpha": "lora_alpha", "rslora": "use_rslora", "targets": "target_modules"}
        first = error.errors()[0]
        field = where.get(str(first["loc"][0]), first["loc"][0])
        raise CheckpointError(f"{file}: field {field!r}: {first['msg']}") from None
    if lora.rank is None:
        raise CheckpointError(f"{file}: field 'r' is missing")
    known = content.get(BASE)
    if known is not None and not isinstance(known, str):
        raise CheckpointError(f"{file}: field {BASE!r} must be text")
    return Adapter(lora, base, known)


def base_fingerprint(params: Params) -> str | None:
    """Of a model that adapters are trained on, the same in whatever dtype it is stored; see `fingerprint`."""
    return fingerprint(params, jnp.bfloat16)


class _Modules(NamedTuple):
    """Of which modules there are tensors."""

    targets: tuple[str, ...] = ()
    """with an A"""
    saved: tuple[str, ...] = ()
    """with weights of their own"""


def _modules(directory: Path) -> _Modules:
    if not (directory / WEIGHTS_FILE).is_file():
        return _Modules()
    parts = [name.split(".") for name in open_tensors([directory / WEIGHTS_FILE]) if name.endswith(".weight")]
    targets = dict.fromkeys(name[-3] for name in parts if name[-2] == "lora_A")
    saved = dict.fromkeys(name[-2] for name in parts if name[-2] not in ("lora_A", "lora_B"))
    return _Modules(tuple(targets), tuple(saved))


def _last_words(names: Any) -> Any:
    """PEFT trains modules whose names end like one of these: ``model.norm`` is `norm`."""
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return [name.rpartition(".")[2] for name in names] if texts else names or ()


def adapter_config(config: LlamaConfig, lora: LoraConfig, base: str) -> dict[str, Any]:
    """The content of ``adapter_config.json``."""
    chosen = {record.path for record in lora_parameters(config, lora)}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rslora,
        "target_modules": [matrix.module for matrix in adaptable(config) if adapter_of(matrix)[0].path in chosen],
        "modules_to_save": [_as_peft_finds_it(record) for record in saved_parameters(config, lora)] or None,
        "lora_dropout": lora.dropout,
        "bias": "none",
        "inference_mode": True,
    }


def _as_peft_finds_it(record: Parameter) -> str:
    """A name with which nothing else ends: ``norm`` would be that of every layer's norms, too."""
    name = record.hf_name.removeprefix(PEFT_PREFIX).removesuffix(".weight")
    return record.module if record.in_layers else name


def load_adapter(directory: Path, config: LlamaConfig, lora: LoraConfig, mesh: Mesh | None = None) -> Params:
    """The adapters in ``directory``, float32.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of another shape than ``config`` and ``lora`` make it.
    """
    if not (directory / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"{directory}: {WEIGHTS_FILE} is missing (pickled weights are not read)")
    stored = open_tensors([directory / WEIGHTS_FILE])
    try:
        trained_parameters(config, lora)
    except ConfigError as error:
        raise CheckpointError(f"{directory / WEIGHTS_FILE}: {error}") from None
    wanted = {tensor.name: tensor for tensor in _tensors(config, lora)}
    check_tensors(stored, wanted, directory, f"{CONFIG_FILE} and the model below")
    return to_devices(stored_parameters(stored, wanted.values(), abstract_adapters(config, lora)), mesh)


def export_adapter(adapter: LoadedAdapter, out: Path, overwrite: bool = False) -> None:
    """Writes a directory that ``peft`` loads on the model below, with the tokenizer; float32.

    Raises:
        CheckpointError: ``out`` holds something else.
    """
    leaves = flatten_dict(adapter.params, sep=".")

    def stored(tensor: HfTensor) -> np.ndarray:
        leaf = leaves[tensor.path]
        ours = np.asarray(leaf if tensor.layer is None else leaf[tensor.layer])
        return np.ascontiguousarray(tensor.to_hf(ours), np.float32)

    with new_directory(out, "adapter", adapter.tokenizer_dir, overwrite=overwrite) as new:
        arrays = {tensor.name: stored(tensor) for tensor in _tensors(adapter.config, adapter.lora)}
        save_file(arrays, new / WEIGHTS_FILE, metadata={"format": "pt"})
        (new / WEIGHTS_FILE).chmod(new.stat().st_mode & 0o666)  # safetensors makes it private, whatever the umask
        write_json(new / CONFIG_FILE, adapter_config(adapter.config, adapter.lora, full_name(adapter.base)))
        copy_tokenizer(adapter.tokenizer_dir, new)


def _tensors(config: LlamaConfig, lora: LoraConfig) -> list[HfTensor]:
    return list(tensors_of(trained_parameters(config, lora), lora_sizes(config, lora)))
