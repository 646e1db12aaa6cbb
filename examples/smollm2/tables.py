"""Tables of what `results.sh` found: scores with intervals, paired differences, errors, as Markdown.

python examples/smollm2/tables.py runs/real
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl_jax.evaluation.comparison import Compared
from tl_jax.evaluation.comparison_files import compare_files, compare_suite
from tl_jax.evaluation.comparison_report import cells
from tl_jax.evaluation.suites import SUITES
from tl_jax.terminal import say

MODELS = {"base": "base", "sft": "SFT", "mae_pkt": "SFT with MAE and PKT", "irm": "the same, then IRM"}
SETS = {"toolalpaca": "ToolAlpaca", "rotbench_clean": "RoTBench clean", "rotbench_slight": "RoTBench slight"}
PAIRS = (("base", "mae_pkt"), ("sft", "mae_pkt"), ("mae_pkt", "irm"))
BFCL = "bfcl"


def summary(folder: Path) -> dict[str, Any]:
    """What `tl-jax eval` wrote; empty where it has not been there yet."""
    file = folder / "summary.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def row(*values: object) -> str:
    return f"| {' | '.join(map(str, values))} |"


def scores(out: Path) -> Iterator[str]:
    """TS, PI, CF of the models on each set."""
    yield row("cases", "model", "TS", "PI", "CF", "commonest errors")
    yield row(*["---"] * 6)
    for name, title in SETS.items():
        for model, label in MODELS.items():
            if found := summary(out / "eval" / model / name):
                figures = [
                    f"{found[key]:.1f} ({found[f'{key}_interval'][0]:.0f}-{found[f'{key}_interval'][1]:.0f})"
                    for key in ("TS", "PI", "CF")
                ]
                yield row(f"{title}, {found['cases']}", label, *figures, common(found["errors"]))


def common(errors: dict[str, int]) -> str:
    """The three commonest, with how often each was made."""
    ordered = sorted(((count, name) for name, count in errors.items() if name != "correct"), reverse=True)[:3]
    return ", ".join(f"{name} {count}" for count, name in ordered if count)


def bfcl(out: Path) -> Iterator[str]:
    """Accuracy in BFCL's categories."""
    found = {model: summary(out / "eval" / model / BFCL).get("categories") for model in MODELS}
    there = {model: categories for model, categories in found.items() if categories}
    yield row("BFCL v4", *(MODELS[model] for model in there))
    yield row("---", *["---"] * len(there))
    for name in next(iter(there.values()), ()):
        tallies = [categories[name] for categories in there.values()]
        cells = [f"{one['accuracy']:.1f} ({one['interval'][0]:.0f}-{one['interval'][1]:.0f})" for one in tallies]
        yield row(f"{name}, {tallies[0]['cases']}", *cells)


def differences(out: Path) -> Iterator[str]:
    """Paired, over the same cases."""
    yield row("B - A", "cases", "figure", "A", "B", "difference", "95 %", "right only in A/B", "p")
    yield row(*["---"] * 9)
    for a, b in PAIRS:
        for name, title in (*SETS.items(), (BFCL, "BFCL v4")):
            if compared := pair(out, a, b, name):
                for figure, one in compared.figures.items():
                    about = (f"{MODELS[b]} - {MODELS[a]}, {title}", len(compared.pairs))
                    yield row(*about, figure, *cells(figure, one))


def pair(out: Path, a: str, b: str, name: str) -> Compared | None:
    folders = [out / "eval" / model / name for model in (a, b)]
    if not all(summary(folder) for folder in folders):
        return None
    if name != BFCL:
        return compare_files(*folders, out / "data" / f"{name}.jsonl")
    categories = list(summary(folders[0])["categories"])
    return compare_suite(*folders, SUITES["bfcl_v4"], categories, out / "data" / BFCL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="what results.sh was given")
    out = parser.parse_args().out
    for part in (scores, bfcl, differences):
        for line in part(out):
            say(line)
        say("")


if __name__ == "__main__":
    main()
