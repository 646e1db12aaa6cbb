"""The host's memory: what is free in this process goes back to the system, where the C library is glibc.

Elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import gc
import os

LARGE = 4 << 20
"""Bytes of an array that is memory of its own and goes back as soon as it is freed."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_KEPT = 64 << 20
_SETTINGS_OF_THE_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def give_back_large() -> None:
    """From now on, every array of at least `LARGE` goes back when it is freed.

    glibc raises the size from which memory is asked for by itself to that of the largest piece that was freed, up to
    32 MB, and cuts what is smaller from one heap, of which only the end goes back. On a processor, arrays lie in this
    memory: keys and values that answers needed stay while a model learns, between pieces that are in use. Settings in
    the environment stand (``man mallopt``).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name in os.environ for name in _SETTINGS_OF_THE_USER):
        mallopt(ctypes.c_int(_MMAP_THRESHOLD), ctypes.c_int(LARGE))
        mallopt(
            ctypes.c_int(_TRIM_THRESHOLD), ctypes.c_int(_KEPT)
        )  # it would be 128 KB: asked for and given all the time


def give_back_pieces() -> None:
    """Lets the system have what this process has freed; other threads go on meanwhile.

    Compilers, and what packs checkpoints, free millions of small pieces between some that stay, of which glibc gives
    nothing back by itself: a process that trains, saves and answers by turns keeps the sum of what each needed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def give_back() -> None:
    """The same between two pieces of work, of what only Python's garbage collector frees as well."""
    gc.collect()
    give_back_pieces()
