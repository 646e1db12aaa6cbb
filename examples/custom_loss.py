"""Supervised training with a loss of your own: a pure function with options, compiled like those that come with tl_jax.

    python examples/custom_loss.py                       # --steps 50 --model DIRECTORY --data FILE, or key=value

`hinge` wants the label's logit to lead all others by a margin (Crammer and Singer, JMLR 2, 2001), besides being likely.
MAE and PKT need nothing here: which turns are targets and what a token weighs is in the batch. The same on the command
line, from this folder:

    tl-jax sft --config FILE.yaml loss=custom_loss:hinge loss.options.margin=2
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from tl_jax import demo
from tl_jax.config import SftConfig, load_config
from tl_jax.data.batch import Batch
from tl_jax.demo.world import generate
from tl_jax.model.llama import Llama
from tl_jax.training.losses import ChunkLogits, Loss, TokenScores, correct, weighted_loss
from tl_jax.training.sft import run_sft


def rival(chunk: ChunkLogits) -> jax.Array:
    """[B, C]: by how much the best other token's logit exceeds the label's; negative where the label leads."""
    best = jax.lax.top_k(chunk.logits, 2)[0]
    other = jnp.where(chunk.label_logits >= best[..., 0], best[..., 1], best[..., 0])
    return other - chunk.label_logits


def hinge(model: Llama, batch: Batch, margin: float = 1.0, share: float = 0.5) -> Loss:
    """``-log p(label) + share * max(0, margin + rival)`` of each target token, weighted by MAE and PKT."""

    def of_token(scores: TokenScores) -> jax.Array:
        return share * jax.nn.relu(margin + scores.statistics["rival"]) - scores.log_probs

    return weighted_loss(model, batch, of_token, {"rival": rival, "correct": correct})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(demo.__path__[0]) / "base", help="default: the demo's")
    parser.add_argument("--data", type=Path, help="trajectories; default: some of the demo's world")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--margin", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("runs/custom_loss"))
    parser.add_argument("settings", nargs="*", help="key=value, as for tl-jax sft")
    given = parser.parse_args()
    data = given.data or write_data(given.out / "train.jsonl")
    overrides = [
        f"run_dir={given.out / 'run'}",
        f"model.path={given.model}",
        f"data.path={data}",
        "loss=custom_loss:hinge",
        f"loss.options.margin={given.margin}",
        f"steps={given.steps}",
        *given.settings,
    ]
    run_sft(load_config(SftConfig, [Path(__file__).with_suffix(".yaml")], overrides))
    lines = (given.out / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    print(f"loss {first['loss']:.3f} at step {first['step']}, {last['loss']:.3f} at step {last['step']}")


def write_data(file: Path) -> Path:
    """Some trajectories of the demo's world."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps(trajectory.to_json()) + "\n" for trajectory in generate(0, 400, "train"))
    file.write_text("".join(rows), encoding="utf-8")
    return file


if __name__ == "__main__":
    main()
