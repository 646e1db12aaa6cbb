"""What Linux lets a process take away from itself and all that it starts, for good.

https://man7.org/linux/man-pages/man7/capabilities.7.html and https://docs.kernel.org/userspace-api/landlock.html. The
numbers are those of the kernel's headers, the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
_WRITE_FILE = 1 << 1
_READ = 1 << 2 | 1 << 3
"""Files and directories."""
_FILE_RIGHTS = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15}
"""From which version on which rights to files are known: all below this one. Truncation came with version 3."""
_TCP = 1 << 0 | 1 << 1
_ABSTRACT_SOCKETS_AND_SIGNALS = 1 << 0 | 1 << 1


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


_CAPABILITY_VERSION = 0x20080522
_DAC_READ_SEARCH = 1 << 2
"""To read any file, which root may have to in order to import a user's module."""


def leave_network() -> None:
    """A network namespace of its own, where users may make one; elsewhere the audit hook and `only_read` have to do."""
    unshare = ctypes.CDLL(None).unshare
    if unshare(_CLONE_NEWNET) != 0:  # only root may
        unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def drop_capabilities() -> None:
    """Takes from root what makes it more than another user, but for reading files. Keys in the environment of another
    process, for instance, are then as closed to it as to anybody. A user has none, or all in a namespace of their own.
    No program that is started gets them back.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header, nothing = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same for capabilities from 32 on
    _done(libc.capget(header, held))
    nothing[0] = nothing[1] = held[1] & _DAC_READ_SEARCH
    _done(libc.capset(header, nothing))
    _done(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def landlock_version() -> int:
    """Which version of Landlock the kernel has; 0 where it has none."""
    return max(int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)), 0)


def only_read() -> None:
    """Takes away from this process whatever the kernel's version knows of: writing, making, removing, executing files
    (``/dev/null`` may be written); truncating them (version 3); TCP (4); signals to others (6). With any version a user
    can no longer look into other processes, by ``/proc/PID/environ`` for instance; root can, see `drop_capabilities`.
    That comes first: the kernel takes such rules only from who gains no privileges any more.

    Where there is no Landlock, nothing happens.

    Raises:
        OSError: the kernel has it, and refuses.
    """
    known = landlock_version()
    if not known:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    files = (_FILE_RIGHTS[min(known, max(_FILE_RIGHTS))] - 1) & ~_READ
    rules = _Ruleset(files, _TCP if known >= 4 else 0, _ABSTRACT_SOCKETS_AND_SIGNALS if known >= 6 else 0)
    size = 8 if known < 4 else 16 if known < 6 else 24  # older kernels know fewer fields
    ruleset = _done(libc.syscall(_CREATE_RULESET, ctypes.byref(rules), size, 0))
    nowhere = os.open(os.devnull, os.O_PATH)
    try:
        _done(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_Beneath(_WRITE_FILE, nowhere)), 0))
        _done(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(nowhere)
        os.close(ruleset)


def _done(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"a limit cannot be set: {os.strerror(ctypes.get_errno())}")
    return result
