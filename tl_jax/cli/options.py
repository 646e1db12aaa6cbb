"""Options that several commands have."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar, cast, get_args

import click

from tl_jax.cli.names import DTYPE, FORMAT, RENDERER, FunctionName, OneOf, choices_of
from tl_jax.cli.numbers import number_of
from tl_jax.cli.paths import FILE, ModelDirectory
from tl_jax.config import DataConfig, MaeConfig, PktConfig, RunConfig, SamplingConfig
from tl_jax.config.engine import KvCacheDtype
from tl_jax.terminal import say
from tl_jax.tooluse.mae.phrases import PACKS
from tl_jax.tooluse.mae.rules import RULES
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.rewards.writable import Unwritable
from tl_jax.tooluse.text.spoken import Include
from tl_jax.tooluse.text.template_choice import TemplateChoice, plain_values
from tl_jax.yaml_text import yaml_or_text

Command = TypeVar("Command", bound=Callable[..., Any])
Option: TypeAlias = Callable[[Command], Command]


def group_of(*options: Option[Any]) -> Option[Any]:
    """One decorator for several options, which the help lists in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@contextmanager
def _telling(notes: Notes) -> Iterator[None]:
    """While a command runs, notes on the files that it reads are taken; they are printed when it ends."""
    try:
        with notes.kept():
            yield
    finally:
        for line in notes.lines():
            say(line, err=True)


unknown_option = click.option(
    "--unknown",
    type=choices_of(DataConfig, "unknown"),
    default="error",
    show_default=True,
    expose_value=False,
    callback=lambda ctx, param, value: ctx.with_resource(_telling(Notes(value))),
    help="A field that no reader knows is an error, or is dropped and counted.",
)


def format_option(name: str = "kind", help: str | None = None) -> Option[Any]:
    """``--format`` of a file that is read, as the argument ``name``, and what becomes of fields not known in it."""
    return group_of(
        click.option("--format", name, type=FORMAT, default="auto", show_default=True, help=help),
        unknown_option,
    )


class TemplateArgument(click.ParamType[tuple[str, Any]]):
    """``key=value``; the value is read as YAML."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        key, equals, text = value.partition("=")
        if not equals or not key:
            self.fail(f"{value!r}: write key=value, for instance enable_thinking=false", param, ctx)
        return key, yaml_or_text(text)


def _with_template(command: Command) -> Command:
    """The command with one argument ``template`` for what the options say of it."""

    @functools.wraps(command)
    def chosen(*args: Any, chat_template: str | None, template_args: Iterable[tuple[str, Any]], **options: Any) -> Any:
        try:
            choice = TemplateChoice(chat_template, plain_values(dict(template_args)))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'--template-arg'") from None
        return command(*args, template=choice, **options)

    return cast("Command", chosen)


renderer_option = click.option("--renderer", type=RENDERER, default="paper", show_default=True)
template_options = group_of(
    renderer_option,
    click.option("--chat-template", metavar="NAME", help="Renderer chat: one of the tokenizer's templates, by name."),
    click.option(
        "--template-arg",
        "template_args",
        type=TemplateArgument(),
        multiple=True,
        help="Renderer chat: what the template is told, such as enable_thinking=false; may be repeated.",
    ),
    _with_template,
)
"""The text format, and the chat template where it is one: arguments ``renderer`` and ``template``."""
include_option = click.option(
    "--include",
    type=click.Choice(get_args(Include)),
    multiple=True,
    help="Written with the answers of the data; may be repeated.",
)
pack_option = click.option(
    "--pack",
    "packs",
    type=OneOf(PACKS),
    multiple=True,
    help="Rule paper looks for this family only; may be repeated.",
)
max_weight_option = click.option(
    "--max-weight", type=number_of(PktConfig, "max_weight"), default=9.0, show_default=True, help="Of key tokens."
)


def rule_option(flag: str) -> Option[Any]:
    """Which answers of tools are errors, as the argument ``rule``."""
    return click.option(
        flag,
        "rule",
        type=FunctionName(RULES),
        default="paper",
        show_default=True,
        help="Which results are errors; '{name: module:function, options: {...}}' gives the function options.",
    )


mae_options = group_of(
    click.option(
        "--block",
        type=choices_of(MaeConfig, "block"),
        default="all",
        show_default=True,
        help="Every error, or only those that are the caller's fault.",
    ),
    click.option(
        "--factor",
        type=number_of(MaeConfig, "factor"),
        default=0.0,
        show_default=True,
        help="Weight of a blocked turn.",
    ),
    pack_option,
)
"""What a MAE rule blocks, and how much that weighs."""


def settings_options(required: bool) -> Option[Any]:
    """``--config FILE... [key=value ...]``; where the defaults are a whole configuration, no file is required."""
    text = "YAML; given several times, later ones win."
    return group_of(
        click.option("--config", "files", type=FILE, multiple=True, required=required, help=text),
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
    )


training_options = settings_options(required=True)


compile_cache_option = click.option(
    "--compile-cache/--no-compile-cache",
    default=True,
    show_default=True,
    help="Keep what takes long to compile, for the next start.",
)


data_cache_option = click.option(
    "--cache/--no-cache",
    default=True,
    show_default=True,
    help="Keep much data encoded, for the next start (--no-cache: data.cache=null).",
)


def _sampling_option(key: str, **settings: Any) -> Option[Any]:
    flag, kind = f"--{key.replace('_', '-')}", number_of(SamplingConfig, key)
    return click.option(flag, type=kind, show_default="default" in settings, **settings)


verify_option = click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Look for damaged files, NaN and infinity in the weights first.",
)
base_option = click.option(
    "--base",
    type=ModelDirectory(),
    help="The model below, where the model is an adapter. Default: the one that it names.",
)
sampling_options = group_of(
    _sampling_option("max_new_tokens", default=256),
    _sampling_option("temperature", default=0.0, help="0 = greedy."),
    _sampling_option("top_k"),
    _sampling_option("top_p"),
    click.option("--seed", default=0, show_default=True, type=number_of(RunConfig, "seed")),
    click.option("--dtype", type=DTYPE, default="bfloat16", show_default=True),
    click.option(
        "--kv-cache-dtype",
        type=click.Choice(get_args(KvCacheDtype)),
        default="auto",
        show_default=True,
        help="Of keys and values while answers are written; auto = --dtype, int8 = half the memory of bfloat16.",
    ),
    verify_option,
    base_option,
)
"""How answers are drawn."""

unwritable_option = click.option(
    "--unwritable",
    type=click.Choice(get_args(Unwritable)),
    default="skip",
    show_default=True,
    help="A case whose gold answer the --renderer cannot say is refused, left out or kept; they are counted.",
)
scoring_options = group_of(
    click.option(
        "--policy",
        type=click.Choice(["any", "all"]),
        default="any",
        show_default=True,
        help="The first call against any gold call, or all calls against all.",
    ),
    click.option("--strict", is_flag=True, help='Calls and nothing else; "500" is not 500.'),
    click.option("--rotbench", is_flag=True, help="As RoTBench: a call without arguments is wrong."),
    unwritable_option,
)
"""What counts as right."""
