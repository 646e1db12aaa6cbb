"""What of a user's files a model of limited length can use: trajectories to train on, cases to answer."""

from __future__ import annotations

from pathlib import Path

from tl_jax.data.codec import Codec
from tl_jax.data.prompts import encode_prompts, load_cases
from tl_jax.data.sources import trajectories
from tl_jax.errors import UserError
from tl_jax.tooluse.schema import Case, Trajectory


def fitting_trajectories(path: Path, codec: Codec, max_length: int) -> tuple[list[Trajectory], int]:
    """The trajectories of at most ``max_length`` tokens, and how many there are in all.

    Raises:
        UserError: there is none, or the file cannot be read.
    """
    found = list(trajectories(path))
    fitting = [one for one in found if len(codec.encode(one.tools, one.messages).ids) <= max_length]
    if not fitting:
        raise UserError(f"{path}: none of the {len(found)} trajectories has at most {max_length} tokens")
    return fitting, len(found)


def fitting_cases(path: Path, codec: Codec, max_length: int) -> tuple[list[Case], int]:
    """The cases whose prompts have at most ``max_length`` tokens, and how many there are in all.

    Raises:
        UserError: there is none, or the file cannot be read.
    """
    found = load_cases(path)
    prompts, _ = encode_prompts(found, codec, max_length)
    if not prompts:
        raise UserError(f"{path}: none of the {len(found)} cases has a prompt of at most {max_length} tokens")
    return [prompt.case for prompt in prompts], len(found)
