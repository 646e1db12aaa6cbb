"""The demo: every stage of the pipeline on a small model, each one a ``tl-jax`` command that is shown as it runs."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from tl_jax.config import RlConfig, SftConfig, load_config
from tl_jax.demo.base import BASE, write_jsonl
from tl_jax.demo.world import generate
from tl_jax.errors import UserError
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Trajectory

CONFIGS = Path(__file__).parent / "configs"
SEED = 1
MARKER = "demo.txt"


@dataclass(frozen=True)
class Size:
    """How much of everything. ``overrides`` are settings of each training."""

    train: int = 3000
    new_values: int = 130
    new_domains: int = 70
    cases: int = 400
    """Held-out decision points that are answered, before and after each training; at most."""
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


QUICK = Size(
    60,
    12,
    8,
    16,
    {"sft": ("steps=2",), "ppo": ("steps=1", "batch_size=8", "eval_prompts=4", "algorithm.minibatches=1")},
)
"""Everything once, nothing learnt: what the tests run."""


@dataclass
class Demo:
    """Where the demo writes, what it reads, and how long each stage took."""

    out: Path
    data: Path | None
    size: Size
    console: Console = field(default_factory=Console)
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        self.console.rule(f"[bold]{len(self.seconds) + 1}. {name}", align="left")
        self.console.print(what)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began

    def command(self, *arguments: str | Path) -> None:
        """Shows a ``tl-jax`` command and runs it, in this process: JAX starts once."""
        from tl_jax.cli import main

        if code := main.main(self.show(*arguments), standalone_mode=False):
            raise SystemExit(code)

    def show(self, *arguments: str | Path) -> list[str]:
        """Prints a ``tl-jax`` command; its words."""
        words = [str(argument) for argument in arguments]
        self.console.print(f"$ tl-jax {shlex.join(words)}", style="bold cyan", soft_wrap=True, highlight=False)
        return words

    def train(self, kind: str, model: Path, held_out: str) -> None:
        """Trains on the marked trajectories as ``tl-jax sft`` or ``tl-jax rl`` does; Ctrl-C ends the demo too."""
        from tl_jax.rl.train import run_rl
        from tl_jax.training.sft import run_sft

        data, files = self.out / "data", self.configs(kind)
        overrides = [
            f"run_dir={self.out / kind}",
            f"model.path={model}",
            f"data.path={data / 'train.mae.jsonl'}",
            f"data.eval_path={data / held_out}",
            *self.size.overrides.get(kind, ()),
        ]
        self.show(kind, *(word for file in files for word in ("--config", file)), *overrides)
        if kind == "sft":
            result = run_sft(load_config(SftConfig, files, overrides))
        else:
            result = run_rl(load_config(RlConfig, files, overrides))
        if result["stopped_by"]:
            raise SystemExit(1)

    def configs(self, kind: str) -> list[Path]:
        """The settings of a training: the demo's, and what own data needs otherwise."""
        own = [CONFIGS / f"{kind}_own_data.yaml"] if self.data else []
        return [CONFIGS / f"{kind}.yaml", *own]


def run_demo(out: Path, data: Path | None = None, size: Size | None = None) -> None:
    """Runs everything under ``out``, which is emptied first if an earlier demo made it.

    Args:
        out: where data, runs, answers and the exported model go.
        data: the user's own trajectories instead of the demo's world.
        size: less of everything, for tests.

    Raises:
        UserError: bad data, or ``out`` holds something else.
    """
    _prepare(out)
    demo = Demo(out, data, size or Size())
    with demo.stage("data", "Trajectories to learn from, and others held out that training never sees."):
        _write_data(demo)
    with demo.stage("mae", "Calls that were answered by an error stay in the context but are never a target."):
        demo.command(
            "mae",
            "--in",
            out / "data/train.jsonl",
            "--out",
            out / "data/train.mae.jsonl",
            "--audit",
            out / "data/audit.jsonl",
        )
    with demo.stage("cases", "Decision points of the held-out trajectories: each call that MAE leaves standing."):
        _write_cases(demo)
    _evaluate(demo, "before", BASE)
    with demo.stage("sft", "Supervised training with MAE and PKT from the small base model that the repository ships."):
        demo.train("sft", BASE, held_out="held_out.jsonl")
    _evaluate(demo, "after SFT", out / "sft")
    with demo.stage("ppo", "Reinforcement training on the rule-based reward, from the supervised model."):
        demo.train("ppo", out / "sft", held_out="cases.jsonl")
    _evaluate(demo, "after PPO", out / "ppo")
    with demo.stage("export", "The trained model as a Hugging Face directory."):
        demo.command("export", "--from", out / "ppo", "--to", out / "model")
        _compare_with_transformers(demo)
    _conclude(demo)


