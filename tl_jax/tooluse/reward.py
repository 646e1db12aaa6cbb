"""IRM: the rule-based reward of a predicted answer (the table of the paper's section on the reward mechanism).

The whole completion has to be the calls asked for and nothing else. Calls are parsed, never searched for, and values
are compared with their types, so that no text scores without being right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tl_jax.tooluse.compare import Fault, best_assignment, bind_all, compare, offered_tools, same_value
from tl_jax.tooluse.parse import parse_answer
from tl_jax.tooluse.schema import Call, Case, Tool

PARAMETER_FAULTS = frozenset({"hallucinated_parameter", "redundant_parameter", "missing_parameter"})


@dataclass(frozen=True, slots=True)
class RewardTable:
    """What each outcome is worth. The fields from ``parse_failure`` to ``correct`` are also the categories of `Reward`.

    The three faults of parameter names add up; ``parameter_floor`` bounds their sum from below.
    """

    name: str
    parse_failure: float = -2.0
    hallucinated_tool: float = -2.0
    wrong_tool: float = -1.5
    hallucinated_parameter: float = -0.8
    redundant_parameter: float = -0.5
    missing_parameter: float = -0.5
    wrong_value: float = -0.25
    correct: float = 1.0
    parameter_floor: float | None = None

    PAPER: ClassVar[RewardTable]
    MONOTONE: ClassVar[RewardTable]
    BINARY: ClassVar[RewardTable]


RewardTable.PAPER = RewardTable("paper")
RewardTable.MONOTONE = RewardTable("monotone", parameter_floor=-1.4)  # the right tool never scores below the wrong one
RewardTable.BINARY = RewardTable("binary", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)

PROFILES: Mapping[str, RewardTable] = {
    table.name: table for table in (RewardTable.PAPER, RewardTable.MONOTONE, RewardTable.BINARY)
}
"""The tables known by name."""


@dataclass(frozen=True, slots=True)
class Reward:
    """What an answer is worth. ``category``: its gravest fault, or ``correct``. ``explanation``: one line."""

    value: float
    category: str
    explanation: str


def score(prediction: str, case: Case, profile: str | RewardTable = "paper") -> Reward:
    """The reward of a whole completion: the best over the gold alternatives. Never raises for any prediction.

    The answer to a ``sequence`` is its first call. Several gold calls made at once are paired with the predicted ones
    as well as possible, and the reward is the mean over the pairs; a call too few or too many counts like a parse
    failure, because that is not the form asked for, and because calls could otherwise be added to dilute a bad one.

    Raises:
        ValueError: an unknown profile, or a case without gold calls.
    """
    table = _resolve(profile)
    wanted = [alternative[:1] if case.gold_kind == "sequence" else alternative for alternative in case.gold]
    wanted = [calls for calls in wanted if calls]
    if case.gold_kind == "none" or not wanted:
        raise ValueError(f"case {case.id!r} has no gold call, so there is nothing to reward")
    answer = parse_answer(prediction)
    if answer.problem is not None:
        return _reward([Fault("parse_failure", answer.problem)], table)
    offered = offered_tools(case)
    calls = bind_all(answer.calls, answer.positional, offered)
    return max((_score(calls, gold, offered, table) for gold in wanted), key=lambda reward: reward.value)


def _resolve(profile: str | RewardTable) -> RewardTable:
    if isinstance(profile, RewardTable):
        return profile
    if profile not in PROFILES:
        raise ValueError(f"unknown reward profile {profile!r}; known: {', '.join(PROFILES)}")
    return PROFILES[profile]


def _score(calls: Sequence[Call], gold: Sequence[Call], offered: Mapping[str, Tool], table: RewardTable) -> Reward:
    """Against one alternative."""
    if len(gold) == 1 and len(calls) != 1:
        return _reward([Fault("parse_failure", f"{len(calls)} calls instead of one")], table)
    rewards = [
        [_reward(compare(call, wanted, offered, same_value, defaults=True), table) for wanted in gold] for call in calls
    ]
    pairs = best_assignment([[reward.value for reward in row] for row in rewards])
    parts = [rewards[row][column] for row, column in pairs]
    matched = {column for _, column in pairs}
    lacking = [f"no call of {wanted.name!r}" for column, wanted in enumerate(gold) if column not in matched]
    spare = ["a call too many"] * (len(calls) - len(pairs))
    parts += [_reward([Fault("parse_failure", detail)], table) for detail in lacking + spare]
    return parts[0] if len(parts) == 1 else _mean(parts)


def _reward(faults: Sequence[Fault], table: RewardTable) -> Reward:
    """One call's reward, with the arithmetic in words."""
    if not faults:
        return Reward(table.correct, "correct", f"correct: {table.correct:+g}")
    values = [float(getattr(table, fault.category)) for fault in faults]
    total, sums = sum(values), " ".join(f"{value:+g}" for value in values)
    if len(values) > 1:
        sums += f" = {total:+g}"
    floor = table.parameter_floor
    if floor is not None and total < floor and faults[0].category in PARAMETER_FAULTS:
        total, sums = floor, f"{sums}, but no less than {floor:+g}"
    details = "; ".join(f"{fault.category}: {fault.detail}" for fault in faults)
    worst = min(faults, key=lambda fault: float(getattr(table, fault.category)))
    return Reward(total, worst.category, " ".join(f"{details}: {sums}".split()))


def _mean(parts: Sequence[Reward]) -> Reward:
    """Over several calls; at most eight of them are explained."""
    value = sum(part.value for part in parts) / len(parts)
    worst = min(parts, key=lambda part: part.value)
    details = " | ".join(part.explanation for part in parts[:8]) + (" | ..." if len(parts) > 8 else "")
    return Reward(value, worst.category, f"mean of {len(parts)} calls: {details} = {value:+g}")
