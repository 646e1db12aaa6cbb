"""What every section of the configuration is made of, and the error of a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    PlainSerializer,
    PlainValidator,
)
from pydantic_core import CoreSchema, core_schema

from tl_jax.errors import UserError
from tl_jax.plugins import Plugin
from tl_jax.registry import suggestion


class ConfigError(UserError):
    """A configuration that cannot be used; ``str(error)`` names file or override, key and what to do."""


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


AnyPath = Annotated[Path, BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value)]
"""A path; YAML reads one such as 2026 as a number."""


PluginField = Annotated[
    Plugin,
    PlainValidator(Plugin.read),
    PlainSerializer(lambda plugin, info: plugin.short() if info.mode == "json" else plugin),
]
"""A function by name or dotted path, with options or without; written back in its shortest form."""


@dataclass(frozen=True)
class Choice:
    """``Annotated[str, Choice(FORMATS)]`` takes the names of a registry, ``Annotated[PluginField, Choice(LOSSES)]`` a
    dotted path too. The registry is read whenever a value is checked, so a record added to it is known at once.

    `tl_jax.config.annotated_yaml` shows the names, and an unknown one is an error with the nearest.
    """

    names: Iterable[str]
    """the registry, or any other collection of names"""
    also: tuple[str, ...] = ()
    """words that may stand instead"""

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.also, *self.names)

    def check(self, value: str | Plugin) -> str | Plugin:
        """The value itself.

        Raises:
            ValueError: it is none of them.
        """
        name, dotted = (value.name, ("module:function",)) if isinstance(value, Plugin) else (value, ())
        if name not in self.all and not (dotted and ":" in name):
            raise ValueError(f"unknown; {suggestion(name, (*self.all, *dotted))}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))
