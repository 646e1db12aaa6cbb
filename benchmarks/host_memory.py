"""Host memory and time of the commands that write a model elsewhere, as a Markdown table.

    python -m benchmarks.host_memory [--preset codellama-7b [--layers N] | --model DIRECTORY] [--dtype bfloat16]
                                     [--out DIRECTORY]

A random model in Hugging Face format, with as many layers as asked for, or the one in a directory, is converted,
exported again, and exported with a random adapter (rank 16 in all matrices) merged into it. Each command is a process
of its own; the peak is its resident set, files that are mapped included. What was written is removed; at most two
copies of the model are on disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from tl_jax.config import LoraConfig
from tl_jax.demo.tokenizer import train_tokenizer
from tl_jax.model.hf.peft import LoadedAdapter, export_adapter
from tl_jax.model.lora import abstract_adapters
from tl_jax.model.presets import PRESETS
from tl_jax.model.store import model_config


def with_layers(name: str, layers: int) -> None:
    """Gives a preset another number of layers, in this process."""
    known = PRESETS.find(name)
    PRESETS.add(replace(known, name=f"{name}-{layers}", config=replace(known.config, num_layers=layers)))


def measure(name: str, command: str, first: str = "", **options: str | Path) -> None:
    """Runs a command of tl-jax, after some Python, and prints its row."""
    arguments = [text for key, value in options.items() for text in (f"--{key.rstrip('_')}", str(value))]
    started = time.perf_counter()
    run = (sys.executable, "-c", f"{first or 'pass'}; from tl_jax.cli import main; main()", command, *arguments)
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name} failed")
    seconds, gib = time.perf_counter() - started, usage.ru_maxrss / 2**20
    print(f"| {name} | {gib:.2f} | {seconds:.0f} | {usage.ru_utime + usage.ru_stime:.0f} |", flush=True)


def write_adapter(base: Path, out: Path) -> None:
    """A random adapter on the model at ``base``."""
    config, lora = model_config(base), LoraConfig(rank=16, alpha=16)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: 0.01 * rng.standard_normal(leaf.shape, np.float32), abstract_adapters(config, lora)
    )
    export_adapter(LoadedAdapter(lora, params, config, base, base), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="codellama-7b")
    parser.add_argument("--layers", type=int, help="of the preset, in place of its own number")
    parser.add_argument("--model", type=Path, help="in Hugging Face format, in place of a random one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the checkpoint")
    parser.add_argument("--out", type=Path, help="where there is room; default: the system's temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.out) as directory:
        home = Path(directory)
        hf, orbax, back, dtype = options.model or home / "hf", home / "orbax", home / "back", options.dtype
        print("| command | peak GiB | seconds | of a processor |\n|---|---|---|---|", flush=True)
        if options.model is None:
            train_tokenizer(["a few words"]).save_pretrained(home / "tokenizer")
            preset, first = options.preset, ""
            if options.layers:
                first = f"from benchmarks.host_memory import with_layers; with_layers({preset!r}, {options.layers})"
                preset = f"{preset}-{options.layers}"
            random = {"preset": preset, "tokenizer": home / "tokenizer", "dtype": "bfloat16"}
            measure("init-model, bfloat16", "init-model", first, **random, out=hf)
        measure(f"convert to {dtype}", "convert", from_=hf, to=orbax, dtype=dtype)
        if options.model is None:
            shutil.rmtree(hf)
        measure("export", "export", from_=orbax, to=back)
        shutil.rmtree(orbax)
        write_adapter(back, home / "adapter")
        measure("export, adapter merged", "export", from_=home / "adapter", to=home / "merged")


if __name__ == "__main__":
    main()
