"""Functions by name: those that users choose in a configuration, with options, and those that tables of records name.

A table may lie below what it lists, such as estimators in `tl_jax.config`, when its records name functions by dotted
paths: `resolve` imports them only when they are used.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from tl_jax.errors import UserError
from tl_jax.registry import suggestion

Function: TypeAlias = Callable[..., Any]


def resolve(function: str | Function) -> Function:
    """The function that a dotted path such as ``my_package.my_module:my_function`` names; a function is itself.

    Raises:
        UserError: the path is malformed, or module or function do not exist, or it is no function.
    """
    if not isinstance(function, str):
        return function
    module_name, colon, name = function.partition(":")
    if not (colon and module_name and name):
        raise UserError(f"{function!r}: write module:function, for instance my_package.my_module:my_function")
    module = load(module_name, function)
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, vars(module), 1)
        hint = f"; did you mean {module_name}:{near[0]}?" if near else ""
        raise UserError(f"{function!r}: {module_name} ({module.__file__}) has no {name!r}{hint}")
    found = getattr(module, name)
    if not callable(found):
        raise UserError(f"{function!r}: is a {type(found).__name__}, not a function")
    return found


def load(name: str, wanted: str | None = None) -> types.ModuleType:
    """Imports a module of the user's. The current directory is searched too, after everything installed.

    Args:
        name: of the module.
        wanted: what is looked for in it, for the message.

    Raises:
        UserError: there is no such module.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"{(wanted or name)!r}: {name!r} is not the name of a module, such as my_package.my_module")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, but something it imports is not: its own traceback says more
        raise UserError(
            f"{(wanted or name)!r}: there is no module {error.name!r}; it has to be installed or lie in the current "
            "directory"
        ) from None


@dataclass(frozen=True)
class Plugin:
    """A function as a configuration chooses it: by name, with the options it is called with.

    Example:
        >>> Plugin.read({"name": "label_smoothing", "options": {"smoothing": 0.2}})
        Plugin(name='label_smoothing', options={'smoothing': 0.2})
        >>> Plugin.read("my_losses:focal").short()
        'my_losses:focal'
        >>> str(Plugin("label_smoothing", {"smoothing": 0.2}))
        'label_smoothing(smoothing=0.2)'
    """

    name: str
    """one of a table, or ``module:function``"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """keyword arguments besides those that the function is called with anyway"""

    @classmethod
    def read(cls, value: Any) -> Plugin:
        """A plug-in written as ``name``, ``module:function`` or ``{name: ..., options: {...}}``.

        Raises:
            ValueError: it is written in another way.
        """
        if isinstance(value, Plugin):
            return value
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping):
            raise ValueError("write a name, module:function or {name: ..., options: {...}}")
        for key in value:
            if key not in ("name", "options"):
                raise ValueError(f"unknown key {key!r}; {suggestion(str(key), ('name', 'options'))}")
        name, options = value.get("name"), value.get("options")
        if not isinstance(name, str):
            raise ValueError("has no name; write a name, module:function or {name: ..., options: {...}}")
        if options is not None and not (isinstance(options, Mapping) and all(isinstance(key, str) for key in options)):
            raise ValueError("options must be a mapping of names to values")
        return cls(name, dict(options or {}))

    @property
    def is_function(self) -> bool:
        """Whether it is named as ``module:function``: neither a record of a table nor a file, which may be at an
        address."""
        return ":" in self.name and "://" not in self.name

    def short(self) -> str | dict[str, Any]:
        """The shortest form that `read` reads back: the bare name where there are no options."""
        return {"name": self.name, "options": dict(self.options)} if self.options else self.name

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """A configuration reads it by `read` and writes it by `short`."""
        from pydantic_core import core_schema

        writer = core_schema.plain_serializer_function_ser_schema(cls.short)
        return core_schema.no_info_plain_validator_function(cls.read, serialization=writer)

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}({options})" if options else self.name

    def __hash__(self) -> int:  # options are a mapping, which has no hash
        return hash(self.name)


def bind(plugin: Plugin, arguments: Sequence[str], *, key: str, function: str | Function | None = None) -> Function:
    """The function that ``plugin`` names, with its options; to be called as ``function(*arguments)``.

    Options are the function's parameters besides the first ``len(arguments)``. They are checked against its signature:
    each must be known, none required may be missing, and where a parameter is annotated with a simple type (``int``,
    ``float``, ``bool``, ``str``, ``list``, ``dict``, a ``Literal``, or several joined by ``|``) the value must have it.

    Args:
        plugin: what the user chose.
        arguments: names of what the function is called with anyway, for messages.
        key: of the configuration, for messages: ``loss``.
        function: the one that the name stands for, where it is a name of a table.

    Raises:
        UserError: no such function, or options that it does not take.
    """
    try:
        function = resolve(function or plugin.name)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    try:
        parameters = _parameters(function)
    except ValueError:  # written in C without a signature
        return partial(function, **plugin.options) if plugin.options else function
    options = _options(parameters, arguments, f"{key}: {plugin.name}")
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    given = {}
    for name, value in plugin.options.items():
        if name in options:
            given[name] = _checked(value, options[name].annotation, f"{key}.options.{name}")
        elif open_ended:
            given[name] = value
        elif options:
            raise UserError(f"{key}.options: {plugin.name} has no option {name!r}; {suggestion(name, options)}")
        else:
            raise UserError(f"{key}.options: {plugin.name} takes no options, got {name!r}")
    for name, parameter in options.items():
        if parameter.default is parameter.empty and name not in given:
            raise UserError(f"{key}: {plugin.name} needs the option {name!r}; set {key}.options.{name}=VALUE")
    return partial(function, **given) if given else function


def _parameters(function: Function) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:  # an annotation that is imported for type checkers only
        signature = inspect.signature(function)
    return list(signature.parameters.values())


def _options(
    parameters: Sequence[inspect.Parameter], arguments: Sequence[str], what: str
) -> dict[str, inspect.Parameter]:
    """The parameters that are left for options once ``arguments`` have taken the first ones."""
    kinds = [parameter.kind for parameter in parameters]
    count = kinds.count(inspect.Parameter.POSITIONAL_ONLY) + kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if count < len(arguments) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        raise UserError(f"{what} is called as function({', '.join(arguments)}), but takes {count} arguments")
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name: parameter for parameter in parameters[len(arguments) :] if parameter.kind in by_keyword}


def _checked(value: Any, kind: Any, where: str) -> Any:
    try:
        return _converted(value, kind)
    except ValueError:
        wanted = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")
        raise UserError(f"{where}: must be {wanted}, got {value!r}") from None


def _converted(value: Any, kind: Any) -> Any:
    """``value`` as a parameter annotated with ``kind`` takes it; kinds that are not simple take anything.

    Raises:
        ValueError: it is of another type.
    """
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        for member in get_args(kind):
            try:
                return _converted(value, member)
            except ValueError:
                continue
        raise ValueError
    if origin is Literal:
        return _if(value in get_args(kind), value)
    if kind is float:  # YAML reads 1e-5 as text
        return float(_if(isinstance(value, int | float | str) and not isinstance(value, bool), value))
    if kind is int:
        return _if(isinstance(value, int) and not isinstance(value, bool), value)
    if kind in (None, type(None)):
        return _if(value is None, value)
    simple = {bool: bool, str: str, dict: dict, Mapping: dict, list: list, Sequence: list, tuple: list}
    expected = simple.get(origin or kind) if isinstance(origin or kind, type) else None
    return value if expected is None else _if(isinstance(value, expected), value)


def _if(fits: bool, value: Any) -> Any:
    if not fits:
        raise ValueError
    return value
