"""The host's memory: what is free in this process goes back to the system, where the C library is glibc.

Elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import gc


def trim() -> None:
    """Lets the system have what this process has freed; meanwhile, threads that ask for memory may wait.

    Compilers and what packs checkpoints free millions of small pieces between some that stay, and on a processor keys
    and values of answers lie between arrays that training goes on to use. glibc gives nothing of them back by itself: a
    process that trains, saves and answers by turns keeps the sum of what each needed.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


def give_back() -> None:
    """The same between two pieces of work, of what only Python's garbage collector frees as well."""
    gc.collect()
    trim()
