"""Files of trajectories and cases, in whichever format they are."""

from tl_jax.tooluse.readers.files import read_predictions
from tl_jax.tooluse.readers.registry import FORMATS, detect_format, holds_cases, read_cases, read_trajectories

__all__ = ["FORMATS", "detect_format", "holds_cases", "read_cases", "read_predictions", "read_trajectories"]
