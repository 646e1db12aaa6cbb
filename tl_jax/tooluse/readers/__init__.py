"""Files of trajectories and cases, in whichever format they are.

Each format is one file with its record ``FORMAT`` and stands in the table of `registry`. The other files help them:
`packed` opens files, `rows` reads them, `fields` takes rows apart, `schemas`, `openapi` and `toolbox` make tools,
`react` reads conversations in text.
"""

from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.predictions import read_predictions, read_turns
from tl_jax.tooluse.readers.registry import (
    FORMATS,
    detect_format,
    format_of,
    holds_cases,
    is_companion,
    read_cases,
    read_trajectories,
)
from tl_jax.tooluse.readers.rows import Place, each_row

__all__ = [
    "FORMATS",
    "Format",
    "Place",
    "detect_format",
    "each_row",
    "format_of",
    "has",
    "holds_cases",
    "is_companion",
    "read_cases",
    "read_predictions",
    "read_trajectories",
    "read_turns",
]
