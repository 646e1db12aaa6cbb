"""A model's answers to cases: written as they end, and continued where they were cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tl_jax.addresses import full_name
from tl_jax.data.prompts import Prompt, encode_prompts
from tl_jax.errors import UserError
from tl_jax.evaluation.answering import Answering
from tl_jax.evaluation.predictions import read_settings
from tl_jax.files import new_binary_file, told, write_json
from tl_jax.inference.engine import Generation, Listener
from tl_jax.inference.room import ContextRoom
from tl_jax.inference.sampler import Sampler
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.readers.predictions import PREDICTIONS, SETTINGS
from tl_jax.tooluse.schema import Case

Row: TypeAlias = dict[str, Any]
"""A line of predictions: ``id``, ``prediction``, and how it came about."""
Answerer: TypeAlias = Callable[[Sampler, Sequence[Prompt], ContextRoom, Answering], Iterator[Row]]
"""Answers prompts that fit into the model: a row for each of them."""


def settings_of(model: Path, cases: str, answering: Answering) -> dict[str, Any]:
    """What has to be the same for answers to belong together; ``cases``: to what they are answers."""
    settings = {
        "model": full_name(model),
        "cases": cases,
        "renderer": answering.renderer,
        "dtype": answering.dtype,
        **answering.sampling.model_dump(exclude={"batch_size"}),
        "seed": answering.seed,
    }
    if answering.template:
        settings |= {"chat_template": answering.template.name, "template_args": dict(answering.template.kwargs)}
    if answering.kv_cache_dtype != "auto":
        settings["kv_cache_dtype"] = answering.kv_cache_dtype
    return settings | ({"include": [*answering.include]} if answering.include else {})


def answer_all(
    model: Path,
    cases: Sequence[Case],
    known: Mapping[str, Any],
    answering: Answering,
    predictions: Path,
    console: Console,
    episodes: Iterable[Case] = (),
    play: Answerer | None = None,
) -> dict[str, Any]:
    """The answers to all cases, by id: the known ones and those that the model gives, added to a file as they come.

    Args:
        episodes: those of the cases that ``play`` answers, by what was said in each turn.

    Raises:
        UserError: the model has room for none of the prompts.
    """
    waiting = [case for case in cases if case.id not in known]
    if not waiting:
        return dict(known)
    sampler = answering.open(model)
    room = ContextRoom(sampler.engine.model.max_position_embeddings, answering.sampling.max_new_tokens)
    prompts, _ = encode_prompts(waiting, sampler.codec)
    prompts.sort(key=lambda prompt: -len(prompt.tokens))  # the longest first: memory runs out at once or never
    too_long = [prompt for prompt in prompts if not room.fits(len(prompt.tokens))]
    if len(too_long) == len(cases):
        room.check(f"all {len(too_long)} prompts are too long for the model: the shortest", len(prompts[-1].tokens))
    played = {case.id for case in episodes}
    fitting = prompts[len(too_long) :]
    single = [prompt for prompt in fitting if prompt.case.id not in played]
    several = [prompt for prompt in fitting if prompt.case.id in played]
    found = dict(known)
    with predictions.open("a", encoding="utf-8") as file, progress_bar(console) as progress:
        task = progress.add_task("answering", total=len(cases), completed=len(cases) - len(prompts))

        def take(row: Row) -> None:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            found[row["id"]] = row["prediction"]
            progress.advance(task)

        for prompt in too_long:
            take(_unanswered(prompt, [] if prompt.case.id in played else ""))
        tokens, numbers = [prompt.tokens for prompt in single], [noise_number(prompt) for prompt in single]
        generated(sampler, tokens, answering, lambda at, row: take({"id": single[at].case.id, **row}), numbers)
        for row in play(sampler, several, room, answering) if play and several else ():
            take(row)
    if too_long:
        console.print(f"{len(too_long)} prompts are too long for the model; their answers are empty")
    return found


def noise_number(prompt: Prompt) -> int:
    """What the noise of its answer depends on besides the seed: the case's id, whatever stands beside it."""
    return crc32(prompt.case.id.encode()) >> 1


def generated(
    sampler: Sampler,
    prompts: Sequence[Sequence[int]],
    answering: Answering,
    take: Callable[[int, Row], None],
    numbers: Sequence[int] | None = None,
) -> None:
    """One answer to every prompt; when one has ended, the next prompt takes its place at once.

    Args:
        sampler: from `Answering.open`.
        prompts: token ids. There is room for all of them.
        answering: how many are answered at once, and the seed.
        take: given each answer when it has ended, with its prompt's index: ``prediction``, ``tokens``, ``finished``.
        numbers: what the noise of an answer depends on besides the seed; by default its prompt's index.
    """
    if not prompts:
        return
    waiting = set(range(len(prompts)))

    def ended(indices: Sequence[int], answers: Generation) -> None:
        for row, (index, text) in enumerate(zip(indices, sampler.texts(answers), strict=True)):
            waiting.remove(index)
            length, finished = int(answers.lengths[row]), bool(answers.finished[row])
            take(index, {"prediction": text, "tokens": length, "finished": finished})

    in_slots = replace(sampler, sampling=sampler.sampling.model_copy(update={"batch_size": answering.batch_size}))
    made = in_slots.generate(prompts, jax.random.key(answering.seed), Listener(ended=ended), numbers)
    left = sorted(waiting)  # of which the engine did not tell
    ended(left, made.of(left))


def _unanswered(prompt: Prompt, empty: Any) -> Row:
    return {"id": prompt.case.id, "prediction": empty, "problem": f"prompt of {len(prompt.tokens)} tokens"}


def open_directory(
    out: Path,
    settings: Mapping[str, Any],
    overwrite: bool,
    read: Callable[[Path], dict[str, Any]] = read_predictions,
) -> dict[str, Any]:
    """Makes ``out`` ready to be added to; the answers it holds already, by id.

    Args:
        out: the directory.
        settings: what its answers have to be made with.
        overwrite: forget its answers.
        read: reads them.

    Raises:
        UserError: they were made with other settings.
    """
    with told(out, "cannot be made"):
        out.mkdir(parents=True, exist_ok=True)
    predictions, settings_file = out / PREDICTIONS, out / SETTINGS
    if overwrite and predictions.exists() and not settings_file.exists():
        raise UserError(f"{predictions}: not written by tl-jax eval, there is no {SETTINGS}; choose another directory")
    if overwrite:
        predictions.unlink(missing_ok=True)
    elif predictions.is_file():
        before = read_settings(settings_file)
        if before is None:
            raise UserError(
                f"{settings_file}: is broken, so nobody knows with which settings {PREDICTIONS} was made; choose "
                "another directory, or --overwrite to answer anew"
            )
        changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if changed:
            raise UserError(
                f"{predictions}: was made with other settings ({', '.join(changed)}); "
                "choose another directory, or --overwrite to answer anew"
            )
    write_json(settings_file, dict(settings))
    if not predictions.is_file():
        return {}
    _drop_cut_off_line(predictions)
    return read(predictions)


def _drop_cut_off_line(file: Path) -> None:
    """The last line may be cut off, where the process that wrote it was killed."""
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with new_binary_file(file) as anew:
            anew.write(whole)


def progress_bar(console: Console, shown: bool = True) -> Progress:
    """Of answers. What is printed on stdout meanwhile stays there, although the bar is on a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        redirect_stdout=False,
        disable=not shown,
    )
