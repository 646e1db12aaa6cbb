"""``tl-jax ablation``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tl_jax.cli.numbers import COUNT
from tl_jax.cli.options import training_options
from tl_jax.config import load_config
from tl_jax.config.ablation import AblationConfig
from tl_jax.errors import UserError
from tl_jax.terminal import SafeConsole

if TYPE_CHECKING:
    from tl_jax.ablation.run import Failure


@click.command()
@training_options
@click.option(
    "--sweep",
    "sweeps",
    metavar="NAME",
    multiple=True,
    help="One of the file's sweeps in place of the ablation: a setting at several values. May be repeated.",
)
@click.option(
    "--jobs",
    type=COUNT,
    default=1,
    show_default=True,
    help="Stages that run at the same time; they share a GPU's memory.",
)
@click.option("--dry-run", is_flag=True, help="List the stages, and how long they take as far as that is known.")
@click.option("--report", is_flag=True, help="Run nothing: report on what is done until now.")
@click.pass_context
def ablation(
    ctx: click.Context,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    sweeps: tuple[str, ...],
    jobs: int,
    dry_run: bool,
    report: bool,
) -> None:
    """Which part helps: every subset of MAE, PKT and IRM, over several seeds, in one report.

    Each stage is a command of its own (world, sft, rl, eval), and what variants share is run once. Started again it
    goes on: what is done is not repeated, a training that was cut off continues. Writes report.html and report.json to
    out; with --sweep sweep-NAME.html, sweep-NAME.json and an image of each figure.
    """
    config = load_config(AblationConfig, files, overrides)
    from tl_jax.ablation.plan import make_plan
    from tl_jax.ablation.report import stages_table
    from tl_jax.ablation.run import run_stages
    from tl_jax.ablation.settings import keep_settings
    from tl_jax.ablation.sweep import all_stages, sweep_plans
    from tl_jax.ablation.written import write_report, write_sweep

    plan = make_plan(config)
    plans = {name: sweep_plans(config, name, files, overrides) for name in sweeps}
    turned = [one for by_value in plans.values() for one in by_value.values()]
    stages = all_stages(turned) if sweeps else plan.stages
    console = SafeConsole()
    if dry_run:
        console.print(stages_table(stages))
        return
    keep_settings(plan)
    modules = ctx.find_root().params.get("modules", ())
    failures = [] if report else run_stages(stages, config.out, jobs, modules)
    for name, by_value in plans.items():
        console.print(write_sweep(config, name, by_value))
    if not sweeps:
        console.print(write_report(plan))
    _tell(failures, len(stages))


def _tell(failures: list[Failure], stages: int) -> None:
    """
    Raises:
        UserError: there are some.
    """
    failed = {failure.stage.key for failure in failures}
    own = [failure for failure in failures if not any(need.key in failed for need in failure.stage.needs)]
    if failures:
        names = "; ".join(f"{one.stage.title}: {one.why} ({one.stage.log})" for one in own[:3])
        more = f"; {len(own) - 3} more" if len(own) > 3 else ""
        raise UserError(
            f"{len(failures)} of {stages} stages failed or need one that did: {names}{more}; started again, these are "
            "tried again"
        )


COMMANDS = (ablation,)
