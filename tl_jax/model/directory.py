"""What every directory with a model has in common: a marker, a tokenizer, and that it appears whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tl_jax.bucket import reached
from tl_jax.errors import UserError
from tl_jax.files import check_erasable, copy_file, folders, reason, told, write_json
from tl_jax.tooluse import strict_json
from tl_jax.tooluse.text.template_choice import CHOICE_FILE

Kind = Literal["huggingface", "checkpoint", "adapter"]
MARKER = "tl_jax.json"
BEST_FILE = "best.json"
"""In a run's directory: the ``step`` whose checkpoint the run opens as, where it is not the newest."""
VERSION = 1
MAX_JSON = 100 * 1000**2
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    CHOICE_FILE,
    "generation_config.json",  # sampling defaults and the stop tokens of a chat model travel with its tokenizer
)
NAMED_TEMPLATES = "additional_chat_templates"
"""Where transformers keeps a tokenizer's further chat templates, each in a file ``NAME.jinja``."""


_OF_A_MODEL = re.compile(
    "|".join(map(re.escape, (*TOKENIZER_FILES, NAMED_TEMPLATES, MARKER, "config.json", "params", ".gitattributes")))
    + r"|(README|LICENSE|USE_POLICY|NOTICE)(\.\w+)?"
    + r"|(model|pytorch_model|adapter_model|adapter_config)[\w.-]*\.(safetensors|bin|json)"
)
"""What may lie in a directory that holds a model and nothing else, whoever wrote it."""


class CheckpointError(UserError):
    """A model that cannot be read or written; the message names the file and says what to do."""


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from ``file``.

    Raises:
        CheckpointError: the file is missing, or not a JSON object.
    """
    try:
        if file.stat().st_size > MAX_JSON:
            raise CheckpointError(f"{file}: larger than {MAX_JSON // 1000**2} MB, which no file of its name is")
        value = strict_json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{file}: is not UTF-8: {error.reason} at byte {error.start}") from None
    except ValueError as error:
        raise CheckpointError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: must hold a JSON object, not a {type(value).__name__}")
    return value


@contextmanager
def unreadable(path: Path, error: type[UserError] = CheckpointError) -> Iterator[None]:
    """Whatever Orbax raises at damaged files inside the block is an error of one line; that memory is short is not.

    Raises:
        UserError: of the class ``error``; or that a bucket cannot be reached.
    """
    try:
        with reached(str(path)):
            yield
    except (UserError, MemoryError):
        raise
    except Exception as cause:  # its readers of JSON, of arrays and of directories raise what they meet
        if type(cause).__name__ == "JaxRuntimeError":  # memory of a device is short
            raise
        details = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise error(f"{path}: cannot be read, it is damaged or incomplete ({details})") from cause


def system_error(error: BaseException) -> OSError | None:
    """What the system said, if that is what ``error`` comes from: Orbax and TensorStore hide it in errors of theirs.

    Example:
        >>> system_error(ValueError("OUT_OF_RANGE: Failed to write 9 bytes to file 7: [os_error_code='28']"))
        OSError(28, 'No space left on device')
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, OSError):
            return cause
        if found := _OS_ERROR.search(str(cause)):
            return OSError(int(found[1]), os.strerror(int(found[1])))
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


