"""The programs that write the answers of a rollout."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jax.sharding import Mesh

from tl_jax.config import RlConfig
from tl_jax.inference.buckets import bucket, places_for, room_for, row_count
from tl_jax.inference.capacity import answers_at_once, place_bytes, prompts_at_once, rows_that_fit
from tl_jax.inference.kept import kept_bytes
from tl_jax.inference.lowered import Lowered
from tl_jax.inference.serving import abstract_served, lower_for_generation
from tl_jax.model.llama import GraphDef
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_devices
from tl_jax.plan.program import Program
from tl_jax.plan.workload import Workload
from tl_jax.training.memory import bytes_on_device

COPY = "weights for sampling"
CACHE = "KV cache"
READ_CACHE = "KV cache of prompts"
READING = "reading prompts"
ADMITTING = "prompts into slots"
SAMPLING = "sampling"
"""What the programs are called that lay the weights out, read prompts, give them to answers, and write those.

The second and the third go from layer to layer, or from loop to loop of `model.scan_decode` layers; one is compiled."""


def sampling_programs(
    config: RlConfig,
    graphdef: GraphDef,
    actor: Params,
    mesh: Mesh,
    load: Workload,
    parts: Mapping[str, float],
    memory: float,
) -> list[Program]:
    """What a rollout compiles, each prompt and answer as long as the longest.

    Args:
        config: of the training.
        graphdef: of the actor.
        actor: its parameters, abstract and placed.
        mesh: of the training.
        load: what a step reads.
        parts: of the training state, in bytes of one device.
        memory: bytes that a device has for programs.
    """
    served = abstract_served(graphdef, actor, mesh, config.engine.kv_cache_dtype)
    assert served.mesh is not None
    rows = config.batch_size * config.group_size
    weights = bytes_on_device((served.params, served.stacks))
    new, places = config.sampling.max_new_tokens, places_for(load.prompt, config.sampling.max_new_tokens)
    free = memory - sum(parts.values()) - weights
    same, spread = 1 if config.environment else config.group_size, batch_devices(served.mesh)
    beside = dict(parts)
    if config.environment:
        beside["KV cache of conversations"] = held = kept_bytes(served, rows, places, free)
        free -= held

    def fitting(group: int) -> int:
        return rows_that_fit(served.layout, served.mesh, load.prompt, new, served.dtype.itemsize, free, group)

    at_once, group = answers_at_once(config.sampling.batch_size, rows, same, spread, load.prompt, new, fitting)
    groups, calls = row_count(-(-at_once // group), spread), math.ceil(rows / at_once)
    read_at_once = prompts_at_once(groups, spread, load.prompt)
    waves = math.ceil(config.batch_size / read_at_once)
    place = place_bytes(served.layout, served.mesh) / spread
    room = room_for(load.prompt, new, group)
    kv = (groups * group * room.own + groups * (room.shared or 0)) * place
    of_prompts = kv if room.shared is None else groups * room.shared * place
    read_kv = read_at_once * bucket(load.prompt, 16) * place
    lowered = Lowered(served, at_once, load.prompt, config.sampling, group)
    prompts, stacks = load.prompt / (load.prompt + load.answer), lowered.stacks
    of_stack, keys, read_keys = bytes_on_device(served.stacks[0]), of_prompts / stacks / 2, read_kv / stacks / 2
    read = ("actor", "frozen") if config.adapter else ("actor",)
    return [
        Program(
            COPY,
            lambda: lower_for_generation(graphdef, actor, mesh),
            {name: size for name, size in parts.items() if name in read},
            {name: size for name, size in parts.items() if name not in read},
            {COPY: weights},
            0.0,
            0.0,
            0.0,
        ),
        Program(
            READING,
            lowered.read,
            {_of_stack(COPY): of_stack},
            {**beside, COPY: weights - of_stack, CACHE: kv, READ_CACHE: read_kv - 2 * read_keys},
            {},
            0.0,
            load.sampled * prompts / config.group_size,
            0.0,  # its arguments are the weights
            times=waves * stacks,
        ),
        Program(
            ADMITTING,
            lowered.admit,
            {_of_stack(CACHE): keys, _of_stack(READ_CACHE): read_keys},
            {**beside, COPY: weights, CACHE: kv - keys, READ_CACHE: read_kv - read_keys},
            {},
            0.0,
            0.0,
            0.0,
            times=waves * stacks * 2,
        ),
        Program(
            SAMPLING,
            lowered.advance,
            {COPY: weights, CACHE: kv},
            {**beside, READ_CACHE: read_kv},
            {},
            0.0,
            load.sampled * (1 - prompts),
            calls * new * (weights + kv),
            times=calls,
            loop=new,
        ),
    ]


def _of_stack(part: str) -> str:
    return f"{part}, of a layer or loop"
