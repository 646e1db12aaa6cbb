"""One start of a training run: its directory, model, state, log and checkpoints, fresh or continued."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from tl_jax.config import RunConfig, changed_keys
from tl_jax.errors import UserError
from tl_jax.model.config import LlamaConfig
from tl_jax.model.hf import read_config
from tl_jax.model.parameters import Params, abstract_params
from tl_jax.model.store import open_model
from tl_jax.training.checkpoint import Checkpoints, Record, ResumeError, restart_step
from tl_jax.training.compile import abstract_state, start_frozen, start_state
from tl_jax.training.fingerprint import fingerprint
from tl_jax.training.logs import RunLog
from tl_jax.training.rundir import describe_run
from tl_jax.training.state import State, TrainState, without_frozen
from tl_jax.training.stop import StopSignal

_HARMLESS = ("run_dir", "mesh", "distributed", "checkpoint", "log_every", "eval_every")
"""Settings that may differ after a restart without changing what is computed."""


class Run:
    """One start of a training run, fresh or continued: `open_model`, `begin`, then the steps inside ``with run``.

    Until it is entered, nothing is written: reading the data and opening the model may fail first.

    Args:
        config: what the run directory keeps and the checkpoints are compared with.
        mesh: where the model lies.

    Raises:
        ResumeError: ``config.checkpoint.resume`` forbids what the run directory holds.
    """

    total: int
    """updates in all, see `prepare`"""
    log: RunLog
    """once entered"""

    def __init__(self, config: RunConfig, mesh: Mesh) -> None:
        self.config, self.mesh = config, mesh
        self.directory = config.run_dir
        self.restart_step = restart_step(self.directory / "checkpoints", config.checkpoint.resume)
        """step of the checkpoint to continue from; None = a fresh run"""
        self._stop = StopSignal()
        self._config_then: Mapping[str, Any] = {}
        self._frozen: str | None = None

    @property
    def start(self) -> int:
        """Updates done before this start."""
        return self.restart_step or 0

    def open_model(self) -> tuple[LlamaConfig, Path]:
        """Configuration and tokenizer directory of the model that is trained; `begin` takes its parameters over.

        A continued run has config and tokenizer of its own, and its parameters are in the checkpoint: nothing is loaded
        twice.
        """
        model = self.config.model
        if self.restart_step is None:
            loaded = open_model(model.path, param_dtype=model.param_dtype, mesh=self.mesh)
            self._model, self._tokenizer_dir, self._params = loaded.config, loaded.tokenizer_dir, loaded.params
        else:
            self._tokenizer_dir = self.directory / "model"
            self._model = read_config(self._tokenizer_dir)
            self._params = abstract_params(self._model, model.param_dtype)
        return self._model, self._tokenizer_dir

    def begin(self, init: Callable[[Params], State]) -> tuple[State, Mapping[str, Any] | None]:
        """The state to start or continue with, and where the data stood; None for the data of a fresh run.

        What the state's ``frozen`` holds is in no checkpoint. A continued run makes it as the first start did, from the
        model at ``config.model.path``, and only if there is any.

        Args:
            init: makes a fresh state of the model's parameters, a pure function.

        Raises:
            ResumeError: the checkpoint does not fit ``init``, or the frozen parameters are needed and the model is gone
                or has changed.
        """
        params, self._params = self._params, {}  # used up: nothing may keep them in memory
        if self.restart_step is None:
            state = start_state(init, params, self.mesh)
            self._frozen = fingerprint(state.frozen)
            return state, None
        target = abstract_state(init, params, self.mesh)
        checkpoints = self._open_checkpoints()
        restored, record = checkpoints.restore(self.restart_step, without_frozen(target))
        checkpoints.close()
        self._config_then, self._frozen = record.config, record.frozen
        frozen = self._frozen_again(init, params) if jax.tree.leaves(target.frozen) else {}
        return replace(restored, frozen=frozen), record.data

    def _frozen_again(self, init: Callable[[Params], State], expected: Params) -> Params:
        """What was frozen at the first start. ``expected`` has the shapes of the model's parameters."""
        model = self.config.model
        needed = f"{self.directory}: to continue it, the weights it started from are needed again (reference policy)"
        try:
            params = open_model(model.path, param_dtype=model.param_dtype, mesh=self.mesh).params
        except UserError as error:
            raise ResumeError(f"{needed}: {error}") from error
        if _shapes(params) == _shapes(expected):
            frozen = start_frozen(init, params, self.mesh)
            if fingerprint(frozen) == self._frozen:
                return frozen
        raise ResumeError(
            f"{needed}, and model.path={model.path} has others; name the model as it was then, with the same "
            "model.param_dtype, or choose another run_dir"
        )

    def prepare(self, total: int) -> Run:
        """Sets how many updates there are; call after `open_model`, before entering."""
        self.total = total
        return self

    def __enter__(self) -> Run:
        active, told = jax.process_index() == 0, []
        if active:
            told = describe_run(self.directory, self.config, self._model, self._tokenizer_dir)
        self.log = RunLog(self.directory, start=self.start, total=self.total, active=active)
        for line in told:
            self.log.line(line)
        self._checkpoints = self._open_checkpoints()
        self._stop.install()
        if self.restart_step is not None:
            self._tell_what_continues()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.uninstall()
        if error is not None:
            self.log.line(f"ended by {type(error).__name__}: {error}")
        self._checkpoints.close()
        self.log.close()

    def saves_at(self, step: int) -> bool:
        """Whether ``step`` is one after which the state is to be saved; the last one is."""
        return step == self.total or step % self.config.checkpoint.every == 0

    def save(self, step: int, state: TrainState, position: Mapping[str, Any]) -> None:
        """Starts writing a checkpoint; returns once ``state`` may be used up.

        Args:
            step: updates done.
            state: as the step left it; what is frozen is not written.
            position: where the data stands, JSON values.
        """
        record = Record(position, self._config_json(), self._frozen)
        self._checkpoints.save(step, without_frozen(state), record)

    def stop_signal(self, step: int) -> str | None:
        """The signal that ends the run after ``step``.

        Processes must leave after the same step, so several of them ask each other, at steps that log or save.
        """
        if jax.process_count() == 1:
            return self._stop.received
        if step % self.config.log_every and not self.saves_at(step):
            return None
        received = multihost_utils.process_allgather(np.array(self._stop.received is not None))
        return (self._stop.received or "a signal to another process") if np.any(received) else None

    def finish(self, stopped_by: str | None = None) -> None:
        """Waits for the last checkpoint and says what to do next.

        Args:
            stopped_by: the signal that ended the run early.
        """
        self._checkpoints.wait()
        if stopped_by:
            self.log.line(
                f"stopped by {stopped_by}; the checkpoint is saved. Run the same command again to continue in "
                f"{self.directory}"
            )
        else:
            self.log.line(
                f"done: {self.total} steps. To use the model elsewhere: tl-jax export --from {self.directory} --to DIR"
            )

    def _config_json(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    def _open_checkpoints(self) -> Checkpoints:
        return Checkpoints(self.directory / "checkpoints", keep=self.config.checkpoint.keep)

    def _tell_what_continues(self) -> None:
        changed = changed_keys(self._config_then, self.config)
        if changed := [key for key in changed if key.split(".")[0] not in _HARMLESS]:
            self.log.line(f"warning: continuing with other settings than before: {', '.join(changed)}")
        self.log.line(f"continuing {self.directory} from step {self.restart_step} of {self.total}")


def _shapes(params: Params) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)
