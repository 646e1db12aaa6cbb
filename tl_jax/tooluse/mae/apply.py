"""MAE, mitigating adverse effects: turns that were answered by an error are no targets.

A blocked turn stays in the context, with weight 0 or a small one. `tl_jax.tooluse.mae.rules` has the rules that find
the errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from tl_jax.errors import UserError
from tl_jax.plugins import Plugin
from tl_jax.tooluse.mae.finding import Finding, said
from tl_jax.tooluse.mae.phrases import PACKS, Category
from tl_jax.tooluse.mae.rules import RULES, finder
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.pairing import answers
from tl_jax.tooluse.schema import Call, Case, Trajectory, decision_points

__all__ = [
    "BLOCKED",
    "CALLER",
    "PACKS",
    "RULES",
    "Block",
    "Category",
    "Finding",
    "apply_mae",
    "blocked_turns",
    "blocking",
    "find_error",
    "right_calls",
]

Blocked: TypeAlias = Literal["all", "caller", "environment"]

CALLER = frozenset(
    {
        Category.TOOL_HALLUCINATION,
        Category.PARAMETER_HALLUCINATION,
        Category.MISSING_PARAMETER,
        Category.BAD_VALUE,
    }
)
"""The categories that the call itself is to blame for."""
BLOCKED: Mapping[Blocked, frozenset[Category]] = {
    "all": frozenset(Category),
    "caller": CALLER,
    "environment": frozenset({Category.ENVIRONMENT}),
}
"""Which errors ``block`` is about."""
FAILED_CALLS = "turns whose calls were answered by an error are no cases: nobody should repeat them"


@dataclass(frozen=True, slots=True)
class Block:
    """A turn that must not be learnt: the index of its message and why."""

    message: int
    finding: Finding


def find_error(
    result: str, rule: str | Plugin = "paper", packs: tuple[str, ...] = (), calls: Sequence[Call] = ()
) -> Finding | None:
    """The error a tool result reports, or None.

    Args:
        rule: as for `tl_jax.tooluse.mae.rules.finder`.
        packs: likewise.
        calls: those the result answers, where known; rule ``paper`` learns from them.

    Raises:
        UserError: unknown rule or pack, or the user's rule returned something it may not.

    Example:
        >>> find_error("f() got an unexpected keyword argument 'town'").category
        <Category.PARAMETER_HALLUCINATION: 'parameter_hallucination'>
        >>> find_error('{"error": null, "temperature": 21}') is None
        True
    """
    return finder(rule, tuple(packs)).in_result(result, said(calls))


def blocked_turns(
    trajectory: Trajectory, rule: str | Plugin = "paper", block: Blocked = "all", packs: tuple[str, ...] = ()
) -> list[Block]:
    """Every turn the rule blocks, in order.

    Args:
        rule: as for `tl_jax.tooluse.mae.rules.finder`.
        packs: likewise.
        block: ``caller`` keeps errors that are not the caller's fault (`CALLER`): environment faults and errors of
            unknown cause. ``environment`` blocks the environment's faults alone.

    Raises:
        UserError: unknown rule, pack or ``block``, or a user's rule returned something it may not.
    """
    if block not in BLOCKED:
        raise UserError(f"block must be one of {', '.join(BLOCKED)}, not {block!r}")
    find, blocks, messages = finder(rule, tuple(packs)), [], trajectory.messages
    results = answers(messages)
    for index, turn in trajectory.turns:
        answered = [messages[at] for at in results.get(index, ())]
        following = messages[index + 1] if index + 1 < len(messages) else None
        finding = blocking(find.in_turn(turn.tool_calls, answered, following), block)
        if finding:
            blocks.append(Block(index, finding))
    return blocks


def blocking(findings: Iterable[Finding], block: Blocked) -> Finding | None:
    """The first of a turn's errors that blocks it, if one does."""
    return next((finding for finding in findings if finding.category in BLOCKED[block]), None)


def apply_mae(
    trajectory: Trajectory,
    rule: str | Plugin = "paper",
    block: Blocked = "all",
    factor: float = 0.0,
    packs: tuple[str, ...] = (),
) -> tuple[Trajectory, list[Block]]:
    """The trajectory with the weight of every blocked turn multiplied by ``factor``, and the blocks.

    The other arguments are those of `blocked_turns`.
    """
    blocks = blocked_turns(trajectory, rule, block, packs)
    messages = list(trajectory.messages)
    for item in blocks:
        message = messages[item.message]
        weight = 1.0 if message.weight is None else message.weight
        messages[item.message] = replace(message, weight=weight * factor)
    return replace(trajectory, messages=tuple(messages)), blocks


def right_calls(
    trajectory: Trajectory, rule: str | Plugin = "paper", block: Blocked = "all", packs: tuple[str, ...] = ()
) -> list[Case]:
    """The decision points of a trajectory as cases, without those that the rule blocks, which are counted (`remark`).

    The other arguments are those of `blocked_turns`.
    """
    failed = {item.message for item in blocked_turns(trajectory, rule, block, packs)}
    right = list[Case]()
    for case in decision_points(trajectory):
        if len(case.messages) in failed:  # the turn that comes next
            remark(FAILED_CALLS)
        else:
            right.append(case)
    return right
