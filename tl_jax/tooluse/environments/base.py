"""Where tools answer: what an environment for episodes of several turns has to do.

`tl_jax.tooluse.environments.replay` answers from recordings, `tl_jax.tooluse.environments.python` runs functions.
"""

from __future__ import annotations

from typing import Protocol

from tl_jax.tooluse.schema import Call, Case


class Environment(Protocol):
    """What answers the calls of an episode."""

    def reset(self, case: Case) -> Case:
        """Begins an episode. Returns its opening: the case with the tools and messages that the model sees."""

    def step(self, call: Call) -> tuple[str, bool]:
        """The result of a call, and whether the episode is over."""

    def close(self) -> None:
        """Gives back what the environment holds, such as processes. `reset` may follow all the same."""
