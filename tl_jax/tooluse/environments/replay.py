"""Recorded trajectories as an environment: no tool needs to run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from tl_jax.errors import UserError
from tl_jax.tooluse.pairing import pairs
from tl_jax.tooluse.rewards.compare import compare, offered_tools, same_value
from tl_jax.tooluse.schema import Call, Case, Tool, Trajectory

NOT_RECORDED = "Error: the recording has no such call"
"""What `Replay` answers to a call that it cannot answer."""


class Replay:
    """Recorded trajectories answer: a call that was recorded gets the result that was recorded.

    Results are their calls' by id, or by position (`pairs`); a call without one is left out.
    A call whose turn has weight 0 failed: it is answered as recorded, but neither gold nor `expected`. Where the same
    call failed first and then went well, the result is the good one. What follows the user's next message is left out:
    there is no user to ask, and no model can know what would have been said.

    Attributes:
        cases: the openings, one for every trajectory with a gold call: the messages before the first call, and all
            gold calls as ``open`` ones. ``id`` is the trajectory's.

    Raises:
        UserError: two trajectories have the same id.
    """

    def __init__(self, trajectories: Iterable[Trajectory]) -> None:
        self._recordings: dict[str, _Recording] = {}
        for trajectory in trajectories:
            if trajectory.id in self._recordings:
                raise UserError(f"two recordings have the id {trajectory.id!r}")
            self._recordings[trajectory.id] = _record(trajectory)
        self.cases: list[Case] = [recording.opening for recording in self._recordings.values() if recording.has_gold]
        self._pending: list[_Answered] = []
        self._offered: Mapping[str, Tool] = {}

    @property
    def expected(self) -> tuple[Call, ...]:
        """The gold calls that were not made yet, in the order of the recording: the first is the next one."""
        return tuple(answered.call for answered in self._pending if answered.is_gold)

    def reset(self, case: Case) -> Case:
        """Begins the recording with the id of this case. Returns its opening.

        Raises:
            UserError: there is no such recording, or no gold call in it.
        """
        recording = self._recordings.get(case.id)
        if recording is None or not recording.has_gold:
            raise UserError(f"there is no recording {case.id!r} with calls to replay")
        self._pending, self._offered = list(recording.answered), recording.offered
        return recording.opening

    def step(self, call: Call) -> tuple[str, bool]:
        """The result recorded for this call, and whether it was the last one expected; the order of calls is free.

        Arguments are compared with their types (`same_value`), and an optional one that equals its default is as good
        as left out. A call that was not recorded, or not as often, ends the episode with an error: its result
        is not known.
        """
        for index, (recorded, result, _) in enumerate(self._pending):
            if not compare(call, recorded, self._offered, same_value, defaults=True):
                del self._pending[index]
                return result, not self.expected
        return NOT_RECORDED, True

    def close(self) -> None:
        """Nothing is held."""


class _Answered(NamedTuple):
    """A recorded call with its result."""

    call: Call
    result: str
    is_gold: bool


class _Recording(NamedTuple):
    """A trajectory made ready: its opening, its calls, and the tools that they are compared by."""

    opening: Case
    answered: tuple[_Answered, ...]
    offered: Mapping[str, Tool]

    @property
    def has_gold(self) -> bool:
        return any(answered.is_gold for answered in self.answered)


def _record(trajectory: Trajectory) -> _Recording:
    first = next((index for index, turn in trajectory.turns if turn.tool_calls), len(trajectory.messages))
    answered = tuple(
        sorted(_answered(trajectory, first), key=lambda recorded: not recorded.is_gold)
    )  # gold is found first
    gold = tuple(call for call, _, is_gold in answered if is_gold)
    opening = Case(
        trajectory.id,
        trajectory.tools,
        trajectory.messages[:first],
        (gold,),
        "open",
        trajectory.suite,
        meta=trajectory.meta,
    )
    # Failed calls may name tools that do not exist; they are recognised all the same.
    offered = offered_tools(replace(opening, gold=(tuple(call for call, _, _ in answered),)))
    return _Recording(opening, answered, offered)


def _answered(trajectory: Trajectory, first: int) -> Iterator[_Answered]:
    """The calls from message ``first`` until the user speaks again."""
    roles = [message.role for message in trajectory.messages]
    end = roles.index("user", first) if "user" in roles[first:] else len(roles)
    results: dict[tuple[int, int], str] = {}
    for index, called in pairs(trajectory.messages).call_of.items():
        results.setdefault(called, trajectory.messages[index].content)
    for index, turn in trajectory.turns:
        if index >= end:
            return
        for number, call in enumerate(turn.tool_calls):
            if (index, number) in results:  # there may be fewer results than calls
                yield _Answered(call, results[index, number], turn.weight != 0)
