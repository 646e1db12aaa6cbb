"""The demo's figures: losses and rewards, what transformers makes of the exported model, and the table at the end."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Column, Table
from rich.text import Text

from tl_jax.demo.session import Demo
from tl_jax.evaluation.comparison_files import compare_files
from tl_jax.evaluation.comparison_report import HEADS, cells, shortened
from tl_jax.tooluse.readers import read_predictions, read_trajectories
from tl_jax.tooluse.readers.predictions import PREDICTIONS
from tl_jax.visible import in_one_line

SHOWN = 4
"""Cases whose answers are printed side by side."""


def held_out_loss(demo: Demo, model: Path) -> float:
    """The training loss (MAE and PKT included) on the held-out trajectories."""
    import jax

    from tl_jax.data.codec import Codec
    from tl_jax.data.dataset import build_dataset
    from tl_jax.data.loader import batches
    from tl_jax.model.llama import make_graphdef
    from tl_jax.model.store import open_model
    from tl_jax.training.losses import weighted_cross_entropy
    from tl_jax.training.step import evaluate, make_eval_step

    config, loaded = demo.sft_config(model).data, open_model(model)
    rows = build_dataset(config, Codec.open(config.renderer, loaded.tokenizer_dir)).rows
    step = jax.jit(make_eval_step(make_graphdef(loaded.config, dtype="float32"), weighted_cross_entropy))
    return evaluate(step, loaded.params, batches(rows, config.batch_size))["loss"]


def mean_reward(demo: Demo, folder: Path) -> float:
    """Mean of the paper's reward over the answers in ``folder``."""
    from tl_jax.data.prompts import load_cases
    from tl_jax.tooluse.rewards.score import score

    answers = read_predictions(folder / "predictions.jsonl")
    cases = load_cases(demo.out / "data/cases.jsonl")
    return sum(score(answers[case.id], case).value for case in cases) / len(cases)


def compare_with_transformers(demo: Demo) -> None:
    """Loads the exported model with the other library and compares logits on a held-out prompt."""
    if importlib.util.find_spec("torch") is None:
        demo.console.print("torch is not installed, so transformers cannot be asked for its logits")
        return
    import jax.numpy as jnp
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tl_jax.model.llama import make_graphdef, merge
    from tl_jax.model.store import open_model

    text = next(read_trajectories(demo.out / "data/held_out.jsonl")).messages[0].content
    ids = AutoTokenizer.from_pretrained(demo.out / "model")(f"User: {text}\nAssistant:")["input_ids"]
    theirs = AutoModelForCausalLM.from_pretrained(demo.out / "model", dtype=torch.float32)(torch.tensor([ids])).logits
    loaded = open_model(demo.out / "model", param_dtype="float32")
    tokens = jnp.asarray([ids])
    model = merge(make_graphdef(loaded.config, dtype="float32"), loaded.params)
    ours = model(tokens, jnp.arange(tokens.shape[1])[None], jnp.ones_like(tokens))
    difference = float(abs(ours - jnp.asarray(theirs.detach().numpy())).max())
    demo.console.print(
        f"transformers loads {demo.out / 'model'}; its logits differ from ours by {difference:.1e} at most"
    )


def conclude(demo: Demo) -> None:
    """The table, the times, and where everything lies."""
    demo.console.rule(Text("What came of it", "bold"), align="left")
    demo.console.print(_results(demo))
    demo.console.print("Against the base model, case by case:")
    demo.console.print(_differences(demo))
    for table in _side_by_side(demo):
        demo.console.print(table)
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in demo.seconds.items())
    demo.console.print(f"{time.perf_counter() - demo.started:.0f} seconds in all: {times}")
    runs = {"sft": "run directory: log, metrics, TensorBoard, checkpoint", "rl": "the same, and samples with rewards"}
    for path, what in (
        ("data", "trajectories, MAE's audit, the cases that were answered"),
        *((training.name, runs[training.command]) for training in demo.course.trainings),
        ("eval", "answers and scores of all models"),
        ("model", "the trained model for transformers"),
    ):
        demo.console.print(f"  {demo.out / path}  {what}")


def _differences(demo: Demo) -> Table:
    """Each training against the base model, case by case."""
    figures = [Column(name, justify="right", no_wrap=True) for name in HEADS]
    table = Table("after", "figure", *figures, box=SIMPLE, padding=(0, 1, 0, 0))  # fits into 80 columns
    for name in demo.models[1:]:
        table.add_section()
        compared = compare_files(demo.answers("before"), demo.answers(name), demo.out / "data/cases.jsonl")
        for row, (figure, one) in enumerate(compared.figures.items()):
            table.add_row("" if row else name.removeprefix("after "), figure, *cells(figure, one))
    return table


def _side_by_side(demo: Demo) -> Iterator[Table]:
    """What every model answered to some of the cases."""
    from tl_jax.data.codec import Codec
    from tl_jax.data.prompts import load_cases

    answers = {name: read_predictions(demo.answers(name) / PREDICTIONS) for name in demo.models}
    writer = Codec.open(demo.sft_config(demo.model).data.renderer, demo.model).writer
    for case in load_cases(demo.out / "data/cases.jsonl", limit=SHOWN):
        table = Table("", Column(shortened(in_one_line(case.messages[-1].content), 300)))
        table.add_row("right", writer.answer(case.gold[0]) if case.gold else "no call")
        table.add_section()
        for name, given in answers.items():
            table.add_row(name, shortened(in_one_line(given[case.id]), 200))
        yield table


def _results(demo: Demo) -> Table:
    columns = ("TS %", "PI %", "CF %", "loss", "reward")
    table = Table(
        "held-out decision points",
        "model",
        Column("cases", justify="right"),
        *(Column(name, justify="right") for name in columns),
    )
    summaries, figures = {}, {}
    for name in demo.models:
        folder = demo.answers(name)
        summaries[name] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        figures[name] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    parts: Sequence[str] = sorted(summaries["before"]["suites"])
    for suite in ["all", *(parts if 1 < len(parts) <= 3 else [])]:
        table.add_section()
        for name, summary in summaries.items():
            part = summary if suite == "all" else summary["suites"][suite]
            whole = [f"{figures[name]['loss']:.3f}", f"{figures[name]['reward']:+.3f}"] if suite == "all" else ["", ""]
            table.add_row(
                suite if name == "before" else "",
                name,
                str(part["cases"]),
                *(f"{part[key]:.1f}" for key in ("TS", "PI", "CF")),
                *whole,
            )
    return table
