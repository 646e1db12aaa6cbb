"""Reading a configuration: defaults, values from YAML files, dotted overrides from the command line.

pydantic checks types and unknown keys; this file turns its findings into one line each with the nearest known key.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from tl_jax.config.base import ConfigError, Node
from tl_jax.config.merge import merge, renamed, section_defaults
from tl_jax.config.unknown_keys import hint
from tl_jax.files import reason
from tl_jax.yaml_text import read_yaml, yaml_or_text

Config = TypeVar("Config", bound=Node)
NO_DEFAULTS: Mapping[str, Any] = MappingProxyType({})


def load_config(
    kind: type[Config], files: Sequence[Path], overrides: Sequence[str], defaults: Mapping[str, Any] = NO_DEFAULTS
) -> Config:
    """Reads YAML ``files`` in order (later ones win), applies ``key.sub=value`` overrides, checks the result.

    Args:
        kind: of the configuration.
        files: may be none.
        overrides: win over the files.
        defaults: further ones, for what has to be set otherwise.

    Raises:
        ConfigError: a missing or unreadable file, an unknown key (with the nearest known one) or a wrong value.
    """
    tree = section_defaults(kind)
    merge(kind, tree, copy.deepcopy(dict(defaults)))
    for file in files:
        try:
            loaded = read_yaml(file.read_bytes()) or {}
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {reason(error)}") from None
        except ValueError as error:
            raise ConfigError(f"{file}: {error}") from None
        if not isinstance(loaded, dict):
            raise ConfigError(f"{file}: must be a mapping of keys to values")
        _merge(kind, tree, loaded, str(file))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r}: write key=value, for instance seed=1 or data.max_length=4096")
        _merge(kind, tree, _nested(key.split("."), yaml_or_text(text)), override)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(kind, item) for item in error.errors())) from None
    except RecursionError:
        raise ConfigError(f"{', '.join(map(str, files))}: a value holds itself, or is nested too deeply") from None


def to_yaml(config: Node) -> str:
    """The whole tree, defaults included, as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def as_override(key: str, value: Any) -> str:
    """``key=value`` as `load_config` reads it back.

    Args:
        value: whatever YAML can say.

    Example:
        >>> as_override("data.mae", {"rule": "none"}), as_override("model.path", "7")
        ('data.mae={rule: none}', "model.path='7'")
    """
    text = yaml.safe_dump(value, default_flow_style=True, width=2**31 - 1).removesuffix("...\n")
    return f"{key}={text.strip()}"


def _merge(kind: type[Node], tree: dict[str, Any], new: dict[str, Any], source: str) -> None:
    try:
        merge(kind, tree, renamed(new, source))
    except RecursionError:
        raise ConfigError(f"{source}: a value holds itself, or is nested too deeply") from None


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


def _explain(kind: type[Node], item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    where = ".".join(path)
    if item["type"] == "extra_forbidden":
        return f"unknown key {where!r}; {hint(kind, path)}"
    if item["type"] == "missing":
        return f"key {where!r} is missing; set it in the file or as {where}=VALUE"
    problem = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error" and isinstance(item["input"], dict):  # of a section as a whole
        return f"{where}: {problem}" if where else problem
    got = "" if repr(item["input"]) in problem else f", got {item['input']!r}"
    return f"key {where!r}: {problem}{got}"
