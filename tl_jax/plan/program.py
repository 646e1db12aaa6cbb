"""What is known of a program before it is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class Program:
    """Something that is compiled, and what is known of it before that."""

    name: str
    lower: Callable[[], jax.stages.Lowered]
    arguments: Mapping[str, float]
    """parts of the state that it reads, in bytes of one device"""
    resident: Mapping[str, float]
    """parts of the state that lie on a device meanwhile and that it does not read"""
    inside: Mapping[str, float]
    """what it needs besides, by its shapes, in bytes of one device"""
    model_flops: float
    """of one step, over all devices, by the counting rule of `tl_jax.training.speed`; 0 where it is not of the step"""
    flops: float
    """the same with what is computed for padding and again in the backward pass"""
    weights_read: float
    """bytes of weights that each device reads in one step at least, beside the arguments that it reads each time"""
    times: float = 1.0
    """how often it runs in one step"""
    loop: int = 1
    """how often a loop of it runs that ends when its data says so"""
