"""The host's memory between pieces of work: what is free in this process goes back to the system."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Lets the system have what this process has freed, where the C library is glibc; elsewhere nothing happens.

    Compilers free millions of small pieces between some that stay, of which glibc gives nothing back by itself: a
    process that trains and answers by turns keeps the sum of what each needed.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
