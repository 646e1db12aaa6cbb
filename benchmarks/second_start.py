"""What a second start waits for: the programs of a configuration traced, lowered, and read from the compilation cache.

    python -m benchmarks.second_start [--config FILE] [--preset NAME] [key=value ...]

compiles them for the devices that are here, in two processes one after another that share a cache of their own, and
prints the seconds of each. Nothing is run and no weights are needed, so a 7B can be timed on one GPU or a processor.
Compilers for devices that are not here write such a cache, but JAX reads it on those devices only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]


def compile_once(config: Path, preset: str, settings: tuple[str, ...]) -> dict[str, list[float]]:
    """Seconds to lower each program, and to compile it or read it."""
    from tl_jax.model.sharding import batch_devices, make_mesh
    from tl_jax.plan.config import load_planned
    from tl_jax.plan.machine import open_machine
    from tl_jax.plan.plan import programs_of, workload
    from tl_jax.plan.workload import open_subject

    planned = load_planned((config,), settings)
    subject, machine = open_subject(planned, preset), open_machine("this", quick=False)
    mesh = make_mesh(planned.mesh, machine.devices)
    load = workload(planned, subject, batch_devices(mesh))
    seconds = {}
    for program in programs_of(planned, subject, mesh, load, machine.memory):
        started = time.perf_counter()
        lowered = program.lower()
        between = time.perf_counter()
        lowered.compile()
        seconds[program.name] = [between - started, time.perf_counter() - between]
    return seconds


@click.command(help=__doc__)
@click.option("--config", type=click.Path(path_type=Path), default=ROOT / "configs" / "codellama_7b_lora.yaml")
@click.option("--preset", default="codellama-7b", show_default=True)
@click.option("--child", is_flag=True, hidden=True)
@click.argument("settings", nargs=-1)
def main(config: Path, preset: str, child: bool, settings: tuple[str, ...]) -> None:
    if child:
        print(json.dumps(compile_once(config, preset, settings)))
        return
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "benchmarks.second_start", "--child", "--config", str(config)]
        for start in ("first", "second"):
            began = time.perf_counter()
            words = [*command, "--preset", preset, *settings]
            done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            whole = time.perf_counter() - began
            for name, (lowered, compiled) in json.loads(done.stdout.splitlines()[-1]).items():
                print(f"{start:6}  {name}: lowered in {lowered:.1f} s, then {compiled:.1f} s", flush=True)
            size = sum(file.stat().st_size for file in Path(cache).rglob("*-cache")) / 1e6
            print(f"{start:6}  the whole process {whole:.1f} s; the cache has {size:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
