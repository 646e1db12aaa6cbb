"""Checksums notice whatever happens to a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.damage import DAMAGES, files, flip
from tl_jax.manifest import MANIFEST, DamagedError, check_manifest, write_manifest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "large").write_bytes(bytes(range(256)) * 40_000)
    (tmp_path / "a" / "b" / "small").write_bytes(b"x")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "later").write_bytes(b"1")
    write_manifest(tmp_path, without=("later",))
    return tmp_path


def test_what_is_as_it_was(directory: Path) -> None:
    assert check_manifest(directory)
    (directory / "later").write_bytes(b"2")
    (directory / "new").write_bytes(b"2")
    assert check_manifest(directory)
    (directory / MANIFEST).unlink()
    assert not check_manifest(directory)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["a/large", "a/b/small"])
def test_every_damage_is_noticed_and_the_file_named(directory: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(directory / name)
    with pytest.raises(DamagedError, match=f"{directory / name}: "):
        check_manifest(directory)


def test_every_bit_counts(directory: Path) -> None:
    for position in (0.0, 0.3, 0.999, 1.0):
        flip(directory / "a" / "large", position)
        with pytest.raises(DamagedError, match="checksum"):
            check_manifest(directory)
        flip(directory / "a" / "large", position)
    assert check_manifest(directory)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"files": []}', '{"files": {"a": 1}}', '{"files": {"a": [1]}}', "[" * 9999),
        *('{"files": {"../x": [1, "00"]}}', '{"files": {"/etc/passwd": [1, "00"]}}'),
    ],
)
def test_a_broken_manifest(directory: Path, content: str) -> None:
    (directory / MANIFEST).write_text(content)
    with pytest.raises(DamagedError, match=f"{MANIFEST}: "):
        check_manifest(directory)


def test_what_is_written(directory: Path) -> None:
    assert set(json.loads((directory / MANIFEST).read_text())["files"]) == {"a/large", "a/b/small", "empty"}
    assert MANIFEST in {file.name for file in files(directory)}
