"""Files of trajectories and cases, in whichever format they are."""

from tl_jax.tooluse.readers.files import detect_format, read_cases, read_predictions, read_trajectories

__all__ = ["detect_format", "read_cases", "read_predictions", "read_trajectories"]
