"""Every setting that docs/papers.md names loads as configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tl_jax.config import RlConfig, RunConfig, SftConfig, load_config
from tl_jax.config.estimators import ESTIMATORS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
KINDS: dict[str, type[RunConfig]] = {"sft": SftConfig, "rl": RlConfig}
PATHS = ["run_dir=r", "model.path=m", "data.path=d"]


def rows() -> Iterator[tuple[str, str]]:
    """Of every table with settings: the command, and what is in the last column."""
    command = ""
    for line in TEXT.splitlines():
        if not line.startswith("|"):
            command = ""
        elif heading := re.search(r"settings of `tl-jax (\w+)`", line):
            command = heading[1]
        elif command and "---" not in line:
            yield command, line.rstrip(" |").rpartition("| ")[2]


@pytest.mark.parametrize(("command", "settings"), list(rows()))
def test_settings_load(command: str, settings: str) -> None:
    (code,) = re.findall(r"`([^`]+)`", settings)
    file = ROOT / code
    files, overrides = ([file], []) if file.suffix == ".yaml" else ([], code.split())
    load_config(KINDS[command], files, [*PATHS, *overrides])


def test_the_index_has_what_it_is_about() -> None:
    commands = [command for command, _ in rows()]
    assert min(commands.count("sft"), commands.count("rl")) > 9  # the tables were found
    assert [estimator.name for estimator in ESTIMATORS.values() if estimator.source not in TEXT] == []
