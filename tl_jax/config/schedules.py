"""Schedules: how the learning rate goes on after warm-up. One record is all that a schedule is told in besides its
function."""

from __future__ import annotations

from dataclasses import dataclass

from tl_jax.plugins import Function
from tl_jax.registry import Registry


@dataclass(frozen=True)
class Schedule:
    """A course of the learning rate."""

    name: str
    """what ``schedule`` says"""
    function: str | Function
    """``(peak, final_scale, steps) -> optax.Schedule``, or its dotted path: settings are read without JAX"""
    description: str


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    [
        Schedule("constant", "tl_jax.training.optimizer:constant", "stays at the peak"),
        Schedule(
            "cosine", "tl_jax.training.optimizer:cosine", "falls along half a cosine to `final_scale` of the peak"
        ),
        Schedule("linear", "tl_jax.training.optimizer:linear", "falls along a line to `final_scale` of the peak"),
    ],
    columns={
        "`schedule`": lambda schedule: f"`{schedule.name}`",
        "after warm-up, the learning rate": lambda schedule: schedule.description,
    },
)
