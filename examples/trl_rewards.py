"""The rewards of tl_jax in TRL: `GRPOTrainer` asks `irm_reward` what each answer is worth, be it text or messages.

    python examples/trl_rewards.py                       # --model DIRECTORY --cases FILE for your own

With trl installed (pip install trl) a model is trained for some steps: by default the demo's small one, on tools of the
demo's world. Without trl the reward function is called as TRL would call it, and what it says is printed. Nothing here
needs JAX; the same function works wherever rewards are Python functions.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tl_jax import demo
from tl_jax.demo.world import generate
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.rewards.completions import read_case
from tl_jax.tooluse.rewards.trl import irm_reward
from tl_jax.tooluse.text.render import PaperRenderer


def dataset(cases: Path | None, limit: int) -> list[dict[str, str]]:
    """Rows with a prompt in the paper's format, and the case as text: tables have no room for free-form schemas."""
    if cases is None:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "trajectories.jsonl"
            file.write_text("".join(json.dumps(one.to_json()) + "\n" for one in generate(0, limit, "train")))
            found = list(read_cases(file))  # every call of a trajectory that did not fail is a case
    else:
        found = list(read_cases(cases))
    render = PaperRenderer()
    return [
        {"prompt": render.prompt(case.tools, case.messages).text, "case": json.dumps(case.to_json())}
        for case in found[:limit]
    ]


def train(model: Path, rows: list[dict[str, str]], steps: int, out: Path) -> None:
    """GRPO on the CPU, with groups of two answers."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    settings = GRPOConfig(
        str(out),
        max_steps=steps,
        num_generations=2,
        per_device_train_batch_size=2,
        max_completion_length=48,
        use_cpu=True,
        bf16=False,
        report_to=[],
        logging_steps=1,
        save_strategy="no",
    )
    trainer = GRPOTrainer(str(model), reward_funcs=irm_reward, args=settings, train_dataset=Dataset.from_list(rows))
    trainer.train()
    for row in trainer.state.log_history:
        if "rewards/irm_reward/mean" in row:
            print(f"step {row['step']}: mean reward {row['rewards/irm_reward/mean']:+.3f}")


def show(row: dict[str, str]) -> None:
    """The rewards of a right answer, one with another tool, and one that is no call."""
    case = read_case(row["case"])
    right = PaperRenderer().answer(case.gold[0], "")
    completions = [right, f"another_{right}", "I cannot help with that."]
    rewards = irm_reward(prompts=[row["prompt"]] * 3, completions=completions, case=[row["case"]] * 3)
    for text, reward in zip(completions, rewards, strict=True):
        print(f"{reward:+.2f}  {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(demo.__path__[0]) / "base", help="a Hugging Face directory")
    parser.add_argument("--cases", type=Path, help="cases or trajectories; default: the demo's world")
    parser.add_argument("--limit", type=int, default=64, help="rows of the dataset")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/trl_rewards"))
    given = parser.parse_args()
    rows = dataset(given.cases, given.limit)
    if importlib.util.find_spec("trl"):
        train(given.model, rows, given.steps, given.out)
    else:
        print("trl is not installed; what it would be told:")
        show(rows[0])


if __name__ == "__main__":
    main()
