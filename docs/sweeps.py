"""Writes what the dials of an ablation have shown into docs/when_it_helps.md: an image of gains, and a table.

    python docs/sweeps.py runs/when_it_helps      # where tl-jax ablation --sweep NAME has written

A dial stands between ``<!-- sweep NAME -->`` and ``<!-- end -->``; its images go to docs/plots.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tl_jax.ablation.bootstrap import MeanEstimate
from tl_jax.ablation.report import with_interval

PAGE = Path(__file__).parent / "when_it_helps.md"
SWEEP = re.compile(r"(<!-- sweep ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
DRAWN = ("TS", "CF")
"""Figures whose images are shown."""
SHARES = ("TS", "PI", "CF")


def with_sweeps(text: str, folder: Path, plots: Path) -> str:
    """The page with every dial as ``folder`` has it; those it has nothing of stay. Copies the images to ``plots``."""

    def fresh(found: re.Match[str]) -> str:
        name, file = found[2], folder / f"sweep-{found[2]}.json"
        if not file.is_file():
            return found[0]
        plots.mkdir(exist_ok=True)
        images = []
        for figure in DRAWN:
            image = plots / f"{name}-{figure}.svg"
            image.write_bytes((folder / f"sweep-{name}-{figure}.svg").read_bytes())
            images.append(f"![gain in {figure} against {name}]({plots.name}/{image.name})")
        return f"{found[1]}{' '.join(images)}\n\n{table(json.loads(file.read_text(encoding='utf-8')))}\n{found[4]}"

    return SWEEP.sub(fresh, text)


def table(sweep: dict[str, Any]) -> str:
    """A row for each value and gain: what the variants reach, and the gain; in bold where its interval leaves 0 out.

    Args:
        sweep: as ``sweep-NAME.json`` has it.
    """
    heads = (f"`{sweep['setting'].split('.')[-1]}`", "seeds", "TS / PI / CF %", *(f"gain in {it}" for it in SHARES))
    lines = [f"| {' | '.join((*heads, 'gain in reward'))} |", "|" + "---|" * (len(heads) + 1)]
    for value, results in sweep["values"].items():
        for gain in results["gains"]:
            reached = ", ".join(f"{name} {_shares(scored)}" for name, scored in results["variants"].items())
            gains = [_gain(gain["figures"][figure]) for figure in (*SHARES, "reward")]
            lines.append(f"| {' | '.join((str(value), str(len(gain['seeds'])), reached, *gains))} |")
    return "\n".join(lines)


def _shares(scored: dict[str, Any]) -> str:
    return " / ".join(f"{scored['figures'][figure]['mean']:.1f}" for figure in SHARES)


def _gain(figure: dict[str, Any]) -> str:
    one = MeanEstimate(**figure)
    told = with_interval(one, is_gain=True).removesuffix(" *")
    return f"**{told}**" if one.sure else told


def main(folder: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_sweeps(text, folder, PAGE.parent / "plots"), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name the directory that tl-jax ablation --sweep has written to")
    main(Path(sys.argv[1]))
