"""The ``tl-jax`` command. Each command reads its arguments, calls one library function and prints what came of it.

Heavy imports happen inside the commands, so that ``--help``, ``score`` and ``mae`` start without JAX.
"""

from __future__ import annotations

import difflib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import click

from tl_jax import __version__
from tl_jax.cli.analyze import analyze
from tl_jax.cli.data import data
from tl_jax.cli.reward import reward
from tl_jax.tooluse.readers import FORMATS as NAMES

FORMATS = click.Choice(["auto", *NAMES])
RENDERERS = click.Choice(["paper", "released", "chat"])
Dtype = Literal["bfloat16", "float32"]
Rule = Literal["none", "paper", "reference"]
Block = Literal["all", "caller"]
Command = TypeVar("Command", bound=Callable[..., Any])


class ExistingPath(click.Path):
    """An existing file or directory; a missing one is reported with the nearest name beside it."""

    def __init__(self, **kind: bool) -> None:
        super().__init__(exists=True, path_type=Path, **kind)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            path = Path(value)
            names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            near = difflib.get_close_matches(path.name, names, 1)
            hint = f" Did you mean {str(path.parent / near[0])!r}?" if near and not path.exists() else ""
            raise click.BadParameter(error.message + hint, ctx, param) from None


TRAIN = frozenset(
    (
        "chex",
        "datasets",
        "flax",
        "grain",
        "jax",
        "jaxlib",
        "jinja2",
        "numpy",
        "optax",
        "orbax",
        "safetensors",
        "sentencepiece",
        "tensorboardX",
        "tokenizers",
        "transformers",
    )
)
"""What comes with ``pip install 'tl-jax[train]'`` and is absent after a plain ``pip install tl-jax``."""


