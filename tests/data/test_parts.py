from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import failing, weather
from tl_jax.config import DataConfig
from tl_jax.data import dataset, parts
from tl_jax.data.cache import gathered
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.parts import ROWS, Encoder
from tl_jax.tooluse.schema import DataError


def rows(number: int) -> list[dict[str, Any]]:
    """Some of them with fields that no reader knows."""
    found = []
    for index in range(number):
        row = (weather, failing)[index % 2]().to_json() | {"id": f"row {index}"}
        found.append(row | ({f"extra{index % 3}": 1} if index % 5 == 0 else {}))
    return found


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.slow
def test_many_processes_make_what_one_makes(bpe: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: Any) -> None:
    """The same records in the same order, the same report and notes, and the error of the first bad row."""
    path = written(tmp_path / "many.jsonl", rows(2 * ROWS + 10))
    config = DataConfig(path=path, unknown="drop")
    encoder = Encoder(config, Codec.open("chat", bpe), "MANY")
    here, there = [], []
    expected = gathered(parts.parts(path, encoder, 1), here.append)
    found = gathered(parts.parts(path, encoder, 2), there.append)
    assert here == there
    for one, other in zip((expected[0], *expected[1]), (found[0], *found[1]), strict=True):
        assert one.tolist() == other.tolist()
    assert expected[2:] == found[2:]
    assert found[3].trajectories == 2 * ROWS + 10
    assert any("extra1" in note for note in found[3].notes)

    bad = [{"messages": [{"role": "user"}]}, {"messages": 1}]
    written(path, rows(ROWS) + bad[:1] + rows(2 * ROWS) + bad[1:])
    monkeypatch.setattr(dataset, "LARGE", 1)
    monkeypatch.setattr(dataset, "processors", lambda: 2)
    with pytest.raises(DataError, match=rf"many\.jsonl:{ROWS + 1}: "):
        build_dataset(config.model_copy(update={"cache": tmp_path / "cache"}), encoder.codec)


def test_what_is_under_way_is_bounded(bpe: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: Any) -> None:
    """However long the file is, and however slowly the parts are taken."""
    path = written(tmp_path / "many.jsonl", rows(3 * ROWS))
    monkeypatch.setattr(parts, "raw_rows", counting(parts.raw_rows, taken := []))
    monkeypatch.setattr(parts, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(parts, "ROWS", 4)
    encoder = Encoder(DataConfig(path=path, unknown="drop"), Codec.open("paper", bpe), "MANY")
    for number, part in enumerate(parts.parts(path, encoder, 3), 1):
        assert part.report.trajectories == 4
        assert part.bytes_read > 4 * 500
        assert len(taken) <= 4 * (6 + number)
    assert len(taken) == 3 * ROWS


def counting(make: Any, taken: list[Any]) -> Any:
    def counted(path: Path) -> Any:
        for row in make(path):
            taken.append(row)
            yield row

    return counted


class Here:
    """A pool of processes that is this process."""

    def __init__(self, processes: int, context: Any, start: Any, arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parts, "Thread", lambda **_: Here)
            patch.setattr(parts.signal, "signal", lambda *_: None)
            start(*arguments)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @staticmethod
    def start() -> None:
        pass

    def submit(self, function: Any, *arguments: Any) -> Any:
        return type("Done", (), {"result": staticmethod(lambda: function(*arguments))})

    def shutdown(self, cancel_futures: bool) -> None:
        pass
