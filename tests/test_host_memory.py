"""What was freed between pieces that stay goes back to the system."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tl_jax.host_memory import LARGE, give_back, give_back_large

STATM = Path("/proc/self/statm")
SIZE, COUNT = 4096, 50_000


def resident() -> int:
    """Bytes."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * 4096


GLIBC = pytest.mark.skipif(
    not STATM.exists() or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs Linux and glibc"
)
ARRAYS = f"""
import ctypes, sys
from pathlib import Path
from tl_jax.host_memory import give_back_large
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
resident = lambda: int(Path("{STATM}").read_text().split()[1]) * 4096
libc.free(libc.malloc(31 << 20))  # from now on glibc takes less than that from its heap
if "--large" in sys.argv:
    give_back_large()
arrays = []
for _ in range(20):
    arrays.append(libc.malloc({LARGE}))
    stays = libc.malloc(1000)
    ctypes.memset(arrays[-1], 1, {LARGE})
before = resident()
for array in arrays:
    libc.free(array)
print((before - resident()) / (20 * {LARGE}))
"""


@GLIBC
@pytest.mark.parametrize(
    ("arguments", "variables", "goes_back"),
    [
        ((), {}, False),
        (("--large",), {}, True),
        (("--large",), {"MALLOC_MMAP_THRESHOLD_": str(32 << 20)}, False),
    ],
)
def test_an_array_goes_back_when_it_is_freed(
    arguments: tuple[str, ...], variables: dict[str, str], goes_back: bool
) -> None:
    run = [sys.executable, "-c", ARRAYS, *arguments]
    share = float(subprocess.run(run, env=os.environ | variables, check=True, capture_output=True, text=True).stdout)
    assert share > 0.9 if goes_back else share < 0.1


@GLIBC
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
    give_back_large()
