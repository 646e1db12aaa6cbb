"""Rows of every format: the ``EXAMPLES`` of its test file."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tl_jax.tooluse.readers import FORMATS

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    name: import_module(f"tests.tooluse.readers.test_{name.replace('-', '_')}").EXAMPLES for name in FORMATS
}
"""Format -> rows of it that hold calls. A file of them is called ``clean.jsonl``, as RoTBench needs it."""
