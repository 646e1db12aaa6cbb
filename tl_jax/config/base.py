"""What every section of the configuration is made of, and the error of a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema, core_schema

from tl_jax.addresses import ELSEWHERE, SCHEME, Use, is_address, place_of, shown
from tl_jax.errors import UserError
from tl_jax.registry import suggestion
from tl_jax.visible import is_unicode


class ConfigError(UserError):
    """A configuration that cannot be used; ``str(error)`` names file or override, key and what to do."""


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True, allow_inf_nan=False)


def no_switch(value: Any) -> Any:
    """The value, where a number or a path is meant.

    Raises:
        ValueError: it is true or false, which Python counts as 1 and 0; YAML reads yes, no, on and off so, too.
    """
    if isinstance(value, bool):
        raise ValueError("must not be true or false, which YAML also makes of yes, no, on and off")
    return value


@dataclass(frozen=True)
class Within:
    """Ends beyond which no number of a kind lies; a setting's own ``Field(ge=..., le=...)`` may be narrower.

    Not a ``Field`` itself: of two of pydantic's limits on the same side the last one counts, not the narrower.
    """

    least: float
    most: float
    smallest: float = 0.0
    """size of what is not 0"""

    def check(self, value: Any) -> Any:
        """The value.

        Raises:
            ValueError: it lies beyond.
        """
        if not self.least <= value <= self.most:
            raise ValueError(f"must be between {self.least:g} and {self.most:g}")
        if 0 < abs(value) < self.smallest:
            raise ValueError(f"is too small: 0, or at least {self.smallest:g} in size, is needed")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        number = core_schema.no_info_before_validator_function(no_switch, handler(source))
        return core_schema.no_info_after_validator_function(self.check, number)


LARGEST = 2**31 - 1
Whole: TypeAlias = Annotated[int, Within(-1, LARGEST)]
"""What counts steps, tokens, rows: devices hold it in 32 bits. Every setting says besides where it begins."""
Seed: TypeAlias = Annotated[int, Within(0, 2**32 - 1)]
Real: TypeAlias = Annotated[float, Within(-1e9, 1e9, smallest=1e-30)]
"""A number that is still one in float32, and no other."""


@dataclass(frozen=True)
class OrWord:
    """``Annotated[Whole | Literal["auto"], OrWord("auto")]``: a word in place of a number. What is wrong with another
    value is said of the number, and not of each of the two."""

    word: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        kinds = (kind for kind in get_args(source) if get_origin(kind) is not Literal)
        numbers = handler.generate_schema(reduce(or_, kinds))

        def check(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
            return value if value == self.word else inner(value)

        as_it_is = core_schema.plain_serializer_function_ser_schema(lambda value: value)
        return core_schema.no_info_wrap_validator_function(check, numbers, serialization=as_it_is)


def _path(value: Any) -> Any:
    if isinstance(no_switch(value), int | float):
        return str(value)
    if isinstance(value, str | Path) and (not str(value) or "\0" in str(value)):
        raise ValueError("a path is needed")
    if isinstance(value, str | Path) and not is_unicode(str(value)):
        raise ValueError("the name is not UTF-8")
    if isinstance(value, str) and is_address(value):
        raise ValueError(ELSEWHERE)
    return value


def one_or_more(value: Any) -> Any:
    """A name by itself is a list of one."""
    return (value,) if isinstance(value, str) else value


def _path_or_address(value: Any, use: Use) -> Any:
    return place_of(value, use) if isinstance(value, str) and value.startswith(SCHEME) else _path(value)


AnyPath = Annotated[Path, BeforeValidator(_path)]
"""A path; YAML reads one such as 2026 as a number."""
_AS_GIVEN = PlainSerializer(shown, return_type=str, when_used="json")
RunPath = Annotated[Path, BeforeValidator(partial(_path_or_address, use="runs")), _AS_GIVEN]
"""Where a run writes: a path, or an address in a bucket, which is its path on this machine from then on
(`tl_jax.addresses`)."""
ModelPath = Annotated[Path, BeforeValidator(partial(_path_or_address, use="models")), _AS_GIVEN]
"""Where a model is read, a run in a bucket among others, like `RunPath`."""
DataPath = Annotated[Path, BeforeValidator(partial(_path_or_address, use="files")), _AS_GIVEN]
"""Where data are read, like `RunPath`; from a bucket by `tl_jax.bucket_files`."""


Switch: TypeAlias = Annotated[
    Literal["auto", "on", "off"],
    BeforeValidator(lambda value: {True: "on", False: "off"}[value] if isinstance(value, bool) else value),
]
"""YAML reads on and off as true and false."""


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
