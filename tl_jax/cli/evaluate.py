"""Commands that answer, score and reward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tl_jax.cli.options import (
    DATA,
    FILE,
    OUT,
    ExistingPath,
    OneOfOr,
    format_option,
    group_of,
    include_option,
    renderer_option,
    sampling_options,
    scoring_options,
)
from tl_jax.tooluse.metrics import Scoring
from tl_jax.tooluse.rewards.score import PROFILES

SHOWN_IDS = 3
model_option = click.option("--model", type=ExistingPath(), required=True, help="HF, checkpoint or run directory.")
prediction_options = group_of(
    click.option("--cases", type=DATA, required=True, help="Cases with gold answers, or trajectories."),
    format_option(help="Of the cases."),
    click.option("--predictions", type=FILE, required=True, help='JSONL {"id", "prediction"}.'),
)
"""Answers that are there already, and what they answer."""


def batch_size_option(default: int) -> Any:
    return click.option("--batch-size", default=default, show_default=True, type=click.IntRange(min=1))


@click.command()
@model_option
@click.option("--input", "source", type=FILE, required=True, help="messages.json or JSONL.")
@renderer_option
@batch_size_option(8)
@sampling_options
def generate(model: Path, source: Path, **options: Any) -> None:
    """Answer messages; the answer goes to stdout.

    A JSON file holds one conversation: a list of {"role", "content"} with roles System, User, Assistant, Output. A
    JSONL file holds one such list (or {"id", "messages"}) a line and gives one JSON line each.
    """
    from tl_jax.evaluation.answering import Answering
    from tl_jax.evaluation.generate import generate_file

    for line in generate_file(model, source, Answering.of(**options)):
        click.echo(line)


@click.command(name="eval")
@model_option
@click.option("--cases", type=DATA, required=True, help="Cases, or trajectories.")
@format_option("format")
@click.option("--out", type=OUT, required=True, help="Directory to write.")
@renderer_option
@batch_size_option(16)
@include_option
@click.option("--limit", type=click.IntRange(min=1), help="Only the first cases.")
@click.option("--overwrite", is_flag=True, help="Answer again what predictions.jsonl already holds.")
@scoring_options
@sampling_options
def evaluate(model: Path, cases: Path, out: Path, **options: Any) -> None:
    """Answer every case and score TS, PI and CF; writes predictions.jsonl and summary.json."""
    from tl_jax.evaluation.answering import Answering
    from tl_jax.evaluation.runner import evaluate as run

    scoring, which = (
        {name: options.pop(name) for name in names}
        for names in (("policy", "strict", "rotbench"), ("format", "limit", "overwrite"))
    )
    run(model, cases, out, Answering.of(**options), Scoring(**scoring), **which)


@click.command()
@prediction_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@scoring_options
def score(cases: Path, kind: str, predictions: Path, as_json: bool, **rules: Any) -> None:
    """TS, PI and CF of given predictions; needs no model."""
    from tl_jax.evaluation.report import print_summary, summary_json
    from tl_jax.evaluation.score import score_file

    summary, missing = score_file(cases, predictions, kind, Scoring(**rules))
    if missing:
        click.echo(f"{missing} cases have no prediction and count as wrong", err=True)
    if as_json:
        click.echo(json.dumps({**rules, **summary_json(summary), "missing": missing}))
    else:
        print_summary(summary)


@click.command()
@prediction_options
@click.option(
    "--profile",
    type=OneOfOr(PROFILES, "FILE.yaml"),
    default="paper",
    show_default=True,
    help="A table of amounts; docs/rewards.md describes each, and how to write your own.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per prediction on stdout.")
def reward(cases: Path, kind: str, predictions: Path, profile: str, as_json: bool) -> None:
    """What each prediction earns in reinforcement training, and why; needs no model.

    With --json one line per prediction: {"id", "reward", "category", "explanation"}. Faults of the gold answers and
    cases without a prediction are reported on stderr.
    """
    from rich.console import Console

    from tl_jax.evaluation.rewards import reward_file, rewards_report

    rewards = reward_file(cases, predictions, profile, kind)
    for case_id, fault in rewards.faults:
        click.echo(f"fault of the data: {case_id}: {fault}", err=True)
    _tell(rewards.missing, "have no prediction")
    _tell(rewards.without_gold, "have a prediction but no gold answer")
    if not as_json:
        Console().print(rewards_report(rewards))
        return
    for row in rewards.rows:
        line = {
            "id": row.case.id,
            "reward": row.reward.value,
            "category": row.reward.category,
            "explanation": row.reward.explanation,
        }
        click.echo(json.dumps(line, ensure_ascii=False))


COMMANDS = (generate, evaluate, score, reward)


def _tell(ids: tuple[str, ...], what: str) -> None:
    if ids:
        more = ", ..." if len(ids) > SHOWN_IDS else ""
        click.echo(f"{len(ids)} cases {what}: {', '.join(ids[:SHOWN_IDS])}{more}", err=True)
