"""How XLA compiles in tests: for the CPU with some fake devices, and fast rather than for speed.

Single-threaded Eigen avoids a deadlock in collectives when there are fewer cores than fake devices. On a busy machine a
fake device may wait for the others longer than the 40 seconds after which XLA ends the process.
"""

from __future__ import annotations

PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
FAST = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_multi_thread_eigen=false"


def xla_flags(devices: int = 1) -> str:
    """The value of ``XLA_FLAGS``, which has to be set before JAX starts."""
    return f"{FAST} {PATIENT} --xla_force_host_platform_device_count={devices}"
