"""How XLA compiles in tests: for the CPU with some fake devices, and fast rather than for speed.

Single-threaded Eigen avoids a deadlock in collectives when there are fewer cores than fake devices. On a busy machine a
fake device may wait for the others longer than the 40 seconds after which XLA ends the process. XLA also ends a process
that is given a flag it does not know, and they come and go with its versions: what this one lacks is left out.
"""

from __future__ import annotations

import mmap
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
FAST = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_multi_thread_eigen=false"
WHOLE = "--xla_cpu_parallel_codegen_split_count=1"
"""A program is compiled in one piece, which costs a fifth less than the usual thirty-two."""


def xla_flags(devices: int = 1) -> str:
    """The value of ``XLA_FLAGS``, which has to be set before JAX starts."""
    wanted = f"{FAST} {WHOLE} {PATIENT} --xla_force_host_platform_device_count={devices}".split()
    return " ".join(flag for flag in wanted if is_known(flag))


@cache
def is_known(flag: str) -> bool:
    """Whether the installed XLA has the flag. True where none is installed.

    Its name is then a text of C in the library, ended by a zero byte. The name of a flag that was taken away can still
    stand there as a reserved field of a message, as ``xla_cpu_use_fusion_emitters`` does in jaxlib 0.11.
    """
    spec = find_spec("jaxlib")
    if spec is None or spec.origin is None:
        return True
    library = Path(spec.origin).with_name("libjax_common.so")
    if not library.is_file():
        return True
    name = flag.removeprefix("--").split("=")[0].encode() + b"\0"
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(name) >= 0
