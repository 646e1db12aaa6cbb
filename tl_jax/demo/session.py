"""What the stages of the demo share: where it writes, what it reads, and the clock."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tl_jax.config import SftConfig, load_config
from tl_jax.demo.course import BASE, CONFIGS, WORLD, Course, Size, Training
from tl_jax.host_memory import give_back
from tl_jax.terminal import SafeConsole
from tl_jax.training.stop import exit_code


@dataclass
class Demo:
    """Where the demo writes, what it reads, and how long each stage took."""

    out: Path
    data: Path | None
    size: Size
    course: Course = WORLD
    model: Path = BASE
    """What the trainings start from."""
    cases: tuple[Path, ...] = ()
    """Files of the user with what is to be answered; none = decision points of the trajectories held out."""
    console: Console = field(default_factory=lambda: SafeConsole(highlight=True))
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        self.console.rule(Text(f"{len(self.seconds) + 1}. {name}", "bold"), align="left")
        self.console.print(what)
        began = time.perf_counter()
        yield
        give_back()
        self.seconds[name] = time.perf_counter() - began

    def show(self, command: str, *arguments: str | Path, **options: Any) -> None:
        """Prints the ``tl-jax`` command that does what comes next; an option's value may be several."""
        words = [command]
        for name, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{name.strip('_').replace('_', '-')}", str(one)]
        words += map(str, arguments)
        self.console.print(f"$ tl-jax {shlex.join(words)}", style="bold cyan", soft_wrap=True, highlight=False)

    def say(self, line: str) -> None:
        """Prints what a command prints, as it is."""
        self.console.out(line, highlight=False)

    @property
    def models(self) -> list[str]:
        """What is evaluated, in this order: the base model, and what each training makes of it."""
        return ["before", *(f"after {training.label}" for training in self.course.trainings)]

    def answers(self, model: str) -> Path:
        """Directory of the answers of one of `models`."""
        return self.out / "eval" / model.replace(" ", "_")

    def training(self, name: str) -> Training:
        """One of the course's."""
        return next(one for one in self.course.trainings if one.name == name)

    def settings(self, training: Training) -> tuple[list[Path], list[str]]:
        """Configuration files and overrides of a training on the marked trajectories."""
        data = self.out / "data"
        overrides = [
            f"run_dir={self.out / training.name}",
            f"model.path={self.out / training.start if training.start else self.model}",
            f"data.path={data / 'train.mae.jsonl'}",
            f"data.eval_path={data / ('held_out.jsonl' if training.command == 'sft' else 'cases.jsonl')}",
            *self.size.overrides.get(training.name, ()),
        ]
        return [CONFIGS / file for file in training.files], overrides

    def sft_config(self, model: Path) -> SftConfig:
        """The settings of the supervised training, with the held-out trajectories as data."""
        overrides = [
            f"run_dir={self.out / 'sft'}",
            f"model.path={model}",
            f"data.path={self.out / 'data/held_out.jsonl'}",
        ]
        return load_config(SftConfig, self.settings(self.training("sft"))[0], overrides)


def finished(result: Mapping[str, Any]) -> None:
    """Ctrl-C during a training ends the demo, too."""
    if result["stopped_by"]:
        raise SystemExit(exit_code(result["stopped_by"]))
