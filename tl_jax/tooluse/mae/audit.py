"""`tl-jax mae`: mark erroneous calls in a file of trajectories and write down what was marked, where and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tl_jax.addresses import shown
from tl_jax.files import new_file
from tl_jax.plugins import Plugin
from tl_jax.tooluse.mae.apply import Block, Blocked, apply_mae, blocked_turns
from tl_jax.tooluse.mae.rules import RULES
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Trajectory


@dataclass
class RuleCounts:
    """What one rule blocks."""

    trajectories: int = 0
    """Those with at least one blocked turn."""
    turns: Counter[str] = field(default_factory=Counter)
    """By category, or by what found them where the rule has no categories."""


@dataclass
class MaeReport:
    """What `run_mae` found; only rule ``applied`` changed the output."""

    applied: str
    factor: float
    rules: dict[str, RuleCounts]
    trajectories: int = 0
    turns: int = 0

    def lines(self) -> Iterator[str]:
        """For people: the file, then for each rule its sum and one line per category or cue."""
        yield f"{self.trajectories} trajectories, {self.turns} assistant turns"
        for name, counts in self.rules.items():
            use = "for comparison" if name != self.applied else f"applied, weight {self.factor:g}"
            yield (
                f"rule {name} ({use}): {self._share(counts.turns.total())} turns blocked, "
                f"in {counts.trajectories} trajectories"
            )
            yield from (f"  {what:<34} {self._share(n)}" for what, n in counts.turns.most_common())

    def _share(self, turns: int) -> str:
        return f"{turns:5} ({100 * turns / self.turns if self.turns else 0:4.1f} %)"


def run_mae(
    source: Path,
    out: Path,
    audit: Path | None,
    *,
    kind: str = "auto",
    rule: str | Plugin = "paper",
    block: Blocked = "all",
    factor: float = 0.0,
    packs: tuple[str, ...] = (),
) -> MaeReport:
    """Read ``source``, multiply the weight of blocked turns by ``factor``, write canonical JSONL to ``out``.

    Every rule but ``none`` is counted. The audit holds one JSON line for each blocked turn and rule:
    ``file, id, turn`` (1 = the first assistant turn), ``message`` (index), ``rule, applied, category, detector,
    evidence``. Both files appear only once complete.

    Raises:
        UserError: a row that cannot be read, an unknown rule or pack; nothing is written then.
    """
    applied = str(Plugin.read(rule))
    rules = {applied: rule} | {name: name for name in RULES if name not in ("none", applied)}
    report = MaeReport(applied, factor, {name: RuleCounts() for name in rules})
    rows: list[str] = []
    records: list[str] = []
    for trajectory in read_trajectories(source, kind):
        report.trajectories += 1
        report.turns += sum(1 for _ in trajectory.turns)
        for name, counts in report.rules.items():
            found = blocked_turns(trajectory, rules[name], block, packs)
            counts.trajectories += bool(found)
            counts.turns.update(_heading(name, item) for item in found)
            records += _records(source, trajectory, found, name, name == applied)
        marked, _ = apply_mae(trajectory, rule, block, factor, packs)
        rows.append(json.dumps(marked.to_json(), ensure_ascii=False))
    with ExitStack() as files:  # both, or neither
        for path, lines in ((out, rows), (audit, records)):
            if path is not None:
                files.enter_context(new_file(path)).writelines(line + "\n" for line in lines)
    return report


def _heading(rule: str, item: Block) -> str:
    by_category = rule not in RULES or RULES[rule].has_categories
    return str(item.finding.category) if by_category else item.finding.rule


def _records(source: Path, trajectory: Trajectory, found: list[Block], rule: str, applied: bool) -> list[str]:
    """The lines of the audit."""
    numbers = {index: number for number, (index, _) in enumerate(trajectory.turns, start=1)}
    return [
        json.dumps(
            {
                "file": shown(source),
                "id": trajectory.id,
                "turn": numbers[item.message],
                "message": item.message,
                "rule": rule,
                "applied": applied,
                "category": str(item.finding.category),
                "detector": item.finding.rule,
                "evidence": item.finding.evidence,
            },
            ensure_ascii=False,
        )
        for item in found
    ]
