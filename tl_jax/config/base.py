"""What every section of the configuration is made of, and the error of a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tl_jax.errors import UserError
from tl_jax.registry import suggestion


class ConfigError(UserError):
    """A configuration that cannot be used; ``str(error)`` names file or override, key and what to do."""


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


AnyPath = Annotated[Path, BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value)]
"""A path; YAML reads one such as 2026 as a number."""


@dataclass(frozen=True, eq=False)
class Choice:
    """``Annotated[str, Choice(FORMATS)]`` takes the names of a registry, ``Annotated[Plugin, Choice(LOSSES,
    other="module:function")]`` a dotted path too. The registry is read whenever a value is checked, so a record added
    to it is known at once.

    `tl_jax.config.annotated_yaml` shows the names, and an unknown one is an error with the nearest.
    """

    names: Iterable[str]
    """the registry, or any other collection of names"""
    also: tuple[str, ...] = ()
    """words that may stand instead"""
    other: str = ""
    """what else may, in words; whatever has a colon, a dot or a slash is taken for it, and checked when it is used"""

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.also, *self.names, *([self.other] if self.other else []))

    def check(self, value: Any) -> Any:
        """The value itself: a name, a `Plugin`, or a tuple of records that have one.

        Raises:
            ValueError: it is none of the choices.
        """
        for chosen in value if isinstance(value, tuple) else [value]:
            name = chosen if isinstance(chosen, str) else chosen.name
            if name not in self.all and not (self.other and set(name) & set(":./")):
                raise ValueError(f"unknown {name!r}; {suggestion(name, self.all)}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))
