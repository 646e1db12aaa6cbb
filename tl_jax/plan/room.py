"""What a training could keep in the memory that a plan leaves, so as to compute less again: by shapes, not compiled."""

from __future__ import annotations

from collections.abc import Sequence

from tl_jax.config import RunConfig
from tl_jax.model.remat import computing_less
from tl_jax.model.sharding import batch_devices, make_mesh
from tl_jax.plan.changes import with_settings
from tl_jax.plan.machine import Machine
from tl_jax.plan.measure import Measured
from tl_jax.plan.plan import Guess, programs_of, workload
from tl_jax.plan.program import Program
from tl_jax.plan.programs import KEPT_OF_LAYERS
from tl_jax.plan.roofline import bound
from tl_jax.plan.workload import Subject

MOST = 0.97
"""Of the memory that a guess may need: what compilers lay out differs by so much."""


def in_what_is_left(config: RunConfig, subject: Subject, machine: Machine, found: Sequence[Measured]) -> list[Guess]:
    """Settings with which the programs ``found``, which fit, would probably still do: the fastest first."""
    mesh = make_mesh(config.mesh, machine.devices)
    load = workload(config, subject, batch_devices(mesh))

    def programs(remat: str) -> list[Program]:
        changed = with_settings(config, {"model.remat": remat})
        return programs_of(changed, subject, mesh, load, machine.memory)

    before = [one.inside.get(KEPT_OF_LAYERS, 0.0) for one in programs(config.model.remat)]
    guesses = []
    for remat in computing_less(config.model.remat):
        after = programs(remat)
        more = [one.inside.get(KEPT_OF_LAYERS, 0.0) - kept for one, kept in zip(after, before, strict=True)]
        needed = max((one.needed or 0.0) + added for one, added in zip(found, more, strict=True))
        if needed <= MOST * machine.memory:
            least = bound(after, found, machine, load, config.model.dtype)
            guesses.append(Guess({"model.remat": remat}, needed, least))
    return guesses
