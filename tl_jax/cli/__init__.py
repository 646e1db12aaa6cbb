"""The ``tl-jax`` command."""

from tl_jax.cli.main import main

__all__ = ["main"]