_OS_ERROR = re.compile(r"os_error_code='(\d{1,4})'")
"""How TensorStore names the system's errors."""


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copies the tokenizer's files, chat templates and generation defaults, as many as ``source`` has.

    Raises:
        CheckpointError: one of them is a link to a file elsewhere.
    """
    for file in tokenizer_files(source):
        copy_file(file, target / file.relative_to(source))


def tokenizer_files(source: Path) -> list[Path]:
    """What `copy_tokenizer` copies. A model that somebody hands out must not make us hand out another file of ours.

    Raises:
        CheckpointError: one of them is a link to a file elsewhere.
    """
    files = [source / name for name in TOKENIZER_FILES] + sorted((source / NAMED_TEMPLATES).glob("*.jinja"))
    found = [file for file in files if file.is_file()]
    home = source.resolve()
    inside = [home]
    if home.parent.name == "snapshots":  # of the cache of huggingface_hub, where all files are links
        inside.append(home.parent.parent / "blobs")
    for file in found:
        real = file.resolve()
        if not any(real.is_relative_to(place) for place in inside):
            raise CheckpointError(
                f"{file}: is a link to {real}, outside of the model's directory, and not copied from there; put a copy "
                "of it in its place if it belongs to the model"
            )
    return found


@contextmanager
def new_directory(path: Path, kind: Kind, source: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty directory that takes ``path``'s place once the block has ended without an exception.

    An existing directory is replaced when it is empty or holds only what an earlier call for the same ``kind`` wrote;
    with ``overwrite`` also when somebody else wrote it, but it holds a model and nothing else.

    Args:
        source: what is read meanwhile; it must not lie in ``path``.

    Raises:
        UserError: ``path`` holds anything else, or the working directory, or ``source``.
    """
    path = path.resolve()
    _check_replaceable(path, kind, overwrite)
    check_erasable(path, source)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    with told(path), folders(path):
        _clean_up_after_killed(path)
        temporary.mkdir()
        try:
            with _claimed(temporary):
                yield temporary
                files = sorted([entry.name for entry in temporary.iterdir()] + [MARKER])
                write_json(temporary / MARKER, {"kind": kind, "version": VERSION, "files": files})
                _put_in_place(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(new: Path, path: Path) -> None:
    previous = new.with_suffix(".old")
    if path.exists():
        path.rename(previous)
    try:
        new.rename(path)
    except BaseException:
        if previous.exists():
            previous.rename(path)
        raise
    shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def _claimed(directory: Path) -> Iterator[bool]:
    """The system's lock on a directory, which ends with the process, however that ends; False: it is not to be had."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = True
    except OSError:  # another process has it, or the file system has no locks
        ours = False
    try:
        yield ours
    finally:
        os.close(handle)


def _clean_up_after_killed(path: Path) -> None:
    """Removes what processes that were killed while they wrote to ``path`` have left beside it, and puts back what one
    of them had moved away."""
    pattern = f".{glob.escape(path.name)}.????????"
    for new in path.parent.glob(pattern + ".new"):
        with _claimed(new) as ours:
            if ours:
                previous = new.with_suffix(".old")
                if previous.exists() and not path.exists():
                    previous.rename(path)
                shutil.rmtree(new, ignore_errors=True)
    for previous in path.parent.glob(pattern + ".old"):
        if path.exists() and not previous.with_suffix(".new").exists():
            shutil.rmtree(previous, ignore_errors=True)


def _check_replaceable(path: Path, kind: Kind, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise CheckpointError(f"{path}: is a file; name a directory to write to")
    present = {entry.name for entry in path.iterdir()}
    marker = read_json(path / MARKER) if MARKER in present else {}
    written = marker.get("files") if marker.get("kind") == kind else None
    foreign = present - {name for name in written if isinstance(name, str)} if isinstance(written, list) else present
    if foreign and not overwrite:
        raise CheckpointError(
            f"{path}: not overwritten, it holds what an earlier {kind} export did not write "
            f"({', '.join(sorted(foreign)[:3])}); choose another directory or ask for overwriting"
        )
    if foreign and not {"config.json", "adapter_config.json"} & present:
        raise CheckpointError(
            f"{path}: not overwritten, it holds something else than a model; choose another directory"
        )
    if unknown := sorted(name for name in foreign if not _OF_A_MODEL.fullmatch(name)):
        raise CheckpointError(
            f"{path}: not overwritten, it holds more than a model ({', '.join(unknown[:3])}); move that away, or "
            "choose another directory"
        )
