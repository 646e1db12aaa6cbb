"""What encoded data depends on: the data's bytes, settings, tokenizer and code. The same key, the same examples."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import tl_jax
from tl_jax.config import DataConfig
from tl_jax.config.pkt import PKT_MODES
from tl_jax.data.codec import Codec
from tl_jax.errors import UserError
from tl_jax.files import told, write_json
from tl_jax.plugins import resolve
from tl_jax.tooluse import strict_json
from tl_jax.tooluse.mae.rules import RULES
from tl_jax.tooluse.readers import is_companion
from tl_jax.tooluse.readers.registry import trajectory_reader
from tl_jax.tooluse.readers.rows import EachRow
from tl_jax.tooluse.text.render import RENDERERS

_ELSEWHERE = {"path", "eval_path", "batch_size", "pack", "share_prefixes", "cache"}
"""Settings of the data that change no example: the content counts and not its name, and rows are made afterwards."""
_ROOMS = ("config", "data", "tooluse")
"""Whose code decides what an example is."""
_SETTLED = 10.0
"""Seconds after which a file's times tell whether it was written again."""


class NoKeyError(UserError):
    """Data whose examples depend on what nobody can look at."""


@dataclass(frozen=True)
class CacheKey:
    """Everything that decides what the encoded data is."""

    facts: Mapping[str, Any]
    """JSON values"""

    @cached_property
    def name(self) -> str:
        """Names the data's folder."""
        return _digest(json.dumps(self.facts, sort_keys=True).encode())[:32]


def cache_key(file: Path, config: DataConfig, codec: Codec, memory: Path) -> CacheKey:
    """The key of a file's data, encoded by ``codec`` as ``config`` says.

    Args:
        memory: a directory that keeps what files hold, so that one that has not changed is not read again.

    Raises:
        NoKeyError: a function that encodes was typed in, and stands in no file.
        UserError: a file cannot be read, or is of no known format.
    """
    templates = codec.tokenizer.chat_template if RENDERERS.find(codec.renderer.name).templated else None
    return CacheKey(
        {
            "data": _content(file, memory),
            "settings": config.model_dump(mode="json", exclude=_ELSEWHERE),
            "renderer": codec.renderer.name,
            "template": [templates, codec.choice.name, dict(codec.choice.kwargs)],
            "date": date.today().isoformat() if "strftime_now" in str(templates) else None,
            "tokenizer": _tokenizer(codec),
            "code": _own_code(),
            "other code": {module.__name__: _source(module) for module in _others(file, config, codec)},
            "versions": {name: version(name) for name in ("jinja2", "tokenizers", "transformers")},
        }
    )


def is_findable(file: Path, config: DataConfig, codec: Codec) -> bool:
    """Whether another process finds everything that encodes: a record that was added to a table is in this one only."""
    named = ":" in config.mae.rule.name
    return not [*_others(file, config, codec, tables_only=named)]


def size(file: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    with told(file, "cannot be read"):
        return sum(part.stat().st_size for part in _files(file))


def times(file: Path) -> list[tuple[str, int, int, int]]:
    """Of all that is read for a file or folder: what is another after somebody has written to it."""
    found = []
    for name, part in _read_for(file):
        with told(part, "cannot be read"):
            stat = part.stat()
        found.append((name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found


def _files(file: Path) -> list[Path]:
    return sorted(part for part in file.rglob("*") if part.is_file()) if file.is_dir() else [file]


def _read_for(file: Path) -> list[tuple[str, Path]]:
    """A file, or those of a folder, and what readers look for beside a file. Names matter among several only."""
    if file.is_dir():
        return [(str(part.relative_to(file)), part) for part in _files(file)]
    with told(file.parent, "cannot be read"):
        beside = sorted(other for other in file.parent.iterdir() if is_companion(other) and other.is_file())
    others = [(other.name, other) for other in beside if other != file]
    return [(file.name if others else "", file), *others]


def _content(file: Path, memory: Path) -> list[list[str]]:
    """Names and checksums of all that is read for a file or folder."""
    return [[name, _checksum(part, memory)] for name, part in _read_for(file)]


def _checksum(file: Path, memory: Path) -> str:
    """SHA-256 of a file; looked up where it was read before and its size and times are the same."""
    with told(file, "cannot be read"):
        real = file.resolve()
        note = memory / f"{_digest(str(real).encode())[:32]}.json"
        stat = real.stat()
        now = {"path": str(real), "stat": [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]}
        with suppress(OSError, ValueError):
            known = strict_json.loads(note.read_text(encoding="utf-8"))
            if {name: known.get(name) for name in now} == now:
                return str(known["sha256"])
        with real.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    if time.time() - max(stat.st_mtime, stat.st_ctime) > _SETTLED:
        with suppress(UserError):  # it is only slower without
            write_json(note, {**now, "sha256": found})
    return found


def _tokenizer(codec: Codec) -> str:
    """All of a tokenizer that tokens depend on."""
    tokenizer = codec.tokenizer
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    parts = [type(tokenizer).__name__, tokenizer.backend_tokenizer.to_str(), special]
    return _digest(json.dumps(parts, sort_keys=True).encode())


def _own_code() -> str:
    """Of every file whose code decides what an example is: a change of any of them makes all encoded data old."""
    home = Path(tl_jax.__path__[0])
    files = (file for room in _ROOMS for file in sorted((home / room).rglob("*.py")))
    parts = ((file.relative_to(home).as_posix(), _digest(file.read_bytes())) for file in files)
    return _digest(json.dumps([tl_jax.__version__, *parts]).encode())


def _others(file: Path, config: DataConfig, codec: Codec, tables_only: bool = False) -> Iterator[ModuleType]:
    """Modules outside of tl_jax with functions that encode.

    Args:
        tables_only: without the function that ``mae.rule`` names by its module.
    """
    rule = config.mae.rule.name
    _, read = trajectory_reader(file, config.format)
    functions: list[Any] = [read.convert if isinstance(read, EachRow) else read]
    functions += [resolve(PKT_MODES.find(config.pkt.mode).compute), RENDERERS.find(codec.renderer.name).make]
    if ":" not in rule:
        functions.append(RULES.find(rule).make)
    elif not tables_only:
        functions.append(resolve(rule))
    for function in functions:
        while isinstance(function, partial):
            function = function.func
        name = getattr(function, "__module__", type(function).__module__)
        if name.split(".")[0] != "tl_jax":
            yield sys.modules[name]


def _source(module: ModuleType) -> str:
    """The checksum of the file that a module was read from.

    Raises:
        NoKeyError: it was typed in.
    """
    try:
        return _digest(Path(inspect.getfile(module)).read_bytes())
    except (OSError, TypeError):
        raise NoKeyError(f"{module.__name__}: has no file that tells whether its code has changed") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
