"""What happens to files on disks: cut off, emptied, lost, a bit flipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def flip(file: Path, position: float = 0.5) -> None:
    """Flips one bit; ``position`` is a share of the file."""
    content = bytearray(file.read_bytes())
    content[min(int(position * len(content)), len(content) - 1)] ^= 0x10
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def lose(file: Path) -> None:
    file.unlink()


DAMAGES: tuple[Callable[[Path], None], ...] = (flip, cut, empty, lose)


def files(directory: Path) -> list[Path]:
    """All that have something in them."""
    return sorted(file for file in directory.rglob("*") if file.is_file() and file.stat().st_size)
