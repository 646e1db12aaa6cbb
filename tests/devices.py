"""How many of the fake devices a run inside a test's own process is spread over, and how well it is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import pytest


@contextmanager
def few_devices(count: int) -> Iterator[None]:
    """Runs that begin inside find the first ``count`` devices and no other.

    On all eight of them its steps take several times as long, which says more only where their number is the matter.
    """
    some = jax.devices()[:count]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *_: some)
        patch.setattr(jax, "device_count", lambda *_: count)
        yield


@contextmanager
def compiled_better() -> Iterator[None]:
    """Steps that are compiled inside run several times as fast, and take longer to compile: for a run of many."""
    better, jit = {"xla_backend_optimization_level": 1}, jax.jit

    def compiled(*function: Any, **options: Any) -> Any:
        return jit(*function, **options, compiler_options=None if options.get("inline") else better)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", compiled)
        yield
