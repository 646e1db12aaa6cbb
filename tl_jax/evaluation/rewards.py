"""``tl-jax reward``: what given predictions are worth, without a model."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from tl_jax.bucket_files import profile_from
from tl_jax.data.prompts import load_cases
from tl_jax.evaluation.predictions import join_predictions
from tl_jax.tooluse.rewards.gold import gold_faults
from tl_jax.tooluse.rewards.score import Reward, score
from tl_jax.tooluse.rewards.writable import Unwritable, UnwritableGold, unwritable_gold
from tl_jax.tooluse.schema import Case
from tl_jax.tooluse.text.render import make_renderer


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A case and the reward of its prediction."""

    case: Case
    reward: Reward


@dataclass(frozen=True, slots=True)
class RewardedFile:
    """A file of predictions, rewarded in the order of the cases.

    ``missing`` are the ids of cases with gold answers but no prediction, ``without_gold`` those of predictions that
    have nothing to be compared with, ``faults`` (id, fault) what is wrong with the gold answers themselves,
    ``unwritable`` those whose gold answer the format cannot say.
    """

    rows: tuple[Rewarded, ...]
    missing: tuple[str, ...]
    without_gold: tuple[str, ...]
    faults: tuple[tuple[str, str], ...]
    unwritable: UnwritableGold


def reward_file(
    cases: Path,
    predictions: Path,
    profile: str = "paper",
    format: str = "auto",
    renderer: str = "paper",
    policy: Unwritable = "skip",
) -> RewardedFile:
    """The reward of every prediction.

    Args:
        format: of ``cases``; auto looks at the first row.
        renderer: the text format that the predictions were asked for in.
        policy: what becomes of cases whose gold answer it cannot say.

    Raises:
        UserError: an unknown profile or text format, a file that cannot be read, two cases of one id, predictions of no
            case, or gold answers that the format cannot say and that ``policy`` refuses.
    """
    chosen = profile_from(profile)
    rows, missing, without_gold, faults = [], [], [], []
    pairs = join_predictions(load_cases(cases, format), cases, predictions)
    unwritable = unwritable_gold((case for case, _ in pairs), make_renderer(renderer), policy)
    for case, prediction in pairs:
        if not unwritable.keeps(case):
            continue
        faults += [(case.id, fault) for fault in gold_faults(case)]
        if not case.has_gold:
            without_gold += [] if prediction is None else [case.id]
        elif prediction is None:
            missing.append(case.id)
        else:
            rows.append(Rewarded(case, score(prediction, case, chosen)))
    return RewardedFile(tuple(rows), tuple(missing), tuple(without_gold), tuple(faults), unwritable)


def histogram(rewards: RewardedFile) -> dict[str, int]:
    """How many answers fell into each category, the most frequent first."""
    return dict(Counter(row.reward.category for row in rewards.rows).most_common())


def rewards_report(rewards: RewardedFile) -> RenderableType:
    """Mean reward and share of right answers for each suite, and the histogram of categories."""
    suites: dict[str, list[Reward]] = defaultdict(list)
    for row in rewards.rows:
        suites[row.case.suite or "unnamed"].append(row.reward)
    groups = [*suites.items()] if len(suites) == 1 else [*suites.items(), ("all", [row.reward for row in rewards.rows])]
    table = Table("suite", *(Column(name, justify="right") for name in ("answers", "mean reward", "correct %")))
    for name, found in groups:
        mean, right = "-", "-"
        if found:
            mean = f"{sum(reward.value for reward in found) / len(found):+.4f}"
            right = f"{100 * sum(reward.category == 'correct' for reward in found) / len(found):.2f}"
        table.add_row(Text(name), str(len(found)), mean, right)
    bars = Table("outcome", Column("answers", justify="right"), "", box=None)
    for category, count in histogram(rewards).items():
        bars.add_row(category, str(count), Bar(len(rewards.rows), 0, count, width=40))
    return Group(table, bars)
