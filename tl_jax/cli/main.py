"""The ``tl-jax`` command: all commands together, and errors as one line.

Each command reads its arguments, calls the library and prints what came of it. Heavy imports happen inside the
commands, so that ``--help``, ``score`` and ``mae`` start without JAX.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from itertools import chain
from typing import Any

import click

from tl_jax import __version__
from tl_jax.cli import ablation, data, demo, evaluate, models, plan, report, train
from tl_jax.config import ConfigError
from tl_jax.cpu_devices import give_threads
from tl_jax.errors import UserError
from tl_jax.files import reason
from tl_jax.plugins import load
from tl_jax.terminal import say

SECTIONS = {
    "Data": data.COMMANDS,
    "Models": models.COMMANDS,
    "Training": (*train.COMMANDS, *plan.COMMANDS),
    "Answers and scores": (*evaluate.COMMANDS, *report.COMMANDS),
    "Which part helps": ablation.COMMANDS,
    "All of it once": demo.COMMANDS,
}
TRAIN = frozenset(
    (
        *("chex", "datasets", "filelock", "flax", "grain", "jax", "jaxlib", "jinja2", "numpy", "optax", "orbax"),
        *("safetensors", "sentencepiece", "tensorboardX", "tokenizers", "transformers"),
    )
)
"""What comes with ``pip install 'tl-jax[train]'`` and is absent after a plain ``pip install tl-jax``."""


LONGEST = 1500
"""Characters of an error that are shown; what it quotes may be a whole file."""


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 300]} [...] {text[-300:]}"


class Main(click.Group):
    """Turns wrong usage, the library's own errors and packages not installed into one line and exit code 2."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or train.ALIASES.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        for title, commands in SECTIONS.items():
            rows = [(f"{command.name:{width}}", command.get_short_help_str(limit=100)) for command in commands]
            with formatter.section(title):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "tl-jax"
            say(f"{command}: {_shortened(error.format_message())} See {command} --help", err=True)
            ctx.exit(2)
        except UserError as error:
            for line in str(error).split("\n") if isinstance(error, ConfigError) else [str(error)]:  # a line a setting
                say(f"tl-jax: {_shortened(line)}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            say("tl-jax: stopped by Ctrl-C", err=True)
            ctx.exit(128 + signal.SIGINT)
        except BrokenPipeError:
            raise
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            say(f"tl-jax: {place}{reason(error)}", err=True)
            ctx.exit(2)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in TRAIN:
                raise
            say(f"tl-jax: this needs {package}, which is not installed: pip install 'tl-jax[train]'", err=True)
            ctx.exit(2)


@click.group(
    cls=Main,
    commands=[*chain.from_iterable(SECTIONS.values())],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="tl-jax")
@click.option(
    "--import",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="Imported first: a module of yours that adds formats, estimators and the like to their tables.",
)
def main(modules: tuple[str, ...]) -> None:
    """Train Llama-family models to use tools: MAE, PKT and IRM in JAX."""
    give_threads()
    for module in modules:
        load(module)
    _silence_libraries()


def _silence_libraries() -> None:
    """Nothing that they say here is for the user to act on.

    Orbax warns about checkpoints opened without its manager, and tells an error that it raises also by a traceback from
    each of its threads, and from what still runs when their event loop is closed; tensorboardX by one from its thread
    and one at the exit when the disk is full.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _tell_what_is_new
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _tell_what_is_new


def _tell_what_is_new(ignored: sys.UnraisableHookArgs | threading.ExceptHookArgs) -> None:
    if ignored.exc_type is RuntimeError and str(ignored.exc_value) == "Event loop is closed":
        return
    source = ignored.thread if isinstance(ignored, threading.ExceptHookArgs) else ignored.object
    if issubclass(ignored.exc_type, OSError) and str(getattr(source, "__module__", "")).startswith("tensorboardX"):
        return
    if isinstance(ignored, threading.ExceptHookArgs):
        threading.__excepthook__(ignored)
    else:
        sys.__unraisablehook__(ignored)
