"""The demo: every stage of the pipeline on a small model, each one with the ``tl-jax`` command that does the same."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tl_jax.config import RlConfig, SftConfig, load_config
from tl_jax.demo.course import BASE, OWN_DATA, PRETRAINED, WORLD, Course, Size, Training
from tl_jax.demo.data import write_cases, write_data
from tl_jax.demo.estimate import estimate
from tl_jax.demo.figures import compare_with_transformers, conclude, held_out_loss, mean_reward
from tl_jax.demo.session import Demo, finished
from tl_jax.errors import UserError
from tl_jax.files import check_erasable, told, write_json, write_text

MARKER = "demo.txt"
MARKED = "Made by tl-jax demo, which empties this directory when it runs again.\n"
MADE = {
    *(MARKER, "data", "eval", "model", "timing"),
    *(training.name for course in (WORLD, OWN_DATA, PRETRAINED) for training in course.trainings),
}
"""What a demo leaves in its directory."""


def run_demo(
    out: Path,
    data: Path | None = None,
    size: Size | None = None,
    model: Path | None = None,
    cases: Sequence[Path] = (),
) -> None:
    """Runs everything under ``out``, which is emptied first if an earlier demo made it.

    Args:
        out: where data, runs, answers and the exported model go.
        data: the user's own trajectories instead of the demo's world.
        size: less of everything, for tests.
        model: the user's pretrained model instead of the small one that is shipped; needs ``data``.
        cases: with ``model``, files of what is answered before and after; none = decision points of trajectories that
            are held out of ``data``.

    Raises:
        UserError: bad data, a model without data, cases without a model or of the same name, or ``out`` holds something
            else.
    """
    course = _course(data, model, cases)
    demo = Demo(out, data, size or course.size, course, model or BASE, tuple(cases))
    _prepare(demo)
    with demo.stage("data", "Trajectories to learn from, and others held out that training never sees."):
        write_data(demo)
    with demo.stage("mae", "Calls that were answered by an error stay in the context but are never a target."):
        _mark_errors(demo)
    with demo.stage("cases", "What is answered before and after: each with the calls that would be right."):
        write_cases(demo)
    if model:
        with demo.stage("estimate", "What memory the trainings take here, and how long everything lasts."):
            estimate(demo)
    _evaluate(demo, "before", demo.model)
    for training in course.trainings:
        with demo.stage(training.name, training.what):
            _train(demo, training)
        _evaluate(demo, f"after {training.label}", out / training.name)
    with demo.stage("export", "The trained model as a Hugging Face directory."):
        _export(demo)
        compare_with_transformers(demo)
    conclude(demo)


def _course(data: Path | None, model: Path | None, cases: Sequence[Path]) -> Course:
    if model and not data:
        raise UserError(f"{model} is to be trained: on what? Give trajectories, --data FILE (docs/formats.md)")
    if cases and not model:
        raise UserError(
            f"{cases[0]}: --cases goes with --model; the demo's own model is asked what is held out of --data"
        )
    names = [file.stem for file in cases]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(f"{twice}: two files of --cases have this name, which tells their cases apart; rename one")
    if model:
        return PRETRAINED
    return OWN_DATA if data else WORLD


def _prepare(demo: Demo) -> None:
    if not (demo.model / "config.json").is_file():
        how = (
            "python -m tl_jax.demo.base" if demo.model == BASE else "python examples/smollm2/get_model.py, for instance"
        )
        raise UserError(f"{demo.model}: no model in Hugging Face format; make one with {how}")
    if demo.out.is_dir() and any(demo.out.iterdir()):
        _empty(demo)
    write_text(demo.out / MARKER, MARKED)


def _empty(demo: Demo) -> None:
    """Erases what an earlier demo made.

    Raises:
        UserError: its directory holds anything else, or the working directory, or what the demo reads.
    """
    out = demo.out
    marker = out / MARKER
    ours = marker.is_file() and marker.read_bytes() == MARKED.encode()
    foreign = sorted(entry.name for entry in out.iterdir() if not ours or entry.name not in MADE)
    if foreign:
        raise UserError(f"{out}: holds something else ({', '.join(foreign[:3])}); give another directory")
    check_erasable(out, *([demo.data] if demo.data else []), *demo.cases, demo.model)
    with told(out, "cannot be emptied"):
        for entry in out.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()


def _mark_errors(demo: Demo) -> None:
    from tl_jax.tooluse.mae.audit import run_mae

    data = demo.out / "data"
    source, marked, audit = data / "train.jsonl", data / "train.mae.jsonl", data / "audit.jsonl"
    demo.show("mae", in_=source, out=marked, audit=audit)
    for line in run_mae(source, marked, audit).lines():
        demo.say(line)


def _evaluate(demo: Demo, name: str, model: Path) -> None:
    """A stage of its own: answers to the cases, their scores, and the figures that `conclude` shows."""
    from tl_jax.evaluation.answering import Answering
    from tl_jax.evaluation.runner import evaluate

    cases, folder = demo.out / "data/cases.jsonl", demo.answers(name)
    settings: dict[str, Any] = {"dtype": "float32", "max_new_tokens": demo.course.new_tokens, "batch_size": 32}
    with demo.stage(f"eval {name}", "TS, PI and CF of greedy answers; held-out loss; mean reward."):
        demo.show("eval", model=model, cases=cases, out=folder, **settings)
        evaluate(model, cases, folder, Answering.of(**settings))
        figures = {"loss": held_out_loss(demo, model), "reward": mean_reward(demo, folder)}
        write_json(folder / "figures.json", figures)
        demo.console.print(f"held-out loss {figures['loss']:.3f}, mean reward {figures['reward']:+.3f}")


def _train(demo: Demo, training: Training) -> None:
    files, overrides = demo.settings(training)
    demo.show(training.command, *overrides, config=files)
    if training.command == "sft":
        from tl_jax.training.sft import run_sft

        result = run_sft(load_config(SftConfig, files, overrides))
    else:
        from tl_jax.rl.train import run_rl

        result = run_rl(load_config(RlConfig, files, overrides))
    finished(result)


def _export(demo: Demo) -> None:
    from tl_jax.model.hf import export_hf
    from tl_jax.model.store import open_model

    source, target = demo.out / demo.course.trainings[-1].name, demo.out / "model"
    demo.show("export", from_=source, to=target)
    model = open_model(source, param_dtype=None)
    export_hf(model.params, model.config, model.tokenizer_dir, target)
    demo.say(f"{target}: {model.size:,} parameters; transformers loads it as it is")
