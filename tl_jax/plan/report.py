"""A plan as text for people: what fits, what takes the memory, what the step's time cannot be less than."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tl_jax.plan.measure import Measured
from tl_jax.plan.plan import Plan, shown

GIB = 2**30
SMALL = 0.005 * GIB
"""Bytes that are not worth a mention."""


def gib(size: float | None) -> str:
    """Bytes as GiB.

    Example:
        >>> gib(3 * 2**30)
        '3.00'
    """
    return "-" if size is None else f"{size / GIB:.2f}"


def report(plan: Plan) -> Iterator[str]:
    """The lines to print."""
    yield from headlines(plan)
    for one in plan.programs:
        yield ""
        yield f"{one.name}: {verdict(one)}"
        yield from (f"    {line}" for line in memory(one))
    yield ""
    yield from timing(plan)
    yield from outlook(plan)


def headlines(plan: Plan) -> Iterator[str]:
    """What is planned."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    yield f"{plan.command} of {plan.model} ({plan.parameters:,} parameters) on {plan.devices} ({plan.device_kind})"
    yield f"mesh {mesh}; " + ", ".join(f"{key}={value}" for key, value in plan.settings.items() if value is not None)
    load = plan.load
    targets = "" if load.targets is None else f", {load.targets:,.0f} of them targets"
    yield f"a step reads {load.tokens:,.0f} tokens{targets}, {100 * load.padding:.1f} % padding; {load.source}"


def verdict(one: Measured) -> str:
    """Whether a program fits, and by how much."""
    if one.fits and (one.headroom or 0) > 0:
        return f"fits, needs {gib(one.needed)} of {gib(one.memory)} GiB on each device"
    if one.fits:
        return f"fits to a hair into {gib(one.memory)} GiB on each device, as its compiler says"
    if one.needed is None:
        return f"DOES NOT FIT into {gib(one.memory)} GiB on each device; its compiler does not say what it needs"
    return f"DOES NOT FIT, needs {gib(one.needed)} of {gib(one.memory)} GiB on each device"


def memory(one: Measured) -> Iterator[str]:
    """Where a program's memory goes, in GiB of one device."""
    yield f"{gib(one.argument)} read: {_listed(one.state)}"
    if one.resident > SMALL:
        yield f"{gib(one.resident)} beside it: {_listed(one.beside)}"
    if one.refused:
        yield f"the compiler refused: {one.refused}"
    else:
        yield f"{gib(one.temporary)} temporary, with {_listed(one.inside)}; the rest are activations and copies"
        if one.output - one.alias > SMALL:
            yield f"{gib(one.output - one.alias)} given, where nothing lay before"
        if one.host > SMALL:
            yield f"{gib(one.host)} in the host's memory"
        if one.code > SMALL:
            yield f"{gib(one.code)} code"


def timing(plan: Plan) -> Iterator[str]:
    """What the step's time cannot be less than; no bound where it does not fit or the device is not known."""
    quickly = "; quickly, so memory and messages may differ a little" if plan.quick else ""
    yield "compiled in " + ", ".join(f"{one.seconds:.0f} s ({one.name})" for one in plan.programs) + quickly
    for one in plan.programs:
        if one.sent:
            sent = ", ".join(f"{gib(size)} GiB along {axis}" for axis, size in one.sent.items())
            yield f"{one.name}: a device sends at least {sent} in one run"
        if one.kernels:
            yield f"{one.name}: kernels {', '.join(one.kernels)}"
    if plan.bound:
        most = plan.bound
        yield (
            f"a bound, not a promise: a step takes at least {most.seconds:.3g} s (arithmetic {most.arithmetic:.3g}, "
            f"memory {most.memory:.3g}, messages {most.messages:.3g}), so at most {most.tokens_per_second:,.0f} "
            f"tokens/s and MFU {100 * most.mfu:.0f} %; {most.limit} limits it"
        )


def outlook(plan: Plan) -> Iterator[str]:
    """What would make it fit or faster, and the alternatives that do."""
    if plan.faster:
        speed = f" and take at least {plan.faster.bound.seconds:.3g} s a step" if plan.faster.bound else ""
        needs = f"about {gib(plan.faster.needed)} GiB (by shapes, not compiled)"
        yield f"memory is left: {shown(plan.faster.settings)} would compute less twice, need {needs}{speed}"
    if plan.advice:
        changed, costs = shown(plan.advice.settings), "; ".join(plan.advice.costs)
        needs = ", ".join(f"{one.name} {gib(one.needed)} GiB" for one in plan.advice.programs)
        if plan.advice.fits:
            yield f"it fits with {changed} (compiled: {needs}), which costs {costs}"
        elif changed:
            yield f"it does not fit with {changed} either (compiled: {needs}): more or larger devices are needed"
        else:
            yield "nothing is left to change: more or larger devices are needed"
    for one in plan.alternatives or ():
        speed = f", at least {one.bound.seconds:.3g} s, MFU at most {100 * one.bound.mfu:.0f} %" if one.bound else ""
        yield f"fits: {shown(one.settings)}: {gib(max(it.needed or 0 for it in one.programs))} GiB{speed}"
    if plan.alternatives == ():
        yield "no mesh fits"


def _listed(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {gib(size)}" for name, size in parts.items() if size > SMALL) or "nothing of size"
