"""The prompts of a run, decision points of a file or openings of episodes, and the environment of the episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

from tl_jax.config import RlConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt, encode_prompts, load_cases
from tl_jax.data.sources import trajectories
from tl_jax.errors import UserError
from tl_jax.inference.room import ContextRoom
from tl_jax.model.config import LlamaConfig
from tl_jax.plugins import Plugin, bind
from tl_jax.rl.guard import GuardedEnvironment
from tl_jax.rl.rollout import EnvironmentSpec
from tl_jax.rl.rubric import Rubric
from tl_jax.tooluse.environments.base import Environment
from tl_jax.tooluse.environments.registry import ENVIRONMENTS, RecordedEnvironment
from tl_jax.tooluse.mae.apply import apply_mae
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.rewards.writable import unwritable_gold
from tl_jax.tooluse.schema import Case, Trajectory
from tl_jax.tooluse.text.spoken import spoken
from tl_jax.training.distributed import agreed


def load_prompts(
    config: RlConfig, rubric: Rubric, codec: Codec, model: LlamaConfig, path: Path
) -> tuple[list[Prompt], str]:
    """The prompts of a file that can be answered and rewarded, and a line about those that cannot.

    Raises:
        UserError: there is none, or a gold answer that the format cannot say and ``data.unwritable`` refuses.
    """
    notes = Notes(config.data.unknown)
    cases = _cases(config, path, notes)
    rewarded = [case for case in cases if not rubric.needs_gold or case.has_gold]
    without_gold = len(cases) - len(rewarded)
    policy = config.data.unwritable
    unwritable = unwritable_gold(rewarded if rubric.needs_gold else (), codec.writer, policy)
    rewarded = [case for case in rewarded if unwritable.keeps(case)]
    limit = _longest_prompt(config, model)
    prompts, too_long = encode_prompts(rewarded, codec, limit)
    kind = "episodes" if config.environment else "decision points"
    report = (
        f"{path}: {len(prompts)} of {len(cases)} {kind}; {too_long} have a prompt of more than {limit} "
        f"tokens, {without_gold} no gold call"
    )
    report = "; ".join(line for line in (report, unwritable.line(), *notes.lines()) if line)
    if not prompts:
        raise UserError(f"no prompt is left: {report}")
    return prompts, report


def make_environment_spec(config: RlConfig, model: LlamaConfig) -> EnvironmentSpec | None:
    """What answers the calls of episodes; None where every prompt gets one answer.

    Raises:
        UserError: no such environment.
    """
    if config.environment is None:
        return None
    longest = _longest_prompt(config, model)
    return EnvironmentSpec(_environment(config), config.max_turns, longest, config.faults, config.data.include)


def _longest_prompt(config: RlConfig, model: LlamaConfig) -> int:
    """Tokens that leave room for an answer."""
    room = ContextRoom(model.max_position_embeddings, config.sampling.max_new_tokens, config.data.max_prompt_length)
    return room.tokens


def _environment(config: RlConfig) -> Callable[[], Environment]:
    """What makes the environment of one episode."""
    plugin = config.environment
    assert plugin is not None
    named = ENVIRONMENTS.get(plugin.name)
    if named is None or not named.recorded:
        make: Callable[[], Environment] = bind(plugin, (), key="environment", function=named.make if named else None)
        return make
    paths = [config.data.path, *([config.data.eval_path] if config.data.eval_path else [])]
    notes = Notes(config.data.unknown)  # `load_prompts` tells
    recordings = (trajectory for path in dict.fromkeys(paths) for trajectory in _recorded(config, path, notes))
    return partial(copy, _of_recordings(plugin)(recordings))


def _of_recordings(plugin: Plugin) -> Callable[[Iterable[Trajectory]], RecordedEnvironment]:
    """What makes one of the environments with a name out of recordings."""
    return bind(plugin, ("trajectories",), key="environment", function=ENVIRONMENTS[plugin.name].make)


def _cases(config: RlConfig, path: Path, notes: Notes) -> list[Case]:
    """The cases of a file: its decision points, or the openings of its episodes."""
    load = partial(load_cases, path, config.data.format, config.data.mae, notes=notes, include=config.data.include)
    if config.environment is None:
        return load()
    named = ENVIRONMENTS.get(config.environment.name)
    if named and named.recorded:
        return _of_recordings(config.environment)(_recorded(config, path, notes)).cases
    rows, remark = agreed(lambda: _begun(load(), GuardedEnvironment(_environment(config), config.faults)))
    if remark:
        notes.remarks[remark] += 1
    return [Case.from_json(row) for row in rows]


def _begun(cases: Sequence[Case], environment: GuardedEnvironment) -> tuple[list[Any], str]:
    """What the environment makes of the cases, as JSON, and a word about those that it fails to begin.

    These are kept as they are: it may do better next time, and a run that goes on needs the same prompts.

    Raises:
        UserError: it begins none of them.
    """
    rows, failed = [], []
    try:
        for case in cases:
            rows.append(environment.reset(case).to_json())
            if environment.fault:
                failed.append(f"case {case.id!r}: {environment.fault}")
    finally:
        environment.close()
    if failed and len(failed) == len(rows):
        raise UserError(f"not one episode could begin: {failed[0]}")
    return rows, f"{len(failed)} episodes could not begin yet, the first was {failed[0]}" if failed else ""


def _recorded(config: RlConfig, path: Path, notes: Notes) -> list[Any]:
    """Trajectories with the calls that MAE blocks marked: nobody is rewarded for repeating them."""
    mae = config.data.mae.model_dump() | {"factor": 0.0}
    found = (apply_mae(item, **mae)[0] for item in trajectories(path, config.data.format, notes))
    return [spoken(trajectory, config.data.include) for trajectory in found]
