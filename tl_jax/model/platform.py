"""Which kind of device a program is traced for."""

from __future__ import annotations

import jax


def platform() -> str:
    """``cpu``, ``gpu`` or ``tpu``: of the mesh of ``jax.set_mesh``, maybe another machine's; else JAX's own."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform
