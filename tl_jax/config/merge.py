"""Trees of settings as they are written, before they are checked: defaults, old names, one tree over another."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tl_jax.config.base import ConfigError, Node
from tl_jax.config.fields import is_plugin, section
from tl_jax.plugins import Plugin

RENAMED = {"algorithm.critic_tower": "algorithm.critic_backbone"}
"""Keys that had another name once; files and runs that have the old one are read all the same."""

_log = logging.getLogger(__name__)


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
