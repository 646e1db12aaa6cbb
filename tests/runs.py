"""What a run of training has left in its directory, to be compared with another's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

TIMES = ("time", "tokens_per_second", "seconds_sampling", "seconds_learning", "seconds_rewards")
"""Metrics that are another number in each run."""


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The logged steps, without what depends on the clock."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows(run_dir, "metrics")]


def rows(run_dir: Path, name: str) -> list[dict[str, Any]]:
    """The lines of ``name``.jsonl, but a last one that is still being written; none where there is no file."""
    file = run_dir / f"{name}.jsonl"
    text = file.read_text() if file.is_file() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]


def state(run_dir: Path, step: int) -> Any:
    """Everything that the checkpoint after ``step`` holds, as NumPy arrays, whatever devices it comes from."""
    place = (run_dir / "checkpoints" / str(step) / "state").resolve()
    handler = ocp.PyTreeCheckpointHandler()
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(place).tree)
    return handler.restore(place, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
