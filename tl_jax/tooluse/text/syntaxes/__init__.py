"""The ways in which models write calls, each both ways: one table for readers, parser, judges and documents."""

from tl_jax.tooluse.text.syntaxes.base import MAX_ARGUMENTS, MAX_LENGTH, Offer, Parsed, Problem, Syntax
from tl_jax.tooluse.text.syntaxes.table import SYNTAXES, attempted, item

__all__ = ["MAX_ARGUMENTS", "MAX_LENGTH", "SYNTAXES", "Offer", "Parsed", "Problem", "Syntax", "attempted", "item"]
