"""Functions of the user's that fail: tried again, described in a line, and what takes the place of their episodes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tl_jax.errors import UserError
from tl_jax.training.distributed import SharedError
from tl_jax.training.stop import Interrupted

T = TypeVar("T")


class FaultyResult(UserError):
    """What a function of the user's returned cannot be used."""


class NothingLeftError(UserError, SharedError):
    """Not one episode was without fault."""


def retried(make: Callable[[], T], retries: int) -> T:
    """What ``make`` gives, in ``retries + 1`` attempts; from the second retry on, a second is waited in between.

    Raises:
        Exception: the last attempt's. A `UserError` that is no `FaultyResult` is nobody's accident and raised at once.
    """
    for attempt in range(retries):
        try:
            return make()
        except Exception as error:
            if not is_fault(error):
                raise
        time.sleep(1.0 if attempt else 0.0)
    return make()


def is_fault(error: Exception) -> bool:
    """Whether an error may be an accident of one episode. The others are of the configuration or the data, or no fault:
    a signal says that the run is to end."""
    return isinstance(error, FaultyResult) or not isinstance(error, UserError | Interrupted)


def described(error: BaseException) -> str:
    """An error in a line, and where it was raised.

    Example:
        >>> described(ValueError("no\\nnumber"))
        'ValueError: no number'
    """
    message = " ".join(str(error).split())
    if isinstance(error, UserError):
        return message
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if message else ''}{message[:300]}{place}"


def stand_ins(failed: Sequence[bool], group_size: int) -> list[int]:
    """Which episode takes each one's place: itself, or where it failed the next one of its group that did not.

    The place of a group that failed as a whole is taken by the next group.

    Args:
        failed: of each episode, not all of them; those of a group are consecutive.
        group_size: episodes of a group.

    Example:
        >>> stand_ins([False, True, True, True, False, False], group_size=2)
        [0, 0, 4, 5, 4, 5]
    """
    groups = [range(start, start + group_size) for start in range(0, len(failed), group_size)]
    whole = [any(not failed[index] for index in group) for group in groups]
    places = []
    for number in range(len(groups)):
        group = groups[_next(whole, number)]
        right = [not failed[index] for index in group]
        places += [group[_next(right, place)] for place in range(group_size)]
    return places


def _next(usable: Sequence[bool], start: int) -> int:
    """The first usable index from ``start`` on; after the last one comes 0."""
    count = len(usable)
    return next(index % count for index in range(start, start + count) if usable[index % count])
