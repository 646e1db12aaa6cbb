"""Rows of tables: Parquet and Arrow files, and folders that `datasets.Dataset.save_to_disk` wrote."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from tl_jax.errors import DataError, UserError
from tl_jax.tooluse import strict_json

_PARQUET, _ARROW_FILE, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_STATE, _SPLITS = "state.json", "dataset_dict.json"
"""The files that tell a saved dataset, and a saved dataset of several splits."""


def is_table(path: Path) -> bool:
    """Whether a path is a table: by the first bytes of a file, by the files that `datasets` leaves in a folder."""
    if path.is_dir():
        return is_saved_dataset(path)
    try:
        with path.open("rb") as file:
            return file.read(6).startswith((_PARQUET, _ARROW_FILE, _ARROW_STREAM))
    except OSError:
        return False


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder is one that ``save_to_disk`` wrote."""
    return (path / _STATE).is_file() or (path / _SPLITS).is_file()


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows one after another, as JSON has them; of a saved dataset with splits, those of ``train``.

    Raises:
        DataError: a damaged file, no split ``train``, or a value that JSON cannot say.
        UserError: pyarrow, which `datasets` comes with, is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise UserError(f"{path}: tables are read by pyarrow, which is not installed: pip install pyarrow") from None
    number = 0
    try:
        for file in _files(path):
            for batch in _batches(file):
                columns = batch.schema.names
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield {name: _plain(row[name], name) for name in columns}
    except DataError as error:
        raise error if error.path else error.at(str(path), number) from None
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise DataError(f"cannot be read: {' '.join(str(error).split())}", path=str(path)) from None


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / _SPLITS).is_file():
        splits = _json(path / _SPLITS).get("splits", [])
        if "train" not in splits:
            raise DataError(f"has no split 'train', only {', '.join(splits)}", path=str(path))
        path = path / "train"
    return [path / item["filename"] for item in _json(path / _STATE)["_data_files"]]


def _json(path: Path) -> Any:
    try:
        return strict_json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"is not JSON: {error}", path=str(path)) from None


def _batches(path: Path) -> Iterator[Any]:
    """The record batches of a file."""
    import pyarrow
    from pyarrow import parquet

    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        if start.startswith(_PARQUET):
            yield from parquet.ParquetFile(file).iter_batches(batch_size=256)
        elif start.startswith(_ARROW_FILE):
            reader = pyarrow.ipc.open_file(file)
            yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
        else:
            yield from pyarrow.ipc.open_stream(file)


def _plain(value: Any, where: str) -> Any:
    """A value of a table as JSON has it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise DataError(f"is {value}, which JSON cannot say", field=where)
            return value
        case dict():
            return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
        case list():
            return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        case date() | time():
            return value.isoformat()
        case Decimal():
            return _plain(float(value), where)
    raise DataError(f"is {type(value).__name__}, which JSON cannot say", field=where)