# --- data -------------------------------------------------------------------------------------------------------------


def _prepare(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARKER).is_file():
            raise UserError(f"{out}: holds something else; give another directory")
        shutil.rmtree(out)
    if not (BASE / "config.json").is_file():
        raise UserError(f"{BASE}: no base model; make it with python -m tl_jax.demo.base")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text(
        "Made by tl-jax demo, which empties this directory when it runs again.\n", encoding="utf-8"
    )


def _write_data(demo: Demo) -> None:
    if demo.data is None:
        train: list[Trajectory] = list(generate(SEED, demo.size.train, "train"))
        new_values = generate(SEED, demo.size.new_values, "values")
        new_domains = generate(SEED, demo.size.new_domains, "domains")
        held_out = [replace(trajectory, suite="known tools, new values") for trajectory in new_values]
        held_out += [replace(trajectory, suite="unseen domains") for trajectory in new_domains]
    else:
        found = [_only_calls(trajectory) for trajectory in read_trajectories(demo.data)]
        held_out = [trajectory for trajectory in found if _is_held_out(trajectory)]
        train = [trajectory for trajectory in found if not _is_held_out(trajectory)]
        if not train or not held_out:
            raise UserError(f"{demo.data}: too few trajectories to hold some out")
        demo.console.print("Only calls are targets: so small a model cannot learn to converse as well.")
    folder = demo.out / "data"
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "held_out.jsonl", held_out)
    demo.console.print(f"{len(train)} trajectories to train on, {len(held_out)} held out, in {folder}")


def _only_calls(trajectory: Trajectory) -> Trajectory:
    """Answers without a call become context: so small a model cannot learn to converse as well."""
    messages = [
        replace(message, weight=0.0) if message.role == "assistant" and not message.tool_calls else message
        for message in trajectory.messages
    ]
    return replace(trajectory, messages=tuple(messages))


def _is_held_out(trajectory: Trajectory) -> bool:
    """One trajectory in eight, by its id: the same ones whenever the demo runs."""
    return zlib.crc32(trajectory.id.encode()) % 8 == 0


def _write_cases(demo: Demo) -> None:
    """The decision points that are answered: those whose prompt fits into a row, at most as many as `Size` says."""
    from tl_jax.data.codec import Codec
    from tl_jax.data.prompts import encode_prompts, load_cases

    config = _sft_config(demo, BASE)
    cases = load_cases(demo.out / "data/held_out.jsonl")
    prompts, too_long = encode_prompts(cases, Codec.open(config.data.renderer, BASE), config.data.max_length)
    if not prompts:
        raise UserError(
            f"{demo.data}: none of the {too_long} held-out decision points has a prompt of at most "
            f"{config.data.max_length} tokens, which the demo's small model needs; train another one with tl-jax sft"
        )
    chosen = sorted(prompts, key=lambda prompt: zlib.crc32(prompt.case.id.encode()))[: demo.size.cases]
    lines = [json.dumps(prompt.case.to_json(), ensure_ascii=False) + "\n" for prompt in chosen]
    (demo.out / "data/cases.jsonl").write_text("".join(lines), encoding="utf-8")
    demo.console.print(
        f"{len(chosen)} decision points; left out: {too_long} with prompts of more than {config.data.max_length} "
        f"tokens, {len(prompts) - len(chosen)} to save time"
    )


