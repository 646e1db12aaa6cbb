"""What a setting of the typed tree may hold, as its annotation says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from tl_jax.config.base import Choice, Node, Within
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


def named_code(config: Node, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The dotted settings that name functions outside of the tables, and which: ``loss``, ``my_losses:focal``."""
    for key, field in type(config).model_fields.items():
        value = getattr(config, key)
        if isinstance(value, Node):
            yield from named_code(value, f"{prefix}{key}.")
        elif value is not None and is_plugin(field):
            for one in value if isinstance(value, tuple) and not isinstance(value, WeightedReward) else (value,):
                if (one.plugin if isinstance(one, WeightedReward) else one).is_function:
                    yield f"{prefix}{key}", one.name


class Range(NamedTuple):
    """Which numbers a setting may have."""

    kind: type[int] | type[float]
    least: Any
    """None: there is no end; so for the others"""
    most: Any
    above_least: bool = False
    """the end itself is left out"""
    below_most: bool = False


def number_range(field: FieldInfo) -> Range | None:
    """The numbers it may have; None where it is none."""
    parts = [*_parts(field.annotation), *field.metadata]
    kind: type[int] | type[float] | None = int if int in parts else float if float in parts else None
    if kind is None or bool in parts:
        return None
    rules = [rule for part in parts for rule in (part.metadata if isinstance(part, FieldInfo) else [part])]
    least: list[tuple[Any, bool]] = [(rule.ge, False) for rule in rules if isinstance(rule, Ge)]
    least += [(rule.gt, True) for rule in rules if isinstance(rule, Gt)]
    least += [(rule.least, False) for rule in rules if isinstance(rule, Within)]
    most: list[tuple[Any, bool]] = [(rule.le, False) for rule in rules if isinstance(rule, Le)]
    most += [(rule.lt, True) for rule in rules if isinstance(rule, Lt)]
    most += [(rule.most, False) for rule in rules if isinstance(rule, Within)]
    low, above = max(least, default=(None, False))
    high, below = min(most, key=lambda end: (end[0], not end[1]), default=(None, False))
    return Range(kind, low, high, above, below)


def _parts(annotation: Any) -> Iterator[Any]:
    """The annotation, what it is made of, and what it is annotated with."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
