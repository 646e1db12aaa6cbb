"""What the API reference makes of docstrings: a name of the package in single backticks becomes a link.

A Griffe extension; mkdocs.yml names it.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

NAME = re.compile(r"(?<![`\[])`([A-Za-z_][\w.]*)`(?![`\]])")
EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
"""A section's heading of ours; Griffe's has an s."""
WITHOUT_PAGE = ("tl_jax.cli", "tl_jax.demo")


class CrossReferences(griffe.Extension):
    """Rewrites the docstrings of a package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        visit(pkg)


def visit(owner: griffe.Object | griffe.Alias) -> None:
    """Rewrites the docstrings of ``owner`` and everything in it."""
    if owner.docstring:
        text = EXAMPLE.sub(r"\1Examples:", owner.docstring.value)
        owner.docstring.value = NAME.sub(lambda found: link(owner, found[1]), text)
    for member in owner.members.values():
        if not member.is_alias:
            visit(member)


def link(owner: griffe.Object | griffe.Alias, name: str) -> str:
    """``name`` as a link to what it means inside ``owner``, or as it was."""
    try:
        target = owner.modules_collection[owner.resolve(name)]
        target = target.final_target if target.is_alias else target
    except (griffe.NameResolutionError, griffe.AliasResolutionError, KeyError):
        return f"`{name}`"
    path = target.canonical_path
    private = any(part.startswith("_") for part in path.split("."))
    if not target.has_docstring or private or not path.startswith("tl_jax.") or path.startswith(WITHOUT_PAGE):
        return f"`{name}`"
    return f"[`{name}`][{path}]"
