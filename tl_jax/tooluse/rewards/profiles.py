"""The reward profiles there are, and finding one by what a user wrote.

A new profile is one record of `PROFILES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tl_jax.registry import Registry
from tl_jax.tooluse.rewards.grade import Profile
from tl_jax.tooluse.rewards.reference import Reference
from tl_jax.tooluse.rewards.table import RewardTable, read_table
from tl_jax.tooluse.rewards.toolrl import ToolRl
from tl_jax.tooluse.rewards.verdict import OUTCOMES, Outcome
from tl_jax.tooluse.text.render import PaperRenderer, ReleasedRenderer

PROFILES: Registry[Profile] = Registry(
    "reward",
    (
        RewardTable("paper", description="the table as published"),
        RewardTable(
            "monotone",
            parameter_floor=-1.4,
            description="as published, but the right tool never scores below the wrong one",
        ),
        RewardTable("binary", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, description="right or not"),
        ToolRl(),
        Reference("reference", PaperRenderer(), "the scorer that was released with the paper, bug for bug"),
        Reference("reference-released", ReleasedRenderer(), "the same on the text format of the released data"),
    ),
    columns={
        "profile": lambda profile: f"`{profile.name}`",
        "what it is": lambda profile: profile.description,
        "pairing": lambda profile: f"`{profile.pairing}`" if isinstance(profile, RewardTable) else "",
    },
    also="the path of a YAML file",
)
"""What ``reward=`` and ``--profile`` name."""


def _columns() -> Mapping[str, Callable[[Outcome], Any]]:
    """Of `AMOUNTS`: a column for every profile that is a table."""

    def amounts(table: RewardTable) -> Callable[[Outcome], str]:
        return lambda outcome: f"{getattr(table, outcome.name):g}"

    tables = [profile for profile in PROFILES.values() if isinstance(profile, RewardTable)]
    return {
        "outcome": lambda outcome: outcome.meaning,
        "category": lambda outcome: f"`{outcome.name}`",
        **{f"`{table.name}`": amounts(table) for table in tables},
    }


AMOUNTS = Registry("outcome", OUTCOMES.values(), columns=_columns)
"""`OUTCOMES` with what they are worth, as the documents show them."""


def resolve_profile(name: str | Profile) -> Profile:
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
    return PROFILES.find(name)


@lru_cache(maxsize=16)
def _table(path: Path, changed: int) -> RewardTable:
    """The file's table; read again only when the file has ``changed``."""
    return read_table(path)
