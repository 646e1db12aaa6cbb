"""Every setting with its default and meaning, to start a file from."""

from __future__ import annotations

import json

from tl_jax.config.base import Node
from tl_jax.config.fields import choices, section


def annotated_yaml(kind: type[Node], defaults: Node | None = None, indent: str = "") -> str:
    """Every key of ``kind`` with its default, its choices and what it means, as YAML."""
    lines = []
    defaults = defaults or kind.model_construct()
    values = defaults.model_dump(mode="json")
    for name, field in kind.model_fields.items():
        notes = "; ".join(note for note in (" | ".join(choices(field)), field.description) if note)
        comment = f"  # {notes}" if notes else ""
        if inner := section(field):
            lines.append(
                f"{indent}{name}:{comment}\n{annotated_yaml(inner, getattr(defaults, name, None), indent + '  ')}"
            )
        else:
            value = json.dumps(values[name]) if name in values else "REQUIRED"
            lines.append(f"{indent}{name}: {value}{comment}\n")
    return "".join(lines)
