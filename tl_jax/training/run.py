"""One start of a training run: its directory, model, state, log and checkpoints, fresh or continued."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from weakref import WeakMethod

import jax
from jax.sharding import Mesh

from tl_jax.addresses import shown
from tl_jax.bucket_files import bring_inputs
from tl_jax.config import RunConfig, changed_keys
from tl_jax.errors import UserError
from tl_jax.files import write_json
from tl_jax.model.adapted import adapter_home
from tl_jax.model.config import LlamaConfig
from tl_jax.model.directory import BEST_FILE, tokenizer_files
from tl_jax.model.fingerprint import fingerprint
from tl_jax.model.hf import read_config
from tl_jax.model.hf.peft import base_fingerprint
from tl_jax.model.parameters import Params, abstract_params
from tl_jax.model.run_directory import MODEL, checkpoints_of, fetched, read_copy
from tl_jax.model.store import LoadedModel, open_model
from tl_jax.run_files import DAMAGED, METRICS_FILE
from tl_jax.training.best import Best, evaluations
from tl_jax.training.bucket_run import run_lock
from tl_jax.training.checkpoint import Checkpoints, Record, ResumeError, restart_step
from tl_jax.training.compile import abstract_state, start_frozen, start_state
from tl_jax.training.damaged import newest_whole, set_aside
from tl_jax.training.distributed import agreed, is_main, is_shared
from tl_jax.training.grace import GraceCheck
from tl_jax.training.logs import EVAL, RunLog, logged
from tl_jax.training.poll import Poll
from tl_jax.training.rundir import describe_run
from tl_jax.training.state import State, TrainState, without_frozen
from tl_jax.training.stop import ANOTHER, StopSignal

_HARMLESS = {"run_dir", "mesh", "distributed", "checkpoint", "log_every", "eval_every", "eval_cases", "data.cache"}
"""Settings that may differ after a restart without changing what is computed."""


class Orders(NamedTuple):
    """What is to happen after a step, the same in every process."""

    stopped_by: str | None
    """the signal that ends the run here"""
    saves: bool
    """the state is to be saved: a checkpoint is due, or this is the end"""


class Run:
    """One start of a training run, fresh or continued: `open_model`, `begin`, then the steps inside ``with run``.

    Until it is entered, nothing is written: reading the data and opening the model may fail first.

    Args:
        config: what the run directory keeps and the checkpoints are compared with.
        mesh: where the model lies.

    Raises:
        ResumeError: ``config.checkpoint.resume`` forbids what the run directory holds, or another run is there.
    """

    total: int
    """updates in all, see `prepare`"""
    log: RunLog
    """once entered"""

    def __init__(self, config: RunConfig, mesh: Mesh) -> None:
        self.config, self.mesh = config, mesh
        self.directory = config.run_dir
        self._lock = run_lock(self.directory)
        agreed(self._lock.check)
        bring_inputs(config)
        self._newest = self._newest_step()
        self.restart_step, self._damaged = self._newest, dict[int, str]()
        """step of the checkpoint to continue from; None = a fresh run"""
        if self._newest is not None and config.checkpoint.verify:
            self._find_whole()
        self._stop = StopSignal()
        minutes = config.checkpoint.minutes
        self._seconds_between = None if minutes is None else 60 * minutes
        self._grace = GraceCheck(config.checkpoint.grace_seconds)
        self._measured = self.restart_step
        """step of the last checkpoint whose time is known or of no interest"""
        self._config_then: Mapping[str, Any] = {}
        self._frozen: str | None = None
        self._base: str | None = None
        """`base_fingerprint` of the model below adapters"""

    @property
    def name(self) -> str:
        """How the directory is called: as it was given."""
        return shown(self.directory)

    @property
    def start(self) -> int:
        """Updates done before this start."""
        return self.restart_step or 0

    def open_model(self) -> tuple[LlamaConfig, Path]:
        """Configuration and tokenizer directory of the model that is trained; `begin` takes its parameters over.

        A continued run has config and tokenizer of its own, and its parameters are in the checkpoint: nothing is loaded
        twice.
        """
        if self.restart_step is None:
            loaded = self._open()
            tokenizer_files(loaded.tokenizer_dir)  # which the run directory gets, once everything is found right
            self._model, self._tokenizer_dir, self._params = loaded.config, loaded.tokenizer_dir, loaded.params
        else:
            home = self.directory if is_main() else read_copy(self.directory)
            self._tokenizer_dir = home / MODEL
            self._model = read_config(self._tokenizer_dir)
            self._params = abstract_params(self._model, self.config.stored_dtype)
        return self._model, self._tokenizer_dir

    def _open(self) -> LoadedModel:
        model = self.config.model
        loaded = open_model(
            fetched(model.path),
            param_dtype=self.config.stored_dtype,
            mesh=self.mesh,
            verify=model.verify,
            base=model.base and fetched(model.base),
        )
        # What adapters on it are merged to is rounded otherwise in each dtype.
        if self.config.adapter and adapter_home(model.path) is None:
            self._base = base_fingerprint(loaded.params)
        return loaded

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
            state = start_state(init, params, self.mesh, self.config.model.offload)
            self._frozen = fingerprint(state.frozen)
            return state, None
        target = abstract_state(init, params, self.mesh, self.config.model.offload)
        self._own_directory()
        self._set_aside()
        checkpoints = self._open_checkpoints()
        restored, record = checkpoints.restore(self.restart_step, without_frozen(target))
        checkpoints.close()
        self._config_then, self._frozen = record.config, record.frozen
        self._check_adapter()
        frozen = self._frozen_again(init, params) if jax.tree.leaves(target.frozen) else {}
        return replace(restored, frozen=frozen), record.data

    def _check_adapter(self) -> None:
        """Adapters have learned at their scale: at another they are another model."""
        changed = [key for key in changed_keys(self._config_then, self.config) if key in ("lora.alpha", "lora.rslora")]
        if self.config.adapter and changed:
            raise ResumeError(
                f"{self.name}: its adapters were trained with another {' and '.join(changed)}; continue with what "
                f"{self.name}/config.yaml says, or choose another run_dir"
            )

    def _frozen_again(self, init: Callable[[Params], State], expected: Params) -> Params:
        """What was frozen at the first start. ``expected`` has the shapes of the model's parameters."""
        model = self.config.model
        why = "base of the adapters" if self.config.adapter else "reference policy"
        if self._frozen is None:
            raise ResumeError(
                f"{self.name}: it has trained without a {why} so far; continue with what "
                f"{self.name}/config.yaml says, or choose another run_dir"
            )
        needed = f"{self.name}: to continue it, the weights it started from are needed again ({why})"
        try:
            params = self._open().params
        except UserError as error:
            raise ResumeError(f"{needed}: {error}") from error
        if _shapes(params) == _shapes(expected):
            frozen = start_frozen(init, params, self.mesh, model.offload)
            if fingerprint(frozen) == self._frozen:
                return frozen
        raise ResumeError(
            f"{needed}, and model.path={shown(model.path)} has others; name the model as it was then, with the same "
            "model.param_dtype, dtype and frozen_dtype, or choose another run_dir"
        )

    def prepare(self, total: int) -> Run:
        """Sets how many updates there are; call after `open_model`, before entering."""
        self.total = total
        return self

    def _newest_step(self) -> int | None:
        return restart_step(checkpoints_of(self.directory), self.config.checkpoint.resume)

    def _find_whole(self) -> None:
        """Continues from the newest checkpoint that is not damaged. One process reads them, for all.

        Raises:
            ResumeError: there is none.
        """
        step, damaged = agreed(lambda: newest_whole(checkpoints_of(self.directory)))
        self.restart_step, self._damaged = step, {int(number): problem for number, problem in damaged.items()}
        if step is None:
            raise ResumeError(
                f"{'; '.join(self._damaged.values())}. No checkpoint of the run is whole: choose another run_dir, or "
                "try checkpoint.verify=false"
            )

    def _set_aside(self) -> None:
        """Makes room for the checkpoints that are written in place of damaged ones."""
        if self._damaged:
            agreed(lambda: str(set_aside(checkpoints_of(self.directory), self._damaged)))
            self._newest = self.restart_step

    def _own_directory(self) -> None:
        """Takes the directory's lock, before anything is written to it.

        Raises:
            ResumeError: another run has it, or has had it since this one looked.
        """
        agreed(self._lock.take)
        if agreed(self._newest_step) != self._newest:  # one process looks: it may be the first to change what is there
            self._lock.release()
            raise ResumeError(f"{self.name}: another run has saved a checkpoint there meanwhile; start again")

    def __enter__(self) -> Run:
        self._own_directory()
        active, told = jax.process_index() == 0, []
        if active:
            told = describe_run(self.directory, self.config, self._model, self._tokenizer_dir, self._base)
        self.log = RunLog(self.directory, start=self.start, total=self.total, active=active)
        for line in told:
            self.log.line(line)
        self._checkpoints = self._open_checkpoints()
        self._best = self._best_so_far()
        self._keep_best()
        self._stop.install()
        self._saved_at = time.monotonic()
        self._poll = Poll(self.start)
        if self.restart_step is not None:
            self._tell_what_continues()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.uninstall()
        try:
            if error is not None:
                self.log.line(f"ended by {type(error).__name__}: {error}")
            self._checkpoints.close()
        finally:
            self.log.close()
            try:
                self._publish_last(error)
            finally:
                self._lock.release()

    def _publish_last(self, error: BaseException | None) -> None:
        """What has been logged since the last checkpoint; an error that ends the run says more than one of this."""
        if is_main():
            with suppress(UserError) if error else nullcontext():
                self._lock.publish()

    def lacks_evaluation(self, every: int | None) -> bool:
        """Whether the state that this start continues from was to be evaluated, and is not: a signal came between.

        Args:
            every: steps between evaluations.
        """
        if not self.start or (self.start < self.total and (every is None or self.start % every)):
            return False
        names: list[str] = agreed(lambda: sorted(logged(self.directory / METRICS_FILE, self.start)))
        return not any(name.startswith(EVAL) for name in names)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Takes note of an evaluation; whether its state is to be saved, because it is the best or the last one."""
        better = self._best.see(step, metrics)
        if better:
            self._keep_best()
        return better or self.gives_up

    @property
    def gives_up(self) -> bool:
        """Whether `checkpoint.patience` ends the run."""
        return self._best.gives_up

    def _best_so_far(self) -> Best:
        """From the evaluations before this start, but for better ones whose checkpoint is not there."""
        settings, kept = self.config.checkpoint, self._checkpoints.steps
        found = agreed(lambda: evaluations(self.directory / METRICS_FILE, settings.best))
        known = {int(step): value for step, value in found.items()}
        best = of_all = Best(settings, known)
        while best.step is not None and best.step not in kept:
            del known[best.step]
            best = Best(settings, known)
        if best.step != of_all.step:
            self.log.line(
                f"warning: {of_all.described}, whose checkpoint is not kept; a best one is looked for "
                + ("anew" if best.step is None else f"from step {best.step} on ({best.value:.4g})")
            )
        return best

    def _keep_best(self) -> None:
        """The best checkpoint stays, and the directory opens as it."""
        self._checkpoints.keep(self._best.step)
        file = self.directory / BEST_FILE
        if jax.process_index() == 0:
            if self._best.step is None:
                file.unlink(missing_ok=True)
            else:
                write_json(file, {"step": self._best.step, "metric": self._best.metric, "value": self._best.value})

    @property
    def stopped_by(self) -> str | None:
        """The signal to this process that the run is to end, if there was one."""
        return self._stop.received

    def orders(self, step: int, *, meet: bool) -> Orders:
        """What is to happen after ``step``. Several processes ask each other, because they must do the same.

        Args:
            meet: the processes have waited for this step's results anyway; where they have not, they ask each other
                before a checkpoint and when `Poll` says so.
        """
        late = self._seconds_between is not None and time.monotonic() - self._saved_at >= self._seconds_between
        due = step == self.total or step % self.config.checkpoint.every == 0
        stopped_by = self._stop.received
        if jax.process_count() > 1:
            if not (meet or due or self._poll.due(step)):
                return Orders(None, False)
            stopped, late = self._poll.any_of_all(step, stopped_by is not None, late)
            stopped_by = (stopped_by or ANOTHER) if stopped else None
        self._look_at_grace()
        return Orders(None if step == self.total else stopped_by, bool(stopped_by or late or due))

    def _look_at_grace(self) -> None:
        """Warns once if stopping takes longer than a signal leaves."""
        self._grace.hears()
        newest = self._checkpoints.newest
        took = self._checkpoints.seconds(newest) if newest not in (None, self._measured) else None
        if took is not None:
            self._measured = newest
            if warning := self._grace.warning(took):
                self.log.line(warning)

    def save(self, step: int, state: TrainState, position: Mapping[str, Any]) -> None:
        """Starts writing a checkpoint; returns once ``state`` may be used up.

        Args:
            step: updates done.
            state: as the step left it; what is frozen is not written.
            position: where the data stands, JSON values.
        """
        record = Record(position, self._config_json(), self._frozen)
        self._checkpoints.save(step, without_frozen(state), record)
        self._saved_at = time.monotonic()

    def rescue(self, step: int, state: TrainState, position: Mapping[str, Any], error: BaseException) -> None:
        """Saves the state of a run that ``error`` is about to end, if all processes can, and waits until it is on disk.

        Args:
            step: as `save` takes it.
            state: as `save` takes it; one that was used up cannot be saved any more.
            position: as `save` takes it.
            error: one process that fails alone saves nothing: the others would have to help.
        """
        if step == self.start or any(leaf.is_deleted() for leaf in jax.tree.leaves(state)) or not is_shared(error):
            return
        try:
            self.save(step, state, position)
            self.wait()
        except Exception as failure:  # the disk is full, a device is gone: the error that ends the run says more
            self.log.line(f"the state after step {step} could not be saved: {type(failure).__name__}: {failure}")
        else:
            self.log.line(f"the state after step {step} is saved")

    def wait(self) -> None:
        """Returns once what was saved is on disk."""
        self._checkpoints.wait()

    def finish(self, stopped_by: str | None = None) -> None:
        """Waits for the last checkpoint and says what to do next.

        Args:
            stopped_by: the signal that ended the run early.
        """
        self.wait()
        if self._best.step is not None:
            self.log.line(f"{self._best.described}: {self.name} opens as the model of that step")
        if stopped_by:
            saved = "nothing was to be saved" if self._checkpoints.newest is None else "the checkpoint is saved"
            self.log.line(f"stopped by {stopped_by}; {saved}. Run the same command again to continue in {self.name}")
            return
        steps = f"{self.total} steps"
        if self.gives_up:
            steps = f"{self._checkpoints.newest} of {steps}, the last {self.config.checkpoint.patience} evaluations of "
            steps += "which were no better"
        self.log.line(f"done: {steps}. To use the model elsewhere: tl-jax export --from {self.name} --to DIR")

    def _config_json(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    def _open_checkpoints(self) -> Checkpoints:
        publish = WeakMethod(self._lock.publish)  # what saves may outlive a run that was dropped; its lock must not

        def before_named() -> None:
            if (method := publish()) is not None:
                method()

        return Checkpoints(
            checkpoints_of(self.directory),
            keep=self.config.checkpoint.keep,
            before_named=before_named,
            holder=agreed(lambda: self._lock.holder),
        )

    def _tell_what_continues(self) -> None:
        changed = changed_keys(self._config_then, self.config)
        harmless = _HARMLESS - {"eval_cases"} if self.config.checkpoint.best else _HARMLESS  # which it goes by
        if changed := [key for key in changed if not {key, key.split(".")[0]} & harmless]:
            self.log.line(f"warning: continuing with other settings than before: {', '.join(changed)}")
        for step, problem in self._damaged.items():
            self.log.line(
                f"warning: the checkpoint of step {step} is damaged and now in {self.name}/{DAMAGED}: {problem}"
            )
        self.log.line(f"continuing {self.name} from step {self.restart_step} of {self.total}")


def _shapes(params: Params) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)
