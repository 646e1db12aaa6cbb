"""Names as arguments: of a registry, of a setting's values, of a function.

Choices are read when they are shown or checked, not when this file is imported: a record that a program adds to a
registry is offered like ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, get_args

import click

from tl_jax.config import Dtype, Node
from tl_jax.plugins import Plugin
from tl_jax.registry import suggestion
from tl_jax.tooluse.readers import FORMATS
from tl_jax.tooluse.text.render import RENDERERS
from tl_jax.yaml_text import read_yaml


class OneOf(click.Choice[str]):
    """One of some names, as they are when the option is used.

    Args:
        names: a registry, or any other collection of names.
        before: names that are not in it, such as ``auto``.
    """

    def __init__(self, names: Iterable[str], *before: str) -> None:
        self._names, self._before = names, before
        self.case_sensitive = True

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]  # an attribute of click's own class
        return (*self._before, *self._names)


class OneOfOr(click.ParamType[str]):
    """One of some names, or something else that the library checks: a file, a function.

    Args:
        names: a registry, or any other collection of names.
        other: how the help calls what else there may be: ``module:function``.
        sign: what it has to contain; empty = the library tells a wrong one.
    """

    name = "name"

    def __init__(self, names: Collection[str], other: str, sign: str = "") -> None:
        self._names, self._other, self._sign = names, other, sign

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join((*self._names, self._other))}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self._names and self._sign not in value:
            hint = suggestion(value, self._names, f"{', '.join(self._names)} or {self._other}.")
            self.fail(f"{value!r} is unknown; {hint}", param, ctx)
        return value


class FunctionName(click.ParamType["str | Plugin"]):
    """One of some names, ``module:function``, or either with options as a configuration has them: ``{name: ...,
    options: {...}}``."""

    name = "function"

    def __init__(self, names: Collection[str]) -> None:
        self._plain = OneOfOr(names, "module:function", sign=":")

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self._plain.get_metavar(param, ctx)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Plugin:
        if not isinstance(value, str) or not value.startswith("{"):
            return self._plain.convert(value, param, ctx)
        try:
            plugin = Plugin.read(read_yaml(value))
        except ValueError as error:
            self.fail(f"{value!r}: {' '.join(str(error).split())}", param, ctx)
        self._plain.convert(plugin.name, param, ctx)
        return plugin


def choices_of(section: type[Node], key: str) -> click.Choice[str]:
    """The values that a key of the configuration may have."""
    return click.Choice(get_args(section.model_fields[key].annotation))


FORMAT = OneOf(FORMATS, "auto")
RENDERER = OneOf(RENDERERS)
DTYPE = click.Choice(get_args(Dtype))
