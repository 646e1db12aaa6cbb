"""Which step of a run was the best so far, by a metric of its evaluations, and whether it is time to give up."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tl_jax.config import CheckpointConfig

_LOWER = frozenset({"eval_loss"})
"""Metrics of which less is better."""


class Best:
    """The best evaluation so far; where it is told nothing, none is.

    Of several equal ones the first is the best. What was known before a restart comes from the run's metrics, so a run
    that is continued finds the same as one that never stopped.

    Args:
        settings: ``best`` names the metric, ``patience`` how many evaluations may pass without a better one.
        known: step -> value, of the evaluations before this start.
    """

    step: int | None = None
    value: float = math.nan

    def __init__(self, settings: CheckpointConfig, known: Mapping[int, float]) -> None:
        self.metric, self._patience = settings.best, settings.patience
        self._since = 0
        for step in sorted(known):
            self._take(step, known[step])

    def see(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Takes note of an evaluation; whether it is the best so far."""
        value = metrics.get(self.metric or "")
        return value is not None and math.isfinite(value) and self._take(step, value)

    @property
    def gives_up(self) -> bool:
        """Whether there has been no better one for as long as ``patience`` allows."""
        return self._patience is not None and self._since >= self._patience

    @property
    def described(self) -> str:
        """The metric, its best value and the step."""
        return f"{self.metric} was best, {self.value:.4g}, after step {self.step}"

    def _take(self, step: int, value: float) -> bool:
        better = self.step is None or (value < self.value if self.metric in _LOWER else value > self.value)
        if better:
            self.step, self.value = step, value
        self._since = 0 if better else self._since + 1
        return better


def evaluations(file: Path, metric: str | None) -> dict[str, float]:
    """The values of a metric that are on record, by step as text."""
    found: dict[str, float] = {}
    if metric is None or not file.is_file():
        return found
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError, RecursionError):  # half a line of a killed run
            row: Any = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get(metric), int | float):
                found[str(int(row["step"]))] = float(row[metric])
    return found
