"""A configuration's own programs, run on the device at hand, beside what `tl-jax plan` says of them.

    python benchmarks/on_device.py --config configs/codellama_7b_lora.yaml --preset codellama-7b [key=value ...]

Weights and data are random numbers of the real shapes: nothing is read, and speed and memory do not depend on them.
Every program runs in a process of its own, because the peak of a device's memory is kept for the whole process.
Printed are memory as planned and as measured, seconds (the median of some runs after the first), tokens per second, and
the share of the chip's peak arithmetic (steps) or bandwidth (sampling) that this is.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

GIB = 2**30


@click.command(help=__doc__)
@click.option("--config", "files", type=click.Path(exists=True, path_type=Path), multiple=True, required=True)
@click.option("--preset", help="A model's sizes by name.")
@click.option("--repeat", default=5, show_default=True, help="Runs that are timed.")
@click.option("--limit", default=600.0, show_default=True, help="Seconds for one program.")
@click.option("--program", help="Runs only this one, in this process, and prints JSON.")
@click.argument("overrides", nargs=-1)
def main(
    files: tuple[Path, ...],
    preset: str | None,
    repeat: int,
    limit: float,
    program: str | None,
    overrides: tuple[str, ...],
) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")  # as launch/gpu.env
    if program is not None:
        print(json.dumps(run(files, preset, overrides, program, repeat)))
        return
    again = [sys.executable, __file__, *sys.argv[1:], "--program"]
    for name in _child([*again, "?"], limit)["programs"]:
        found = _child([*again, name], limit)
        print(_row(name, found) if found else f"{name}: failed", flush=True)


def _child(command: list[str], limit: float) -> dict[str, Any]:
    """What it printed last; nothing where it failed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=limit)
    except subprocess.SubprocessError as error:
        print(error, file=sys.stderr)
        return {}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _row(name: str, found: dict[str, Any]) -> str:
    speed = f"{found['tokens'] / found['seconds']:,.0f} tokens/s"
    shares = "".join(f", {value:.1%} of peak {what}" for what, value in found["shares"].items())
    measured, planned = found["measured"] / GIB, found["planned"] / GIB
    return (
        f"{name} on {found['device']}: {found['seconds']:.3f} s, {speed}{shares}; "
        f"memory {measured:.2f} GiB, planned {planned:.2f} ({planned / measured - 1:+.1%}); "
        f"compiled in {found['compiled']:.0f} s; kernels {', '.join(found['kernels']) or 'none by hand'}"
    )


def run(
    files: tuple[Path, ...], preset: str | None, overrides: tuple[str, ...], name: str, repeat: int
) -> dict[str, Any]:
    """Figures of one program; of ``?``, which there are."""
    import jax

    from tl_jax.model.sharding import make_mesh
    from tl_jax.plan.config import load_planned
    from tl_jax.plan.machine import open_machine
    from tl_jax.plan.measure import measure
    from tl_jax.plan.plan import programs_of, workload
    from tl_jax.plan.workload import open_subject
    from tl_jax.training.memory import needed

    config = load_planned(files, overrides)
    subject, machine = open_subject(config, preset), open_machine("this")
    load, mesh = workload(config, subject, len(machine.devices)), make_mesh(config.mesh, machine.devices)
    programs = {program.name: program for program in programs_of(config, subject, mesh, load, machine.memory)}
    if name == "?":
        return {"programs": [name for name, program in programs.items() if program.times]}
    program, device = programs[name], machine.devices[0]
    planned = measure(program, machine, mesh)
    lowered = program.lower()
    compiled = lowered.compile()  # once more, out of XLA's cache
    arguments = list(filled(lowered.args_info[0], compiled.input_shardings[0]))
    seconds = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        out = jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - started)
        same = jax.tree.structure(out[0]) == jax.tree.structure(arguments[0])  # type: ignore[operator]
        if same:  # the state was used up: on with the new one
            arguments[0] = out[0]
    median = statistics.median(seconds[1:])
    stats = device.memory_stats() or {}
    tokens = load.tokens if program.model_flops else load.targets
    shares = {}
    if machine.chip is not None:
        if program.model_flops:
            shares["arithmetic"] = program.model_flops / median / machine.chip.flops / len(machine.devices)
        else:
            shares["bandwidth"] = program.weights_read / program.times / median / machine.chip.bandwidth
    return {
        "device": device.device_kind,
        "seconds": median,
        "tokens": (tokens or 0) / (program.times or 1),
        "shares": shares,
        "planned": needed(compiled),
        "measured": stats.get("peak_bytes_in_use", float("nan")),
        "compiled": planned.seconds,
        "kernels": planned.kernels,
    }


def filled(shapes: Any, places: Any) -> Any:
    """Arrays for the shapes of a program's arguments, by the names that they have there, where it expects them."""
    import jax

    def put(path: Any, leaf: Any, place: Any) -> Any:
        return jax.device_put(_array(jax.tree_util.keystr(path), leaf), place)

    return jax.tree_util.tree_map_with_path(put, shapes, places)


def _array(path: str, leaf: Any) -> Any:
    import jax
    import jax.numpy as jnp

    shape, dtype, name = leaf.shape, leaf.dtype, path.rsplit(".", 1)[-1]
    key = jax.random.key(abs(hash(path)) % 2**31)
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    counts = name in ("step", "turns", "pad_id") and dtype != jnp.float32
    if counts or name == "cut_off" or "opt_state" in path:
        return jnp.zeros(shape, dtype)
    if name == "mask":
        return jnp.ones(shape, bool).at[:, -1].set(False)
    if name in ("positions", "indices"):
        return jnp.broadcast_to(jnp.arange(shape[-1], dtype=dtype), shape)
    if name in ("tokens", "labels"):
        return jax.random.randint(key, shape, 1, 1000, dtype)
    if name == "eos_ids":
        return jnp.full(shape, -1, dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        if name in ("weights", "turns", "temperature", "top_p", "kl_coef"):
            return jnp.ones(shape, dtype)
        draw = jax.jit(lambda: 0.02 * jax.random.normal(key, shape, jnp.bfloat16).astype(dtype))
        return draw()
    if jnp.issubdtype(dtype, jnp.signedinteger) and name == "segment_ids":
        return jnp.ones(shape, dtype)
    if name == "branches":
        return jnp.zeros(shape, dtype)
    if name == "sources":  # the last eighth of every row was written
        places = jnp.arange(shape[-1], dtype=dtype)
        return jnp.broadcast_to(jnp.where(places < shape[-1] * 7 // 8, jnp.iinfo(dtype).max, places), shape)
    return jax.jit(lambda: jax.random.bits(key, shape, jnp.uint8).astype(dtype))()


if __name__ == "__main__":
    main()
