"""From a file of trajectories to rows of tokens, with an account of everything on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tl_jax.config import DataConfig
from tl_jax.data.codec import Codec
from tl_jax.data.encoding import Encoded
from tl_jax.data.packing import Row, pack
from tl_jax.data.sources import trajectories
from tl_jax.data.supervision import Example
from tl_jax.data.windows import split
from tl_jax.errors import UserError
from tl_jax.tooluse.fields import Notes
from tl_jax.tooluse.mae.apply import apply_mae
from tl_jax.tooluse.schema import DataError, Trajectory
from tl_jax.tooluse.text.spoken import left_out, spoken


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
    target_tokens: int = 0
    notes: list[str] = field(default_factory=list)
    """What else there is to say about the file: fields left out, results matched by position."""
    padding: float = 0.0
    """Share of the rows' positions that hold no token."""

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
        if self.silent:
            lines.append(f"{self.silent} turns have neither text nor calls; they are no targets")
        lines += [
            f"{count} turns have {part}, which is left out; data.include: [{part}] writes it"
            for part, count in self.left_out.items()
        ]
        if self.reduced:
            lines.append(f"{self.reduced} of the targets were answered by an error; MAE reduces their weight")
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


@dataclass(frozen=True)
class Dataset:
    """Rows to train on and how they came about."""

    rows: list[Row]
    report: DataReport


def build_dataset(config: DataConfig, codec: Codec, path: Path | None = None) -> Dataset:
    """Reads, marks (MAE), encodes, weighs (PKT), divides and packs the trajectories at ``path`` (``config.path``).

    Raises:
        UserError: unreadable data, a trajectory that the format cannot express, or no target in all of it.
    """
    path = config.path if path is None else path
    report = DataReport()
    examples: list[Example] = []
    notes = Notes(config.unknown)
    for trajectory in trajectories(path, config.format, notes):
        try:
            for example in _examples(trajectory, config, codec, report):
                report.targets += len(example.targets)
                examples.append(replace(example, targets=()))
        except UserError as error:
            raise DataError(str(error), path=str(path), field=f"trajectory {trajectory.id!r}") from error
    if not examples:
        raise DataError("; ".join(["nothing to train on", *report.lines()]), path=str(path))
    report.notes = notes.lines()
    rows = pack(examples, config.max_length, config.pack)
    report.examples, report.rows = len(examples), len(rows)
    report.tokens = sum(len(example.tokens) for example in examples)
    report.target_tokens = sum(int((example.weights > 0).sum()) for example in examples)
    report.padding = 1 - report.tokens / (len(rows) * config.max_length)
    return Dataset(rows, report)


def _examples(trajectory: Trajectory, config: DataConfig, codec: Codec, report: DataReport) -> Iterator[Example]:
    """The examples of one trajectory: none, one or several."""
    marked, blocks = apply_mae(trajectory, **config.mae.model_dump())
    marked, before = spoken(marked, config.include), marked
    report.silent += sum(now.weight != was.weight for now, was in zip(marked.messages, before.messages, strict=True))
    report.left_out.update(left_out(trajectory.messages, config.include))
    out = [block for block in blocks if marked.messages[block.message].weight == 0]
    blocked = {block.message: (block.finding.rule, str(block.finding.category)) for block in out}
    turns = list(marked.turns)
    targets = sum(message.weight != 0 for _, message in turns)
    report.trajectories += 1
    report.turns += len(turns)
    report.blocked.update(blocked.values())
    report.reduced += len(blocks) - len(out)
    report.weightless += len(turns) - targets - len(blocked)
    if not targets:
        report.without_target += 1
        return
    passes = codec.passes(marked)
    whole = passes[0][0] is marked
    if codec.hides_calls:
        report.hidden_calls += sum(bool(m.weight != 0 and m.content and m.tool_calls) for _, m in marked.turns)
    report.by_turn += not whole
    report.dropped_texts += len(dropped_texts(passes, marked))
    for part, encoded in passes:
        yield from _in_rows(part, encoded, config, codec, report)


def dropped_texts(passes: Sequence[tuple[Trajectory, Encoded]], trajectory: Trajectory) -> list[int]:
    """The messages of a trajectory whose text, or a part of it, no target is learnt with.

    What was thought before is left out of a later turn's context by most templates, and is none of them.
    """
    return sorted(
        {
            index
            for part, encoded in passes
            for index in encoded.dropped
            if part is trajectory or index == len(part.messages) - 1 or trajectory.messages[index].role != "assistant"
        }
    )


def _in_rows(
    trajectory: Trajectory, encoded: Encoded, config: DataConfig, codec: Codec, report: DataReport
) -> Iterator[Example]:
    """The examples of what is trained on in one pass, none of them longer than a row."""
    targets = [index for index, message in trajectory.turns if message.weight != 0]
    needed = max(turn.end for turn in encoded.turns if turn.message in targets)
    if needed <= config.max_length:
        yield codec.supervise(trajectory, config.pkt, encoded).trimmed()
    elif config.overlong == "skip":
        report.skipped_long += 1
        report.skipped_turns += len(targets)
    else:
        windows = split(trajectory, encoded, codec, config.pkt, config.max_length)
        report.divided += bool(windows.examples)
        report.dropped_context_turns += windows.dropped_turns
        report.skipped_turns += windows.skipped_targets
        yield from windows.examples