class Main(click.Group):
    """Turns wrong usage, the library's own errors and packages not installed into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        from tl_jax.errors import UserError

        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "tl-jax"
            click.echo(f"{command}: {error.format_message()} See {command} --help", err=True)
            ctx.exit(2)
        except UserError as error:
            click.echo(f"tl-jax: {error}", err=True)
            ctx.exit(2)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in TRAIN:
                raise
            click.echo(f"tl-jax: this needs {package}, which is not installed: pip install 'tl-jax[train]'", err=True)
            ctx.exit(2)


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tl-jax")
def main() -> None:
    """Train Llama-family models to use tools: MAE, PKT and IRM in JAX."""
    # Orbax warns about every checkpoint that it opens without its manager; nothing there is for the user to act on.
    logging.getLogger("absl").setLevel(logging.ERROR)


main.add_command(analyze)
main.add_command(data)
main.add_command(reward)


# ---------------------------------------------------------------- models


@main.command()
@click.option("--preset", required=True, help="tiny, codellama-7b, ...; --preset list shows them all.")
@click.option("--tokenizer", type=ExistingPath(), help="Tokenizer directory, or a SentencePiece .model file.")
@click.option("--out", type=click.Path(path_type=Path), help="Hugging Face directory to write.")
@click.option("--seed", default=0, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
def init_model(preset: str, tokenizer: Path | None, out: Path | None, seed: int, dtype: Dtype) -> None:
    """Write a model with random weights in Hugging Face format, to try things without a download."""
    from tl_jax.data.codec import load_tokenizer
    from tl_jax.model import presets

    if preset == "list":
        for name, config in presets.PRESETS.items():
            click.echo(f"{name:24} {config.num_layers} layers, width {config.hidden_size}")
        return
    if tokenizer is None or out is None:
        raise click.UsageError("--tokenizer and --out are needed")
    config = presets.init_model(preset, load_tokenizer(tokenizer), out, seed=seed, dtype=dtype)
    click.echo(f"{out}: {preset}, vocabulary {config.vocab_size}, random weights (seed {seed}, {dtype})")


@main.command()
@click.option("--from", "source", type=ExistingPath(), required=True, help="Hugging Face directory.")
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Checkpoint directory to write.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
def convert(source: Path, target: Path, dtype: Dtype) -> None:
    """Turn a Hugging Face checkpoint (safetensors, one file or sharded) into an Orbax one."""
    from tl_jax.model.store import open_model, save_model

    model = open_model(source, param_dtype=dtype)
    save_model(target, model.config, model.params, model.tokenizer_dir)
    click.echo(f"{target}: {_parameters(model.params):,} parameters from {source}")


@main.command()
@click.option("--from", "source", type=ExistingPath(), required=True, help="Checkpoint, run or HF directory.")
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Directory to write.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Default: as stored.")
@click.option("--overwrite", is_flag=True, help="Replace what is in the directory.")
def export(source: Path, target: Path, dtype: Dtype | None, overwrite: bool) -> None:
    """Write a Hugging Face checkpoint with config, tokenizer, chat template and generation config."""
    from tl_jax.model.hf import export_hf
    from tl_jax.model.store import open_model

    model = open_model(source, param_dtype=None)
    export_hf(model.params, model.config, model.tokenizer_dir, target, dtype=dtype, overwrite=overwrite)
    click.echo(f"{target}: {_parameters(model.params):,} parameters; transformers loads it as it is")


# ---------------------------------------------------------------- data


def mae_options(command: Command) -> Command:
    """What a MAE rule blocks, and how much that weighs."""
    for option in (
        click.option(
            "--block",
            type=click.Choice(["all", "caller"]),
            default="all",
            show_default=True,
            help="Every error, or only those that are the caller's fault.",
        ),
        click.option(
            "--factor", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Weight of a blocked turn."
        ),
        click.option("--pack", "packs", multiple=True, help="Rule paper looks for this family only; may be repeated."),
    ):
        command = option(command)
    return command


@main.command()
@click.option("--in", "source", type=ExistingPath(dir_okay=False), required=True, help="Trajectories.")
@click.option("--format", "kind", type=FORMATS, default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Canonical JSONL to write.")
@click.option("--audit", type=click.Path(path_type=Path), help="JSONL: one line for each blocked turn.")
@click.option("--rule", default="paper", show_default=True, help="paper, reference, none or module:function.")
@mae_options
def mae(
    source: Path,
    kind: str,
    out: Path,
    audit: Path | None,
    rule: str,
    block: Block,
    factor: float,
    packs: tuple[str, ...],
) -> None:
    """Mark erroneous calls: they stay in the context with weight 0 and are never a target.

    Prints how many turns each rule blocks; --rule decides which of them is applied.
    """
    from tl_jax.tooluse.mae.audit import run_mae

    report = run_mae(source, out, audit, kind=kind, rule=rule, block=block, factor=factor, packs=packs)
    for line in report.lines():
        click.echo(line)


def _known_rule(context: click.Context, parameter: click.Parameter, rule: str) -> str:
    if rule not in get_args(Rule) and ":" not in rule:
        raise click.BadParameter(f"must be {', '.join(get_args(Rule))} or module:function")
    return rule


@main.command()
@click.option("--data", type=ExistingPath(dir_okay=False), required=True, help="Trajectories.")
@click.option("--tokenizer", type=ExistingPath(), required=True, help="Tokenizer or model directory.")
@click.option("--id", "wanted", help="Which trajectory (default: the first).")
@click.option("--format", "kind", type=FORMATS, default="auto", show_default=True)
@click.option("--renderer", type=RENDERERS, default="paper", show_default=True)
@click.option(
    "--mae",
    "rule",
    default="paper",
    show_default=True,
    callback=_known_rule,
    help="none, paper, reference or module:function.",
)
@mae_options
@click.option("--pkt", type=click.Choice(["none", "paper", "reference"]), default="paper", show_default=True)
@click.option("--max-weight", type=click.FloatRange(min=1), default=9.0, show_default=True, help="Of key tokens.")
@click.option("--html", type=click.Path(path_type=Path), help="Also write a self-contained HTML page.")
def inspect(
    data: Path,
    tokenizer: Path,
    wanted: str | None,
    kind: str,
    renderer: str,
    rule: str,
    block: Block,
    factor: float,
    packs: tuple[str, ...],
    pkt: Rule,
    max_weight: float,
    html: Path | None,
) -> None:
    """Show one trajectory's tokens coloured by target and weight."""
    from tl_jax.config import MaeConfig, PktConfig
    from tl_jax.data.inspection.inspect import inspect_trajectory, to_html, to_terminal

    view = inspect_trajectory(
        _one_trajectory(data, kind, wanted),
        tokenizer,
        renderer,
        MaeConfig(rule=rule, block=block, factor=factor, packs=packs),
        PktConfig(mode=pkt, max_weight=max_weight),
    )
    to_terminal(view)
    if html:
        html.write_text(to_html(view), encoding="utf-8")
        click.echo(f"written: {html}")


# ---------------------------------------------------------------- training


def training_options(command: Command) -> Command:
    """``--config FILE... [key=value ...]``, as every training command takes them."""
    command = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(command)
    return click.option(
        "--config",
        "files",
        type=ExistingPath(dir_okay=False),
        multiple=True,
        required=True,
        help="YAML file; given several times, later ones win.",
    )(command)


@main.command()
@training_options
def sft(files: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Supervised training with MAE and PKT. Run again with the same run_dir to continue."""
    from tl_jax.config import SftConfig, load_config

    config = load_config(SftConfig, files, overrides)
    from tl_jax.training.sft import run_sft

    run_sft(config)


@main.command()
@training_options
def ppo(files: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Reinforcement training on rule-based rewards (IRM): PPO, or algorithm.estimator=grpo, dr_grpo, rloo, reinforce++
    or gdpo; one answer to a prompt, or episodes with environment=replay. Run again to continue."""
    from tl_jax.config import RlConfig, load_config

    config = load_config(RlConfig, files, overrides)
    from tl_jax.rl.train import run_rl

    run_rl(config)


@main.command(name="config")
@click.argument("command", type=click.Choice(["sft", "ppo"]))
def show_config(command: str) -> None:
    """Print every setting of a training command with its default and meaning, as YAML."""
    from tl_jax.config import RlConfig, SftConfig, annotated_yaml

    click.echo(annotated_yaml(SftConfig if command == "sft" else RlConfig), nl=False)


# ---------------------------------------------------------------- use and evaluation


def sampling_options(command: Command) -> Command:
    """How answers are drawn."""
    for option in (
        click.option("--max-new-tokens", default=256, show_default=True, type=click.IntRange(min=1)),
        click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(min=0), help="0 = greedy."),
        click.option("--top-k", type=click.IntRange(min=1)),
        click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True)),
        click.option("--seed", default=0, show_default=True),
        click.option("--dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True),
    ):
        command = option(command)
    return command


