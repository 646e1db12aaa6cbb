"""`tl-jax mae`: mark erroneous calls in a file of trajectories and write down what was marked, where and why."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tl_jax.tooluse.feedback import Block, apply_mae, blocked_turns
from tl_jax.tooluse.readers import read_trajectories

Rule = Literal["paper", "reference"]
RULES: tuple[Rule, ...] = ("paper", "reference")


@dataclass
class MaeReport:
    """What `run_mae` found. ``blocked[rule][category]`` counts turns; only ``applied`` changed the output."""

    applied: Rule
    trajectories: int = 0
    turns: int = 0
    affected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RULES, 0))
    blocked: dict[str, Counter[str]] = field(default_factory=lambda: {rule: Counter() for rule in RULES})

    def lines(self) -> list[str]:
        """For people: one line for the file, one for each rule."""
        lines = [f"{self.trajectories} trajectories, {self.turns} assistant turns"]
        for rule in RULES:
            counts = self.blocked[rule]
            total = counts.total()
            share = 100 * total / self.turns if self.turns else 0.0
            what = ", ".join(f"{category} {n}" for category, n in counts.most_common())
            mark = "applied" if rule == self.applied else "for comparison"
            lines.append(
                f"rule {rule} ({mark}): {total} turns blocked ({share:.1f} %) in {self.affected[rule]} trajectories"
                + (f": {what}" if what else "")
            )
        return lines


def run_mae(
    source: Path, out: Path, audit: Path | None, *, kind: str = "auto", rule: Rule = "paper",
    block: Literal["all", "caller"] = "all",
) -> MaeReport:  # fmt: skip
    """Read ``source``, give blocked turns weight 0, write canonical JSONL to ``out``.

    The audit holds one JSON line for each blocked turn and rule: ``file, id, turn`` (1 = the first assistant turn),
    ``message`` (index), ``rule, applied, category, detector, evidence``. Both files appear only once complete.

    Raises:
        DataError: a row that cannot be read; nothing is written then.
    """
    report = MaeReport(applied=rule)
    rows: list[str] = []
    records: list[str] = []
    for trajectory in read_trajectories(source, kind):
        turn_numbers = {index: number for number, (index, _) in enumerate(trajectory.turns, start=1)}
        report.trajectories += 1
        report.turns += len(turn_numbers)
        for name in RULES:
            found = blocked_turns(trajectory, name, block)
            report.affected[name] += bool(found)
            report.blocked[name].update(str(item.finding.category) for item in found)
            records += [
                json.dumps(
                    _record(source, trajectory.id, turn_numbers[item.message], item, name, name == rule),
                    ensure_ascii=False,
                )
                for item in found
            ]
        marked, _ = apply_mae(trajectory, rule, block)
        rows.append(json.dumps(marked.to_json(), ensure_ascii=False))
    _write_lines(out, rows)
    if audit is not None:
        _write_lines(audit, records)
    return report


def _record(source: Path, identity: str, turn: int, item: Block, rule: str, applied: bool) -> dict[str, object]:
    return {
        "file": str(source), "id": identity, "turn": turn, "message": item.message, "rule": rule, "applied": applied,
        "category": str(item.finding.category), "detector": item.finding.rule, "evidence": item.finding.evidence,
    }  # fmt: skip


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    partial.replace(path)
