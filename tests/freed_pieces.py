"""Memory that was freed and that glibc keeps: many small pieces between some that stay."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

STATM = Path("/proc/self/statm")
SIZE, COUNT = 4096, 50_000
PAGE = os.sysconf("SC_PAGE_SIZE")

needs_glibc = pytest.mark.skipif(
    not STATM.exists() or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs Linux and glibc"
)


def resident() -> int:
    """Bytes."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * PAGE


@contextmanager
def goes_back() -> Iterator[None]:
    """Most of what was freed has to be gone when the block ends."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    pieces = [libc.malloc(SIZE) for _ in range(COUNT)]
    for piece in pieces:
        ctypes.memset(piece, 1, SIZE)
    stays = pieces[::1000]
    for piece in set(pieces) - set(stays):
        libc.free(piece)
    before = resident()
    yield
    assert before - resident() > SIZE * COUNT / 2
    for piece in stays:
        libc.free(piece)
