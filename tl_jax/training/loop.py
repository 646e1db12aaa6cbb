"""The loop of every training: a batch, a step, and now and then a line, an evaluation, a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

from tl_jax.model.sharding import batch_sharding, make_global_array
from tl_jax.training.averages import Averages, DivergedError
from tl_jax.training.run import Run
from tl_jax.training.state import State, TrainState
from tl_jax.training.stop import ANOTHER, Interrupted

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
        eval_every: steps between evaluations; the last step has one anyway. One that a signal ended is made up for
            when the run goes on.

    Returns:
        ``step``, the updates done; ``stopped_by``, the signal or None; and the metrics that were logged last.

    The work on a batch may end by `Interrupted`, which ends the run as a signal between two steps does.

    Raises:
        DivergedError: a metric is not finite. The state it comes from is not saved; after any other error, the one
            that the last whole step has left is.
    """
    latest: dict[str, float] = {}
    stopped_by: str | None = None
    good = _LastGood(run, averages)
    with good:
        if evaluate and run.lacks_evaluation(eval_every):  # a signal ended it
            latest = dict(evaluate(run.start, state))
            run.log.metrics(run.start, latest)
            run.evaluated(run.start, latest)
        for number in range(run.start + 1, run.total + 1):
            if run.gives_up:
                break
            batch = make_global_array(source.batch(number, state), batch_sharding(run.mesh))
            state, metrics = step(state, batch)
            averages.push(number, source.observe(metrics))
            good.keep(number, state, source.position(number))
            last, logs = number == run.total, _due(number, run.config.log_every)
            stopped_by, saves = run.orders(number, meet=averages.waits or logs)
            if stopped_by:
                good.save()  # first of all: whoever sent the signal may not wait for long
                run.wait()
            evaluates = evaluate is not None and (last or _due(number, eval_every))
            if last or evaluates or logs:
                latest = averages.read() | source.read()
                try:
                    if evaluate and evaluates:
                        latest |= evaluate(number, state)
                        saves |= run.evaluated(number, latest)
                finally:  # what was read is told although a signal or an error ends the evaluation
                    run.log.metrics(number, latest)
                    source.show(number)
            run.log.advance(number)
            if stopped_by:
                break
            if saves:
                good.save()
    return {"step": int(state.step), "stopped_by": stopped_by or good.interrupted_by, **latest}


class _LastGood:
    """What the last whole step has left. On leaving by an error it is saved, so that nothing is lost.

    `Interrupted` is no error: what was given up is done again when the run goes on.
    """

    interrupted_by: str | None = None
    """the signal that ended the work on a batch"""

    def __init__(self, run: Run, averages: Averages) -> None:
        self._run, self._averages = run, averages
        self._kept: tuple[int, TrainState, Mapping[str, Any]] | None = None

    def keep(self, step: int, state: TrainState, position: Mapping[str, Any]) -> None:
        """Takes the place of the step before, whose state was used up."""
        self._kept = (step, state, position)

    def save(self) -> None:
        """Starts saving what is kept.

        Raises:
            DivergedError: the step was not finite; its state is not saved.
        """
        assert self._kept
        self._averages.settle()
        self._run.save(*self._kept)

    def __enter__(self) -> _LastGood:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if isinstance(error, Interrupted):
            self.interrupted_by = self._run.stopped_by or ANOTHER
        if error is not None and not isinstance(error, DivergedError) and self._kept is not None:
            with suppress(Exception):  # the step was not finite or did not come to its end
                self._averages.settle()
                self._run.rescue(*self._kept, error)
        return isinstance(error, Interrupted)


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
