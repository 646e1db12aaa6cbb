"""What the configurations say that they need: their first lines hold commands of `tl-jax plan`, and what each printed.

    python -m benchmarks.plans [--write] [--config FILE] [--devices PREFIX]

runs every such command whose compiler is installed here, one after another, and prints what it finds beside what is
written; with ``--write`` it is written into the file, and `python docs/tables.py` brings docs/plan.md up to date.
`tests/plan/test_compilers.py` compares what is written with what the compilers say.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import click

from tl_jax.registry import Registry

ROOT = Path(__file__).parents[1]
GIB = 2**30
FIGURES = re.compile(r"^#   (tl-jax plan .*)\n#     (.*)$", re.MULTILINE)
"""A command, and below it what its programs need: ``training step 18.26``."""


class Claim(NamedTuple):
    """A command in a file's first lines, and what the file says that it prints."""

    file: Path
    command: str
    told: str

    @property
    def devices(self) -> str:
        """The machine that the command names."""
        words = self.command.split()
        return words[words.index("--devices") + 1]

    @property
    def settings(self) -> str:
        """Those that the command gives besides, and whether the compiler tries less hard."""
        return " ".join(word for word in self.command.split() if "=" in word or word == "--quick")

    @property
    def name(self) -> str:
        """What its registry calls it."""
        return f"{self.file.stem} {self.devices} {self.settings}".strip()

    @property
    def figures(self) -> tuple[str, str, str]:
        """GiB of the program that needs most, GiB there are, and the seconds of a step."""
        needs, _, rest = self.told.partition(", of ")
        there, _, seconds = rest.partition("; a step takes ")
        return max(re.findall(r"[\d.]+", needs), key=float), there, seconds.removesuffix(" at least")

    @property
    def extra(self) -> str:
        """What has to be installed for it."""
        return "plan-tpu" if self.devices.startswith("v") else "plan-gpu"

    @property
    def installed(self) -> bool:
        return find_spec({"plan-tpu": "libtpu", "plan-gpu": "jax_cuda12_plugin"}[self.extra]) is not None


CLAIMS: Registry[Claim] = Registry(
    "claim",
    [
        Claim(file, *found)
        for file in sorted((ROOT / "configs").glob("*.yaml"))
        for found in FIGURES.findall(file.read_text(encoding="utf-8"))
    ],
    columns={
        "`configs/`": lambda claim: f"`{claim.file.name}`",
        "on": lambda claim: f"`{claim.devices}`",
        "with": lambda claim: f"`{claim.settings}`" if claim.settings else "",
        "needs, GiB": lambda claim: claim.figures[0],
        "of": lambda claim: claim.figures[1],
        "a step, at least": lambda claim: claim.figures[2],
    },
)
"""Those of all configurations."""


def planned(words: list[str]) -> dict[str, Any]:
    """What ``tl-jax plan`` finds, in a process of its own: compilers look at the environment when they are loaded.

    Raises:
        RuntimeError: it found nothing, with its words.
    """
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": path}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "plan.json"
        command = [sys.executable, "-m", "tl_jax.cli", "plan", *words, "--json", str(out), "-q"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 3):
            raise RuntimeError(done.stderr)
        plan: dict[str, Any] = json.loads(out.read_text())
    return plan


def figures(plan: dict[str, Any]) -> str:
    """A plan in one line."""
    needs = ", ".join(f"{one['name']} {one['needed'] / GIB:.2f}" for one in plan["programs"])
    bound = f"; a step takes {plan['bound']['seconds']:.2g} s at least" if plan["bound"] else "; it does not fit"
    return f"{needs}, of {plan['programs'][0]['memory'] / GIB:.2f}{bound}"


@click.command(help=__doc__)
@click.option("--config", "only", help="Part of a configuration's name.", default="")
@click.option("--devices", help="Only machines whose name begins so.", default="")
@click.option("--write", is_flag=True, help="Writes what is found into the configurations.")
def main(only: str, devices: str, write: bool) -> None:
    chosen = [one for one in CLAIMS.values() if only in one.file.name and one.devices.startswith(devices)]
    if not chosen:
        raise click.UsageError("no configuration in configs/ has such a name and such machines in its first lines")
    for claim in [one for one in chosen if one.installed]:
        plan = planned(claim.command.removeprefix("tl-jax plan ").split())
        found = figures(plan)
        seconds = ", ".join(f"{one['seconds']:.0f}" for one in plan["programs"])
        print(f"{claim.command}\n  written {claim.told}\n  found   {found}\n  compiled in {seconds} s", flush=True)
        if write:
            text = claim.file.read_text(encoding="utf-8")
            before, after = (f"#   {claim.command}\n#     {told}\n" for told in (claim.told, found))
            claim.file.write_text(text.replace(before, after), encoding="utf-8")


if __name__ == "__main__":
    main()
