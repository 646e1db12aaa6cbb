"""Checkpoints of a run: the state, and a record of where it stood, together or not at all.

Orbax writes in the background and makes a checkpoint visible only once it is whole. A state comes back on whatever
devices the target names, not on those it was saved from. Nothing here knows what is being trained.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import jax
import orbax.checkpoint as ocp
from etils import epath

from tl_jax.addresses import in_bucket
from tl_jax.bucket import failure, reached
from tl_jax.errors import UserError
from tl_jax.files import reason
from tl_jax.host_memory import trim
from tl_jax.manifest import MANIFEST, write_manifest
from tl_jax.model.directory import system_error, unreadable
from tl_jax.model.orbax_params import chunked, state_handler
from tl_jax.model.run_directory import checkpoint_name, checkpoints_in, for_orbax

RECORD = "record"
"""Item of a checkpoint that is JSON. Versions of tl-jax whose states had another layout wrote none of that name."""

_WRITTEN_LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")
"""What Orbax notes the time in when it names a checkpoint; nothing is restored from it."""


class ResumeError(UserError):
    """A run directory that does not fit what was asked for; the message says what to do."""


class WriteError(UserError):
    """A checkpoint that could not be written: the disk is full, for instance."""


class Record(NamedTuple):
    """What a checkpoint says besides its state; JSON values."""

    data: Mapping[str, Any]
    """what the data pipeline needs to go on from here"""
    config: Mapping[str, Any]
    """compared after a restart"""
    frozen: str | None = None
    """`fingerprint` of what the state's ``frozen`` was, which is made again after a restart"""


class Restored(NamedTuple):
    """What a checkpoint held."""

    state: Any
    record: Record


class _Kept:
    """Which checkpoints are kept: a preservation policy of Orbax, which asks after each that is written."""

    def __init__(self, newest: int) -> None:
        self._newest = newest
        self.best: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], **_: Any) -> list[bool]:
        """For each of the checkpoints, the oldest first."""
        old = len(checkpoints) - self._newest
        return [number >= old or checkpoint.step == self.best for number, checkpoint in enumerate(checkpoints)]


@dataclass(frozen=True)
class _Names(ocp.path.step.NameFormat[ocp.path.step.Metadata]):
    """How Orbax is to call checkpoints and finds them: those of other holders as well."""

    holder: str

    def build_name(self, step: int) -> str:
        """Of one that is written."""
        return checkpoint_name(step, self.holder)

    def find_all(self, base_path: epath.PathLike) -> Iterator[ocp.path.step.Metadata]:
        """The finished ones."""
        for step, place in checkpoints_in(cast(Path, epath.Path(base_path))).items():
            yield ocp.path.step.Metadata(step, epath.Path(place))

    def find_step(self, base_path: epath.PathLike, step: int) -> ocp.path.step.Metadata:
        """One of them."""
        for found in self.find_all(base_path):
            if found.step == step:
                return found
        raise ValueError(f"{base_path}: holds no finished checkpoint of step {step}")


