"""``tl-jax demo``, and the made-up world that it uses."""

from __future__ import annotations

from pathlib import Path

import click

from tl_jax.cli.listing import ListingCommand
from tl_jax.cli.options import compile_cache_option, settings_options
from tl_jax.cli.paths import FILE, OUT, ExistingPath
from tl_jax.compile_cache import keep_programs
from tl_jax.config import WorldConfig, load_config
from tl_jax.config.world import ERROR_KINDS
from tl_jax.terminal import say


@click.command()
@click.option("--out", type=OUT, default=Path("runs/demo"), show_default=True)
@click.option("--data", type=FILE, help="Your own trajectories instead of the demo's world.")
@click.option(
    "--model",
    type=ExistingPath(file_okay=False),
    help="Your own pretrained model, in Hugging Face format; needs --data.",
)
@click.option("--cases", type=FILE, multiple=True, help="What --model is asked; default: points held out of --data.")
@compile_cache_option
def demo(out: Path, data: Path | None, model: Path | None, cases: tuple[Path, ...], compile_cache: bool) -> None:
    """The whole pipeline on a small model: data, MAE, SFT, PPO, evaluation, export. Minutes on a laptop.

    With --model it is yours: SFT of all parameters and of adapters, GRPO, answers side by side; it says beforehand how
    long it will take.
    """
    keep_programs(compile_cache)
    from tl_jax.demo.run import run_demo

    run_demo(out, data, model=model, cases=cases)


@click.command(
    cls=ListingCommand,
    tables={"Kinds of errors, for error_kinds": lambda: [(kind.name, kind.about) for kind in ERROR_KINDS.values()]},
)
@click.option("--out", type=OUT, required=True, help="Folder for train.jsonl, held_out.jsonl and cases.jsonl.")
@settings_options(required=False)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def world(out: Path, files: tuple[Path, ...], seed: int, overrides: tuple[str, ...]) -> None:
    """Trajectories of a made-up world of tools, and decision points it holds out.

    Dials, such as error_rate=0.3 overlap=prefixes train=1000, say what there is to learn; "tl-jax config world" shows
    them all. The same settings and seed make the same files.
    """
    settings = load_config(WorldConfig, files, overrides)
    from tl_jax.demo.world_files import write_world

    for name, rows in write_world(settings, seed, out).items():
        say(f"{out / name}: {rows} rows")


COMMANDS = (demo, world)
