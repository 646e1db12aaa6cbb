"""Writes what the dials of an ablation have shown into docs/when_it_helps.md: images of gains, and tables.

    python docs/sweeps.py runs/when_it_helps      # where tl-jax ablation --sweep NAME has written

They stand between ``<!-- sweeps -->`` and ``<!-- end -->``, each under its heading; a dial that the folder does not
have stays as it is. The images go to docs/plots.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tl_jax.ablation.bootstrap import MeanEstimate
from tl_jax.ablation.report import cells
from tl_jax.config.variants import FACTORS
from tl_jax.errors import UserError

PAGE = Path(__file__).parent / "when_it_helps.md"
SWEEPS = re.compile(r"(<!-- sweeps -->\n)(.*?)(<!-- end -->)", re.DOTALL)
HEADING = re.compile(rf"^### ({'|'.join(FACTORS)}) against `(\w+)`$", re.MULTILINE)
DRAWN = ("TS", "CF")
"""Figures whose images are shown."""
SHARES = ("TS", "PI", "CF")


def with_sweeps(text: str, folder: Path, plots: Path) -> str:
    """The page with all dials of which ``folder`` has a gain, by the part that is gained by; images go to ``plots``.

    Raises:
        UserError: it has none.
    """
    shown = {}
    for file in folder.glob("sweep-*.json"):
        sweep, name = json.loads(file.read_text(encoding="utf-8")), file.stem.removeprefix("sweep-")
        if factors := [gain["factor"] for results in sweep["values"].values() for gain in results["gains"]]:
            heading = f"### {factors[0]} against `{name}`"
            shown[factors[0], name] = f"{heading}\n\n{_images(name, folder, plots)}\n\n{table(sweep)}\n"
    if not shown:
        raise UserError(f"{folder}: no sweep-NAME.json with a gain; tl-jax ablation --sweep NAME writes them")
    return SWEEPS.sub(lambda found: f"{found[1]}{_in_order(_others(found[2], shown) | shown)}{found[3]}", text)


def _others(text: str, shown: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """What stands on the page of other dials."""
    names = {name for _, name in shown}
    return {key: part for key, part in _written(text).items() if key[1] not in names}


def _written(text: str) -> dict[tuple[str, str], str]:
    """The parts that stand on the page, by factor and dial."""
    _, *parts = HEADING.split(text)
    return {
        (factor, name): f"### {factor} against `{name}`\n\n{rest.strip()}\n"
        for factor, name, rest in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


def _in_order(shown: dict[tuple[str, str], str]) -> str:
    return "\n".join(shown[key] for key in sorted(shown, key=lambda key: (FACTORS.index(key[0]), key[1])))


def _images(name: str, folder: Path, plots: Path) -> str:
    plots.mkdir(exist_ok=True)
    for figure in DRAWN:
        (plots / f"{name}-{figure}.svg").write_bytes((folder / f"sweep-{name}-{figure}.svg").read_bytes())
    return " ".join(f"![gain in {it} against {name}]({plots.name}/{name}-{it}.svg)" for it in DRAWN)


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
            lines.append(f"| {' | '.join((str(value), str(len(gain['seeds'])), reached, *_gains(gain['figures'])))} |")
    return "\n".join(lines)


def _shares(scored: dict[str, Any]) -> str:
    return " / ".join(f"{scored['figures'][figure]['mean']:.1f}" for figure in SHARES)


def _gains(figures: dict[str, Any]) -> list[str]:
    told = cells({name: MeanEstimate(**figure) for name, figure in figures.items()}, is_gain=True)
    return [f"**{one.removesuffix(' *')}**" if one.endswith(" *") else one for one in told]


def main(folder: Path) -> None:
    try:
        text = with_sweeps(PAGE.read_text(encoding="utf-8"), folder, PAGE.parent / "plots")
    except UserError as error:
        sys.exit(str(error))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name the directory that tl-jax ablation --sweep has written to")
    main(Path(sys.argv[1]))
