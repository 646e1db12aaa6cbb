"""The demo's data: trajectories to learn from, others held out, and the decision points that are answered."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tl_jax.data.codec import Codec
from tl_jax.data.sources import trajectories
from tl_jax.demo.fitting import fitting_trajectories
from tl_jax.demo.session import Demo
from tl_jax.demo.world_files import held_out, learnt, write_jsonl
from tl_jax.errors import UserError
from tl_jax.tooluse.rewards.writable import unwritable_gold
from tl_jax.tooluse.schema import Case, Trajectory

SEED = 1


def write_data(demo: Demo) -> None:
    if demo.data is None:
        train, kept = learnt(demo.size.world, SEED), held_out(demo.size.world, SEED)
    else:
        train, kept = _own(demo, demo.data)
    folder = demo.out / "data"
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "held_out.jsonl", kept)
    demo.console.print(f"{len(train)} trajectories to train on, {len(kept)} held out, in {folder}")


def _own(demo: Demo, data: Path) -> tuple[list[Trajectory], list[Trajectory]]:
    """The user's trajectories: to train on, and held out."""
    if demo.course.only_calls:
        found = [_only_calls(trajectory) for trajectory in trajectories(data)]
        demo.console.print("Only calls are targets: so small a model cannot learn to converse as well.")
    else:
        config = demo.sft_config(demo.model).data
        found, there = fitting_trajectories(data, Codec.open(config.renderer, demo.model), config.max_length)
        demo.console.print(f"{len(found)} of {there} trajectories have at most {config.max_length} tokens")
    kept = [trajectory for trajectory in found if _is_held_out(trajectory)]
    train = [trajectory for trajectory in found if not _is_held_out(trajectory)]
    if not train or not kept:
        raise UserError(f"{data}: too few trajectories to hold some out")
    return train, kept[: demo.size.held_out]


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
    """What is answered: cases of the user, or decision points of the held-out trajectories.

    Those whose prompt is not too long; at most as many as `Size` says.
    """
    from tl_jax.data.prompts import encode_prompts

    config = demo.sft_config(demo.model).data
    codec = Codec.open(config.renderer, demo.model)
    limit = demo.course.prompt_tokens or config.max_length
    found = _cases(demo)
    unwritable = unwritable_gold(found, codec.writer, "skip")
    if unwritable.reasons:
        demo.say(unwritable.line())
    prompts, too_long = encode_prompts([case for case in found if unwritable.keeps(case)], codec, limit)
    if not prompts:
        raise UserError(
            f"{', '.join(map(str, demo.cases)) or demo.data}: none of the {len(found)} decision points can be asked: "
            f"{too_long} have prompts of more than the {limit} tokens that the demo's settings allow, of "
            f"{len(unwritable.reasons)} the text format cannot say the answer; ask longer ones with tl-jax eval"
        )
    chosen = sorted(prompts, key=lambda prompt: zlib.crc32(prompt.case.id.encode()))[: demo.size.cases]
    write_jsonl(demo.out / "data/cases.jsonl", [prompt.case for prompt in chosen])
    demo.console.print(
        f"{len(chosen)} decision points; left out: {too_long} with prompts of more than {limit} tokens, "
        f"{len(prompts) - len(chosen)} to save time"
    )


def _cases(demo: Demo) -> Sequence[Case]:
    """Of the user's files, each a suite of its own; without any, those of the held-out trajectories."""
    from tl_jax.data.prompts import load_cases

    if not demo.cases:
        return load_cases(demo.out / "data/held_out.jsonl")
    return [
        replace(case, id=f"{path.stem}/{case.id}", suite=path.stem) for path in demo.cases for case in load_cases(path)
    ]
