"""What a demo does: its trainings one after another, the settings of each, and how much of everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tl_jax.config import WorldConfig
from tl_jax.demo.world import DEFAULT

CONFIGS = Path(__file__).parent / "configs"
BASE = Path(__file__).parent / "base"
"""The checkpoint that is shipped, a Hugging Face directory."""


@dataclass(frozen=True)
class Training:
    """One training of a demo.

    Attributes:
        name: of its stage and its run directory.
        label: what the tables call it.
        command: which ``tl-jax`` command it is.
        files: its settings, files in `CONFIGS`.
        what: it is, for those who watch.
        start: name of the training that it goes on from; "" = the base model.
    """

    name: str
    label: str
    command: Literal["sft", "rl"]
    files: tuple[str, ...]
    what: str
    start: str = ""


@dataclass(frozen=True)
class Size:
    """How much of everything. ``overrides`` are settings of each training, by its name."""

    world: WorldConfig = DEFAULT
    cases: int = 400
    """Decision points that are answered, before and after each training; at most."""
    overrides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held_out: int | None = None
    """Trajectories of the user's whose loss is reported, at most."""


@dataclass(frozen=True)
class Course:
    """One kind of demo.

    Attributes:
        trainings: one after another.
        size: as it is run by default.
        only_calls: whether answers without a call are context, for a model too small to converse as well.
        prompt_tokens: of a decision point that is answered, at most; None = as many as a row of training has.
        new_tokens: of an answer, at most.
    """

    trainings: tuple[Training, ...]
    size: Size
    only_calls: bool = False
    prompt_tokens: int | None = None
    new_tokens: int = 64


_SFT = "Supervised training with MAE and PKT from the small base model that the repository ships."
_PPO = "Reinforcement training on the rule-based reward, from the supervised model."

WORLD = Course(
    (
        Training("sft", "SFT", "sft", ("sft.yaml",), _SFT),
        Training("ppo", "PPO", "rl", ("ppo.yaml",), _PPO, start="sft"),
    ),
    Size(),
)
"""The small base model on a made-up world of tools."""

OWN_DATA = Course(
    (
        Training("sft", "SFT", "sft", ("sft.yaml", "sft_own_data.yaml"), _SFT),
        Training("ppo", "PPO", "rl", ("ppo.yaml", "ppo_own_data.yaml"), _PPO, start="sft"),
    ),
    Size(),
    only_calls=True,
)
"""The small base model on the user's trajectories."""

PRETRAINED = Course(
    (
        Training("sft", "SFT", "sft", ("model/sft.yaml",), "Supervised training with MAE and PKT, of all parameters."),
        Training(
            "lora", "LoRA", "sft", ("model/sft.yaml", "model/lora.yaml"), "The same with low-rank adapters, for less."
        ),
        Training(
            "grpo",
            "GRPO",
            "rl",
            ("model/rl.yaml",),
            "Reinforcement training on the rule-based reward (IRM), from the model whose parameters were all trained.",
            start="sft",
        ),
    ),
    Size(cases=64, held_out=24, overrides={"grpo": ("steps=8",)}),
    prompt_tokens=768,
    new_tokens=80,
)
"""The user's model on the user's trajectories: what `make demo-real` runs."""

QUICK = Size(
    WorldConfig(train=60, new_values=12, new_domains=8),
    16,
    {"sft": ("steps=2",), "ppo": ("steps=1", "batch_size=8", "eval_prompts=4", "algorithm.minibatches=1")},
)
"""Everything once, nothing learnt: what the tests run."""
