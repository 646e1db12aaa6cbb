"""Python functions as the tools of an episode, run in a process of their own behind limits.

The process is `tl_jax.tooluse.environments.process`, which says what its limits are good for; docs/environments.md has
the list of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from tl_jax.errors import UserError
from tl_jax.plugins import resolve
from tl_jax.tooluse.environments.process import Limits, Worker
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.function_schema import tool_schema


class PythonTools:
    """An `Environment` whose tools are Python functions. Episodes side by side need one each.

    Results: a text is given as it is, everything else as JSON, or as ``repr`` prints it where JSON has no form for it.
    An exception becomes ``Error: ValueError: message``. Results are cut at `python_worker.MAX_RESULT` characters.

    Args:
        functions: importable functions, or dotted paths such as ``my_tools:search``; `tool_schema` reads them.
        seconds: how long a call may take. One that takes longer ends the worker, and the next call gets a new one, in
            which the state of the tools begins anew.
        memory_mb: the address space of the worker, Python and the imported modules included.

    Attributes:
        tools: the functions as tools.

    Raises:
        UserError: a function that cannot be imported by its name or is no tool, two of the same name, or a system
            without such limits (Windows).
    """

    def __init__(
        self, functions: Sequence[Callable[..., Any] | str], seconds: float = 5.0, memory_mb: int = 512
    ) -> None:
        self._limits = Limits(seconds, memory_mb)
        loaded = [resolve(function) if isinstance(function, str) else function for function in functions]
        places = [_place(function) for function in loaded]
        self.tools: tuple[Tool, ...] = tuple(map(tool_schema, loaded))
        self._functions = {tool.name: place for tool, place in zip(self.tools, places, strict=True)}
        if len(self._functions) < len(places):
            raise UserError(f"two tools have the same name: {', '.join(tool.name for tool in self.tools)}")
        self._worker: Worker | None = None

    def reset(self, case: Case) -> Case:
        """Begins an episode in a fresh worker. Returns the case with these tools instead of its own."""
        self.close()
        self._worker = Worker(self._functions, self._limits)  # starts while the model thinks
        return replace(case, tools=self.tools)

    def step(self, call: Call) -> tuple[str, bool]:
        """The result of a call; an episode is never over.

        Raises:
            UserError: the tools cannot be loaded in a worker.
        """
        worker, self._worker = self._worker or Worker(self._functions, self._limits), None
        try:
            result = worker.ask(call)
        except (TimeoutError, ChildProcessError) as error:
            return f"Error: {type(error).__name__}: {error}", False
        self._worker = worker  # any exception has left it behind, for its answers would be those of earlier calls
        return result, False

    def close(self) -> None:
        """Ends the worker."""
        if self._worker:
            self._worker.stop()
        self._worker = None

    def __enter__(self) -> PythonTools:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    """Module and qualified name by which a worker can import the function."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    try:
        found = attrgetter(str(name))(sys.modules[str(module)])
    except (KeyError, AttributeError):
        found = None
    if found != function or module == "__main__":
        raise UserError(
            f"{module}.{name or function!r}: a worker cannot import it; put it into a module, as a function"
        )
    return str(module), str(name)
