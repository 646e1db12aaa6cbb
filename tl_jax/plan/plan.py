"""A plan: the programs of a configuration on a machine, whether they fit, and how fast they can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax

from tl_jax import __version__
from tl_jax.config import RlConfig, RunConfig, SftConfig
from tl_jax.model.parameters import count_parameters
from tl_jax.model.sharding import ShardingError, batch_devices, make_mesh
from tl_jax.plan.machine import Machine, PlanError
from tl_jax.plan.measure import Measured, measure
from tl_jax.plan.program import Program
from tl_jax.plan.programs import rl_programs, sft_programs
from tl_jax.plan.roofline import Bound, bound
from tl_jax.plan.workload import Subject, Workload, rl_workload, sft_workload


@dataclass(frozen=True)
class Alternative:
    """Settings that were compiled."""

    settings: Mapping[str, Any]
    costs: tuple[str, ...]
    """of the changes, in words"""
    programs: tuple[Measured, ...]
    """those that were compiled"""
    fits: bool
    bound: Bound | None = None


@dataclass(frozen=True)
class Guess:
    """Settings that were not compiled."""

    settings: Mapping[str, Any]
    needed: float
    """bytes of one device, of the program that needs most"""
    bound: Bound | None


@dataclass(frozen=True)
class Plan:
    """What there is to say of a configuration on a machine."""

    command: str
    """``sft`` or ``rl``"""
    model: str
    parameters: int
    devices: str
    device_kind: str
    mesh: Mapping[str, int]
    settings: Mapping[str, Any]
    """those that decide what is compiled"""
    load: Workload
    programs: tuple[Measured, ...]
    bound: Bound | None
    quick: bool = False
    """whether the compiler tried less hard"""
    faster: Guess | None = None
    """what would be faster in the memory that is left"""
    advice: Alternative | None = None
    """what would make it fit"""
    alternatives: tuple[Alternative, ...] | None = None
    """what `tl_jax.plan.search.search` found, the fastest first"""

    @property
    def fits(self) -> bool:
        return all(program.fits for program in self.programs)

    def to_json(self) -> dict[str, Any]:
        """JSON values; bytes are of one device."""
        versions = {"tl_jax": __version__, "jax": jax.__version__}
        return {**asdict(self), "fits": self.fits, "padding": self.load.padding, "versions": versions}


def make_plan(
    config: RunConfig,
    subject: Subject,
    machine: Machine,
    tell: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Compiles what ``config`` runs.

    Args:
        config: of ``tl-jax sft`` or ``tl-jax rl``.
        subject: the model.
        machine: where it would run.
        tell: is told what is compiled.

    Raises:
        UserError: the configuration does not fit the machine's number of devices, or training would refuse it.
    """
    mesh = make_mesh(config.mesh, machine.devices)
    load = workload(config, subject, batch_devices(mesh))
    found: list[Measured] = []
    try:
        programs = programs_of(config, subject, mesh, load, machine.memory)
        for program in programs:
            tell(f"{machine.name}: compiles {program.name}")
            found.append(measure(program, machine, mesh))
    except ShardingError as error:
        raise PlanError(str(error)) from None
    return Plan(
        command="rl" if isinstance(config, RlConfig) else "sft",
        model=subject.name,
        parameters=count_parameters(subject.config),
        devices=machine.name,
        device_kind=machine.devices[0].device_kind,
        mesh=dict(mesh.shape),
        settings=_settings(config),
        load=load,
        quick=machine.quick,
        programs=tuple(found),
        bound=bound(programs, found, machine, load, config.model.dtype) if all(one.fits for one in found) else None,
    )


def shown(settings: Mapping[str, Any]) -> str:
    """As they are written on the command line."""
    return " ".join(f"{key}={value}" for key, value in settings.items())


def workload(config: RunConfig, subject: Subject, devices: int) -> Workload:
    """What a step of ``config`` reads, with rows spread over so many devices."""
    if isinstance(config, RlConfig):
        return rl_workload(config, subject, devices)
    assert isinstance(config, SftConfig)
    return sft_workload(config, subject)


def programs_of(
    config: RunConfig, subject: Subject, mesh: jax.sharding.Mesh, load: Workload, memory: float
) -> list[Program]:
    """What ``config`` compiles for devices with ``memory`` bytes."""
    if isinstance(config, RlConfig):
        return rl_programs(config, subject.config, mesh, load, memory)
    assert isinstance(config, SftConfig)
    return sft_programs(config, subject.config, mesh, load)


def _settings(config: RunConfig) -> dict[str, Any]:
    model = config.model
    shown: dict[str, Any] = {
        "model.dtype": model.dtype,
        "model.param_dtype": model.param_dtype,
        "model.attention": model.attention,
        "model.remat": model.remat,
        "model.offload": list(model.offload) or None,
        "lora.rank": config.lora.rank,
        "lora.quantize": config.lora.quantize if config.lora.rank else None,
    }
    if isinstance(config, SftConfig):
        data = config.data
        return shown | {
            "data.batch_size": data.batch_size,
            "data.max_length": data.max_length,
            "accumulate": config.accumulate,
        }
    assert isinstance(config, RlConfig)
    return shown | {
        "algorithm.estimator": config.algorithm.estimator,
        "algorithm.critic_backbone": config.algorithm.critic_backbone,
        "batch_size": config.batch_size,
        "group_size": config.group_size,
        "algorithm.minibatches": config.algorithm.minibatches,
        "algorithm.accumulate": config.algorithm.accumulate,
        "algorithm.tokens_per_microbatch": config.algorithm.tokens_per_microbatch,
        "sampling.batch_size": config.sampling.batch_size,
        "sampling.max_new_tokens": config.sampling.max_new_tokens,
    }
