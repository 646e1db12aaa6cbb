"""Which prompts a run is evaluated on, and never trained on."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from tl_jax.data.prompts import Prompt

HELD_OUT_FILE = "held_out.json"
"""In the run's directory: ids of the trajectories."""
_SHOWN = 3


class HeldOut(NamedTuple):
    """The prompts of a file in two parts, by trajectory."""

    training: list[Prompt]
    evaluation: list[Prompt]
    """none where there is only one trajectory, or nothing is to be evaluated"""
    trajectories: tuple[str, ...]
    """ids of those that the second part is of"""

    @property
    def line(self) -> str:
        """What the log says of it."""
        if not self.trajectories:
            return (
                "evaluated on training prompts: none are held out (too few, or data.eval_share=0); set data.eval_path"
            )
        shown = ", ".join(map(repr, self.trajectories[:_SHOWN])) + (", ..." if len(self.trajectories) > _SHOWN else "")
        return (
            f"held out for evaluation, and not trained on: {len(self.evaluation)} prompts of "
            f"{len(self.trajectories)} trajectories ({shown}; all in {HELD_OUT_FILE})"
        )


def hold_out(prompts: Sequence[Prompt], share: float, count: int) -> HeldOut:
    """Holds trajectories out until they have ``count`` prompts, but no more than ``share`` of them.

    Which ones depends on their ids alone: neither on their order nor on what else there is in the file.

    Args:
        prompts: of cases or decision points; those of one trajectory stay together.
        share: of the trajectories, at most; rounded up, though never all.
        count: prompts that are enough.
    """
    by_trajectory: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_trajectory.setdefault(trajectory_of(prompt.case.id), []).append(prompt)
    most = min(math.ceil(share * len(by_trajectory)), len(by_trajectory) - 1)
    chosen: list[str] = []
    held = 0
    for name in sorted(by_trajectory, key=_rank)[:most]:
        if held >= count:
            break
        chosen.append(name)
        held += len(by_trajectory[name])
    apart = set(chosen)
    training = [prompt for prompt in prompts if trajectory_of(prompt.case.id) not in apart]
    evaluation = [prompt for prompt in prompts if trajectory_of(prompt.case.id) in apart]
    return HeldOut(training, evaluation, tuple(sorted(chosen)))


def trajectory_of(case_id: str) -> str:
    """The id of the trajectory that a case is a decision point of; of any other case its own.

    Example:
        >>> trajectory_of("weather-17#4"), trajectory_of("q1")
        ('weather-17', 'q1')
    """
    return re.sub(r"#\d+$", "", case_id)


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