class Checkpoints:
    """The checkpoints under ``directory``, the ``keep`` newest of them and the best. Made by all processes together.

    Args:
        directory: of the checkpoints.
        keep: how many.
        before_named: is called in the main process, in the background, when all of a checkpoint's files are written and
            before it counts as one. If it fails, the checkpoint never does.
        holder: of the run, part of the names of its checkpoints (`checkpoint_name`).
    """

    def __init__(
        self, directory: Path, *, keep: int, before_named: Callable[[], None] | None = None, holder: str = ""
    ) -> None:
        self.directory = for_orbax(directory)
        self._names = _Names(holder)
        self._kept, self._before_named = _Kept(keep), before_named
        self._saving, self._took = (0, 0.0), dict[int, float]()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._kept,
            step_name_format=self._names,
            create=True,
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        with reached(str(self.directory)):
            self._manager = ocp.CheckpointManager(
                self.directory,
                options=options,
                item_handlers={"state": state_handler(), RECORD: ocp.JsonCheckpointHandler()},
            )
        self.newest = self._manager.latest_step()
        """step of the newest, being written or whole"""

    @property
    def steps(self) -> tuple[int, ...]:
        """Of the checkpoints that are there."""
        return tuple(self._manager.all_steps())

    def keep(self, best: int | None) -> None:
        """From now on the checkpoint of this step is kept as well, and no longer that of another one."""
        self._kept.best = best

    def save(self, step: int, state: Any, record: Record) -> None:
        """Starts writing a checkpoint, unless this step has one; returns once ``state`` may be changed or donated.

        Args:
            step: updates done.
            state: any pytree of arrays.
            record: what else to keep.

        Raises:
            WriteError: this or an earlier one could not be written.
        """
        if step == self.newest:
            return
        items = {
            "state": ocp.args.PyTreeSave(state, save_args=chunked(state)),
            RECORD: ocp.args.JsonSave(record._asdict()),
        }
        self.wait()
        self._saving = (step, time.monotonic())
        self._write(lambda: self._manager.save(step, args=ocp.args.Composite(**items), force=True))
        self.newest = step

    def _seal(self) -> None:
        """Notes the checksums of a checkpoint: Orbax calls this in the background, once all of its files are there and
        right before it gets its name."""
        trim()  # what packed it keeps its size otherwise
        if jax.process_index() == 0:
            step, began = self._saving
            name = self._names.build_name(step)
            pattern = name if in_bucket(self.directory) else "*.orbax-checkpoint-tmp*"  # there without renaming
            unnamed = self.directory.glob(pattern)
            for directory in unnamed:
                write_manifest(directory, without=_WRITTEN_LATER)
            if self._before_named:  # the last: in a bucket, another run may have removed all of it until it is done
                self._before_named()
            self._took[step] = time.monotonic() - began

    def restore(self, step: int, target: Any) -> Restored:
        """The checkpoint of ``step``, its state shaped and placed like ``target`` (see `abstract`).

        Raises:
            ResumeError: its state does not have the structure or shapes of ``target``, or it cannot be read.
        """
        how = ocp.checkpoint_utils.construct_restore_args(target)
        items = {"state": ocp.args.PyTreeRestore(target, restore_args=how), RECORD: ocp.args.JsonRestore()}
        place = checkpoints_in(self.directory).get(step, self.directory / self._names.build_name(step))
        with unreadable(place, ResumeError):
            try:
                with reached(str(place)):
                    restored = self._manager.restore(step, args=ocp.args.Composite(**items))
                return Restored(restored.state, Record(**restored[RECORD]))
            except UserError:
                raise
            except (ValueError, KeyError, TypeError) as error:
                details = " ".join(str(error).split())[:200]
                raise ResumeError(
                    f"{place}: cannot be continued with this configuration, "
                    f"is it another model or optimizer? ({details})"
                ) from error

    def seconds(self, step: int) -> float | None:
        """How long the checkpoint of ``step`` took to write; None where it is not whole yet, or not of this start. The
        main process knows."""
        return self._took.get(step)

    def wait(self) -> None:
        """Returns once everything is on disk.

        Raises:
            WriteError: it could not be written.
        """
        self._write(self._manager.wait_until_finished)

    def close(self) -> None:
        """Waits, and frees the writer's threads."""
        self._write(self._manager.close)

    def _write(self, write: Callable[[], object]) -> None:
        """What the file system refuses, now or to an earlier save that goes on in the background, is told in one line.

        Orbax's own error comes with the errors of all its threads and tasks; they end here, quietly.
        """
        try:
            write()
            return
        except Exception as error:  # of TensorStore, Orbax or Python
            self.newest = self._manager.latest_step()  # the one that failed may be saved again
            cause = system_error(error)
            why = failure(error) if in_bucket(self.directory) else None
            why = why or (reason(cause) if cause else None)
            if why is None:
                raise
        noise, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            gc.collect()
        finally:
            sys.unraisablehook = noise
        raise WriteError(f"{self.directory}: a checkpoint cannot be written: {why}; earlier ones are whole")


def abstract(state: Any, shardings: Any) -> Any:
    """Shapes, dtypes and places of ``state`` (arrays or their shapes), to restore into."""
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state, shardings)


def restart_step(directory: Path, resume: Literal["auto", "never", "must"]) -> int | None:
    """The newest finished checkpoint's step, or None for a fresh start. Writes nothing.

    Raises:
        ResumeError: ``resume`` is ``must`` and there is no checkpoint, or ``never`` and there is one; or it was written
            by a version of tl-jax with another layout.
    """
    steps = checkpoints_in(directory)
    if resume == "must" and not steps:
        raise ResumeError(
            f"{directory}: holds no finished checkpoint to continue from (checkpoint.resume=must); "
            "check run_dir, or start with checkpoint.resume=auto"
        )
    if resume == "never" and steps:
        raise ResumeError(
            f"{directory}: already has a checkpoint of step {max(steps)} (checkpoint.resume=never); "
            "choose another run_dir, or continue with checkpoint.resume=auto"
        )
    newest: int | None = max(steps, default=None)
    with reached(str(directory)):
        known = newest is None or any((steps[newest] / name).exists() for name in (RECORD, MANIFEST))
    if newest is not None and not known:
        raise ResumeError(
            f"{steps[newest]}: written by an older version of tl-jax, which this one cannot continue; finish "
            f"the run with that version (named in {directory.parent / 'environment.json'}), or choose another run_dir"
        )
    return newest
