"""``tl-jax report``."""

from __future__ import annotations

from pathlib import Path

import click

from tl_jax.addresses import address_of
from tl_jax.cli.paths import OUT_FILE, ExistingPath
from tl_jax.files import write_text
from tl_jax.terminal import say


@click.command(name="report")
@click.argument("runs", nargs=-1, required=True, type=ExistingPath(file_okay=False))
@click.option(
    "--out", type=OUT_FILE, help="The page; without it report.html in the directory, where there is only one."
)
def run_report(runs: tuple[Path, ...], out: Path | None) -> None:
    """One page of what runs did: settings and where they differ, curves, outcomes, answers over time, evaluations.

    RUNS are run directories, directories that eval has written, or folders with such in them. The page needs no other
    file, no network and no script; a run that still goes on is shown as far as it is.
    """
    from tl_jax.report.page import to_html
    from tl_jax.report.record import find

    if out is None and (len(runs) > 1 or address_of(runs[0])):
        raise click.UsageError("several directories, or one in a bucket: say with --out which file to write.")
    page = out or runs[0] / "report.html"
    write_text(page, to_html(find(runs)))
    say(f"{page}: open it in a browser")


COMMANDS = (run_report,)
