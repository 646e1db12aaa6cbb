"""Programs compiled, and what the compiler says of them: memory, collectives, kernels, seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from tl_jax.plan.hlo import collectives, custom_kernels, sent_by_axis
from tl_jax.plan.machine import Machine
from tl_jax.plan.program import Program
from tl_jax.training.memory import needed as needed_by

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_NEEDED = re.compile(r"(?:Used ([\d.]+)([KMGT]?) of|required for HLO temporaries \(([\d.]+)([KMGT]?)\))")


@dataclass(frozen=True)
class Measured:
    """One program on one machine; bytes are of one device."""

    name: str
    argument: float
    """of what it reads: the state, or parts of it, and its data"""
    temporary: float
    output: float
    alias: float
    """of the output that lies where arguments were, because they are used up"""
    code: float
    resident: float
    """of what lies there meanwhile and is not read"""
    needed: float | None
    """all of them together, or what a compiler that refused named; None where it named nothing"""
    memory: int
    """what programs may take"""
    fits: bool
    state: Mapping[str, float]
    """parts of what it reads, by their shapes; the compiler may pad them"""
    beside: Mapping[str, float]
    """parts of what lies there meanwhile"""
    inside: Mapping[str, float]
    """parts of what is temporary, by their shapes; not all of them at once, perhaps"""
    sent: Mapping[str, float]
    """to other devices, by axes of the mesh, in one run"""
    kernels: tuple[str, ...]
    """those written by hand"""
    seconds: float
    """to lower and compile it"""
    host: float = 0.0
    """bytes in the host's memory, for this device"""
    refused: str = ""
    """the compiler's words, where it gave none of the above"""

    @property
    def headroom(self) -> float | None:
        """Bytes left, negative where it does not fit."""
        return None if self.needed is None else self.memory - self.needed


def measure(program: Program, machine: Machine, mesh: Mesh) -> Measured:
    """Compiles a program; nothing is run and no device is needed."""
    started = time.perf_counter()
    resident = sum(program.resident.values())
    lowered = program.lower()
    try:
        compiled = lowered.compile(machine.compiler_options)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _refused(program, machine, str(error), time.perf_counter() - started)
    seconds = time.perf_counter() - started
    needed = needed_by(compiled) + resident
    stats, text = compiled.memory_analysis(), compiled.as_text() or ""
    assert stats is not None
    if machine.refuses and not resident:
        fits = True  # it would have raised; its own count leaves out what it lays over each other
    else:
        fits = needed <= machine.memory
    return Measured(
        name=program.name,
        argument=stats.argument_size_in_bytes,
        temporary=stats.temp_size_in_bytes,
        output=stats.output_size_in_bytes,
        alias=stats.alias_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
        resident=resident,
        needed=needed,
        memory=machine.memory,
        fits=fits,
        state=program.arguments,
        beside=program.resident,
        inside=program.inside,
        sent=sent_by_axis(collectives(text, mesh.shape, program.loop)),
        kernels=tuple(custom_kernels(text)),
        seconds=seconds,
        host=stats.host_argument_size_in_bytes
        + stats.host_temp_size_in_bytes
        + stats.host_output_size_in_bytes
        - stats.host_alias_size_in_bytes,
    )


def _refused(program: Program, machine: Machine, words: str, seconds: float) -> Measured:
    used = needed_bytes(words)
    resident = sum(program.resident.values())
    return Measured(
        name=program.name,
        argument=sum(program.arguments.values()),
        temporary=0.0,
        output=0.0,
        alias=0.0,
        code=0.0,
        resident=resident,
        needed=None if used is None else used + resident,
        memory=machine.memory,
        fits=False,
        state=program.arguments,
        beside=program.resident,
        inside=program.inside,
        sent={},
        kernels=(),
        seconds=seconds,
        refused=words.splitlines()[0],
    )


def needed_bytes(words: str) -> float | None:
    """The bytes that a program needed, out of the TPU compiler's refusal.

    Example:
        >>> needed_bytes("Ran out of memory in memory space hbm. Used 17.50G of 15.75G hbm. Exceeded by 1.75G.") / 2**30
        17.5
    """
    found = _NEEDED.search(words)
    if not found:
        return None
    number, unit = (found[1], found[2]) if found[1] else (found[3], found[4])
    return float(number) * _UNITS[unit]
