"""The demo's base model: a tokenizer and a small Llama, pretrained from nothing on invented domains.

    python -m tl_jax.demo.base --out tl_jax/demo/base --work build/base

Everything comes from seeds. The model never sees a tool, a domain or a value of the demo (`world.side`): it learns what
a call looks like and to copy what it reads, in lessons of growing difficulty. Copying arises within minutes only if few
different tokens have to be told apart at first, so the first lessons repeat codes, then words, before any tool is seen.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
from transformers import PreTrainedTokenizerFast

from tl_jax.config import SftConfig, load_config
from tl_jax.demo.course import BASE, CONFIGS
from tl_jax.demo.domains import made_up_words
from tl_jax.demo.tokenizer import train_tokenizer
from tl_jax.demo.values import draw
from tl_jax.demo.world import generate
from tl_jax.demo.world_files import write_jsonl
from tl_jax.model.hf import export_hf
from tl_jax.model.parameters import init_params
from tl_jax.model.presets import PRESETS
from tl_jax.model.store import open_model
from tl_jax.terminal import say
from tl_jax.tooluse.schema import Message, Trajectory
from tl_jax.tooluse.text.render import PaperRenderer
from tl_jax.training.sft import run_sft
from tl_jax.training.stop import exit_code

CONFIG = CONFIGS / "base.yaml"
SEED = 20_000
EMBEDDING_STD = 1.0
"""Large, so that tokens are told apart from the first step on; with 0.02 copying takes many times as long."""


@dataclass(frozen=True)
class Lesson:
    """What one run of `run_sft` reads, once: the trajectories and the settings that differ from ``base.yaml``."""

    name: str
    trajectories: Callable[[], Iterable[Trajectory]]
    settings: tuple[str, ...] = ()


def echoes(seed: int, n: int, words: bool) -> Iterator[Trajectory]:
    """Trajectories without tools: the user says something and the assistant repeats it. Codes only, or words too."""
    for index in range(n):
        rng = random.Random(f"{seed}/echo/{words}/{index}")
        text = (
            _phrase(rng)
            if words
            else "".join(rng.choice("ABCDEFGHKLMNPRSTVWXZ0123456789" * 2) for _ in range(rng.randint(4, 28)))
        )
        yield Trajectory(f"echo-{seed}-{index}", (), (Message("user", text), Message("assistant", text)))


def _phrase(rng: random.Random) -> str:
    kinds = ("name", "code", "code", "10-999", "title", "time", "date")
    parts = [
        str(draw(rng.choice(kinds), "base", rng)) if rng.random() < 0.5 else made_up_words(rng, 1)[0]
        for _ in range(rng.randint(2, 10))
    ]
    return rng.choice((" ", "_", "", ", ", ": ")).join(
        part.capitalize() if rng.random() < 0.3 else part for part in parts
    )


def lessons(scale: float = 1.0) -> tuple[Lesson, ...]:
    """The curriculum; ``scale`` shortens it for trials."""

    def n(count: int) -> int:
        return max(int(count * scale), 8)

    short, middle = ("data.max_length=256", "data.batch_size=6"), ("data.max_length=384", "data.batch_size=4")
    return (
        Lesson("codes", lambda: echoes(SEED, n(15_000), words=False), short),
        Lesson("words", lambda: echoes(SEED, n(12_000), words=True), short),
        Lesson("one call", lambda: generate(SEED, n(10_000), "base", simple=True), middle),
        Lesson("episodes", lambda: generate(SEED, n(7_000), "base")),
    )


def pretrain(out: Path, work: Path, scale: float = 1.0) -> None:
    """Writes the tokenizer and the trained model to ``out``; ``work`` keeps the runs and continues where it was cut."""
    tokenizer = train_tokenizer(_text(t) for t in generate(SEED - 1, 4000, "base"))
    model = work / "start"
    if not model.is_dir():
        _random_model(tokenizer, model)
    for number, lesson in enumerate(lessons(scale), 1):
        run = work / f"{number}_{lesson.name.replace(' ', '_')}"
        data = run.with_suffix(".jsonl")
        write_jsonl(data, lesson.trajectories())
        say(f"lesson {number}: {lesson.name}")
        overrides = [f"model.path={model}", f"data.path={data}", f"run_dir={run}", *lesson.settings]
        if signal := run_sft(load_config(SftConfig, [CONFIG], overrides))["stopped_by"]:
            say(f"stopped by {signal}; the same command continues")
            raise SystemExit(exit_code(signal))
        model = run
    trained = open_model(model)
    export_hf(trained.params, trained.config, trained.tokenizer_dir, out, dtype="bfloat16", overwrite=True)
    say(f"{out}: done")


def _random_model(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    tiny = PRESETS["tiny"].config
    config = dataclasses.replace(
        tiny,
        vocab_size=len(tokenizer),
        initializer_range=tiny.hidden_size**-0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    params = init_params(config, jax.random.key(SEED), embedding_std=EMBEDDING_STD)
    with TemporaryDirectory() as directory:
        tokenizer.save_pretrained(directory)
        export_hf(params, config, Path(directory), out, dtype="float32")


def _text(trajectory: Trajectory) -> str:
    return PaperRenderer().text(trajectory.tools, trajectory.messages).removesuffix("</s>")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=BASE)
    parser.add_argument("--work", type=Path, default=Path("build/base"))
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the curriculum, to try it out")
    arguments = parser.parse_args()
    pretrain(arguments.out, arguments.work, arguments.scale)
