"""The command that says what a configuration needs on a machine."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from tl_jax.cli.options import training_options
from tl_jax.cli.paths import OUT_FILE
from tl_jax.files import write_json, write_text
from tl_jax.plan.config import load_planned
from tl_jax.terminal import say

DOES_NOT_FIT = 3
"""Exit code."""


@click.command()
@training_options
@click.option("--devices", "machine", required=True, help="v5e:2x4, v5e:2x4:2 (slices), h100:8, ..., this.")
@click.option("--preset", help="A model's sizes by name, where model.path is not there; init-model --preset list.")
@click.option("--search", "searches", is_flag=True, help="Tries all meshes with the largest micro-batches that fit.")
@click.option("--quick", is_flag=True, help="Compiles with less effort: for TPUs a sixth to a half of the time.")
@click.option("--json", "json_file", type=OUT_FILE, help="Writes the plan as JSON, too.")
@click.option("--html", "html_file", type=OUT_FILE, help="Writes it as a page of its own, too.")
@click.option("-q", "--quiet", is_flag=True, help="Prints nothing but errors.")
def plan(
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    machine: str,
    preset: str | None,
    searches: bool,
    quick: bool,
    quiet: bool,
    **outputs: Path | None,
) -> None:
    """What a configuration needs on a machine: memory, messages, a bound on speed. Nothing runs.

    The programs of "tl-jax sft" or "tl-jax rl" are compiled by XLA's own compilers for TPUs (pip install
    'tl-jax[plan-tpu]') or NVIDIA GPUs ('tl-jax[plan-gpu]'); no such device is needed, and each may have an environment
    of its own. What does not fit is tried with less: the first change that helps is told. Exit codes: 0 it fits, 3 it
    does not, 2 something is yours to mend.
    """
    config = load_planned(files, overrides)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # compilers complain of what they are asked to try
    from tl_jax.plan import plan as plans
    from tl_jax.plan import search
    from tl_jax.plan.html import to_html
    from tl_jax.plan.machine import open_machine
    from tl_jax.plan.report import report
    from tl_jax.plan.workload import open_subject

    tell = (lambda text: None) if quiet else partial(say, err=True)
    subject, there = open_subject(config, preset), open_machine(machine, quick)
    found = plans.make_plan(config, subject, there, tell)
    if searches:
        found = replace(found, alternatives=tuple(search.search(config, subject, there, tell)))
    else:
        found = search.with_advice(found, config, subject, there, tell)
    if outputs["json_file"]:
        write_json(outputs["json_file"], found.to_json())
    if outputs["html_file"]:
        write_text(outputs["html_file"], to_html(found))
    if not quiet:
        for line in report(found):
            say(line)
    if not found.fits:
        sys.exit(DOES_NOT_FIT)


COMMANDS = (plan,)
