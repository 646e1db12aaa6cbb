"""`tl-jax data convert`: files of any known format as canonical JSONL or another, checked and without keys."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO, TypeAlias

from tl_jax.errors import UserError
from tl_jax.files import new_file
from tl_jax.tooluse.readers import FORMATS, Format, detect_format, holds_cases, read_cases, read_trajectories
from tl_jax.tooluse.readers.rows import OnError
from tl_jax.tooluse.schema import Case, DataError, Trajectory
from tl_jax.tooluse.secrets import MASK, mask
from tl_jax.tooluse.writing import writable, written

Kind: TypeAlias = Literal["auto", "trajectories", "cases"]

_SHOWN = 10
"""Skipped rows whose reason is printed, for each file."""
_VARYING = re.compile(r"'[^']*'|\d+")


@dataclass
class FileReport:
    """What became of one file. ``masked`` counts keys; ``unoffered`` calls of tools that their row does not offer."""

    path: Path
    format: str
    kind: str
    written: int = 0
    masked: int = 0
    unoffered: int = 0
    skipped: list[DataError] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people: one line for the file, then one for each skipped row."""
        read = self.written + len(self.skipped)
        lines = [
            f"{self.path} ({self.format}): {read} {self.kind} read, {self.written} written, "
            f"{len(self.skipped)} skipped, {self.masked} secrets masked"
        ]
        lines += [f"  calls of tools that are not offered: {self.unoffered}"] if self.unoffered else []
        lines += [f"  skipped: {error}" for error in self.skipped[:_SHOWN]]
        if len(self.skipped) > _SHOWN:
            reasons = Counter(_VARYING.sub("...", error.problem) for error in self.skipped).most_common(_SHOWN)
            lines += [f"  ... and {len(self.skipped) - _SHOWN} more; by reason:"]
            lines += [f"  {count:6} {reason}" for reason, count in reasons]
        return lines


def convert(
    sources: Sequence[Path],
    out: Path,
    format: str = "auto",
    kind: Kind = "auto",
    on_error: OnError = "raise",
    to: str = "canonical",
) -> list[FileReport]:
    """Writes the rows of all files to ``out``, which appears only once it is complete.

    Args:
        kind: "cases" makes a case of every call of a trajectory that did not fail; "auto" keeps what a file holds.
        on_error: "skip" leaves bad rows out and lists them in the report.
        to: the format to write, one of `tl_jax.tooluse.writing.writable`.

    Raises:
        DataError: the first bad row; an id that two rows share; cases and trajectories in one output; no row at all;
            something that the format to write cannot say.
        UserError: a format that is not written.
    """
    target = FORMATS.find(to)
    if target.write is None:
        raise UserError(f"{to} is not written; known: {', '.join(writable())}")
    if out.resolve() in {source.resolve() for source in sources}:
        raise DataError("is both read and written", path=str(out))
    reports: list[FileReport] = []
    seen: dict[str, Path] = {}
    with new_file(out) as file:
        for source in sources:
            reports.append(_report(source, format, kind))
            _same_kind(reports)
            if reports[-1].kind == "cases" and to != "canonical":
                raise DataError(f"holds cases, and {to} has none: they are written as canonical", path=str(source))
            _convert(file, reports[-1], seen, on_error, target)
        if not any(report.written for report in reports):
            raise DataError("holds no row that can be read", path=", ".join(map(str, sources)))
    return reports


def _report(source: Path, format: str, kind: Kind) -> FileReport:
    name = detect_format(source) if format == "auto" else format
    if kind == "auto":
        kind = "cases" if holds_cases(source, name) else "trajectories"
    return FileReport(source, name, kind)


def _same_kind(reports: Sequence[FileReport]) -> None:
    first, last = reports[0], reports[-1]
    if first.kind != last.kind:
        raise DataError(
            f"holds {last.kind}, but {first.path} {first.kind}; write them to two files", path=str(last.path)
        )


def _convert(file: TextIO, report: FileReport, seen: dict[str, Path], on_error: OnError, target: Format) -> None:
    for row in _rows(report, on_error):
        try:
            line = _checked(row, report, seen, target)
        except DataError as error:
            if on_error == "raise":
                raise error.at(str(report.path), None) from None
            report.skipped.append(error.at(str(report.path), None))
        else:
            file.write(line + "\n")
            report.written += 1


def _rows(report: FileReport, on_error: OnError) -> Iterator[Trajectory] | Iterator[Case]:
    if report.kind == "cases":
        return read_cases(report.path, report.format, on_error, report.skipped.append)
    return read_trajectories(report.path, report.format, on_error, report.skipped.append)


def _checked(row: Trajectory | Case, report: FileReport, seen: dict[str, Path], target: Format) -> str:
    """The line to write; what it says is read again before it is believed."""
    if row.id in seen:
        told = "give each an id of its own, or none: then it is named after its file and line"
        raise DataError(f"{row.id!r} is also the id of a row before it, in {seen[row.id]}; {told}", field="id")
    value, masked = mask(row.to_json())
    try:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
        line.encode("utf-8")
    except ValueError as error:  # NaN, or half a surrogate pair
        raise DataError(f"row {row.id!r} cannot be written: {error}") from None
    again = type(row).from_json(json.loads(line))
    if isinstance(again, Trajectory) and target.name != "canonical":
        try:
            line = json.dumps(written(again, target), ensure_ascii=False)
        except DataError as error:
            raise DataError(f"row {row.id!r}: {error.problem}", field=error.field) from None
    seen[row.id] = report.path
    report.masked += masked + (_masked_on_reading(row) if FORMATS[report.format].masks_keys else 0)
    offered = {tool.name for tool in again.tools}
    report.unoffered += sum(call.name not in offered for message in again.messages for call in message.tool_calls)
    if isinstance(again, Case):
        report.unoffered += len({call.name for alternative in again.gold for call in alternative} - offered)
    return line


def _masked_on_reading(row: Trajectory | Case) -> int:
    """Gold arguments that the reader has masked."""
    gold = [call for alternative in row.gold for call in alternative] if isinstance(row, Case) else []
    return sum(value == MASK for call in gold for value in call.arguments.values())
