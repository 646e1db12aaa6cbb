"""What run directories and directories of evaluations tell, read as they are: a run may have been killed, or go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeGuard

from tl_jax.addresses import shown
from tl_jax.config import RlConfig, SftConfig, annotated_yaml
from tl_jax.errors import UserError
from tl_jax.files import told
from tl_jax.run_files import CONFIG_FILE, LOG_FILE, METRICS_FILE, SAMPLES_FILE, STARTS_FILE
from tl_jax.yaml_text import read_yaml

SUMMARY, SETTINGS = "summary.json", "settings.json"
BEFORE = "_before"
"""How the name of a metric ends that was found before training, as step 0."""
DEPTH = 3
"""Folders below a named directory in which runs and evaluations are looked for."""

LARGEST_STEP, LARGEST = 2**31 - 1, 3.4e38
"""What a run can count up to, and what is a number in float32."""

Settings = dict[str, Any]
"""Dotted keys and their values."""


@dataclass(frozen=True)
class RunRecord:
    """What a run directory tells."""

    name: str
    settings: Settings
    starts: list[dict[str, Any]]
    """of ``environment.json``, the oldest first"""
    rows: list[dict[str, Any]]
    """of ``metrics.jsonl``, in the order of their steps"""
    log: list[str]
    samples: list[dict[str, Any]]
    faults: list[str]
    """what could not be read"""

    @property
    def kind(self) -> Literal["sft", "rl"]:
        return "rl" if any(key.startswith("algorithm.") for key in self.settings) else "sft"

    @property
    def changed(self) -> Settings:
        """The settings that are not the defaults."""
        default = _defaults(self.kind)
        return {key: value for key, value in self.settings.items() if key not in default or default[key] != value}

    def points(self, metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric, where it was logged and is a number; step 0 is before training."""
        before = [row[metric + BEFORE] for row in self.rows if is_number(row.get(metric + BEFORE))]
        logged = [(row["step"], float(row[metric])) for row in self.rows if is_number(row.get(metric))]
        return [(0, float(value)) for value in before[:1]] + logged

    @property
    def metrics(self) -> list[str]:
        """Names of all that was logged, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name not in ("step", "time")))


@dataclass(frozen=True)
class EvaluationRecord:
    """What `tl-jax eval` left in a directory."""

    name: str
    model: str
    summary: dict[str, Any]
    faults: list[str]
    """what could not be read"""


@dataclass(frozen=True)
class Found:
    """All that is in the named directories."""

    runs: list[RunRecord]
    evaluations: list[EvaluationRecord]


def find(directories: tuple[Path, ...]) -> Found:
    """The runs and evaluations in directories, and in folders not too deep below them.

    Raises:
        UserError: one of the directories has none, or cannot be looked into.
    """
    found = Found([], [])
    seen: set[Path] = set()
    for directory in directories:
        homes = {home.resolve(): home for home in _homes(directory)}
        if not homes:
            raise UserError(
                f"{directory}: neither a run ({CONFIG_FILE} and {METRICS_FILE} or {LOG_FILE}) nor an evaluation "
                f"({SUMMARY}) is there or up to {DEPTH} folders below; name what run_dir or eval --out was"
            )
        here = [home for place, home in homes.items() if place not in seen]
        seen |= homes.keys()
        runs = [read_run(home) for home in here if _is_run(home)]
        found.runs.extend(sorted(runs, key=lambda run: str(run.starts[0].get("started")) if run.starts else ""))
        found.evaluations.extend(one for home in here if (one := _read_evaluation(home)))
    return found


def _homes(directory: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Directories of runs and evaluations, those beside each other by name. Of a run only its own."""
    with told(directory, "cannot be read"):
        if _is_run(directory) or (directory / SUMMARY).is_file():
            yield directory
        if depth:
            for inner in sorted(directory.iterdir()):
                if inner.is_dir() and not inner.is_symlink():
                    yield from _homes(inner, depth - 1)


def _is_run(home: Path) -> bool:
    return (home / CONFIG_FILE).is_file() and ((home / METRICS_FILE).is_file() or (home / LOG_FILE).is_file())


def read_run(home: Path) -> RunRecord:
    """What a run directory tells; what is broken is told as one of its ``faults``.

    Raises:
        UserError: a file cannot be opened.
    """
    faults: list[str] = []
    tree: Any = None
    with told(home / CONFIG_FILE, "cannot be read"):
        try:
            tree = read_yaml((home / CONFIG_FILE).read_bytes())
        except ValueError as error:
            faults.append(f"{CONFIG_FILE}: {error}")
    starts = _json(home / STARTS_FILE, faults).get("starts")
    rows = _json_lines(home / METRICS_FILE, faults)
    return RunRecord(
        name=shown(home),
        settings=flat(tree) if isinstance(tree, Mapping) else {},
        starts=[start for start in starts if isinstance(start, dict)] if isinstance(starts, list) else [],
        rows=sorted(rows, key=lambda row: row["step"]),
        log=_text(home / LOG_FILE).splitlines(),
        samples=_json_lines(home / SAMPLES_FILE, faults),
        faults=faults,
    )


def _read_evaluation(home: Path) -> EvaluationRecord | None:
    if not (home / SUMMARY).is_file():
        return None
    faults: list[str] = []
    summary, settings = _json(home / SUMMARY, faults), _json(home / SETTINGS, faults)
    return EvaluationRecord(shown(home), str(settings.get("model", "")), summary, faults)


def flat(tree: Mapping[Any, Any], prefix: str = "") -> Settings:
    """Nested mappings with dotted keys.

    Example:
        >>> flat({"seed": 0, "model": {"path": "m", "dtype": "float32"}})
        {'seed': 0, 'model.path': 'm', 'model.dtype': 'float32'}
    """
    found: Settings = {}
    for key, value in tree.items():
        inner = isinstance(value, Mapping) and bool(value)
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


@lru_cache
def _defaults(kind: Literal["sft", "rl"]) -> Settings:
    config = RlConfig if kind == "rl" else SftConfig
    return flat(read_yaml(annotated_yaml(config)))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is one that can be drawn: JSON's readers make others, too, of ``NaN`` and ``1e400``."""
    return type(value) in (int, float) and abs(value) <= LARGEST


def _has_step(row: Mapping[str, Any]) -> bool:
    step = row.get("step")
    return type(step) is int and 0 <= step <= LARGEST_STEP


def _text(file: Path) -> str:
    with told(file, "cannot be read"):
        return file.read_text(encoding="utf-8-sig", errors="replace") if file.is_file() else ""


def _json(file: Path, faults: list[str]) -> dict[str, Any]:
    """An object; nothing where there is no file, or none with an object."""
    text = _text(file)
    with suppress(ValueError, RecursionError):
        found = json.loads(text) if text else {}
        if isinstance(found, dict):
            return found
    faults.append(f"{file.name}: is broken")
    return {}


def _json_lines(file: Path, faults: list[str]) -> list[dict[str, Any]]:
    """Objects of a step, one to a line. A killed run may have left half a line at the end, which is told like any
    other that is none."""
    found, broken, without = [], 0, 0
    for line in _text(file).splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            broken += 1
            continue
        if isinstance(row, dict) and _has_step(row):
            found.append(row)
        else:
            without += 1
    if without:
        faults.append(f"{file.name}: {without} lines have no 'step' that is a whole number from 0 on")
    if broken:
        faults.append(f"{file.name}: {broken} lines could not be read")
    return found
