"""How fast a step can be at best: no faster than its arithmetic, its weights' way from memory, and its messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tl_jax.plan.machine import Machine
from tl_jax.plan.measure import Measured
from tl_jax.plan.program import Program
from tl_jax.plan.workload import Workload


@dataclass(frozen=True)
class Bound:
    """The least time of a step, over all of its programs. No promise: nothing runs at its peak all the time."""

    seconds: float
    arithmetic: float
    """seconds, at the peak of the dtype"""
    memory: float
    """seconds to read the weights as often as they are needed, and to read and write the state"""
    messages: float
    """seconds to send what collectives send, all links in use"""
    tokens_per_second: float
    """at most, over all devices"""
    mfu: float
    """at most: floating-point operations of the model, without padding and recomputation, over the peak"""
    limit: str
    """what takes longest"""


def bound(
    programs: Sequence[Program], measured: Sequence[Measured], machine: Machine, load: Workload, dtype: str
) -> Bound | None:
    """The bound of a step; None where the device's figures are not known.

    Arithmetic, memory and messages of one program can go on at the same time; its programs follow each other.
    """
    if machine.chip is None:
        return None
    chip, devices = machine.chip, len(machine.devices)
    peak = chip.flops if dtype == "bfloat16" else chip.wide_flops
    total, sums = 0.0, {"arithmetic": 0.0, "memory": 0.0, "messages": 0.0}
    for program, found in zip(programs, measured, strict=True):
        state = program.times * (found.argument + found.output)
        parts = {
            "arithmetic": program.flops / devices / peak,
            "memory": (program.weights_read + state) / chip.bandwidth,
            "messages": program.times * sum(found.sent.values()) / chip.link if devices > 1 else 0.0,
        }
        total += max(parts.values())
        sums = {name: sums[name] + seconds for name, seconds in parts.items()}
    useful = sum(program.model_flops for program in programs)
    return Bound(
        seconds=total,
        tokens_per_second=load.tokens / total,
        mfu=useful / devices / peak / total,
        limit=max(sums, key=lambda name: sums[name]),
        **sums,
    )
