"""``tl-jax data``: what can be done to files of data without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tl_jax.tooluse.readers import FORMATS


@click.group()
def data() -> None:
    """Convert and check files of trajectories and evaluation cases."""


@data.command()
@click.option(
    "--in",
    "sources",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    required=True,
    help="File, or folder of .json and .jsonl files; may be given several times.",
)
@click.option("--format", type=click.Choice(["auto", *FORMATS]), default="auto", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Canonical JSONL to write.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["auto", "trajectories", "cases"]),
    default="auto",
    show_default=True,
    help="cases: every call of a trajectory becomes one.",
)
@click.option("--on-error", type=click.Choice(["raise", "skip"]), default="raise", show_default=True)
def convert(sources: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Write files of any known format as canonical JSONL.

    Every row is checked and API keys are replaced by ***. A bad row stops everything, with file, line and field, or is
    skipped and listed.
    """
    from tl_jax.tooluse.convert import convert as run

    found = [file for source in sources for file in _files(source)]
    reports = run(found, out, **options)
    for report in reports:
        for line in report.lines():
            click.echo(line)
    click.echo(f"{out}: {sum(report.written for report in reports)} rows")


def _files(source: Path) -> list[Path]:
    """The file, or those of a folder without the ones that readers look for beside others."""
    if not source.is_dir():
        return [source]
    found = sorted(
        path
        for path in source.rglob("*")
        if path.suffix in (".json", ".jsonl")
        and path.is_file()
        and not path.name.endswith("tools.json")
        and "possible_answer" not in str(path.relative_to(source))
    )
    if not found:
        raise click.UsageError(f"no .json or .jsonl file in {source}")
    return found
