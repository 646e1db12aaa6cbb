"""The loop of every training: a batch, a step, and now and then a line, an evaluation, a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tl_jax.model.sharding import batch_sharding, make_global_array
from tl_jax.training.averages import Averages
from tl_jax.training.run import Run
from tl_jax.training.state import State

Metrics = Mapping[str, Any]
"""Scalars by name, on devices or on the host."""


class Source(Protocol):
    """Where the batches come from, and what the host knows of them."""

    def batch(self, step: int, state: Any) -> Any:
        """Arrays [B, ...] on the host for update ``step``, from 1; the same in every process.

        ``state`` is the one that the step will take, for batches made with its parameters.
        """

    def observe(self, metrics: Metrics) -> Metrics:
        """Metrics of the step that has taken the latest batch and may still be running, with what else there is."""

    def read(self) -> dict[str, float]:
        """What was counted since the last reading and is no mean over steps."""

    def show(self, step: int) -> None:
        """Prints or keeps something of the latest batch; called whenever metrics are logged."""

    def position(self, step: int) -> Mapping[str, Any]:
        """JSON values from which the batches after ``step`` can be had again; kept in the checkpoint."""


def fit(
    run: Run,
    state: State,
    step: Callable[[State, Any], tuple[State, Metrics]],
    source: Source,
    averages: Averages,
    evaluate: Callable[[int, State], Mapping[str, float]] | None = None,
    eval_every: int | None = None,
) -> dict[str, Any]:
    """Takes every step that is left of an entered ``run``, or those until a signal.

    Args:
        run: where metrics are logged and states saved.
        state: used up.
        step: compiled; takes batches that are spread over ``run.mesh``.
        source: of the batches.
        averages: how the metrics of several steps become one.
        evaluate: metrics of a state after some step, logged with the step's.
        eval_every: steps between evaluations; the last step has one anyway.

    Returns:
        ``step``, the updates done; ``stopped_by``, the signal or None; and the metrics that were logged last.

    Raises:
        DivergedError: a metric is not finite. The state it comes from is not saved.
    """
    latest: dict[str, float] = {}
    stopped_by: str | None = None
    for number in range(run.start + 1, run.total + 1):
        batch = make_global_array(source.batch(number, state), batch_sharding(run.mesh))
        state, metrics = step(state, batch)
        averages.push(number, source.observe(metrics))
        last = number == run.total
        evaluates = evaluate is not None and (last or _due(number, eval_every))
        if last or evaluates or _due(number, run.config.log_every):
            latest = averages.read() | source.read()
            if evaluate and evaluates:
                latest |= evaluate(number, state)
            run.log.metrics(number, latest)
            source.show(number)
        run.log.advance(number)
        stopped_by = None if last else run.stop_signal(number)
        if stopped_by or run.saves_at(number):
            averages.settle()  # a state that is not finite is not saved
            run.save(number, state, source.position(number))
        if stopped_by:
            break
    return {"step": int(state.step), "stopped_by": stopped_by, **latest}


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
