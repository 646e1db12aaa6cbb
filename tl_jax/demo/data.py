"""The demo's data: trajectories to learn from, others held out, and the decision points that are answered."""

from __future__ import annotations

import zlib
from dataclasses import replace

from tl_jax.data.sources import trajectories
from tl_jax.demo.base import BASE
from tl_jax.demo.session import Demo
from tl_jax.demo.world_files import held_out, learnt, write_jsonl
from tl_jax.errors import UserError
from tl_jax.tooluse.schema import Trajectory

SEED = 1


def write_data(demo: Demo) -> None:
    if demo.data is None:
        train, kept = learnt(demo.size.world, SEED), held_out(demo.size.world, SEED)
    else:
        found = [_only_calls(trajectory) for trajectory in trajectories(demo.data)]
        kept = [trajectory for trajectory in found if _is_held_out(trajectory)]
        train = [trajectory for trajectory in found if not _is_held_out(trajectory)]
        if not train or not kept:
            raise UserError(f"{demo.data}: too few trajectories to hold some out")
        demo.console.print("Only calls are targets: so small a model cannot learn to converse as well.")
    folder = demo.out / "data"
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "held_out.jsonl", kept)
    demo.console.print(f"{len(train)} trajectories to train on, {len(kept)} held out, in {folder}")


def _only_calls(trajectory: Trajectory) -> Trajectory:
    """Answers without a call become context: so small a model cannot learn to converse as well."""
    messages = [
        replace(message, weight=0.0) if message.role == "assistant" and not message.tool_calls else message
        for message in trajectory.messages
    ]
    return replace(trajectory, messages=tuple(messages))


def _is_held_out(trajectory: Trajectory) -> bool:
    """One trajectory in eight, by its id: the same ones whenever the demo runs."""
    return zlib.crc32(trajectory.id.encode()) % 8 == 0


def write_cases(demo: Demo) -> None:
    """The decision points that are answered: those whose prompt fits into a row, at most as many as `Size` says."""
    from tl_jax.data.codec import Codec
    from tl_jax.data.prompts import encode_prompts, load_cases

    config = demo.sft_config(BASE)
    cases = load_cases(demo.out / "data/held_out.jsonl")
    prompts, too_long = encode_prompts(cases, Codec.open(config.data.renderer, BASE), config.data.max_length)
    if not prompts:
        raise UserError(
            f"{demo.data}: none of the {too_long} held-out decision points has a prompt of at most "
            f"{config.data.max_length} tokens, which the demo's small model needs; train another one with tl-jax sft"
        )
    chosen = sorted(prompts, key=lambda prompt: zlib.crc32(prompt.case.id.encode()))[: demo.size.cases]
    write_jsonl(demo.out / "data/cases.jsonl", [prompt.case for prompt in chosen])
    demo.console.print(
        f"{len(chosen)} decision points; left out: {too_long} with prompts of more than {config.data.max_length} "
        f"tokens, {len(prompts) - len(chosen)} to save time"
    )
