"""A reward without gold calls: what the tools themselves say, read by the categories of MAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tl_jax.tooluse.mae.apply import find_error
from tl_jax.tooluse.mae.phrases import Category
from tl_jax.tooluse.rewards.verdict import Reward
from tl_jax.tooluse.schema import Call

SUCCESS = 1.0
NO_CALL = 0.0
"""An answer in words. Whether it is a good one, no tool can say."""
COSTS: Mapping[Category, float] = {
    Category.TOOL_HALLUCINATION: -2.0,
    Category.PARAMETER_HALLUCINATION: -0.8,
    Category.MISSING_PARAMETER: -0.5,
    Category.BAD_VALUE: -0.25,
    Category.UNKNOWN_ERROR: -0.5,
    Category.ENVIRONMENT: 0.0,
}
"""The figures of the paper's table for the same faults; a fault of the environment is not the caller's."""


def live_reward(calls: Sequence[Call], results: Sequence[str]) -> Reward:
    """The mean over a turn's calls of `SUCCESS`, or of the cost of the error that came back.

    Args:
        calls: that the turn made.
        results: one for each.

    Example:
        >>> live_reward([Call("open"), Call("find")], ['{"pages": 3}', "Unknown tool: find"])
        Reward(value=-0.5, category='tool_hallucination', explanation='+1 open: success; -2 find: tool_hallucination')
    """
    if not calls:
        return Reward(NO_CALL, "no_call", f"{NO_CALL:+g}: no call")
    values: list[float] = []
    notes: list[str] = []
    worst = "success"
    for call, result in zip(calls, results, strict=True):
        found = find_error(result, "paper")
        value = COSTS[found.category] if found else SUCCESS
        if found and (worst == "success" or value <= min(values)):
            worst = found.category.value
        values.append(value)
        notes.append(f"{value:+g} {call.name}: {found.category.value if found else 'success'}")
    return Reward(sum(values) / len(values), worst, "; ".join(notes))
