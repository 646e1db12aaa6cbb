"""The environments that configurations call by a name of their own; any other is a function of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tl_jax.registry import Registry
from tl_jax.tooluse.environments.base import Environment
from tl_jax.tooluse.environments.bfcl import BfclTools
from tl_jax.tooluse.environments.replay import Replay
from tl_jax.tooluse.schema import Case


class RecordedEnvironment(Environment, Protocol):
    """An environment made of recordings, which say what episodes there are."""

    cases: list[Case]
    """What episodes begin with."""


@dataclass(frozen=True, slots=True)
class NamedEnvironment:
    """An environment that the data is enough to make.

    Attributes:
        make: gives an environment; takes the options that users give it.
        recorded: what ``make`` takes first are the data's trajectories, in which calls that failed have weight 0; it
            gives a `RecordedEnvironment`, and each episode is played on a shallow copy of it. Otherwise the data holds
            cases, and each episode has an environment of its own.
    """

    name: str
    description: str
    make: Callable[..., Any]
    recorded: bool = False


ENVIRONMENTS = Registry(
    "environment",
    (
        NamedEnvironment("replay", "the results recorded in the data's trajectories", Replay, recorded=True),
        NamedEnvironment("bfcl", "BFCL's own classes, for its multi-turn questions, see [bfcl.md](bfcl.md)", BfclTools),
    ),
    columns={
        "`environment=`": lambda environment: f"`{environment.name}`",
        "calls are answered by": lambda environment: environment.description,
    },
    also="module:function",
)
