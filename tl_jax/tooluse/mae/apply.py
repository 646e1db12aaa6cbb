"""MAE, mitigating adverse effects: turns that were answered by an error are no targets.

A blocked turn stays in the context, with weight 0 or a small one. Two rules find the errors: ``paper`` reads the tool
result with the detectors of `tl_jax.tooluse.mae.detectors`; ``reference`` is bug for bug what the released code does,
so that figures can be compared. A third may be the user's own function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from tl_jax.errors import UserError
from tl_jax.plugins import resolve
from tl_jax.tooluse.mae.detectors import Finding, detector, excerpt
from tl_jax.tooluse.mae.phrases import PACKS, Category
from tl_jax.tooluse.schema import Call, Message, Trajectory

__all__ = ["CALLER", "PACKS", "Block", "Category", "Finding", "apply_mae", "blocked_turns", "find_error"]

RULES = ("none", "paper", "reference")
Blocked: TypeAlias = Literal["all", "caller"]
Finder: TypeAlias = Callable[[str, Sequence[Call]], Finding | None]

CALLER = frozenset(
    {
        Category.TOOL_HALLUCINATION,
        Category.PARAMETER_HALLUCINATION,
        Category.MISSING_PARAMETER,
        Category.BAD_VALUE,
    }
)
"""The categories that the call itself is to blame for; ``block="caller"`` blocks only these."""

_WHOSE = {"system": "a system", "user": "a user", "assistant": "an assistant"}


@dataclass(frozen=True, slots=True)
class Block:
    """A turn that must not be learnt: the index of its message and why."""

    message: int
    finding: Finding


def find_error(
    result: str, rule: str = "paper", packs: tuple[str, ...] = (), calls: Sequence[Call] = ()
) -> Finding | None:
    """The error a tool result reports, or None. ``calls`` are those it answers; rule ``paper`` learns from them.

    ``rule`` is ``paper``, ``reference``, ``none`` or a rule of the user's own: the dotted path ``module:function`` of a
    function that takes the result and returns None, a `Finding`, or a category or its name. ``packs`` names the
    families of errors (`PACKS`) that ``paper`` looks for; none named means all.

    Raises:
        UserError: unknown rule or pack, or the user's rule returned something else.
    """
    return _finder(rule, tuple(packs))(result, calls)


def blocked_turns(
    trajectory: Trajectory, rule: str = "paper", block: Blocked = "all", packs: tuple[str, ...] = ()
) -> list[Block]:
    """Every turn the rule blocks, in order; ``rule`` and ``packs`` as in `find_error`.

    ``reference`` looks at the next message only, every other rule at all tool messages that answer a turn.
    ``block="caller"`` keeps errors that are not the caller's fault (`CALLER`): environment faults and errors of unknown
    cause.

    Raises:
        UserError: unknown rule, pack or ``block``, or a user's rule returned something it may not.
    """
    if block not in ("all", "caller"):
        raise UserError(f"block must be 'all' or 'caller', not {block!r}")
    find = _finder(rule, tuple(packs))
    if rule == "none":
        return []
    blocks = []
    for index, turn in trajectory.turns:
        following = trajectory.messages[index + 1 :]
        by_rule = _reference_findings(following) if rule == "reference" else _findings(turn.tool_calls, following, find)
        for finding in by_rule:
            if block == "all" or finding.category in CALLER:
                blocks.append(Block(index, finding))
                break
    return blocks


def apply_mae(
    trajectory: Trajectory,
    rule: str = "paper",
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


@lru_cache
def _finder(rule: str, packs: tuple[str, ...]) -> Finder:
    """The function that judges one tool result."""
    find = detector(packs).find  # complains about unknown packs, whatever the rule
    if ":" in rule:
        return _own_rule(rule)
    if rule not in RULES:
        raise UserError(f"unknown MAE rule {rule!r}; known: {', '.join(RULES)}, or module:function for your own")
    known: dict[str, Finder] = {
        "none": lambda result, calls: None,
        "paper": find,
        "reference": lambda result, calls: _reference_error(result),
    }
    return known[rule]


def _own_rule(path: str) -> Finder:
    function: Callable[[str], Any] = resolve(path)

    def find(result: str, calls: Sequence[Call]) -> Finding | None:
        answer = function(result)
        if answer is None or isinstance(answer, Finding):
            return answer
        if isinstance(answer, str) and answer in set(Category):
            return Finding(Category(answer), path, excerpt(result))
        raise UserError(
            f"MAE rule {path}: returned {answer!r}; it has to return None, a Finding or one of: {', '.join(Category)}"
        )

    return find


def _findings(calls: Sequence[Call], following: Sequence[Message], find: Finder) -> list[Finding]:
    """Errors in the tool messages that directly follow a turn."""
    findings = []
    for message in following:
        if message.role != "tool":
            break
        if finding := find(message.content, calls):
            findings.append(finding)
    return findings


def _reference_findings(following: Sequence[Message]) -> list[Finding]:
    """The released rule: a cue in the next message, or a next message that is no tool's. The last message is kept."""
    if not following:
        return []
    message = following[0]
    if message.role != "tool":
        return [
            Finding(Category.UNKNOWN_ERROR, f"followed by {_WHOSE[message.role]} message", excerpt(message.content))
        ]
    finding = _reference_error(message.content)
    return [finding] if finding else []


_CUES: tuple[tuple[str, Category], ...] = (
    ("is not defined", Category.TOOL_HALLUCINATION),
    ("positional argument", Category.MISSING_PARAMETER),
    ("unexpected keyword", Category.PARAMETER_HALLUCINATION),
    ("'related_searches'", Category.UNKNOWN_ERROR),
    ("ConnectionError", Category.ENVIRONMENT),
    ('"error":', Category.UNKNOWN_ERROR),
    ("not supported", Category.BAD_VALUE),
    ("Invalid API call", Category.BAD_VALUE),
    ("Response error", Category.ENVIRONMENT),
    ("Object of type SerpResults is not JSON serializable", Category.ENVIRONMENT),
    ("400 Client Error", Category.BAD_VALUE),
    ("'error'", Category.UNKNOWN_ERROR),
    ("slice indices must be integers or None or have an __index__ method", Category.BAD_VALUE),
    ("connection error", Category.ENVIRONMENT),
)
"""The released cues in their order. The categories are ours: the released code has none."""


def _reference_error(result: str) -> Finding | None:
    text = _released_reduction(result)
    for cue, category in _CUES:
        if _released_reduction(cue) in text:
            return Finding(category, f"cue {cue}", excerpt(result))
    return None


def _released_reduction(text: str) -> str:
    """The released code's character class. The inner carets are characters of it, so that "^" is kept as well."""
    return re.sub("[^\u4e00-\u9fa5^a-z^A-Z^0-9]", "", text).lower()
