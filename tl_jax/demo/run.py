"""The demo: every stage of the pipeline on a small model, each one with the ``tl-jax`` command that does the same."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_jax.config import RlConfig, SftConfig, load_config
from tl_jax.demo.base import BASE
from tl_jax.demo.data import write_cases, write_data
from tl_jax.demo.figures import compare_with_transformers, conclude, held_out_loss, mean_reward
from tl_jax.demo.session import Demo, Size
from tl_jax.errors import UserError
from tl_jax.files import check_erasable, told, write_json, write_text
from tl_jax.training.stop import exit_code

MARKER = "demo.txt"
MARKED = "Made by tl-jax demo, which empties this directory when it runs again.\n"
MADE = (MARKER, "data", "eval", "sft", "ppo", "model")
"""What a demo leaves in its directory."""


def run_demo(out: Path, data: Path | None = None, size: Size | None = None) -> None:
    """Runs everything under ``out``, which is emptied first if an earlier demo made it.

    Args:
        out: where data, runs, answers and the exported model go.
        data: the user's own trajectories instead of the demo's world.
        size: less of everything, for tests.

    Raises:
        UserError: bad data, or ``out`` holds something else.
    """
    _prepare(out, data)
    demo = Demo(out, data, size or Size())
    with demo.stage("data", "Trajectories to learn from, and others held out that training never sees."):
        write_data(demo)
    with demo.stage("mae", "Calls that were answered by an error stay in the context but are never a target."):
        _mark_errors(demo)
    with demo.stage("cases", "Decision points of the held-out trajectories: each call that MAE leaves standing."):
        write_cases(demo)
    _evaluate(demo, "before", BASE)
    with demo.stage("sft", "Supervised training with MAE and PKT from the small base model that the repository ships."):
        _sft(demo)
    _evaluate(demo, "after SFT", out / "sft")
    with demo.stage("ppo", "Reinforcement training on the rule-based reward, from the supervised model."):
        _rl(demo)
    _evaluate(demo, "after PPO", out / "ppo")
    with demo.stage("export", "The trained model as a Hugging Face directory."):
        _export(demo)
        compare_with_transformers(demo)
    conclude(demo)


def _prepare(out: Path, data: Path | None) -> None:
    if out.is_dir() and any(out.iterdir()):
        _empty(out, data)
    if not (BASE / "config.json").is_file():
        raise UserError(f"{BASE}: no base model; make it with python -m tl_jax.demo.base")
    write_text(out / MARKER, MARKED)


def _empty(out: Path, data: Path | None) -> None:
    """Erases what an earlier demo made.

    Raises:
        UserError: ``out`` holds anything else, or the working directory, or the data.
    """
    marker = out / MARKER
    ours = marker.is_file() and marker.read_bytes() == MARKED.encode()
    foreign = sorted(entry.name for entry in out.iterdir() if not ours or entry.name not in MADE)
    if foreign:
        raise UserError(f"{out}: holds something else ({', '.join(foreign[:3])}); give another directory")
    check_erasable(out, *([data] if data else []))
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
    """A stage of its own: answers to the held-out cases, their scores, and the figures that `conclude` shows."""
    from tl_jax.evaluation.answering import Answering
    from tl_jax.evaluation.runner import evaluate

    cases, folder = demo.out / "data/cases.jsonl", demo.out / "eval" / name.replace(" ", "_")
    settings: dict[str, Any] = {"dtype": "float32", "max_new_tokens": 64, "batch_size": 32}
    with demo.stage(f"eval {name}", "TS, PI and CF of greedy answers; held-out loss; mean reward."):
        demo.show("eval", model=model, cases=cases, out=folder, **settings)
        evaluate(model, cases, folder, Answering.of(**settings))
        figures = {"loss": held_out_loss(demo, model), "reward": mean_reward(demo, folder)}
        write_json(folder / "figures.json", figures)
        demo.console.print(f"held-out loss {figures['loss']:.3f}, mean reward {figures['reward']:+.3f}")


def _sft(demo: Demo) -> None:
    from tl_jax.training.sft import run_sft

    files, overrides = _training(demo, "sft", BASE, held_out="held_out.jsonl")
    demo.show("sft", *overrides, config=files)
    _finished(run_sft(load_config(SftConfig, files, overrides)))


def _rl(demo: Demo) -> None:
    from tl_jax.rl.train import run_rl

    files, overrides = _training(demo, "ppo", demo.out / "sft", held_out="cases.jsonl")
    demo.show("rl", *overrides, config=files)
    _finished(run_rl(load_config(RlConfig, files, overrides)))


def _training(demo: Demo, kind: str, model: Path, held_out: str) -> tuple[list[Path], list[str]]:
    """Configuration files and overrides of a training on the marked trajectories."""
    data = demo.out / "data"
    overrides = [
        f"run_dir={demo.out / kind}",
        f"model.path={model}",
        f"data.path={data / 'train.mae.jsonl'}",
        f"data.eval_path={data / held_out}",
        *demo.size.overrides.get(kind, ()),
    ]
    return demo.configs(kind), overrides


def _finished(result: Mapping[str, Any]) -> None:
    """Ctrl-C during a training ends the demo, too."""
    if result["stopped_by"]:
        raise SystemExit(exit_code(result["stopped_by"]))


def _export(demo: Demo) -> None:
    from tl_jax.model.hf import export_hf
    from tl_jax.model.store import open_model

    source, target = demo.out / "ppo", demo.out / "model"
    demo.show("export", from_=source, to=target)
    model = open_model(source, param_dtype=None)
    export_hf(model.params, model.config, model.tokenizer_dir, target)
    demo.say(f"{target}: {model.size:,} parameters; transformers loads it as it is")
