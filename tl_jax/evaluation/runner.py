"""Evaluation of a model: an answer to every case, written as it goes, then the scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tl_jax.data.prompts import Prompt, encode_prompts, load_cases
from tl_jax.errors import UserError
from tl_jax.evaluation.answering import GREEDY, Answering
from tl_jax.evaluation.report import ALL, by_suite, print_summary, write_summary
from tl_jax.inference.room import ContextRoom
from tl_jax.inference.sampler import Sampler
from tl_jax.model.parameters import Params
from tl_jax.tooluse.metrics import PAPER_SCORING, Scoring, Summary, score_prediction
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.schema import Case

PREDICTIONS, SETTINGS, SUMMARY = "predictions.jsonl", "settings.json", "summary.json"


def evaluate(
    model: Path,
    cases: Path,
    out: Path,
    answering: Answering = GREEDY,
    scoring: Scoring = PAPER_SCORING,
    *,
    format: str = "auto",
    limit: int | None = None,
    overwrite: bool = False,
) -> Summary:
    """Answers every case and writes ``predictions.jsonl`` and ``summary.json`` to ``out``; prints the table on stderr.

    A run that was cut off continues: cases answered in ``predictions.jsonl`` are not asked again.

    Args:
        model: a Hugging Face, checkpoint or run directory.
        cases: cases, or trajectories (each call is a case), in any format of the readers.
        out: directory to write.
        scoring: what counts as right; another choice scores the same answers anew.
        format: of ``cases``; auto looks at the first row.
        limit: only so many cases, the first ones.
        overwrite: forget the answers that ``out`` holds.

    Raises:
        UserError: anything that cannot be read, ``out`` holds answers made with other settings, or the model has room
            for none of the prompts.
    """
    console = Console(stderr=True)
    wanted = load_cases(cases, format, limit=limit, include=answering.include)
    settings = {
        "model": str(model.resolve()),
        "cases": str(cases.resolve()),
        "renderer": answering.renderer,
        "dtype": answering.dtype,
        **answering.sampling.model_dump(exclude={"batch_size"}),
        "seed": answering.seed,
    }
    settings |= {"include": [*answering.include]} if answering.include else {}
    answers = _open_directory(out, settings, overwrite)
    if any(case.id not in answers for case in wanted):
        answers = _answer(model, wanted, answers, answering, out / PREDICTIONS, console)
    suites = by_suite((case.suite, score_prediction(answers[case.id], case, scoring)) for case in wanted)
    write_summary(out / SUMMARY, suites, scoring)
    print_summary(suites[ALL], suites, console)
    return suites[ALL]


def _answer(
    model: Path,
    cases: Sequence[Case],
    answers: Mapping[str, str],
    answering: Answering,
    predictions: Path,
    console: Console,
) -> dict[str, str]:
    """The answers to all cases, by id: the known ones and those that the model gives, written as they come."""
    sampler, loaded = answering.open(model)
    room = ContextRoom(loaded.config.max_position_embeddings, answering.sampling.max_new_tokens)
    prompts, _ = encode_prompts([case for case in cases if case.id not in answers], sampler.codec)
    prompts.sort(key=lambda prompt: -len(prompt.tokens))  # the longest first: memory runs out at once or never
    too_long = [prompt for prompt in prompts if not room.fits(len(prompt.tokens))]
    if len(too_long) == len(cases):
        room.check(f"all {len(too_long)} prompts are too long for the model: the shortest", len(prompts[-1].tokens))
    found = dict(answers)
    with predictions.open("a", encoding="utf-8") as file, _progress(console) as progress:
        task = progress.add_task("answering", total=len(cases), completed=len(cases) - len(prompts))
        unanswered = (
            {"id": prompt.case.id, "prediction": "", "problem": f"prompt of {len(prompt.tokens)} tokens"}
            for prompt in too_long
        )
        for row in chain(unanswered, _generated(sampler, loaded.params, prompts[len(too_long) :], answering)):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            found[row["id"]] = row["prediction"]
            progress.advance(task)
    if too_long:
        console.print(f"{len(too_long)} prompts are too long for the model; their answers are empty")
    return found


def _generated(
    sampler: Sampler, params: Params, prompts: Sequence[Prompt], answering: Answering
) -> Iterator[dict[str, Any]]:
    """A row of predictions for every prompt."""
    key = jax.random.key(answering.seed)
    for start in range(0, len(prompts), answering.batch_size):
        batch = prompts[start : start + answering.batch_size]
        generation = sampler.generate(params, [prompt.tokens for prompt in batch], jax.random.fold_in(key, start))
        for row, (prompt, text) in enumerate(zip(batch, sampler.texts(generation), strict=True)):
            length, finished = int(generation.lengths[row]), bool(generation.finished[row])
            yield {"id": prompt.case.id, "prediction": text, "tokens": length, "finished": finished}


def _open_directory(out: Path, settings: Mapping[str, Any], overwrite: bool) -> dict[str, str]:
    """Makes ``out`` ready to be added to; the answers it holds already, by id."""
    out.mkdir(parents=True, exist_ok=True)
    predictions, settings_file = out / PREDICTIONS, out / SETTINGS
    if overwrite:
        predictions.unlink(missing_ok=True)
    elif predictions.is_file():
        before = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file.is_file() else {}
        changed = [name for name, value in settings.items() if before.get(name) != value]
        if changed:
            raise UserError(
                f"{predictions}: was made with other settings ({', '.join(changed)}); "
                "choose another directory, or --overwrite to answer anew"
            )
    settings_file.write_text(json.dumps(dict(settings), indent=2) + "\n", encoding="utf-8")
    return _whole_lines(predictions) if predictions.is_file() else {}


def _whole_lines(predictions: Path) -> dict[str, str]:
    """The answers in a file whose last line may have been cut off, which is removed."""
    content = predictions.read_bytes()
    predictions.write_bytes(content[: content.rfind(b"\n") + 1])
    return read_predictions(predictions)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
    )
