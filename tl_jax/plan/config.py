"""The settings of what is planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tl_jax.config import RlConfig, RunConfig, SftConfig, load_config
from tl_jax.yaml_text import read_yaml

NOT_NEEDED = {"run_dir": "run", "model.path": "model", "data.path": "data"}
"""Settings that a training needs and a plan does not, with something to stand for them."""


def load_planned(files: Sequence[Path], overrides: Sequence[str]) -> RunConfig:
    """The settings of ``tl-jax sft`` or of ``tl-jax rl``: their keys tell which of the two they are for.

    Raises:
        ConfigError: as `load_config`.
    """
    keys = {override.partition("=")[0] for override in overrides}.union(*map(_keys, files))
    first = {key.partition(".")[0] for key in keys}
    kind: type[RunConfig] = RlConfig if first & (RlConfig.model_fields.keys() - SftConfig.model_fields) else SftConfig
    missing = [f"{key}={value}" for key, value in NOT_NEEDED.items() if key not in keys]
    return load_config(kind, files, (*missing, *overrides))


def _keys(file: Path) -> set[str]:
    """Keys of a file, and with a dot those of its sections; none where it cannot be read, which `load_config` tells."""
    try:
        loaded = read_yaml(file.read_bytes())
    except (OSError, ValueError):
        return set()
    sections = loaded.items() if isinstance(loaded, dict) else ()
    inner = {f"{name}.{key}" for name, section in sections if isinstance(section, dict) for key in section}
    return {str(name) for name, _ in sections} | inner
