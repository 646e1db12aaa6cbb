"""What is set otherwise than in an earlier run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tl_jax.config.base import Node
from tl_jax.config.fields import section
from tl_jax.config.merge import merge, renamed, section_defaults


def changed_keys(before: Mapping[str, Any], config: Node) -> list[str]:
    """Dotted keys under which ``config`` differs from the tree of an earlier run.

    A key that the earlier run did not know counts as having its default, one that has another name now is followed,
    and one that is no longer there is told.

    Args:
        before: the earlier configuration as JSON values.
    """
    kind = type(config)
    known, gone = _known(kind, renamed(copy.deepcopy(dict(before))))
    tree = section_defaults(kind)
    merge(kind, tree, known)
    try:
        then = kind.model_validate(tree).model_dump(mode="json")
    except ValidationError:  # it has a value that is refused now, or lacks one that is needed
        then = tree
    return _differing(then, config.model_dump(mode="json")) + [f"{key} (no longer a setting)" for key in gone]


def _known(kind: type[Node], tree: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], list[str]]:
    """What of ``tree`` is a setting of ``kind``, and the dotted keys of the rest."""
    known: dict[str, Any] = {}
    gone: list[str] = []
    for key, value in tree.items():
        field = kind.model_fields.get(key)
        if field is None:
            gone.append(prefix + key)
        elif (inner := section(field)) and isinstance(value, Mapping):
            known[key], more = _known(inner, value, f"{prefix}{key}.")
            gone += more
        else:
            known[key] = value
    return known, gone


def _differing(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys under which two trees differ, in the order of ``after``."""
    keys: list[str] = []
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys += _differing(old, new, f"{prefix}{key}.")
        elif old != new or (key in before) != (key in after):
            keys.append(prefix + key)
    return keys
