"""The environments that configurations call by a name of their own; any other is a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from tl_jax.registry import Registry
from tl_jax.tooluse.environments.base import Environment
from tl_jax.tooluse.environments.replay import Replay
from tl_jax.tooluse.schema import Case, Trajectory


class RecordedEnvironment(Environment, Protocol):
    """An environment made of recordings, which say what episodes there are."""

    cases: list[Case]
    """What episodes begin with."""


@dataclass(frozen=True, slots=True)
class NamedEnvironment:
    """An environment that the data's trajectories are enough to make.

    Attributes:
        make: takes the trajectories, in which calls that failed have weight 0. Each episode is played on a shallow copy
            of what it gives.
    """

    name: str
    description: str
    make: Callable[[Iterable[Trajectory]], RecordedEnvironment]


ENVIRONMENTS = Registry(
    "environment",
    (NamedEnvironment("replay", "the results recorded in the data's trajectories", Replay),),
    columns={
        "`environment=`": lambda environment: f"`{environment.name}`",
        "calls are answered by": lambda environment: environment.description,
    },
    also="module:function",
)
