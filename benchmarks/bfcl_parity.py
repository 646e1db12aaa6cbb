"""Compares our scores of BFCL v4 with BFCL's own checkers, on gold answers and on answers made of them.

    pip install --no-deps bfcl-eval mpmath
    python -m benchmarks.bfcl_parity [--episodes]

Prints for each category, and for each thing done to the answers, how many there were and how many both judge alike, and
every difference. ``--episodes`` compares questions of several turns, whose tools run, as well.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from rich.console import Console
from rich.table import Column, Table

from tests.tooluse.bfcl.checker import accepts, accepts_episode, other_episodes, perturbed, questions
from tl_jax.tooluse.bfcl.categories import CATEGORIES, BfclCategory
from tl_jax.tooluse.bfcl.check import CORRECT
from tl_jax.tooluse.bfcl.package import question_files
from tl_jax.tooluse.bfcl.score import fault
from tl_jax.tooluse.environments.bfcl import BfclTools
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.schema import Case
from tl_jax.tooluse.text.render import PaperRenderer, ReleasedRenderer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", action="store_true", help="questions of several turns as well")
    console, counts = Console(), _Counts()
    chosen = parser.parse_args()
    for category in CATEGORIES.values():
        cases = [*read_cases(question_files([category])[0])]
        begun = time.perf_counter()
        if category.rule == "calls":
            compare_calls(category, cases, counts)
        elif category.rule == "episode" and chosen.episodes:
            compare_episodes(category, cases, counts)
        else:
            continue
        console.print(f"{category.name}: {time.perf_counter() - begun:.1f} s", style="dim")
    counts.print(console)


class _Counts:
    def __init__(self) -> None:
        self.of: dict[str, Counter[tuple[str, bool]]] = {"category": Counter(), "what was done": Counter()}
        self.right: Counter[str] = Counter()
        self.differences: list[str] = []
        self.wrong_gold: list[str] = []

    def add(self, category: str, done: str, theirs: bool, ours: bool, identity: str, answer: str) -> None:
        self.of["category"][category, theirs == ours] += 1
        self.of["what was done"][done, theirs == ours] += 1
        self.right[category] += theirs
        self.right[done] += theirs
        if theirs != ours:
            self.differences.append(f"{identity} ({done}): BFCL {theirs}, ours {ours}: {answer}")
        if done == "gold" and not theirs:
            self.wrong_gold.append(identity)

    def print(self, console: Console) -> None:
        for name, counts in self.of.items():
            table = Table(name, *(Column(head, justify="right") for head in ("answers", "right", "alike", "different")))
            for key in dict.fromkeys(key for key, _ in counts):
                same, different = counts[key, True], counts[key, False]
                table.add_row(key, str(same + different), str(self.right[key]), str(same), str(different))
            console.print(table)
        total = self.of["category"].total()
        console.print(f"{total} answers, {len(self.differences)} differences")
        for line in self.differences:
            console.print(line, soft_wrap=True, highlight=False)
        console.print(f"{len(self.wrong_gold)} gold answers that BFCL itself does not accept:", *self.wrong_gold)


def compare_calls(category: BfclCategory, cases: list[Case], counts: _Counts) -> None:
    """By the text of the answer on our side, by its calls on theirs."""
    rows, renderer = questions(category), ReleasedRenderer()
    for case in cases:
        for done, calls in perturbed(case, seed=0):
            text = renderer.answer(calls)
            theirs, ours = accepts(calls, rows[case.id], category), fault(text, case) == CORRECT
            counts.add(category.name, done, theirs, ours, case.id, text)


def compare_episodes(category: BfclCategory, cases: list[Case], counts: _Counts) -> None:
    rows, renderer = questions(category), PaperRenderer()
    with BfclTools() as tools:
        for case in cases:
            for number, (done, turns) in enumerate(other_episodes(case, seed=0)):
                written = [[renderer.answer([call]).strip() for call in turn] for turn in turns]
                theirs = accepts_episode([[[text] for text in turn] for turn in written], rows[case.id], f"m{number}")
                ours = fault(written, case, tools) == CORRECT
                counts.add(category.name, done, theirs, ours, case.id, str(written))


if __name__ == "__main__":
    main()
