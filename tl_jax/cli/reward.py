"""``tl-jax reward``."""

from __future__ import annotations

import json
from pathlib import Path

import click

SHOWN_IDS = 3
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--cases", type=FILE, required=True, help="Cases with gold answers, or trajectories.")
@click.option("--predictions", type=FILE, required=True, help='JSONL {"id", "prediction"}.')
@click.option(
    "--profile",
    default="paper",
    show_default=True,
    help="paper, monotone, binary, toolrl, reference, reference-released, or a YAML file with a table of your own.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per prediction on stdout.")
def reward(cases: Path, predictions: Path, profile: str, as_json: bool) -> None:
    """What each prediction earns in reinforcement training, and why; needs no model.

    With --json one line per prediction: {"id", "reward", "category", "explanation"}. Faults of the gold answers and
    cases without a prediction are reported on stderr.
    """
    from rich.console import Console

    from tl_jax.evaluation.rewards import reward_file, rewards_report

    rewards = reward_file(cases, predictions, profile)
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


def _tell(ids: tuple[str, ...], what: str) -> None:
    if ids:
        more = ", ..." if len(ids) > SHOWN_IDS else ""
        click.echo(f"{len(ids)} cases {what}: {', '.join(ids[:SHOWN_IDS])}{more}", err=True)
