"""The settings of what is planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tl_jax.config import RlConfig, RunConfig, SftConfig, load_config
from tl_jax.yaml_text import read_yaml

NOT_NEEDED = {"run_dir": "run", "model": {"path": "model"}, "data": {"path": "data"}}
"""Settings that a training needs and a plan does not, with something to stand for them."""


def load_planned(files: Sequence[Path], overrides: Sequence[str]) -> RunConfig:
    """The settings of ``tl-jax sft`` or of ``tl-jax rl``: their keys tell which of the two they are for.

    Raises:
        ConfigError: as `load_config`.
    """
    keys = {override.partition("=")[0].partition(".")[0] for override in overrides}.union(*map(_keys, files))
    kind: type[RunConfig] = RlConfig if keys & (RlConfig.model_fields.keys() - SftConfig.model_fields) else SftConfig
    return load_config(kind, files, overrides, NOT_NEEDED)


def _keys(file: Path) -> set[str]:
    """Those of a file; none where it cannot be read, which `load_config` tells."""
    try:
        loaded = read_yaml(file.read_bytes())
    except (OSError, ValueError):
        return set()
    return set(map(str, loaded)) if isinstance(loaded, dict) else set()
