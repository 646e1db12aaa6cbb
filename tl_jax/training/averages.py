"""Metrics of steps on the host: their means between two readings, and the end of a run that has diverged."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from tl_jax.errors import UserError


class DivergedError(UserError):
    """A loss or gradient that is no longer a number."""


class Averages:
    """Means of step metrics over the steps since the last reading, kept on the host.

    Pushing a step waits for the one before it: one step computes while the next is prepared, and no more pile up.

    Args:
        summed: names of metrics that are added up instead.
        last: names of those of which the newest value counts.
        wait: wait for the newest step itself, where the next one cannot be prepared without it.
    """

    def __init__(self, summed: tuple[str, ...] = (), last: tuple[str, ...] = (), wait: bool = False) -> None:
        self._summed, self._last, self.waits = summed, last, wait
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self._steps: list[dict[str, float]] = []

    def push(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Adds the scalars of a step that may still be running.

        Raises:
            DivergedError: a value of an earlier step is not finite, or with ``wait`` one of this step.
        """
        self.settle()
        self._pending = (step, metrics)
        if self.waits:
            self.settle()

    def settle(self) -> None:
        """Waits for the newest step.

        Raises:
            DivergedError: one of its values is not finite.
        """
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        wrong = [name for name, value in values.items() if not np.isfinite(value)]
        if wrong:
            raise DivergedError(
                f"step {step}: {', '.join(wrong)} not finite. Nothing of this step was saved; continue from the last "
                "checkpoint with a lower learning rate, or start again"
            )
        self._steps.append(values)

    def read(self) -> dict[str, float]:
        """Mean of each metric (sum or last value for those named so), waiting for the newest step; then starts anew."""
        self.settle()
        steps, self._steps = self._steps, []
        values = {}
        for name in steps[-1] if steps else ():
            column = [step[name] for step in steps]
            total = sum(column)
            values[name] = column[-1] if name in self._last else total if name in self._summed else total / len(column)
        return values
