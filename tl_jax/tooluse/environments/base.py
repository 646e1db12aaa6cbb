"""Where tools answer: what an environment for episodes of several turns has to do.

`tl_jax.tooluse.environments.replay` answers from recordings, `tl_jax.tooluse.environments.python` runs functions, and
in `tl_jax.tooluse.environments.bfcl` the user speaks more than once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tl_jax.tooluse.schema import Call, Case, Message, Tool


class Environment(Protocol):
    """What answers the calls of an episode."""

    def reset(self, case: Case) -> Case:
        """Begins an episode. Returns its opening: the case with the tools and messages that the model sees."""

    def step(self, call: Call) -> tuple[str, bool]:
        """The result of a call, and whether the episode is over."""

    def close(self) -> None:
        """Gives back what the environment holds, such as processes. `reset` may follow all the same."""


@dataclass(frozen=True, slots=True)
class UserTurn:
    """What the user says in the middle of an episode.

    Attributes:
        tools: those that come with it. No prompt shows them by itself: the messages have to say what there is to know.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> UserTurn:
        """Accepts what `to_json` writes."""
        messages = tuple(Message.from_json(message) for message in row["messages"])
        return cls(messages, tuple(Tool.from_json(tool) for tool in row["tools"]))

    def to_json(self) -> dict[str, list[Any]]:
        return {
            "messages": [message.to_json() for message in self.messages],
            "tools": [tool.to_json() for tool in self.tools],
        }


@runtime_checkable
class SpeakingEnvironment(Environment, Protocol):
    """An environment whose user speaks more than once."""

    def user_says(self, answer: str) -> UserTurn | None:
        """What the user says to an answer without calls; None ends the episode."""
