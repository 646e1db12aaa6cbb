"""An account of everything that becomes of the data on its way to rows of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class DataReport:
    """What became of the data. ``turns == targets + sum(blocked) + weightless + skipped_turns``."""

    trajectories: int = 0
    turns: int = 0
    """Assistant messages."""
    targets: int = 0
    """Turns that are trained."""
    blocked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(MAE detector, category) -> turns kept out of the gradient."""
    reduced: int = 0
    """Targets whose weight MAE reduces (``mae.factor``)."""
    weightless: int = 0
    """Turns whose weight is 0 in the data."""
    silent: int = 0
    """Turns without text and calls; they are among the weightless ones."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Parts of messages that ``include`` does not name -> messages that have them."""
    skipped_turns: int = 0
    """Targets lost because they do not fit into a row."""
    skipped_long: int = 0
    """Trajectories skipped because they are longer than a row (``overlong: skip``)."""
    without_target: int = 0
    """Trajectories without anything to learn."""
    without_tools: int = 0
    """Trajectories that call tools and offer none."""
    hidden_calls: int = 0
    """Targets whose text the chat template writes right before a call, where nothing reads it again."""
    by_turn: int = 0
    """Trajectories with an example for every turn, because the chat template rewrites the past."""
    dropped_texts: int = 0
    """Messages whose text, or thought, the chat template does not write in all of the examples."""
    divided: int = 0
    """Trajectories longer than a row that became several examples."""
    dropped_context_turns: int = 0
    """Turns missing from the contexts of those examples."""
    examples: int = 0
    rows: int = 0
    tokens: int = 0
    shared: int | None = None
    """Tokens that are not read again, because their row has them as another example's beginning; None = nobody asked"""
    target_tokens: int = 0
    notes: list[str] = field(default_factory=list)
    """What else there is to say about the file: fields left out, results matched by position."""
    padding: float = 0.0
    """Share of the rows' positions that hold no token."""

    @property
    def read(self) -> int:
        """Tokens that stand in the rows."""
        return self.tokens - (self.shared or 0)

    def add(self, later: DataReport) -> None:
        """Takes over the counts of later trajectories of the same data."""
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(later, item.name)
            if isinstance(mine, Counter):
                mine.update(theirs)
            elif isinstance(mine, int):
                setattr(self, item.name, mine + theirs)

    def to_json(self) -> dict[str, Any]:
        """JSON values, which `from_json` reads."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: [*value.items()] if isinstance(value, Counter) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> DataReport:
        """What `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it did not.
        """
        report = cls(**{item.name: row[item.name] for item in fields(cls)})
        report.blocked = Counter({tuple(found): count for found, count in row["blocked"]})
        report.left_out = Counter(dict(row["left_out"]))
        return report

    def lines(self) -> list[str]:
        """For the log."""
        blocked = sum(self.blocked.values())
        lines = [
            f"{self.trajectories} trajectories with {self.turns} turns: {self.targets} targets, {blocked} blocked by "
            f"MAE, {self.weightless} of weight 0 in the data, {self.skipped_turns} too long",
            *(f"  blocked: {count} by {rule} ({category})" for (rule, category), count in self.blocked.most_common()),
            f"{self.examples} examples, {self.tokens} tokens, {self.target_tokens} of them targets; {self.rows} rows, "
            f"{100 * self.padding:.1f} % padding",
        ]
        if self.shared is not None:
            lines.append(
                f"{self.shared} tokens, {100 * self.shared / self.tokens:.1f} %, are beginnings that another example "
                f"of their row has: {self.read} are read"
            )
        if self.silent:
            lines.append(f"{self.silent} turns have neither text nor calls; they are no targets")
        lines += [
            f"{count} turns have {part}, which is left out; data.include: [{part}] writes it"
            for part, count in self.left_out.items()
        ]
        if self.reduced:
            lines.append(f"{self.reduced} of the targets were answered by an error; MAE reduces their weight")
        if self.without_tools:
            lines.append(f"{self.without_tools} trajectories call tools and offer none that could be read")
        if self.hidden_calls:
            lines.append(
                f"{self.hidden_calls} targets have text that the chat template writes right before a call: such a call "
                "is not found in the model's answers"
            )
        if self.by_turn:
            lines.append(
                f"{self.by_turn} trajectories have one example for each turn, because the chat template rewrites the "
                "past; docs/templates.md"
            )
        if self.dropped_texts:
            lines.append(
                f"{self.dropped_texts} messages have text that the chat template does not write (beside calls, as a "
                "thought, or in later prompts)"
            )
        if self.divided:
            lines.append(
                f"{self.divided} trajectories longer than a row were divided; their examples lack "
                f"{self.dropped_context_turns} turns of context"
            )
        if self.skipped_turns and not self.skipped_long:
            lines.append(
                f"skipped: {self.skipped_turns} targets too long for a row even with the least context; "
                "a larger data.max_length keeps them"
            )
        if self.skipped_long:
            lines.append(f"skipped: {self.skipped_long} trajectories longer than a row")
        if self.without_target:
            lines.append(f"skipped: {self.without_target} trajectories without a target")
        return lines + self.notes
