"""What a setting of the typed tree may hold, as its annotation says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from tl_jax.config.base import Choice, Node
from tl_jax.config.rewards import WeightedReward
from tl_jax.plugins import Plugin


def section(field: FieldInfo) -> type[Node] | None:
    """The kind of node that the setting is, if it is one."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Node) else None


def is_plugin(field: FieldInfo) -> bool:
    """Whether it names functions."""
    return any(part is Plugin or part is WeightedReward for part in _parts(field.annotation))


def choices(field: FieldInfo) -> Sequence[str]:
    """The names among which it chooses; empty if it does not."""
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    parts = (*_parts(field.annotation), *field.metadata)
    return next((part.all for part in parts if isinstance(part, Choice)), ())


def _parts(annotation: Any) -> Iterator[Any]:
    """The annotation, what it is made of, and what it is annotated with."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
