"""What was freed between pieces that stay goes back to the system."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from tl_jax.host_memory import give_back

STATM = Path("/proc/self/statm")
SIZE, COUNT = 4096, 50_000


def resident() -> int:
    """Bytes."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * 4096


@pytest.mark.skipif(not STATM.exists() or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs Linux and glibc")
def test_what_was_freed_goes_back() -> None:
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
    give_back()
    assert before - resident() > SIZE * COUNT / 2
    for piece in stays:
        libc.free(piece)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    give_back()
