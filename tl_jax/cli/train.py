"""Commands that train, and the one that shows their settings."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from tl_jax.cli.listing import ListingCommand
from tl_jax.cli.names import OneOf
from tl_jax.cli.options import compile_cache_option, data_cache_option, training_options
from tl_jax.compile_cache import keep_programs
from tl_jax.config import Node, RlConfig, RunConfig, SftConfig, WorldConfig, annotated_yaml, load_config
from tl_jax.config.ablation import AblationConfig
from tl_jax.config.estimators import ESTIMATORS
from tl_jax.config.fields import named_code
from tl_jax.config.losses import LOSSES
from tl_jax.terminal import give, say

Config = TypeVar("Config", bound=RunConfig)


@click.command(
    cls=ListingCommand, tables={"Losses: of a target token": lambda: [(it.name, it.loss) for it in LOSSES.values()]}
)
@training_options
@data_cache_option
@compile_cache_option
def sft(files: tuple[Path, ...], overrides: tuple[str, ...], cache: bool, compile_cache: bool) -> None:
    """Supervised training with MAE and PKT. Run again with the same run_dir to continue.

    loss says which loss, see below, or names one of your own: module:function. Exit codes: 0 done, 2 something is yours
    to mend, 130 or 143 ended by Ctrl-C or SIGTERM with a checkpoint.
    """
    config = _loaded(SftConfig, files, overrides if cache else (*overrides, "data.cache=null"))
    keep_programs(compile_cache)
    from tl_jax.training.sft import run_sft

    _run(run_sft, config)


@click.command(
    cls=ListingCommand,
    tables={"Estimators: advantage of a token": lambda: [(it.name, it.advantage) for it in ESTIMATORS.values()]},
)
@training_options
@compile_cache_option
def rl(files: tuple[Path, ...], overrides: tuple[str, ...], compile_cache: bool) -> None:
    """Reinforcement training on rule-based rewards (IRM): PPO, GRPO and others.

    algorithm.estimator says which, see below; one answer to a prompt, or episodes with environment=replay. Run again
    with the same run_dir to continue. Exit codes: 0 done, 2 something is yours to mend, 130 or 143 ended by Ctrl-C or
    SIGTERM with a checkpoint. "tl-jax ppo" and "tl-jax grpo" are other names of this command.
    """
    config = _loaded(RlConfig, files, overrides)
    keep_programs(compile_cache)
    from tl_jax.rl.train import run_rl

    _run(run_rl, config)


def _loaded(kind: type[Config], files: tuple[Path, ...], overrides: tuple[str, ...]) -> Config:
    """The configuration; said is what code it runs, for the file may be somebody else's."""
    config = load_config(kind, files, overrides)
    for key, name in named_code(config):
        say(f"tl-jax: {key}={name} is code outside of tl-jax; it is run", err=True)
    return config


def _run(train: Callable[[Config], Mapping[str, Any]], config: Config) -> None:
    """Trains. A run that was stopped is not done: ``sft && rl`` must not go on, and a cluster is to start it again."""
    from tl_jax.training.stop import exit_code

    gc.collect()
    gc.freeze()  # what imports made stays, and tracing makes so much more that it would be searched again and again
    summary = train(config)
    if summary["stopped_by"]:
        sys.exit(exit_code(summary["stopped_by"]))


ALIASES = {"ppo": rl, "grpo": rl}
"""Other names of commands, which the list of all does not show."""

CONFIGS: Mapping[str, type[Node]] = {
    "sft": SftConfig,
    "rl": RlConfig,
    **dict.fromkeys(ALIASES, RlConfig),
    "world": WorldConfig,
    "ablation": AblationConfig,
}


@click.command(name="config")
@click.argument("command", type=OneOf(CONFIGS))
def show_config(command: str) -> None:
    """Print every setting of a command with its default and meaning, as YAML."""
    give(annotated_yaml(CONFIGS[command]).rstrip())


COMMANDS = (sft, rl, show_config)
