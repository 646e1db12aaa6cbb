"""Commands about files of trajectories and cases; none of them needs a model."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from tl_jax.addresses import full_name, shown
from tl_jax.cli.names import OneOf
from tl_jax.cli.options import (
    format_option,
    include_option,
    mae_options,
    max_weight_option,
    pack_option,
    rule_option,
    template_options,
)
from tl_jax.cli.paths import DATA, OUT, OUT_FILE, ExistingPath
from tl_jax.config import MaeConfig, PktConfig
from tl_jax.config.pkt import PKT_MODES
from tl_jax.files import write_json, write_text
from tl_jax.plugins import Plugin
from tl_jax.terminal import say
from tl_jax.tooluse.readers import is_companion
from tl_jax.tooluse.readers.tables import is_saved_dataset
from tl_jax.tooluse.text.template_choice import TemplateChoice
from tl_jax.tooluse.writing import writable


class _Writable:
    """The formats that can be written, as they are when somebody asks."""

    def __iter__(self) -> Iterator[str]:
        return iter(writable())


if TYPE_CHECKING:
    from tl_jax.data.analysis import TokenAnalyser


@click.group()
def data() -> None:
    """Convert and check files of trajectories and evaluation cases."""


@data.command(name="convert")
@click.option(
    "--in",
    "sources",
    type=ExistingPath(),
    multiple=True,
    required=True,
    help="File, saved dataset or folder of files; may be given several times.",
)
@format_option("format")
@click.option("--out", type=OUT_FILE, required=True, help="JSONL to write, in none of the folders that are read.")
@click.option(
    "--to",
    type=OneOf(_Writable()),
    default="canonical",
    show_default=True,
    help="Format to write. What it cannot say is an error, or dropped and counted: --unknown drop.",
)
@click.option(
    "--as",
    "kind",
    type=click.Choice(["auto", "trajectories", "cases"]),
    default="auto",
    show_default=True,
    help="cases: every call of a trajectory that did not fail becomes one.",
)
@click.option("--on-error", type=click.Choice(["raise", "skip"]), default="raise", show_default=True)
def convert_data(sources: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Write files of any known format as canonical JSONL, or in another format.

    Every row is checked and API keys are replaced by ***. A bad row stops everything, with file, line and field, or is
    skipped and listed.
    """
    from tl_jax.tooluse.convert import convert

    _check_outside(out, sources)
    found = [file for source in sources for file in _files(source)]
    reports = convert(found, out, **options)
    for report in reports:
        for line in report.lines():
            say(line)
    say(f"{out}: {sum(report.written for report in reports)} rows")


@click.command()
@click.option("--in", "source", type=DATA, required=True, help="Trajectories.")
@format_option()
@click.option("--out", type=OUT, required=True, help="Canonical JSONL to write.")
@click.option("--audit", type=OUT, help="JSONL: one line for each blocked turn.")
@rule_option("--rule")
@mae_options
def mae(source: Path, out: Path, audit: Path | None, **options: Any) -> None:
    """Mark erroneous calls: they stay in the context with weight 0 and are never a target.

    Prints how many turns each rule blocks; --rule decides which of them is applied.
    """
    from tl_jax.tooluse.mae.audit import run_mae

    for line in run_mae(source, out, audit, **options).lines():
        say(line)


@click.command()
@click.option("--data", type=DATA, required=True, help="Trajectories.")
@format_option()
@click.option("--tokenizer", type=ExistingPath(), help="Adds key tokens and lengths in tokens.")
@template_options
@max_weight_option
@rule_option("--rule")
@pack_option
@click.option("--json", "json_path", type=OUT_FILE, help="All figures, as JSON.")
@click.option("--plot", type=OUT_FILE, help="Charts: FILE.html or FILE.png.")
def analyze(
    data: Path,
    kind: str,
    rule: str | Plugin,
    packs: tuple[str, ...],
    json_path: Path | None,
    plot: Path | None,
    **tokens: Any,
) -> None:
    """Show what is in a file of trajectories: failed calls and what follows them, key tokens, names, lengths."""
    from tl_jax.data.sources import trajectories
    from tl_jax.evaluation.analysis_report import Report, check_plot, print_report, write_plot
    from tl_jax.tooluse.analysis import Analyser

    if plot:
        check_plot(plot)
    counts, counts_of_tokens = Analyser(rule, packs), _token_analyser(**tokens)
    for trajectory in trajectories(data, kind):
        marked = counts.add(trajectory)
        if counts_of_tokens:
            counts_of_tokens.add(marked)
    report = Report(shown(data), counts.result, counts_of_tokens.result if counts_of_tokens else None)
    print_report(report)
    if json_path:
        write_json(json_path, report.to_json())
    if plot:
        write_plot(report, plot)


