"""``tl-jax eval`` and ``score`` with ``--suite bfcl_v4``: BFCL's questions, answered and scored as BFCL does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Column, Table

from tl_jax.addresses import full_name
from tl_jax.data.prompts import with_distinct_ids
from tl_jax.evaluation.predictions import joined
from tl_jax.files import write_json
from tl_jax.terminal import SafeConsole
from tl_jax.tooluse.bfcl.categories import PARTS, category_of, chosen
from tl_jax.tooluse.bfcl.package import question_files
from tl_jax.tooluse.bfcl.score import BfclScores, Prediction, faults, is_episode, score_cases
from tl_jax.tooluse.environments.bfcl import BfclTools
from tl_jax.tooluse.intervals import bootstrap_interval
from tl_jax.tooluse.readers import read_cases, read_turns
from tl_jax.tooluse.readers.predictions import PREDICTIONS
from tl_jax.tooluse.rewards.writable import unwritable_gold
from tl_jax.tooluse.schema import Case

if TYPE_CHECKING:  # scoring needs neither JAX nor NumPy
    from tl_jax.data.prompts import Prompt
    from tl_jax.evaluation.answering import Answering
    from tl_jax.inference.room import ContextRoom
    from tl_jax.inference.sampler import Sampler
    from tl_jax.rl.episodes import Episode

NAME = "bfcl_v4"
MAX_ANSWERS = 20
"""Answers with calls that a model may give to one turn of the user, as in BFCL."""


def load_questions(categories: Sequence[str], source: Path | None = None, limit: int | None = None) -> list[Case]:
    """The questions of some categories.

    Args:
        categories: by name, by group, or ``all``. Of a group, only those have to be there that are also named.
        source: a file of questions, or the folder with all of them; None = the package `bfcl-eval`.
        limit: of each category, only so many, the first ones.

    Raises:
        UserError: no such category, or its file is not there or cannot be read.
    """
    if source is not None and source.is_file():
        files = [source]
    else:
        files = question_files(chosen(categories), source, required=categories)
    cases = []
    for file in files:
        cases += [*with_distinct_ids(read_cases(file, NAME), file)][:limit]
    return cases


def evaluate_bfcl(
    model: Path,
    out: Path,
    categories: Sequence[str],
    answering: Answering,
    source: Path | None = None,
    limit: int | None = None,
    overwrite: bool = False,
) -> BfclScores:
    """Answers every question, writes ``predictions.jsonl`` and ``summary.json`` to ``out``, prints the table on stderr.

    A run that was cut off continues, and one of other categories adds to it.

    Args:
        model: a Hugging Face, checkpoint or run directory.
        out: directory to write.
        categories: as in `load_questions`, with ``source`` and ``limit``.
        answering: how the model answers.
        overwrite: forget the answers that ``out`` holds.

    Raises:
        UserError: as `load_questions`; ``out`` holds answers made with other settings; the model has room for none of
            the prompts; or the tools of questions of several turns cannot be run.
    """
    from tl_jax.evaluation.answers import answer_all, open_directory, settings_of

    console = SafeConsole(stderr=True)
    cases = load_questions(categories, source, limit)
    episodes = [case for case in cases if is_episode(case)]
    settings = settings_of(model, full_name(source) if source else NAME, answering)
    known = open_directory(out, settings, overwrite, read_turns)
    answers = answer_all(model, cases, known, answering, out / PREDICTIONS, console, episodes, _played)
    scores = score_cases((case, answers[case.id]) for case in cases)
    unwritable = unwritable_gold(cases, answering.codec(model).writer)  # told only: the score is BFCL's own
    summary = {"suite": NAME, **scores.to_json(), "unwritable_cases": dict(unwritable.reasons)}
    write_json(out / "summary.json", summary)
    console.print(report(scores))
    if unwritable.reasons:
        console.print(unwritable.line(), soft_wrap=True)
    return scores


def score_bfcl(predictions: Path, categories: Sequence[str], source: Path | None = None) -> BfclScores:
    """The scores of given predictions, of several categories in one file; needs no model.

    Raises:
        UserError: as `load_questions`, or predictions that cannot be read or belong to no question of BFCL.
    """
    return score_cases(_answered(predictions, categories, source))


def bfcl_faults(
    predictions: Path, categories: Sequence[str], source: Path | None = None
) -> Iterator[tuple[Case, Prediction | None, str]]:
    """Every question with its prediction, None where there is none, and what is wrong with it.

    Raises:
        UserError: as `score_bfcl`.
    """
    return faults(_answered(predictions, categories, source))


def _answered(
    predictions: Path, categories: Sequence[str], source: Path | None
) -> list[tuple[Case, Prediction | None]]:
    cases = load_questions(categories, source)
    asked = {case.split for case in cases}

    def elsewhere(identity: str) -> bool:
        category = category_of(identity)
        return category is not None and category.name not in asked

    return joined(cases, str(source or NAME), read_turns(predictions), predictions, elsewhere)


def report(scores: BfclScores) -> RenderableType:
    """The accuracy of each category with its 95 % interval, and what they add up to."""
    figures = (Column(name, justify="right") for name in ("questions", "right", "accuracy %"))
    table = Table(Column("category", no_wrap=True), *figures, "faults")
    for name, tally in scores.categories.items():
        share = tally.share
        low, high = bootstrap_interval(share.right, share.cases)
        accuracy = f"{share.accuracy:.2f} ({low:.0f}-{high:.0f})" if share.cases else "-"
        cases = f"{share.cases} (+{tally.unscored} without gold)" if tally.unscored else str(share.cases)
        faults = ", ".join(f"{fault} {count}" for fault, count in tally.wrong.most_common(3))
        table.add_row(name, cases, str(share.right), accuracy, faults)
    whole = scores.overall
    parts = Table("part", Column("points", justify="right"), Column("accuracy %", justify="right"))
    for part in PARTS.values():
        accuracy = f"{whole.parts[part.name]:.2f}" if part.name in whole.parts else "absent"
        parts.add_row(part.name, str(part.points or ""), accuracy)
    if whole.score is not None:
        parts.add_section()
        parts.add_row(f"overall, of {whole.points} points", "", f"{whole.score:.2f}")
        parts.add_row("overall, absent parts as 0", "100", f"{whole.leaderboard:.2f}")
    return Group(table, parts)


def _played(
    sampler: Sampler, prompts: Sequence[Prompt], room: ContextRoom, answering: Answering
) -> Iterator[dict[str, Any]]:
    """An episode for every prompt: what the model says, turn by turn of the user."""
    import jax

    from tl_jax.evaluation.answers import noise_number
    from tl_jax.rl.rollout import EnvironmentSpec, run_multi_turn

    key = jax.random.key(answering.seed)
    # Only as many at once as there are slots: each has a process for its tools, and what is kept of it between turns
    # has to have room. With more, most of them would be read anew at every turn.
    for start in range(0, len(prompts), answering.batch_size):
        batch = prompts[start : start + answering.batch_size]
        turns = max(len(prompt.case.meta["turns"]) + 1 for prompt in batch)
        spec = EnvironmentSpec(BfclTools, turns * (MAX_ANSWERS + 1), room.tokens, include=answering.include)
        episodes = run_multi_turn(sampler, batch, key, spec, numbers=[noise_number(prompt) for prompt in batch])
        for prompt, episode in zip(batch, episodes, strict=True):
            tokens = sum(len(turn.tokens) for turn in episode.turns)
            row = {"id": prompt.case.id, "prediction": _turns(episode), "tokens": tokens}
            yield {**row, "finished": not episode.truncated}


def _turns(episode: Episode) -> list[list[str]]:
    """The answers of an episode, by the turn of the user that they belong to."""
    turns: list[list[str]] = [[]]
    for number, turn in enumerate(episode.turns):
        turns[-1].append(turn.text)
        if not turn.calls and number + 1 < len(episode.turns):
            turns.append([])
    return turns
