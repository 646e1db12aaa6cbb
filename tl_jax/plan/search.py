"""Plans that fit, found by compiling them: the cheapest change of one that does not, and the fastest mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tl_jax.config import RunConfig
from tl_jax.config.base import ConfigError
from tl_jax.model.sharding import ShardingError, count_slices, make_mesh
from tl_jax.plan.changes import CHANGES, Settings, check, with_settings
from tl_jax.plan.machine import Machine
from tl_jax.plan.measure import Measured, measure
from tl_jax.plan.plan import Alternative, Plan, programs_of, shown, workload
from tl_jax.plan.programs import LEARNING
from tl_jax.plan.roofline import bound
from tl_jax.plan.room import in_what_is_left
from tl_jax.plan.workload import Subject, Workload

TRIES = 6
"""Programs that are compiled at most to find a change."""
Tell = Callable[[str], None]


def advise(plan: Plan, config: RunConfig, subject: Subject, machine: Machine, tell: Tell) -> Alternative:
    """The changes in the order of `CHANGES`, one after another, until the programs fit that did not; it may be that
    they never do. Programs that fitted are not compiled again."""
    settings, costs = dict[str, object](), list[str]()
    load = workload(config, subject, len(machine.devices))
    failing = [one.name for one in plan.programs if not one.fits]
    found, known = list[Measured](), {one.name for one in plan.programs}
    left = list(CHANGES.values())
    for _ in range(TRIES):
        mesh = make_mesh(config.mesh, machine.devices)
        change = next(((it, new) for it in left for name in failing if (new := it.next(config, mesh, name))), None)
        if change is None:
            break
        changed = with_settings(config, change[1])
        tell(f"{machine.name}: tries {shown({**settings, **change[1]})}")
        try:
            mesh = make_mesh(changed.mesh, machine.devices)
            programs = programs_of(changed, subject, mesh, load, machine.memory)
            # one program may have become two
            tried = [one for one in programs if one.name in failing or one.name not in known]
            again = [measure(one, machine, mesh) for one in tried]
        except (ShardingError, ConfigError):  # the model cannot be divided so
            left.remove(change[0])
            continue
        config, known = changed, known | {one.name for one in programs}
        settings.update(change[1])
        if change[0].costs not in costs:
            costs.append(change[0].costs)
        found = [one for one in found if one.name not in failing] + again
        failing = [one.name for one in again if not one.fits]
        if not failing:
            break
    return Alternative(settings, tuple(costs), tuple(found), not failing)


def search(config: RunConfig, subject: Subject, machine: Machine, tell: Tell) -> list[Alternative]:
    """For every mesh, the largest micro-batches that fit, and then what computes less again in what memory they leave;
    those with the lowest bound first."""
    load = workload(config, subject, len(machine.devices))
    found = [_largest(config, settings, subject, machine, load, tell) for settings in meshes(subject, machine)]
    fitting = [_computing_less(config, one, subject, machine, load, tell) for one in found if one and one.fits]
    return sorted(fitting, key=lambda one: one.bound.seconds if one.bound else 0.0)


def meshes(subject: Subject, machine: Machine) -> Iterator[Settings]:
    """All meshes whose sizes are powers of two (``data``: times the slices), at most eight devices along ``tensor``."""
    count, heads = len(machine.devices), subject.config.num_kv_heads
    for tensor in (1, 2, 4, 8):
        if count % tensor or heads % tensor:
            continue
        data = count_slices(machine.devices)
        while data <= count // tensor:
            if count // tensor % data == 0:
                yield {"mesh.data": data, "mesh.fsdp": count // tensor // data, "mesh.tensor": tensor}
            data *= 2


def _largest(
    config: RunConfig, settings: Settings, subject: Subject, machine: Machine, load: Workload, tell: Tell
) -> Alternative | None:
    """The plan of a mesh; micro-batches are halved until its programs fit. None where training refuses the mesh."""
    config = with_settings(config, settings)
    chosen, found = dict(settings), dict[str, Measured]()
    mesh = make_mesh(config.mesh, machine.devices)
    halving = [CHANGES["accumulate"], CHANGES["sampling"]]
    try:
        check(config, mesh)
        while True:
            programs = programs_of(config, subject, mesh, load, machine.memory)
            left = [one for one in programs if one.name not in found or not found[one.name].fits]
            if not left:
                break
            name = left[0].name
            tell(f"{machine.name}: compiles {name}, {shown(chosen)}")
            found[name] = measure(left[0], machine, mesh)
            if found[name].fits:
                continue
            smaller = next((new for change in halving if (new := change.next(config, mesh, name))), None)
            if smaller is None:
                return Alternative(chosen, (), tuple(found.values()), False)
            config = with_settings(config, smaller)
            chosen.update(smaller)
    except (ShardingError, ConfigError):
        return None
    measured = tuple(found[program.name] for program in programs)
    return Alternative(chosen, (), measured, True, bound(programs, measured, machine, load, config.model.dtype))


def _computing_less(
    config: RunConfig, plan: Alternative, subject: Subject, machine: Machine, load: Workload, tell: Tell
) -> Alternative:
    """A plan that fits, or the fastest one with another ``model.remat`` that does, too."""
    config = with_settings(config, plan.settings)
    mesh = make_mesh(config.mesh, machine.devices)
    for guess in in_what_is_left(config, subject, machine, plan.programs):
        programs = programs_of(with_settings(config, guess.settings), subject, mesh, load, machine.memory)
        settings, measured = {**plan.settings, **guess.settings}, list(plan.programs)
        for number in (index for index, one in enumerate(programs) if one.name in LEARNING):
            tell(f"{machine.name}: compiles {programs[number].name}, {shown(settings)}")
            measured[number] = measure(programs[number], machine, mesh)
        if all(one.fits for one in measured):
            least = bound(programs, measured, machine, load, config.model.dtype)
            return Alternative(settings, (), tuple(measured), True, least)
    return plan


def with_advice(plan: Plan, config: RunConfig, subject: Subject, machine: Machine, tell: Tell) -> Plan:
    """The plan, with what would make it fit where it does not, and what might be faster where it does."""
    if not plan.fits:
        return replace(plan, advice=advise(plan, config, subject, machine, tell))
    return replace(plan, faster=next(iter(in_what_is_left(config, subject, machine, plan.programs)), None))
