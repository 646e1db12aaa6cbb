"""Functions of the user's own, named in configurations by dotted paths."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tl_jax.errors import UserError


def resolve(path: str) -> Callable[..., Any]:
    """The function that a dotted path such as ``my_package.my_module:my_function`` names.

    The current directory is searched too, after everything installed.

    Raises:
        UserError: the path is malformed, or module or function do not exist, or it is no function.
    """
    module_name, colon, name = path.partition(":")
    if not (colon and module_name and name):
        raise UserError(f"{path!r}: write module:function, for instance my_package.my_module:my_function")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, but something it imports is not: its own traceback says more
        raise UserError(
            f"{path!r}: there is no module {error.name!r}; it has to be installed or lie in the current directory"
        ) from None
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, vars(module), 1)
        hint = f"; did you mean {module_name}:{near[0]}?" if near else ""
        raise UserError(f"{path!r}: {module_name} ({module.__file__}) has no {name!r}{hint}")
    function = getattr(module, name)
    if not callable(function):
        raise UserError(f"{path!r}: is a {type(function).__name__}, not a function")
    return function
