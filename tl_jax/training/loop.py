"""What surrounds the steps of any training: run directory, log, checkpoints, and stopping in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from tl_jax.config import RunConfig, changed_keys
from tl_jax.errors import UserError
from tl_jax.model.config import LlamaConfig
from tl_jax.model.hf import read_config
from tl_jax.model.llama import abstract_params
from tl_jax.model.store import open_model
from tl_jax.training.checkpoint import Checkpoints, Restored, restart_step
from tl_jax.training.logs import RunLog
from tl_jax.training.rundir import describe_run
from tl_jax.training.state import Params

_HARMLESS = ("run_dir", "mesh", "distributed", "checkpoint", "log_every", "eval_every")
"""Settings that may differ after a restart without changing what is computed."""


class DivergedError(UserError):
    """A loss or gradient that is no longer a number."""


class StopSignal:
    """Set by the first Ctrl-C or SIGTERM; the second one acts as it would have."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)

    def uninstall(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self.uninstall()


class Run:
    """One start of a training run, fresh or continued. Use it as a context manager around the steps.

    Until it is entered, nothing is written: reading the data and opening the model may fail first.

    Raises:
        ResumeError: ``config.checkpoint.resume`` forbids what the run directory holds.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.directory = config.run_dir
        self.restart_step = restart_step(self.directory / "checkpoints", config.checkpoint.resume)
        """step of the checkpoint to continue from; None = a fresh run"""
        self.stopped_by: str | None = None
        """the signal that ended the run early"""
        self._stop = StopSignal()

    @property
    def start(self) -> int:
        """Updates done before this start."""
        return self.restart_step or 0

    def open_model(self, mesh: Mesh) -> tuple[LlamaConfig, Params, Path]:
        """Configuration, parameters and tokenizer directory of the model that is trained.

        A continued run has config and tokenizer of its own, and its parameters are in the checkpoint: their shapes are
        returned then, and nothing is loaded twice.
        """
        model = self.config.model
        if self.restart_step is None:
            loaded = open_model(model.path, param_dtype=model.param_dtype, mesh=mesh)
            self._model, self._tokenizer_dir, params = loaded.config, loaded.tokenizer_dir, loaded.params
        else:
            self._tokenizer_dir = self.directory / "model"
            self._model = read_config(self._tokenizer_dir)
            params = abstract_params(self._model, model.param_dtype)
        return self._model, params, self._tokenizer_dir

    def prepare(self, total: int) -> Run:
        """Sets how many updates there are; call after `open_model`, before entering."""
        self.total = total
        return self

    def __enter__(self) -> Run:
        active = jax.process_index() == 0
        if active:
            describe_run(self.directory, self.config, self._model, self._tokenizer_dir)
        self.log = RunLog(self.directory, start=self.start, total=self.total, active=active)
        self._checkpoints = Checkpoints(self.directory / "checkpoints", keep=self.config.checkpoint.keep)
        self._stop.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.uninstall()
        if error is not None:
            self.log.line(f"ended by {type(error).__name__}: {error}")
        self._checkpoints.close()
        self.log.close()

    def restore(self, target: Any) -> Restored | None:
        """The checkpoint to continue from, placed like ``target``; None in a fresh run. Settings that changed are told.

        Raises:
            ResumeError: the checkpoint does not fit ``target``.
        """
        if self.restart_step is None:
            return None
        restored = self._checkpoints.restore(self.restart_step, target)
        changed = changed_keys(restored.config, self.config)
        if changed := [key for key in changed if key.split(".")[0] not in _HARMLESS]:
            self.log.line(f"warning: continuing with other settings than before: {', '.join(changed)}")
        self.log.line(f"continuing {self.directory} from step {self.restart_step} of {self.total}")
        return restored

    def after_step(self, step: int, state: Any, data: Callable[[], Mapping[str, Any]]) -> bool:
        """Moves the progress bar and saves when it is time; False = stop, everything is saved.

        Args:
            step: updates done; the last one and the one before a stop are always saved.
            state: any pytree of arrays.
            data: gives the position in the data as JSON values; called only when saving.
        """
        self.log.advance(step)
        if step < self.total:
            self.stopped_by = self._agreed_stop(step)
        ending = step == self.total or self.stopped_by is not None
        if ending or step % self.config.checkpoint.every == 0:
            self._checkpoints.save(step, state, data(), self._config_json())
        return not ending

    def saves_at(self, step: int) -> bool:
        """Whether `after_step` will save ``step``, unless it has to stop earlier."""
        return step == self.total or step % self.config.checkpoint.every == 0

    def finish(self) -> None:
        """Waits for the last checkpoint and says what to do next."""
        self._checkpoints.wait()
        if self.stopped_by:
            self.log.line(
                f"stopped by {self.stopped_by}; the checkpoint is saved. Run the same command again to continue in "
                f"{self.directory}"
            )
        else:
            self.log.line(
                f"done: {self.total} steps. To use the model elsewhere: tl-jax export --from {self.directory} --to DIR"
            )

    def _agreed_stop(self, step: int) -> str | None:
        """The signal that ends the run. Processes must leave after the same step, so several of them ask each other."""
        if jax.process_count() == 1:
            return self._stop.received
        if step % self.config.log_every and not self.saves_at(step):
            return None
        received = multihost_utils.process_allgather(np.array(self._stop.received is not None))
        return (self._stop.received or "a signal to another process") if np.any(received) else None

    def _config_json(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")


class Averages:
    """Means of step metrics over the steps since the last reading, kept on the host.

    Pushing a step waits for the one before it: one step computes while the next is prepared, and no more pile up.
    """

    def __init__(self, summed: tuple[str, ...] = (), last: tuple[str, ...] = ()) -> None:
        self._summed, self._last = summed, last
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self._steps: list[dict[str, float]] = []

    def push(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Adds the scalars of a step that may still be running.

        Raises:
            DivergedError: a value of an earlier step is not finite.
        """
        self.settle()
        self._pending = (step, metrics)

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
