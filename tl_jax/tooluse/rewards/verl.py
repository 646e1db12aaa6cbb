"""These rewards as verl asks for them: a file with ``compute_score`` as ``custom_reward_function.path``.

https://verl.readthedocs.io/en/latest/preparation/reward_function.html
"""

from __future__ import annotations

from typing import Any

from tl_jax.tooluse.rewards.completions import Row, reward_of
from tl_jax.tooluse.rewards.grade import Profile


def compute_score(
    data_source: str,
    solution_str: Any,
    ground_truth: Row,
    extra_info: Any = None,
    profile: str | Profile = "paper",
    **_: Any,
) -> float:
    """What an answer is worth.

    Args:
        data_source: not looked at.
        solution_str: the answer's text; messages are understood as well.
        ground_truth: the case, as JSON text or as an object.
        extra_info: not looked at.
        profile: as for `tl_jax.tooluse.rewards.score.score`; verl hands over what
            ``custom_reward_function.reward_kwargs`` says.
        _: what else verl hands over.

    Raises:
        UserError: an unknown profile, a ground truth that is no case, or a message with a field that is not known.
        ValueError: a case without gold.
    """
    return reward_of(solution_str, ground_truth, profile).value