def scoring_options(command: Command) -> Command:
    """What counts as right."""
    for option in (
        click.option(
            "--policy",
            type=click.Choice(["any", "all"]),
            default="any",
            show_default=True,
            help="The first call against any gold call, or all calls against all.",
        ),
        click.option("--strict", is_flag=True, help='Calls and nothing else; "500" is not 500.'),
        click.option("--rotbench", is_flag=True, help="As RoTBench: a call without arguments is wrong."),
    ):
        command = option(command)
    return command


@main.command()
@click.option("--model", type=ExistingPath(), required=True, help="HF, checkpoint or run directory.")
@click.option("--input", "source", type=ExistingPath(dir_okay=False), required=True, help="messages.json or JSONL.")
@click.option("--renderer", type=RENDERERS, default="paper", show_default=True)
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(min=1))
@sampling_options
def generate(model: Path, source: Path, **options: Any) -> None:
    """Answer messages; the answer goes to stdout.

    A JSON file holds one conversation: a list of {"role", "content"} with roles System, User, Assistant, Output. A
    JSONL file holds one such list (or {"id", "messages"}) a line and gives one JSON line each.
    """
    from tl_jax.evaluation.generate import generate_file

    for line in generate_file(model, source, **options):
        click.echo(line)


@main.command(name="eval")
@click.option("--model", type=ExistingPath(), required=True, help="HF, checkpoint or run directory.")
@click.option("--cases", type=ExistingPath(dir_okay=False), required=True, help="Cases, or trajectories.")
@click.option("--format", type=FORMATS, default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory to write.")
@click.option("--renderer", type=RENDERERS, default="paper", show_default=True)
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(min=1))
@click.option("--limit", type=click.IntRange(min=1), help="Only the first cases.")
@click.option("--overwrite", is_flag=True, help="Answer again what predictions.jsonl already holds.")
@scoring_options
@sampling_options
def evaluate(model: Path, cases: Path, out: Path, **options: Any) -> None:
    """Answer every case and score TS, PI and CF; writes predictions.jsonl and summary.json."""
    from tl_jax.evaluation.runner import evaluate as run

    run(model, cases, out, **options)


@main.command()
@click.option("--cases", type=ExistingPath(dir_okay=False), required=True)
@click.option("--format", "kind", type=FORMATS, default="auto", show_default=True, help="Of the cases.")
@click.option("--predictions", type=ExistingPath(dir_okay=False), required=True, help='JSONL {"id", "prediction"}.')
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@scoring_options
def score(cases: Path, kind: str, predictions: Path, as_json: bool, **rules: Any) -> None:
    """TS, PI and CF of given predictions; needs no model."""
    from tl_jax.evaluation.report import print_summary, summary_json
    from tl_jax.evaluation.score import score_file

    summary, missing = score_file(cases, predictions, kind, **rules)
    if missing:
        click.echo(f"{missing} cases have no prediction and count as wrong", err=True)
    if as_json:
        click.echo(json.dumps({**rules, **summary_json(summary), "missing": missing}))
    else:
        print_summary(summary)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
@click.option("--data", type=ExistingPath(dir_okay=False), help="Your own trajectories instead of the demo's world.")
def demo(out: Path, data: Path | None) -> None:
    """The whole pipeline on a small model: data, MAE, SFT, PPO, evaluation, export. Minutes on a laptop."""
    from tl_jax.demo.run import run_demo

    run_demo(out, data)


# ---------------------------------------------------------------- helpers


def _parameters(params: Any) -> int:
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _one_trajectory(path: Path, kind: str, wanted: str | None) -> Any:
    """The trajectory called ``wanted``, or the file's first."""
    from tl_jax.tooluse.readers import read_trajectories

    seen: Counter[str] = Counter()
    for trajectory in read_trajectories(path, kind):
        if wanted is None or trajectory.id == wanted:
            return trajectory
        seen[trajectory.id] += 1
    near = difflib.get_close_matches(wanted or "", seen, 3)
    problem = f"no trajectory {wanted!r} in {path}" if wanted else f"no trajectory in {path}"
    raise click.UsageError(problem + (f"; nearest: {', '.join(near)}" if near else ""))


if __name__ == "__main__":
    sys.exit(main())