def _token_analyser(
    tokenizer: Path | None, renderer: str, template: TemplateChoice, max_weight: float
) -> TokenAnalyser | None:
    if tokenizer is None:
        return None
    from tl_jax.data.analysis import TokenAnalyser
    from tl_jax.data.codec import Codec

    return TokenAnalyser(Codec.open(renderer, tokenizer, template), max_weight)


@click.command()
@click.option("--data", type=DATA, required=True, help="Trajectories.")
@click.option("--tokenizer", type=ExistingPath(), required=True, help="Tokenizer or model directory.")
@click.option("--id", "wanted", help="Which trajectory (default: the first).")
@format_option()
@template_options
@rule_option("--mae")
@mae_options
@click.option("--pkt", type=OneOf(PKT_MODES), default="paper", show_default=True)
@max_weight_option
@include_option
@click.option("--html", type=OUT, help="Also write a self-contained HTML page.")
def inspect(
    data: Path,
    tokenizer: Path,
    wanted: str | None,
    kind: str,
    renderer: str,
    template: TemplateChoice,
    html: Path | None,
    **options: Any,
) -> None:
    """Show one trajectory's tokens coloured by target and weight."""
    from tl_jax.data.codec import Codec
    from tl_jax.data.inspection.inspect import inspect_trajectory, to_html, to_terminal

    include, weighing = options.pop("include"), PktConfig(mode=options.pop("pkt"), max_weight=options.pop("max_weight"))
    view = inspect_trajectory(
        _one_trajectory(data, kind, wanted),
        Codec.open(renderer, tokenizer, template),
        MaeConfig(**options),
        weighing,
        include,
    )
    to_terminal(view)
    if html:
        write_text(html, to_html(view))
        say(f"written: {html}")


_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet", ".arrow")
COMMANDS = (data, mae, analyze, inspect)


def _check_outside(out: Path, sources: tuple[Path, ...]) -> None:
    """Fails where ``out`` would be read the next time, as one of a folder's files."""
    for source in sources:
        if source.is_dir() and PurePath(full_name(out)).is_relative_to(full_name(source)):
            problem = f"{shown(out)!r} would be a file of {shown(source)!r}, which is read; choose another folder."
            raise click.BadParameter(problem, param_hint="'--out'")


def _files(source: Path) -> list[Path]:
    """The file, or those of a folder without the ones that readers look for beside others, and without hidden ones,
    which are none of the user's (``.cache``, ``._rows.jsonl``)."""
    if not source.is_dir() or is_saved_dataset(source):
        return [source]
    inside = sorted(path for path in source.rglob("*") if _is_data(path.relative_to(source)))
    saved = [path for path in inside if is_saved_dataset(path) and not is_saved_dataset(path.parent)]
    files = [path for path in inside if path.name.endswith(_SUFFIXES) and path.is_file()]
    found = saved + [path for path in files if not any(folder in path.parents for folder in saved)]
    if not found:
        raise click.UsageError(f"no {', '.join(_SUFFIXES)} file in {source}")
    return found


def _is_data(path: Path) -> bool:
    return not is_companion(path) and not any(part.startswith(".") for part in path.parts)


def _one_trajectory(path: Path, kind: str, wanted: str | None) -> Any:
    """The trajectory called ``wanted``, or the file's first."""
    from tl_jax.data.sources import trajectories

    seen: Counter[str] = Counter()
    for trajectory in trajectories(path, kind):
        if wanted is None or trajectory.id == wanted:
            return trajectory
        seen[trajectory.id] += 1
    near = difflib.get_close_matches(wanted or "", seen, 3)
    problem = f"no trajectory {wanted!r} in {path}" if wanted else f"no trajectory in {path}"
    raise click.UsageError(problem + (f"; nearest: {', '.join(near)}" if near else ""))
