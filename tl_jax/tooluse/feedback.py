"""MAE, mitigating adverse effects: turns that were answered by an error are no targets.

A blocked turn stays in the context, with weight 0. Two rules find the errors: ``paper`` reads the tool result with the
detectors of `tl_jax.tooluse.detectors`; ``reference`` is bug for bug what the released code does, so that figures can
be compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from tl_jax.tooluse import detectors
from tl_jax.tooluse.detectors import Finding
from tl_jax.tooluse.phrases import Category
from tl_jax.tooluse.schema import Message, Trajectory

__all__ = ["CALLER", "Block", "Category", "Finding", "apply_mae", "blocked_turns", "find_error"]

Rule: TypeAlias = Literal["none", "paper", "reference"]
Blocked: TypeAlias = Literal["all", "caller"]

CALLER = frozenset(
    {
        Category.TOOL_HALLUCINATION,
        Category.PARAMETER_HALLUCINATION,
        Category.MISSING_PARAMETER,
        Category.BAD_VALUE,
    }
)
"""The categories that the call itself is to blame for; ``block="caller"`` blocks only these."""

FOLLOWED_BY = "followed by a {role} message"
"""Name of the rule by which the released code drops a turn that no tool message follows."""


@dataclass(frozen=True, slots=True)
class Block:
    """A turn that must not be learnt: the index of its message and why."""

    message: int
    finding: Finding


def find_error(result: str, rule: Rule = "paper") -> Finding | None:
    """The error a tool result reports, or None.

    Raises:
        ValueError: unknown rule.
    """
    if rule == "paper":
        return detectors.find_error(result)
    if rule == "reference":
        return _reference_error(result)
    if rule == "none":
        return None
    raise ValueError(f"unknown MAE rule {rule!r}; known: none, paper, reference")


def blocked_turns(trajectory: Trajectory, rule: Rule = "paper", block: Blocked = "all") -> list[Block]:
    """Every turn the rule blocks, in order.

    ``paper`` looks at all tool messages that answer a turn, ``reference`` at the next message only. ``block="caller"``
    keeps errors that are not the caller's fault (`CALLER`): environment faults and errors of unknown cause.

    Raises:
        ValueError: unknown rule or ``block``.
    """
    if block not in ("all", "caller"):
        raise ValueError(f"block must be 'all' or 'caller', not {block!r}")
    find_error("", rule)  # complains about an unknown rule even where there is nothing to look at
    if rule == "none":
        return []
    findings = _reference_findings if rule == "reference" else _paper_findings
    blocks = []
    for index, _ in trajectory.turns:
        for finding in findings(trajectory.messages, index):
            if block == "all" or finding.category in CALLER:
                blocks.append(Block(index, finding))
                break
    return blocks


def apply_mae(trajectory: Trajectory, rule: Rule = "paper", block: Blocked = "all") -> tuple[Trajectory, list[Block]]:
    """The trajectory with weight 0 on every blocked turn, and the blocks. Arguments as in `blocked_turns`."""
    blocks = blocked_turns(trajectory, rule, block)
    messages = list(trajectory.messages)
    for item in blocks:
        messages[item.message] = replace(messages[item.message], weight=0.0)
    return replace(trajectory, messages=tuple(messages)), blocks


def _paper_findings(messages: tuple[Message, ...], turn: int) -> list[Finding]:
    """Errors in the tool messages that directly follow the turn."""
    findings = []
    for message in messages[turn + 1 :]:
        if message.role != "tool":
            break
        if finding := detectors.find_error(message.content):
            findings.append(finding)
    return findings


def _reference_findings(messages: tuple[Message, ...], turn: int) -> list[Finding]:
    """The released rule: a cue in the next message, or a next message that is no tool's. The last message is kept."""
    if turn + 1 == len(messages):
        return []
    following = messages[turn + 1]
    if following.role != "tool":
        evidence = detectors.excerpt(following.content)
        return [Finding(Category.UNKNOWN_ERROR, FOLLOWED_BY.format(role=following.role), evidence)]
    finding = _reference_error(following.content)
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
            return Finding(category, f"cue {cue}", detectors.excerpt(result))
    return None


def _released_reduction(text: str) -> str:
    """The released code's character class. The inner carets are characters of it, so that "^" is kept as well."""
    return re.sub("[^\u4e00-\u9fa5^a-z^A-Z^0-9]", "", text).lower()
