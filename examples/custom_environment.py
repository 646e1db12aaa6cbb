"""Reinforcement learning in an environment of your own: Python functions with state answer the model's calls.

    python examples/custom_environment.py                # --steps 20 --model DIRECTORY, or settings as key=value

The tools are the functions below: a desk lends books. `lending_desk` makes the environment of an episode, `lent` is
the episode's reward: a request is fulfilled when the book that was asked for has been lent. Nobody says which calls are
right, so there are no gold answers; a call that works earns a little by itself (reward `live`). The same on the command
line, from this folder:

    tl-jax rl --config FILE.yaml environment=custom_environment:lending_desk episode_reward=custom_environment:lent

The demo's model, the default, has never seen such tools: in some steps it learns at best to call none that are not
there. Start from a model that calls tools. The worker that runs the tools imports this file, so whatever is large is
imported where it is used.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tl_jax.rl.episodes import Episode
    from tl_jax.tooluse.environments.python import PythonTools

COPIES = {"Emma": 2, "Ulysses": 1, "Middlemarch": 1}


def find_book(title: str) -> dict:
    """How many copies of a book are on the shelf.

    Args:
        title: As it is written on the cover.
    """
    return {"title": title, "copies": COPIES[title]}


def lend_book(title: str, days: int = 14) -> dict:
    """Lends a book.

    Args:
        title: As it is written on the cover.
        days: For how long.
    """
    if not COPIES[title]:
        raise ValueError(f"{title} is not available")
    COPIES[title] -= 1
    return {"lent": title, "days": days}


def lending_desk() -> PythonTools:
    """The environment of an episode: a process of its own, in which all books are back."""
    from tl_jax.tooluse.environments.python import PythonTools

    return PythonTools([find_book, lend_book])


def lent(episode: Episode, bonus: float = 2.0) -> float:
    """``bonus`` if the book that the user asked for has been lent, else 0."""
    request = episode.case.messages[-1].content
    answers = [result for turn in episode.turns for result in turn.results]
    fulfilled = any(answer.startswith('{"lent"') and json.loads(answer)["lent"] in request for answer in answers)
    return bonus if fulfilled else 0.0


def write_cases(file: Path) -> None:
    """What users ask for; the environment adds its tools."""
    requests = [f"Lend me {title} for {days} days." for title in COPIES for days in (3, 7, 10, 21)]
    rows = [
        {"id": f"request-{number}", "messages": [{"role": "user", "content": request}], "tools": [], "gold": []}
        for number, request in enumerate(requests)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: the small one of the demo")
    parser.add_argument("--steps", type=int, default=3, help="rollouts")
    parser.add_argument("--out", type=Path, default=Path("runs/custom_environment"))
    parser.add_argument("settings", nargs="*", help="key=value, as for tl-jax rl")
    given = parser.parse_args()

    from tl_jax import demo
    from tl_jax.config import RlConfig, load_config
    from tl_jax.rl.train import run_rl

    given.out.mkdir(parents=True, exist_ok=True)
    write_cases(given.out / "cases.jsonl")
    overrides = [
        f"run_dir={given.out / 'run'}",
        f"model.path={given.model or Path(demo.__path__[0]) / 'base'}",
        f"data.path={given.out / 'cases.jsonl'}",
        "environment=custom_environment:lending_desk",
        "episode_reward=custom_environment:lent",
        f"steps={given.steps}",
        *given.settings,
    ]
    run_rl(load_config(RlConfig, [Path(__file__).with_suffix(".yaml")], overrides))
    print(f"what the model did: {given.out / 'run' / 'samples.jsonl'}")


if __name__ == "__main__":
    main()
