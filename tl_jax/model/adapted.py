"""Where adapters are kept, and which model lies below them.

An adapter is a PEFT directory, or a run that trained one: its newest checkpoint holds the adapters, and ``model/`` what
PEFT would say of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tl_jax.addresses import SCHEME, place_of
from tl_jax.config import LoraConfig
from tl_jax.errors import UserError
from tl_jax.model.directory import CheckpointError
from tl_jax.model.hf.peft import CONFIG_FILE, read_adapter_config
from tl_jax.model.run_directory import MODEL, fetched, is_run


class StoredAdapter(NamedTuple):
    """An adapter on disk."""

    path: Path
    """PEFT directory or run"""
    home: Path
    """where its ``adapter_config.json`` is"""
    lora: LoraConfig
    base: Path
    """the model below, which may be another adapter"""
    fingerprint: str | None
    """of its parameters when the adapter was trained, see `base_fingerprint`; None = not known"""


def adapters_down(path: Path, base: Path | None = None) -> Iterator[StoredAdapter]:
    """The adapter at ``path``, the one below it, and so on down to a whole model; nothing where ``path`` is one.

    Args:
        path: of a model.
        base: in place of what is named: of the whole model at the bottom, if it is a whole model and the adapters above
            are there; else of what is below the first adapter.

    Raises:
        CheckpointError: an adapter's base is not there, or below itself.
    """
    seen: set[Path] = set()
    while (home := adapter_home(path)) is not None:
        if path.resolve() in seen:
            raise CheckpointError(f"{home / CONFIG_FILE}: base_model_name_or_path leads back to the adapter itself")
        seen.add(path.resolve())
        lora, name, fingerprint = read_adapter_config(home)
        below = _find(home, name, needed=base is None)
        if base is not None and not (below and adapter_home(below) and adapter_home(base) is None):
            below, base = base, None
        if below is None:
            raise CheckpointError(
                f"{home / CONFIG_FILE}: base_model_name_or_path {name!r} is no directory here, and nothing is "
                "downloaded; name the directory of that model: --base DIR, or model.base=DIR in a configuration"
            )
        yield StoredAdapter(path, home, lora, below, fingerprint)
        path = below


def adapter_home(path: Path) -> Path | None:
    """Where the ``adapter_config.json`` of a PEFT directory or of a run is; None where there is no adapter."""
    homes = (path / MODEL, path) if is_run(path) else (path,)
    return next((home for home in homes if (home / CONFIG_FILE).is_file()), None)


def _find(home: Path, name: str, needed: bool) -> Path | None:
    """The directory that an adapter names: as it is, or beside the adapter; None where there is none.

    Of a run in a bucket it is the copy here.

    Raises:
        UserError: that cannot be read, and is ``needed``.
    """
    if name.startswith(SCHEME):
        try:
            place = place_of(name, "models")
        except ValueError:
            return None
        try:
            return fetched(place)
        except UserError:
            if needed:
                raise
            return None
    # Unlike that of `Path`, this answers for any text, such as one that is longer than a name can be.
    return next((place for place in (Path(name), home / name) if os.path.isdir(place)), None)
