"""Evaluation of a model: an answer to every case, written as it goes, then the scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tl_jax.config import MeshConfig
from tl_jax.data.prompts import Prompt, encode_prompts, load_cases
from tl_jax.errors import UserError
from tl_jax.evaluation.report import ALL, by_suite, print_summary, write_summary
from tl_jax.inference.generate import Sampling
from tl_jax.inference.sampler import Sampler, open_sampler
from tl_jax.model.parameters import Params
from tl_jax.tooluse.metrics import PAPER_SCORING, Scoring, Summary, score_prediction
from tl_jax.tooluse.readers import read_predictions

PREDICTIONS, SETTINGS, SUMMARY = "predictions.jsonl", "settings.json", "summary.json"


def evaluate(
    model: Path,
    cases: Path,
    out: Path,
    *,
    format: str = "auto",
    renderer: str = "paper",
    batch_size: int = 16,
    limit: int | None = None,
    overwrite: bool = False,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    scoring: Scoring = PAPER_SCORING,
    mesh: MeshConfig | None = None,
    console: Console | None = None,
) -> Summary:
    """Answers every case and writes ``predictions.jsonl`` and ``summary.json`` to ``out``; prints the table.

    A run that was cut off continues: cases answered in ``predictions.jsonl`` are not asked again.

    Args:
        model: a Hugging Face, checkpoint or run directory.
        cases: cases, or trajectories (each call is a case), in any format of the readers.
        format: of ``cases``; auto looks at the first row.
        out: directory to write.
        overwrite: forget the answers that ``out`` holds.
        scoring: what counts as right; another choice scores the same answers anew.
        mesh: how devices share the work; by default all of them along ``fsdp``.

    Raises:
        UserError: anything that cannot be read, ``out`` holds answers made with other settings, or the model has room
            for none of the prompts.
    """
    console = console or Console(stderr=True)
    wanted = load_cases(cases, format, limit=limit)
    settings = {
        "model": str(model.resolve()),
        "cases": str(cases.resolve()),
        "renderer": renderer,
        "dtype": dtype,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    known = _open_directory(out, settings, overwrite)
    remaining = [case for case in wanted if case.id not in known]
    if remaining:
        sampling = Sampling(max_new_tokens, temperature, top_k, top_p)
        sampler, loaded = open_sampler(model, sampling, renderer, dtype, mesh)
        room = loaded.config.max_position_embeddings - max_new_tokens
        prompts, _ = encode_prompts(remaining, sampler.codec)
        too_long = sum(len(prompt.tokens) > room for prompt in prompts)
        if too_long == len(wanted):
            raise UserError(
                f"all {too_long} prompts are too long for the model: with --max-new-tokens {max_new_tokens} it has "
                f"room for {max(room, 0)} tokens, and the shortest has {min(len(p.tokens) for p in prompts)}"
            )
        with (out / PREDICTIONS).open("a", encoding="utf-8") as file, _progress(console) as progress:
            task = progress.add_task("answering", total=len(wanted), completed=len(wanted) - len(remaining))
            for row in _answers(sampler, loaded.params, prompts, room, batch_size, jax.random.key(seed)):
                _write(file, row)
                known[row["id"]] = row["prediction"]
                progress.advance(task)
        if too_long:
            console.print(f"{too_long} prompts are too long for the model; their answers are empty")
    suites = by_suite((case.suite, score_prediction(known[case.id], case, scoring)) for case in wanted)
    write_summary(out / SUMMARY, suites, scoring)
    print_summary(suites[ALL], suites, console)
    return suites[ALL]


def _answers(
    sampler: Sampler, params: Params, prompts: Sequence[Prompt], room: int, batch_size: int, key: jax.Array
) -> Iterator[dict[str, Any]]:
    """A row of predictions for every prompt, the longest first: memory runs out at once or never."""
    ordered = sorted(prompts, key=lambda prompt: -len(prompt.tokens))
    for prompt in ordered:
        if len(prompt.tokens) > room:
            yield {"id": prompt.case.id, "prediction": "", "problem": f"prompt of {len(prompt.tokens)} tokens"}
    fitting = [prompt for prompt in ordered if len(prompt.tokens) <= room]
    for start in range(0, len(fitting), batch_size):
        batch = fitting[start : start + batch_size]
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


def _write(file: TextIO, row: Mapping[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    file.flush()


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
