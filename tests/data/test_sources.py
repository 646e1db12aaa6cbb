"""Tables read as the file they were made from; what is no data is an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from tests.data.helpers import failing, weather
from tl_jax.data.sources import trajectories
from tl_jax.tooluse.schema import DataError, Message, Trajectory


def test_tables_read_as_the_file_they_were_made_from(tmp_path: Path) -> None:
    plain = Trajectory("plain", (), (Message("user", "hi"), Message("assistant", "ho")))
    rows = [replace(row, meta={"source": "here"}) for row in (weather(), failing(), plain)]
    table = datasets.Dataset.from_list([row.to_json() for row in rows])
    table.to_parquet(tmp_path / "t.parquet")
    table.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "split")
    expected = [row.to_json() for row in rows]
    for name in ("t.parquet", "saved", "split"):
        assert [row.to_json() for row in trajectories(tmp_path / name)] == expected


def test_tables_that_are_none(tmp_path: Path) -> None:
    for missing in (tmp_path / "nothing", Path("missing.jsonl")):
        with pytest.raises(DataError, match="no such file"):
            list(trajectories(missing))
    with pytest.raises(DataError, match="a folder is read if datasets' save_to_disk wrote it"):
        list(trajectories(tmp_path))
    datasets.Dataset.from_list([{"messages": [{"role": "king", "content": ""}], "id": "x"}]).save_to_disk(
        tmp_path / "bad"
    )
    with pytest.raises(DataError, match=r"bad:1: messages\[0\]\.role"):
        list(trajectories(tmp_path / "bad"))
    split = datasets.DatasetDict({"test": datasets.Dataset.from_list([{"id": "x"}])})
    split.save_to_disk(tmp_path / "split")
    with pytest.raises(DataError, match="has no split 'train', only test"):
        list(trajectories(tmp_path / "split"))
