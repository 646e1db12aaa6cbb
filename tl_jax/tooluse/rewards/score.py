"""IRM: the rule-based reward of a predicted answer, by profile.

``paper`` is the table of the paper's section on the reward mechanism; docs/rewards.md has all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from tl_jax.errors import UserError
from tl_jax.tooluse.rewards.grade import Profile, grade
from tl_jax.tooluse.rewards.reference import REFERENCE, REFERENCE_RELEASED, Reference
from tl_jax.tooluse.rewards.table import RewardTable, read_table
from tl_jax.tooluse.rewards.toolrl import ToolRl
from tl_jax.tooluse.rewards.verdict import Explanation, Reward, Verdict, one_line
from tl_jax.tooluse.schema import Case

__all__ = ["PROFILES", "AnyProfile", "Explanation", "Reward", "RewardTable", "explain", "resolve_profile", "score"]

AnyProfile: TypeAlias = Profile | Reference

PROFILES: Mapping[str, AnyProfile] = {
    profile.name: profile
    for profile in (
        RewardTable.PAPER,
        RewardTable.MONOTONE,
        RewardTable.BINARY,
        ToolRl(),
        REFERENCE,
        REFERENCE_RELEASED,
    )
}
"""The profiles known by name."""


def score(prediction: str, case: Case, profile: str | AnyProfile = "paper") -> Reward:
    """The reward of a whole completion: the best over the gold alternatives. Never raises for any prediction.

    Args:
        profile: one of `PROFILES`, the path of a YAML file with a table of your own, or a profile itself.

    Raises:
        UserError: an unknown profile or a bad file.
        ValueError: a case without gold.
    """
    chosen, verdict = _judged(prediction, case, profile)
    return Reward(verdict.value, verdict.category, one_line(verdict.faults, chosen.arithmetic(verdict)))


def explain(prediction: str, case: Case, profile: str | AnyProfile = "paper") -> Explanation:
    """As `score`, with the faults, the offending arguments and the arithmetic one by one."""
    chosen, verdict = _judged(prediction, case, profile)
    return Explanation(verdict.value, verdict.category, verdict.faults, chosen.arithmetic(verdict))


def resolve_profile(name: str | AnyProfile) -> AnyProfile:
    """A profile by its name or, for a name that is a path (``mine.yaml``, ``dir/mine``), from that file.

    Raises:
        UserError: neither a known profile nor a path, with the nearest name; or a bad file.
    """
    if not isinstance(name, str):
        return name
    if known := PROFILES.get(name):
        return known
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return _table(path, path.stat().st_mtime_ns if path.is_file() else 0)
    near = difflib.get_close_matches(name, PROFILES, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(PROFILES)}, or the path of a YAML file"
    raise UserError(f"unknown reward {name!r}; {hint}")


@lru_cache(maxsize=16)
def _table(path: Path, changed: int) -> RewardTable:
    """The file's table; read again only when the file has ``changed``."""
    return read_table(path)


def _judged(prediction: str, case: Case, profile: str | AnyProfile) -> tuple[AnyProfile, Verdict]:
    chosen = resolve_profile(profile)
    return chosen, chosen.grade(prediction, case) if isinstance(chosen, Reference) else grade(prediction, case, chosen)
