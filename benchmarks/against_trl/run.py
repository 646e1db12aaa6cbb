"""Supervised training, GRPO and PPO against TRL on one device: same model, same tokens, in turns.

    python benchmarks/against_trl/run.py {sft,grpo,ppo} [--peer-python PYTHON] [--data FILE --tokenizer DIR]
                                         [--steps 3] [--rounds 1] [--prompt-tokens 384 512] [--group-size 8] ...

PYTHON is that of an environment of its own, beside which nothing of ours is needed; without it, our side runs alone:

    python3 -m venv trl && trl/bin/pip install torch trl==1.16.0      (ppo: trl==1.12.0, the last that has it)

Each side is a process of its own, which trains ``--steps`` steps after one that warms up or compiles, and prints what
these took in wall and processor time; loading and compilation are not counted. The sides take turns ``--rounds`` times
and the least counts. Ratios are theirs over ours: above 1, we are faster. Where other work keeps the machine busy, only
the processor's time means something, and with torch, whose threads wait for each other, only with ``--cores 1``.

On a GPU, where wall time and the device's own peak memory count, with a published size and random weights:

    tl-jax init-model --preset llama-3.2-1b --tokenizer TOKENIZER --dtype bfloat16 --out MODEL
    python benchmarks/against_trl/run.py sft --device gpu --dtype bfloat16 --model MODEL --peer-python PYTHON

``--dtype`` is that of weights, moments and computation on both sides; TF32 and kernels are as either side chooses.

By default the data is the demo's world and its tokenizer; ``--data`` takes any file of trajectories, ``--tokenizer`` a
directory or a ``tokenizer.model``. The model, unless ``--model`` names one, is a Llama of 58M parameters with random
weights, which hardly ever ends an answer by itself: all of both sides have ``--new-tokens`` tokens.

sft: trajectories of at most 2,048 tokens, packed into rows of that length by either side's best-fit decreasing, a row
at a time, ``--rows`` to an update, AdamW, nothing computed again in the backward pass.
grpo, ppo: ``--prompts`` prompts, the same in every step, so that rows have the lengths of those that the first step
was compiled for; one update of all answers, no KL in GRPO, as is TRL's default; in PPO a critic of its own from the
policy's weights, a KL in the reward, and the sampler's log-probabilities as the old ones, which is how TRL does it. Our
reward is the paper's, by rules; theirs is a count of characters (grpo) or a model of one layer and width 64 (ppo),
which costs about nothing.

Last comes the share of what cannot be avoided (`bound.py`) at the rate at which our side multiplies matrices here, or
at an accelerator's peak, where it is the MFU of work that is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl_jax.config import DataConfig
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.prompts import Prompt, encode_prompts, load_cases
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.demo.course import BASE
from tl_jax.demo.world import generate
from tl_jax.model.config import LlamaConfig
from tl_jax.model.presets import PRESETS, Preset
from tl_jax.model.random_model import init_model

HERE = Path(__file__).parent
SIZE = LlamaConfig(
    vocab_size=32000,
    hidden_size=512,
    intermediate_size=1408,
    num_layers=8,
    num_heads=8,
    num_kv_heads=8,
    head_dim=64,
    max_position_embeddings=8192,
)
LENGTH = 2048
RENDERER = "paper"


def main() -> None:
    options = arguments()
    os.environ["JAX_PLATFORMS"] = "cpu" if options.device == "cpu" else "cuda"
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])  # for both sides
        os.environ["OMP_NUM_THREADS"] = str(options.cores)
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        data = options.data or made_up(work / "world.jsonl")
        if options.model is None:
            PRESETS.add(Preset("58m", SIZE))
            init_model("58m", load_tokenizer(options.tokenizer), work / "model")
        else:
            (work / "model").symlink_to(options.model.resolve())
        codec = Codec.open(RENDERER, work / "model")
        about = (
            prepare_rows(work, data, codec, options)
            if options.kind == "sft"
            else prompts_of(work, data, codec, options)
        )
        settings = {key: value for key, value in vars(options).items() if isinstance(value, int | str)}
        (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        print(f"{options.kind}: {about}; load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
        sides = {"tl_jax": [sys.executable, "-m", "benchmarks.against_trl.ours"]}
        if options.peer_python:
            sides = {"TRL": [options.peer_python, str(HERE / "theirs.py")], **sides}
        least: dict[str, dict[str, float]] = {}
        for _ in range(options.rounds):
            for name, command in sides.items():
                took = run_side(command, work)
                print(f"{name:7}: {told(took)}", flush=True)
                least[name] = {key: min(value, least.get(name, took)[key]) for key, value in took.items()}
        ours = least["tl_jax"]
        if theirs := least.get("TRL"):
            print(f"ratio: wall {theirs['wall'] / ours['wall']:.2f}, processor {theirs['cpu'] / ours['cpu']:.2f}")
        clock, called = ("wall", "time") if options.device == "gpu" else ("cpu", "processor time")
        for name, took in least.items():
            share = f"work that cannot be avoided is {ours['bound'] / took[clock]:.1%} of its {called}"
            print(f"{name:7}: {ours['tokens'] / took[clock]:,.0f} tokens/s; {share}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("sft", "grpo", "ppo"))
    parser.add_argument("--peer-python", help="interpreter of an environment that has TRL; default: ours alone")
    parser.add_argument("--data", type=Path, help="trajectories; default: the demo's world")
    parser.add_argument("--tokenizer", type=Path, default=BASE, help="default: the demo's; --model brings its own")
    parser.add_argument("--model", type=Path, help="Hugging Face directory; default: 58M parameters, random weights")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--steps", type=int, default=3, help="that are timed")
    parser.add_argument("--cores", type=int, help="that either side may use; default: all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--trajectories", type=int, default=64, help="sft")
    parser.add_argument("--rows", type=int, default=4, help="sft: to an update")
    parser.add_argument("--prompts", type=int, default=16, help="grpo, ppo")
    parser.add_argument("--prompt-tokens", type=int, nargs=2, default=(384, 512), help="grpo, ppo: at least, at most")
    parser.add_argument("--group-size", type=int, default=8, help="grpo")
    parser.add_argument("--new-tokens", type=int, default=48, help="grpo, ppo")
    parser.add_argument("--critic-backbone", choices=("sft", "shared"), default="sft", help="ppo: ours")
    return parser.parse_args()


def made_up(path: Path) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(one.to_json()) + "\n" for one in generate(0, 600, "train"))
    return path


def prepare_rows(work: Path, data: Path, codec: Codec, options: argparse.Namespace) -> str:
    """Writes the tokens, labels and weights of some trajectories, evenly spread over the file."""
    settings = {"path": data, "renderer": RENDERER, "max_length": LENGTH, "overlong": "skip", "pack": False}
    config = DataConfig.model_validate(settings)
    found = [row.examples[0] for row in build_dataset(config, codec).rows]
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, min(options.trajectories, len(found))).astype(int)]
    arrays = {
        f"{name}_{number}": getattr(example, name)
        for number, example in enumerate(chosen)
        for name in ("tokens", "labels", "weights", "turns")
    }
    np.savez(work / "examples.npz", **arrays)
    lengths = [len(example.tokens) for example in chosen]
    targets = sum(int((example.weights > 0).sum()) for example in chosen)
    return f"{len(chosen)} trajectories of {min(lengths)} to {max(lengths)}, {sum(lengths)} tokens, {targets} targets"


def prompts_of(work: Path, data: Path, codec: Codec, options: argparse.Namespace) -> str:
    """Writes prompts of the wanted length as cases for us, and as text for them."""
    least, most = options.prompt_tokens
    found: list[Prompt] = encode_prompts(load_cases(data), codec, most)[0]
    fitting = [prompt for prompt in found if len(prompt.tokens) >= least]
    wanted = options.prompts
    if len(fitting) < wanted:
        raise SystemExit(f"{data}: {len(fitting)} prompts of {least} to {most} tokens, {wanted} are needed")
    chosen = [fitting[i] for i in np.linspace(0, len(fitting) - 1, wanted).astype(int)]
    cases = (json.dumps(prompt.case.to_json()) + "\n" for prompt in chosen)
    (work / "cases.jsonl").write_text("".join(cases), encoding="utf-8")
    tokens = [json.dumps(list(prompt.tokens)) + "\n" for prompt in chosen]
    (work / "prompts.jsonl").write_text("".join(tokens), encoding="utf-8")
    lengths = [len(prompt.tokens) for prompt in chosen]
    return f"{len(chosen)} prompts of {min(lengths)} to {max(lengths)} tokens"


def run_side(command: Sequence[str], work: Path) -> dict[str, float]:
    done = subprocess.run([*command, str(work)], stdout=subprocess.PIPE, text=True, check=False, cwd=HERE.parents[1])
    if done.returncode:
        raise SystemExit(f"{command[-1]} failed:\n{done.stdout[-2000:]}")
    took: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return took


def told(took: dict[str, float]) -> str:
    seconds = f"{took['wall']:.1f} s wall, {took['cpu']:.1f} s processor, {took['system']:.1f} of them the system's"
    compiled = f", {took['compiled']:.0f} programs compiled meanwhile" if took.get("compiled") else ""
    return f"{seconds}, first loss {took['loss']:.4f}, {took['memory']:.1f} GB{compiled}"


if __name__ == "__main__":
    main()
