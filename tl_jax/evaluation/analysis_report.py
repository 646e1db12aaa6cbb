"""What `tl-jax analyze` shows: an analysis as tables for the terminal, as JSON and as charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from tl_jax.errors import UserError
from tl_jax.evaluation.charts import Bar, Chart, to_html, to_png
from tl_jax.files import write_text
from tl_jax.terminal import SafeConsole
from tl_jax.tooluse.analysis import NEXT_STEPS, Analysis, Distribution

if TYPE_CHECKING:  # needs transformers, which a report without tokens does not
    from tl_jax.data.analysis import TokenAnalysis


@dataclass(frozen=True, slots=True)
class Report:
    """An analysis of the file ``source``; ``tokens`` where a tokenizer was given."""

    source: str
    counts: Analysis
    tokens: TokenAnalysis | None = None

    @property
    def summary(self) -> str:
        """One line on the size of the data."""
        counts = self.counts
        return (
            f"{counts.trajectories:,} trajectories, {counts.turns.total:,} turns, {counts.calling_turns:,} of which "
            f"call tools; errors by MAE rule {counts.rule}"
        )

    def to_json(self) -> dict[str, Any]:
        tokens = self.tokens.to_json() if self.tokens else None
        return {"file": self.source, **self.counts.to_json(), "tokens": tokens}


def print_report(report: Report, console: Console | None = None) -> None:
    """The tables."""
    (console or SafeConsole()).print(_tables(report))


def check_plot(path: Path) -> None:
    """Raises `UserError` for a file that no plot can be: before the data is read, which may take long."""
    if path.suffix not in (".html", ".png"):
        raise UserError(f"{path}: the plot's name has to end in .html or .png")


def write_plot(report: Report, path: Path) -> None:
    """The charts; the ending of ``path`` says as what.

    Raises:
        UserError: an ending that is neither .html nor .png, or no matplotlib for a .png.
    """
    check_plot(path)
    title = f"Tool use in {Path(report.source).name}"
    charts = list(_charts(report))
    if path.suffix == ".html":
        write_text(path, to_html(title, report.summary, charts))
    else:
        to_png(path, title, report.summary, charts)


# ---------------------------------------------------------------- tables


def _tables(report: Report) -> RenderableType:
    counts, tokens = report.counts, report.tokens
    lengths = {
        "turns in a trajectory": counts.turns,
        "calls in a trajectory": counts.calls,
        "tools offered": counts.tools,
        "characters in a trajectory": counts.characters,
    }
    if tokens:
        lengths |= {
            "tokens in a trajectory": tokens.tokens,
            "target tokens in a trajectory": tokens.targets,
            "tokens in a calling turn": tokens.answer_tokens,
            "key tokens in a calling turn": tokens.keys,
        }
    parts: list[RenderableType] = [
        Text(report.summary),
        _error_table(counts),
        _figures("after a failed call", _after_errors(counts)),
        _figures("names", _name_figures(report)),
    ]
    if tokens:
        parts.append(_figures("key tokens", _key_figures(tokens)))
    return Group(*(part for table in [*parts, _length_table(lengths)] for part in (table, "")))


def _table(title: str, *columns: str) -> Table:
    return Table(title, *(Column(name, justify="right") for name in columns), box=None, padding=(0, 2, 0, 0))


def _error_table(counts: Analysis) -> Table:
    table = _table("failed calls", "turns", "% of calls", "trajectories", "% of all")
    errors = counts.errors
    rows = [(category, n, errors.trajectories[category]) for category, n in errors.turns.most_common()]
    for name, turns, trajectories in [*rows, ("all", errors.turns.total(), errors.any_trajectory)]:
        table.add_row(
            name,
            f"{turns:,}",
            _percent(turns, counts.calling_turns),
            f"{trajectories:,}",
            _percent(trajectories, counts.trajectories),
        )
    return table


def _figures(title: str, rows: Mapping[str, str]) -> Table:
    table = _table(title, "")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _after_errors(counts: Analysis) -> dict[str, str]:
    errors = counts.errors
    rows = {f"next: {step}": errors.next_step[step] for step in NEXT_STEPS}
    rows |= {"later: the same call": errors.same_call_later, "later: the same tool": errors.same_tool_later}
    return {name: f"{n:,} of {errors.calls:,} ({_percent(n, errors.calls)} %)" for name, n in rows.items()}


def _name_figures(report: Report) -> dict[str, str]:
    names = report.counts.names
    shares = {
        "tools whose first word begins another offered tool's name": names.words.share(1),
        "tools whose first four characters do": names.characters.share(4),
        "tools whose whole name does": names.contained / max(names.characters.counts.total(), 1),
    }
    if report.tokens:
        shares["tools whose first token does"] = report.tokens.names.share(1)
    return {name: f"{100 * share:.1f} %" for name, share in shares.items()}


def _key_figures(tokens: TokenAnalysis) -> dict[str, str]:
    at_most, at_least = (_percent(tokens.weights[round(w, 1)], tokens.calling_turns) for w in (tokens.max_weight, 1.0))
    return {
        "share of the answer's tokens": f"{100 * tokens.key_share:.1f} %",
        "share of the loss, if all tokens are as hard": f"{100 * tokens.loss_share:.1f} %",
        "calls with more than one key token": f"{100 * tokens.keys.share(2):.1f} %",
        f"calls at the highest weight, {tokens.max_weight:g}": f"{at_most} %",
        "calls at weight 1": f"{at_least} %",
    }


def _length_table(lengths: Mapping[str, Distribution]) -> Table:
    table = _table("lengths", "mean", "median", "90 %", "99 %", "longest")
    for name, values in lengths.items():
        quantiles = (f"{values.quantile(share):,}" for share in (0.5, 0.9, 0.99, 1.0))
        table.add_row(name, f"{values.mean:,.1f}", *quantiles)
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


# ---------------------------------------------------------------- charts


def _charts(report: Report) -> Iterator[Chart]:
    counts, errors = report.counts, report.counts.errors
    yield Chart(
        f"{_percent(errors.turns.total(), counts.calling_turns)} % of the calls were answered by an error",
        f"by what went wrong; {errors.any_trajectory:,} trajectories "
        f"({_percent(errors.any_trajectory, counts.trajectories)} %) have at least one",
        _shares(errors.turns.most_common(), counts.calling_turns, "error"),
    )
    if errors.calls:
        yield Chart(
            "What a failed call is followed by",
            f"{errors.calls:,} calls; {_percent(errors.same_call_later, errors.calls)} % are made again unchanged at "
            "some later time",
            _shares([(step, errors.next_step[step]) for step in NEXT_STEPS], errors.calls, "error", longest=1.0),
        )
    tokens = report.tokens
    names, unit = (tokens.names, "tokens") if tokens else (counts.names.words, "words")
    yield Chart(
        f"{100 * names.share(1):.0f} % of the tools' names begin like another's",
        f"by how many {unit} of a name's beginning another offered tool shares",
        _histogram(names, 8, "plain"),
        "columns",
    )
    if tokens:
        yield Chart(
            f"Key tokens: {100 * tokens.key_share:.0f} % of a call, {100 * tokens.loss_share:.0f} % of its loss",
            f"their weight in {tokens.calling_turns:,} target turns; the loss if all tokens are as hard",
            _weight_bars(tokens.weights),
            "columns",
        )
    yield Chart("Turns in a trajectory", "assistant messages", _histogram(counts.turns, 12, "plain"), "columns")
    sizes, unit = (tokens.tokens, "Tokens") if tokens else (counts.characters, "Characters")
    yield Chart(
        f"{unit} in a trajectory", "each column is twice as wide as the one before", _doubling(sizes), "columns"
    )


def _shares(
    counts: Sequence[tuple[str, int]], whole: int, colour: Any, longest: float | None = None
) -> tuple[Bar, ...]:
    """Bars of shares, ``longest`` (or the largest share) filling the width."""
    longest = longest or max((n for _, n in counts), default=1) / max(whole, 1)
    return tuple(
        Bar(name.replace("_", " "), n / max(whole, 1) / longest, f"{_percent(n, whole)} %  ({n:,})", colour)
        for name, n in counts
    )


def _histogram(values: Distribution, columns: int, colour: Any) -> tuple[Bar, ...]:
    """One column for each value, the last for all that are larger."""
    low, high = min(values.counts, default=0), values.quantile(1.0)
    last = min(high, low + columns - 1)
    counts = {str(value): values.counts[value] for value in range(low, last)}
    counts[str(last) if last == high else f"{last}+"] = sum(n for value, n in values.counts.items() if value >= last)
    return _columns(counts, colour)


def _doubling(values: Distribution) -> tuple[Bar, ...]:
    """Columns whose limits are powers of two."""
    sizes = [value.bit_length() for value in values.counts]
    counts = dict.fromkeys(range(min(sizes, default=0), max(sizes, default=0) + 1), 0)
    for value, n in values.counts.items():
        counts[value.bit_length()] += n
    return _columns({f"< {_short(2**size)}": n for size, n in counts.items()}, "plain")


def _short(number: int) -> str:
    return f"{number // 1024}k" if number >= 1024 else str(number)


def _weight_bars(weights: Mapping[float, int]) -> tuple[Bar, ...]:
    """One column for each whole weight from 1 up to the highest."""
    highest = max(weights, default=1.0)
    counts = dict.fromkeys(range(1, int(highest) + 1), 0)
    for weight, n in weights.items():
        counts[int(weight)] += n
    return _columns({(f"{w}-{w + 1}" if w < highest else f"{w}"): n for w, n in counts.items()}, "key")


def _columns(counts: Mapping[str, int], colour: Any) -> tuple[Bar, ...]:
    whole, most = max(sum(counts.values()), 1), max(counts.values(), default=0) or 1
    return tuple(Bar(label, n / most, _share_label(n, whole), colour) for label, n in counts.items())


def _share_label(part: int, whole: int) -> str:
    share = 100 * part / whole
    return "" if not part else "<1%" if share < 1 else f"{share:.0f}%"
