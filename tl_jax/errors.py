"""Errors that are the user's to mend: bad data, configuration, model directory."""

from __future__ import annotations

from tl_jax.visible import in_one_line


class UserError(ValueError):
    """``str(error)`` is one clear line; the command line prints it and exits with 2."""


class DataError(UserError):
    """Bad input data. ``str(error)`` reads ``file:line: field: what is wrong``."""

    def __init__(self, problem: str, *, path: str = "", line: int | None = None, field: str = "") -> None:
        self.problem, self.path, self.line, self.field = problem, path, line, field
        place = f"{path}:{line}" if path and line is not None else path or (f"line {line}" if line is not None else "")
        super().__init__(in_one_line(": ".join(part for part in (place, field, problem) if part)))

    def at(self, path: str, line: int | None) -> DataError:
        """The same error with the file and line it was found at."""
        return DataError(self.problem, path=path, line=line, field=self.field)
