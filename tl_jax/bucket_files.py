"""Files in a bucket that a command or a training reads or writes besides runs (`tl_jax.training.bucket_run`).

What is read is copied to this machine first, and what is written is copied to the bucket when the command ends, so that
all between works with paths alone.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from pydantic import BaseModel

from tl_jax.addresses import SCHEME, address_of, is_temporary, place_of, travels, use_of
from tl_jax.bucket import BucketError, Folder, Stored, is_same
from tl_jax.files import told, write_json
from tl_jax.run_files import CONFIG_FILE
from tl_jax.tooluse.readers.toolbox import is_tools, tools_beside
from tl_jax.tooluse.rewards.grade import Profile
from tl_jax.tooluse.rewards.profiles import resolve_profile


def brought(path: Path) -> Path:
    """The path; what lies at the address that it stands for, if it does, is there afterwards: a file, or a folder with
    all that is in it but for the checkpoints of runs.

    Raises:
        BucketError: nothing is there, or it cannot be read.
    """
    address = address_of(path)
    if address is not None and not _bring(path, address, _without_weights(_there(address))):
        raise BucketError(f"{address}: neither a file nor a folder is there")
    if address is not None and path.is_file() and not is_tools(path):
        _bring_tools(path, address)
    return path


def _bring_tools(path: Path, address: str) -> None:
    """What readers look for beside a file of data (`tl_jax.tooluse.readers.toolbox.beside`)."""
    folder = Folder(address.rpartition("/")[0])
    for here in tools_beside(path):
        stored = folder.stored(here.name)
        try:
            if stored is None:
                raise FileNotFoundError
            folder.download(here.name, stored, here)
        except FileNotFoundError:  # or it has gone meanwhile
            _remove(here)


def brought_from(name: str) -> Path:
    """The path that a name says, or the copy here of what lies at an address that was noted with `full_name`.

    Raises:
        BucketError: as `brought`.
    """
    return brought(place_of(name, "files")) if name.startswith(SCHEME) else Path(name)


def profile_from(name: str) -> Profile:
    """A profile of rewards, as `tl_jax.tooluse.rewards.profiles.resolve_profile`; its file may be in a bucket.

    Raises:
        UserError: as there, or as `brought`.
    """
    return resolve_profile(str(brought_from(name)) if name.startswith(SCHEME) else name)


def bring_inputs(settings: BaseModel) -> None:
    """Copies to this machine what files of a bucket a configuration names as data.

    Raises:
        BucketError: as `brought`.
    """
    for path in _paths(settings):
        if use_of(path) == "files":
            brought(path)


class Output:
    """What a command writes to an address: a file or a directory.

    What is there already is brought here first, so that the command finds it as it would on this machine's disk. If an
    earlier one was killed before its files were copied, they are here still, and are gone on with instead, unless
    somebody else has written there since.

    Args:
        path: that stands for the address.

    Raises:
        BucketError: the bucket cannot be reached, or somebody else has written there.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._note = path, path.with_name(".brought.json")
        with told(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._untouched = not path.exists()
        there = _there(_address(path))
        self._brought = {name: one for name, one in there.items() if not is_temporary(name)}
        if self._untouched:
            self._bring_whole()
        elif self._is_changed():
            self._set_aside()
        else:
            self._note_down()

    def _is_changed(self) -> bool:
        """Whether somebody else has written there since it was noted. What this machine has copied there since, before
        it was cut off, is there as it is here."""
        noted = self._noted()
        deleted = (name for name in noted.keys() - self._brought.keys() if (self._path / name).is_file())
        written = (name for name, one in self._brought.items() if noted.get(name) != one.generation)
        return any(deleted) or not all(is_same(self._path / name, self._brought[name]) for name in written)

    def _note_down(self) -> None:
        write_json(self._note, {name: one.generation for name, one in self._brought.items()})

    def _noted(self) -> dict[str, int]:
        """The generations of what was there; nothing where that is not known."""
        try:
            found: dict[str, int] = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _set_aside(self) -> NoReturn:
        aside = self._path.with_name(f".{uuid.uuid4().hex[:8]}.old")
        with told(aside):
            self._path.rename(aside)
        raise BucketError(
            f"{_address(self._path)}: somebody else has written there since a command here was cut off, whose files "
            f"are now in {aside}: keep what you need of them, and start again with what is there"
        )

    def _bring_whole(self) -> None:
        """All or nothing of what is there: a part would pass for what a killed command has written."""
        new = self._path.with_name(f".{uuid.uuid4().hex[:8]}.new")
        try:
            _bring(new, _address(self._path), self._brought)
            self._note_down()
            if new.exists():
                new.rename(self._path)
        except BaseException:
            _remove(new)
            self._remove()
            raise

    def drop(self) -> None:
        """Removes what was brought here if the command never began: a later one would take it for newer than the
        bucket's."""
        if self._untouched:
            self._remove()

    def publish(self) -> None:
        """Copies what is new to the bucket, deletes there what is gone here, and leaves nothing here.

        Raises:
            BucketError: the bucket cannot be written; everything stays here, and the next command goes on with it.
        """
        self._untouched = False
        try:
            self._copy()
        except BucketError as error:
            raise BucketError(f"{error}; what was written is still in {self._path.parent}") from error
        self._remove()

    def _copy(self) -> None:
        written = {_name(self._path, file): file for file in _files(self._path)}
        for name, file in written.items():
            folder, name_there = _folder_and_name(_address(self._path), name)
            folder.upload(file, name_there, known=self._brought.get(name))
        for name in self._brought.keys() - written.keys():
            folder, name_there = _folder_and_name(_address(self._path), name)
            folder.delete(name_there)

    def _remove(self) -> None:
        """All at once, however long it takes: a part that was left would pass for what a command has written, and the
        rest for what it took away."""
        gone = self._path.with_name(f".{self._path.name}.gone")
        _remove(gone)  # of one that was killed here
        with told(self._path), suppress(FileNotFoundError):
            self._path.rename(gone)
        for path in (gone, self._note):
            _remove(path)
        with suppress(OSError):  # where something was set aside
            self._path.parent.rmdir()


_ITSELF = ""
"""The name of a file in a folder of which it is all."""


def _there(address: str) -> dict[str, Stored]:
    """The objects of a folder by their names, or the one that an address names itself."""
    folder, name = _folder_and_name(address, _ITSELF)
    stored = folder.stored(name)
    return Folder(address).objects() if stored is None else {_ITSELF: stored}


def _without_weights(there: dict[str, Stored]) -> dict[str, Stored]:
    """Also without what is half written."""
    runs = [name.removesuffix(CONFIG_FILE) for name in there if name.split("/")[-1] == CONFIG_FILE]

    def stays(name: str) -> bool:
        return any(name.startswith(run) and not travels(name.removeprefix(run)) for run in runs)

    return {name: one for name, one in there.items() if not is_temporary(name) and not stays(name)}


def _folder_and_name(address: str, name: str) -> tuple[Folder, str]:
    """Where an object is and how it is called there."""
    if name:
        return Folder(address), name
    home, _, last = address.rpartition("/")
    return Folder(home), last


def _bring(path: Path, address: str, there: dict[str, Stored]) -> bool:
    """Whether there is anything at the address; it is at the path, then, and nothing else."""
    if _ITSELF in there:
        if path.is_dir():
            _remove(path)
        folder, name = _folder_and_name(address, _ITSELF)
        try:
            folder.download(name, there[_ITSELF], path)
        except FileNotFoundError:  # it has gone meanwhile
            return False
    elif there:
        if path.is_file():
            _remove(path)
        Folder(address).fetch(there, path)
        for file in [file for file in _files(path) if _name(path, file) not in there]:
            _remove(file)
    return bool(there)


def _address(path: Path) -> str:
    address = address_of(path)
    assert address is not None
    return address


def _files(path: Path) -> Iterator[Path]:
    files = (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else filter(Path.is_file, [path])
    return (file for file in files if not is_temporary(_name(path, file)))


def _name(path: Path, file: Path) -> str:
    return _ITSELF if file == path else file.relative_to(path).as_posix()


def _remove(path: Path) -> None:
    with told(path), suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name))
    elif isinstance(value, Path):
        yield value
