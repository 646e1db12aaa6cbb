"""What every section of the configuration is made of, and the error of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from tl_jax.errors import UserError


class ConfigError(UserError):
    """A configuration that cannot be used; ``str(error)`` names file or override, key and what to do."""


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


AnyPath = Annotated[Path, BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value)]
"""A path; YAML reads one such as 2026 as a number."""
