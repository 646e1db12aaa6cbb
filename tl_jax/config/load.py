"""Reading a configuration: defaults, values from YAML files, dotted overrides from the command line.

pydantic checks types and unknown keys; this file turns its findings into one line each with the nearest known key.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from tl_jax.config.base import ConfigError, Node
from tl_jax.config.fields import is_plugin, section
from tl_jax.plugins import Plugin

Config = TypeVar("Config", bound=Node)
_log = logging.getLogger(__name__)


RENAMED = {"algorithm.critic_tower": "algorithm.critic_backbone"}
"""Keys that had another name once; files and runs that have the old one are read all the same."""


def load_config(kind: type[Config], files: Sequence[Path], overrides: Sequence[str]) -> Config:
    """Reads YAML ``files`` in order (later ones win), applies ``key.sub=value`` overrides, checks the result.

    Raises:
        ConfigError: a missing or unreadable file, an unknown key (with the nearest known one) or a wrong value.
    """
    tree = section_defaults(kind)
    for file in files:
        try:
            loaded = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(loaded, dict):
            raise ConfigError(f"{file}: must be a mapping of keys to values")
        merge(kind, tree, renamed(loaded, str(file)))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r}: write key=value, for instance seed=1 or data.max_length=4096")
        merge(kind, tree, renamed(_nested(key.split("."), _scalar(text)), override))
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(kind, item) for item in error.errors())) from None


def to_yaml(config: Node) -> str:
    """The whole tree, defaults included, as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


def section_defaults(kind: type[Node]) -> dict[str, Any]:
    """What the sections of ``kind`` hold besides the defaults of their own kinds: a learning rate of its own for each
    optimizer, for instance."""
    defaults = {name: field.default for name, field in kind.model_fields.items() if section(field)}
    return {
        name: default.model_dump(mode="json", exclude_unset=True)
        for name, default in defaults.items()
        if isinstance(default, Node)
    }


def renamed(tree: dict[str, Any], source: str = "") -> dict[str, Any]:
    """``tree`` with the present names of its keys, in place; each old one is told, as being in ``source``.

    Raises:
        ConfigError: a key is there by both its names.
    """
    for old, new in RENAMED.items():
        (*path, name), (*new_path, new_name) = old.split("."), new.split(".")
        node: Any = tree
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or name not in node:
            continue
        target = tree
        for part in new_path:
            target = target.setdefault(part, {})
        if new_name in target:
            raise ConfigError(f"{source}: {old} is now called {new}; remove one of them")
        target[new_name] = node.pop(name)
        if source:
            _log.warning("%s: %s is now called %s", source, old, new)
    return tree


def merge(kind: type[Node] | None, into: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Puts ``new`` over ``into``, both of ``kind``: key by key in sections, see `_merged_plugin` for functions."""
    for key, value in new.items():
        field = kind.model_fields.get(key) if kind else None
        before = into.get(key)
        if field and is_plugin(field):
            into[key] = _merged_plugin(field.default if before is None else before, value)
        elif isinstance(value, dict) and isinstance(before, dict):
            merge(section(field) if field else None, before, value)
        else:
            into[key] = value


def _merged_plugin(before: Any, new: Any) -> Any:
    """A function named anew starts with no options; options alone are added to those there; so are weights."""
    if not isinstance(new, dict) or "name" in new:
        return new
    if "options" in new:
        if isinstance(before, str | Plugin):
            before = Plugin.read(before)
            before = {"name": before.name, "options": before.options}
        if not isinstance(before, dict) or not isinstance(new["options"], dict):
            return new
        return {**before, **new, "options": {**(before.get("options") or {}), **new["options"]}}
    if isinstance(before, dict) and not {"name", "options"} & before.keys():
        return {**before, **new}
    return new


def _explain(kind: type[Node], item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    where = ".".join(path)
    if item["type"] == "extra_forbidden":
        node: Any = kind
        for part in path[:-1]:
            node = node.model_fields[part].annotation
        near = difflib.get_close_matches(path[-1], node.model_fields, 1)
        return f"unknown key {where!r}" + (
            f"; did you mean {'.'.join([*path[:-1], near[0]])!r}?"
            if near
            else f"; known here: {', '.join(node.model_fields)}"
        )
    if item["type"] == "missing":
        return f"key {where!r} is missing; set it in the file or as {where}=VALUE"
    problem = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error" and isinstance(item["input"], dict):  # of a section as a whole
        return f"{where}: {problem}" if where else problem
    got = "" if repr(item["input"]) in problem else f", got {item['input']!r}"
    return f"key {where!r}: {problem}{got}"
