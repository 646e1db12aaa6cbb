"""``tl-jax demo``."""

from __future__ import annotations

from pathlib import Path

import click

from tl_jax.cli.options import FILE, OUT


@click.command()
@click.option("--out", type=OUT, default=Path("runs/demo"), show_default=True)
@click.option("--data", type=FILE, help="Your own trajectories instead of the demo's world.")
def demo(out: Path, data: Path | None) -> None:
    """The whole pipeline on a small model: data, MAE, SFT, PPO, evaluation, export. Minutes on a laptop."""
    from tl_jax.demo.run import run_demo

    run_demo(out, data)


COMMANDS = (demo,)
