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

from tl_jax.config import SftConfig, WorldConfig, load_config
from tl_jax.demo.world import DEFAULT
from tl_jax.terminal import SafeConsole

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Size:
    """How much of everything. ``overrides`` are settings of each training."""

    world: WorldConfig = DEFAULT
    cases: int = 400
    """Held-out decision points that are answered, before and after each training; at most."""
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


QUICK = Size(
    WorldConfig(train=60, new_values=12, new_domains=8),
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
    console: Console = field(default_factory=lambda: SafeConsole(highlight=True))
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        self.console.rule(Text(f"{len(self.seconds) + 1}. {name}", "bold"), align="left")
        self.console.print(what)
        began = time.perf_counter()
        yield
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

    def configs(self, kind: str) -> list[Path]:
        """The settings of a training: the demo's, and what own data needs otherwise."""
        own = [CONFIGS / f"{kind}_own_data.yaml"] if self.data else []
        return [CONFIGS / f"{kind}.yaml", *own]

    def sft_config(self, model: Path) -> SftConfig:
        """The settings of the supervised training, with the held-out trajectories as data."""
        overrides = [
            f"run_dir={self.out / 'sft'}",
            f"model.path={model}",
            f"data.path={self.out / 'data/held_out.jsonl'}",
        ]
        return load_config(SftConfig, self.configs("sft"), overrides)