def _sft_config(demo: Demo, model: Path) -> SftConfig:
    data = demo.out / "data"
    return load_config(
        SftConfig,
        demo.configs("sft"),
        [f"run_dir={demo.out / 'sft'}", f"model.path={model}", f"data.path={data / 'held_out.jsonl'}"],
    )


# --- figures ----------------------------------------------------------------------------------------------------------


def _evaluate(demo: Demo, name: str, model: Path) -> None:
    folder = demo.out / "eval" / name.replace(" ", "_")
    with demo.stage(f"eval {name}", "TS, PI and CF of greedy answers; held-out loss; mean reward."):
        demo.command(
            "eval",
            "--model",
            model,
            "--cases",
            demo.out / "data/cases.jsonl",
            "--out",
            folder,
            "--dtype",
            "float32",
            "--max-new-tokens",
            "64",
            "--batch-size",
            "32",
        )
        figures = {"loss": _held_out_loss(demo, model), "reward": _mean_reward(demo, folder)}
        (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        demo.console.print(f"held-out loss {figures['loss']:.3f}, mean reward {figures['reward']:+.3f}")


def _held_out_loss(demo: Demo, model: Path) -> float:
    """The training loss (MAE and PKT included) on the held-out trajectories."""
    import jax

    from tl_jax.data.codec import Codec
    from tl_jax.data.dataset import build_dataset
    from tl_jax.data.loader import batches
    from tl_jax.model.llama import make_graphdef
    from tl_jax.model.store import open_model
    from tl_jax.training.losses import weighted_cross_entropy
    from tl_jax.training.sft import evaluate, make_eval_step

    config, loaded = _sft_config(demo, model).data, open_model(model)
    rows = build_dataset(config, Codec.open(config.renderer, loaded.tokenizer_dir)).rows
    step = jax.jit(make_eval_step(make_graphdef(loaded.config, dtype="float32"), weighted_cross_entropy))
    return evaluate(step, loaded.params, batches(rows, config.batch_size))["loss"]


def _mean_reward(demo: Demo, folder: Path) -> float:
    """Mean of the paper's reward over the answers in ``folder``."""
    from tl_jax.data.prompts import load_cases
    from tl_jax.tooluse.readers import read_predictions
    from tl_jax.tooluse.rewards.score import score

    answers = read_predictions(folder / "predictions.jsonl")
    cases = load_cases(demo.out / "data/cases.jsonl")
    return sum(score(answers[case.id], case).value for case in cases) / len(cases)


def _compare_with_transformers(demo: Demo) -> None:
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


def _conclude(demo: Demo) -> None:
    """The table, the times, and where everything lies."""
    demo.console.rule("[bold]What came of it", align="left")
    demo.console.print(_results(demo))
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in demo.seconds.items())
    demo.console.print(f"{time.perf_counter() - demo.started:.0f} seconds in all: {times}")
    for path, what in (
        ("data", "trajectories, MAE's audit, held-out cases"),
        ("sft", "run directory: log, metrics, TensorBoard, checkpoint"),
        ("ppo", "the same, and samples.jsonl with explained rewards"),
        ("eval", "answers and scores of all three models"),
        ("model", "the trained model for transformers"),
    ):
        demo.console.print(f"  {demo.out / path}  {what}")


def _results(demo: Demo) -> Table:
    columns = ("TS %", "PI %", "CF %", "loss", "reward")
    table = Table(
        "held-out decision points",
        "model",
        Column("cases", justify="right"),
        *(Column(name, justify="right") for name in columns),
    )
    summaries, figures = {}, {}
    for name in ("before", "after SFT", "after PPO"):
        folder = demo.out / "eval" / name.replace(" ", "_")
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
