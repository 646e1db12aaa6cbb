"""These rewards as TRL asks for them: ``GRPOTrainer(reward_funcs=irm_reward, ...)``.

https://huggingface.co/docs/trl/grpo_trainer#using-a-custom-reward-function
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.rewards.completions import Row, reward_of
from tl_jax.tooluse.rewards.grade import Profile


def irm_reward(
    completions: Sequence[Any], case: Sequence[Row], profile: str | Profile = "paper", **_: Any
) -> list[float]:
    """What each completion is worth.

    Args:
        completions: texts, or lists of messages with ``tool_calls`` or without; of several messages the assistant's
            first ones count, up to the first result.
        case: the dataset's column of that name: each completion's case, as JSON text or as an object.
        profile: as for `tl_jax.tooluse.rewards.score.score`.
        _: the other columns, and what else TRL hands over.

    Raises:
        UserError: an unknown profile, a row that is no case, or a message with a field that is not known.
        ValueError: a case without gold.

    Example:
        >>> row = '{"id": "1", "tools": [{"name": "f"}], "messages": [{"role": "user", "content": "?"}], '
        >>> row += '"gold": [[{"name": "f", "arguments": {"a": 1}}]]}'
        >>> called = {"function": {"name": "f", "arguments": {"a": 1}}}
        >>> message = {"role": "assistant", "content": None, "tool_calls": [called]}
        >>> irm_reward(completions=["f(a=1)", "f(a=2)", [message]], case=[row] * 3)
        [1.0, -0.25, 1.0]
    """
    pairs = zip(completions, case, strict=True)
    return [reward_of(completion, row, profile).value for completion, row in pairs]
