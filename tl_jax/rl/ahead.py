"""The rollouts of a run, one after another; with ``steps_off_policy`` one is sampled before its turn has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tl_jax.config import RlConfig
from tl_jax.rl.faults import described
from tl_jax.rl.groups import GroupSampler, Rollout
from tl_jax.rl.kept_rollout import from_json, to_json
from tl_jax.rl.rubric import Rubric
from tl_jax.rl.state import RlState


class RolloutQueue:
    """Rollouts in the order in which they are learnt from.

    What is sampled ahead for step k + 1 has the parameters that step k begins with. It is rewarded, by `reward`, while
    step k runs on the devices.

    Args:
        config: how far ahead, and what a rollout is of.
        groups: samples and rewards them.
        rubric: of the same rewards.
    """

    def __init__(self, config: RlConfig, groups: GroupSampler, rubric: Rubric) -> None:
        self._groups, self._ahead, self._steps = groups, config.algorithm.steps_off_policy, config.steps
        self._kind = {
            "steps_off_policy": self._ahead,
            "group_size": config.group_size,
            "rewards": [*rubric.turn_rewards, *rubric.kinds],
        }
        self._next: Rollout | None = None
        self._failure: Exception | None = None
        self._state: dict[str, Any] = {}

    def next(self, step: int, state: RlState) -> Rollout:
        """The rollout that ``step`` learns from; the one after it is sampled, too, if that is its time.

        Raises:
            Exception: one of `reward`, whose rollout would come now.
        """
        if self._failure:
            raise self._failure
        rollout = self._groups.rewarded(self._next or self._groups.sample(state))
        self._next = self._groups.sample(state, ahead=1) if self._ahead and step < self._steps else None
        return rollout

    def reward(self) -> None:
        """Rewards what was sampled ahead. What fails is raised by `next`: the step that runs meanwhile is to end."""
        if self._next is None:
            self._state = {}
            return
        try:
            self._next = self._groups.rewarded(self._next)
        except Exception as error:
            self._failure = error
        self._state = {"kind": self._kind, "rollout": to_json(self._next)}

    def state(self) -> dict[str, Any]:
        """Where it stood after the latest `reward`; goes into the checkpoint, fit for JSON."""
        return self._state

    def restore(self, state: Mapping[str, Any], tell: Callable[[str], None]) -> None:
        """Goes on where ``state`` was given. What does not fit the configuration any more, or cannot be read because
        another version wrote it, is told and left out."""
        if not state:
            return
        if state.get("kind") != self._kind:
            tell("the rollout that was sampled ahead is of other settings and not learnt from")
            return
        try:
            self._next = from_json(state["rollout"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            tell(f"the rollout that was sampled ahead cannot be read ({described(error)}) and is not learnt from")
