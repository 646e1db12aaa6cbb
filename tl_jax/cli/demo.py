"""``tl-jax demo``."""

from __future__ import annotations

from pathlib import Path

import click

from tl_jax.cli.options import FILE, OUT, compile_cache_option
from tl_jax.compile_cache import keep_programs


@click.command()
@click.option("--out", type=OUT, default=Path("runs/demo"), show_default=True)
@click.option("--data", type=FILE, help="Your own trajectories instead of the demo's world.")
@compile_cache_option
def demo(out: Path, data: Path | None, compile_cache: bool) -> None:
    """The whole pipeline on a small model: data, MAE, SFT, PPO, evaluation, export. Minutes on a laptop."""
    keep_programs(compile_cache)
    from tl_jax.demo.run import run_demo

    run_demo(out, data)


COMMANDS = (demo,)
