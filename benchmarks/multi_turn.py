"""Tokens read and seconds of sampling whole episodes, that keep their cache between turns and that are read anew.

    python -m benchmarks.multi_turn --data FILE --tokenizer FILE [--episodes 2] [--group 4] [--turns 6] [--hidden 512]
    python -m benchmarks.multi_turn --data FILE --tokenizer FILE --group 8 --count

Recorded conversations are replayed to a random model: after each of its answers stands what the recording has behind
the one that was given then, results of tools and what the user says. Its answers have some twenty tokens, since one
token in twenty ends them. "anew" is how episodes were sampled before, each turn's prompts read from the first token,
equal ones once. Both sample the same tokens. Everything is compiled in a first round that is not counted. With
``--count`` nothing is sampled: of all conversations with several answers, those of the recording, tokens are counted.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.small_llama import small_llama
from tl_jax.config import SamplingConfig
from tl_jax.data.codec import Codec
from tl_jax.inference.engine import Ends
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.tooluse.readers import read_trajectories

ENDING = 20
"""One token in so many ends an answer."""
Recording = list[list[int]]
"""The first prompt, and what follows each answer."""


class Anew(InProcessEngine):
    """Reads every prompt from its first token."""

    @contextmanager
    def conversations(self) -> Iterator[None]:
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=2, help="conversations")
    parser.add_argument("--group", type=int, default=4, help="episodes of each")
    parser.add_argument("--turns", type=int, default=6, help="answers of each episode")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=4096, help="tokens of a conversation")
    parser.add_argument("--answer", type=int, default=64, help="tokens of the longest answer")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--count", action="store_true", help="tokens that all conversations of the file take")
    options = parser.parse_args()
    if options.count:
        count(options)
        return
    recordings = recorded(options)
    model = small_llama(options.hidden, options.layers, max_position_embeddings=2 * options.max_length)
    sampling = SamplingConfig(max_new_tokens=options.answer, temperature=1.0)
    params, graphdef = init_params(model, jax.random.key(0)), make_graphdef(model, dtype=jnp.float32)
    engines = {"anew": Anew(graphdef, model), "kept": InProcessEngine(graphdef, model)}
    for engine in engines.values():
        engine.update(params)
    streams: list[list[list[int]]] = []
    least: dict[str, tuple[float, float, int]] = {}
    for repeat in range(options.repeat + 1):
        for name, engine in engines.items():
            began, processor = time.perf_counter(), used()
            found, read = play(engine, recordings, options.group, sampling)
            streams.append(found)
            measured = (used() - processor, time.perf_counter() - began, read)
            if repeat:
                least[name] = min(least.get(name, measured), measured)
    assert all(stream == streams[0] for stream in streams), "the episodes differ"
    whole = sum(map(len, streams[0]))
    print(f"{len(streams[0])} episodes of {options.turns} turns, {whole} tokens in all")
    for name, (processor, wall, read) in least.items():
        print(f"{name}: {read} tokens read, {processor:.2f} s of a processor, {wall:.2f} s by the clock")


def recorded(options: argparse.Namespace) -> list[Recording]:
    """The first conversations of a file that have so many turns and fit."""
    codec, found = Codec.open("paper", options.tokenizer), []
    for trajectory in read_trajectories(options.data):
        encoded = codec.encode(trajectory.tools, trajectory.messages)
        turns, ids = encoded.turns[: options.turns], encoded.ids.tolist()
        if len(turns) == options.turns and turns[-1].start <= options.max_length:
            behind = [ids[one.end : after.start] for one, after in pairwise(turns)]
            found.append([ids[: turns[0].start], *behind])
        if len(found) == options.episodes:
            break
    return found


def count(options: argparse.Namespace) -> None:
    """Prints what is read of groups that say what was recorded, each group's first prompt once."""
    codec, conversations, answers, anew, kept = Codec.open("paper", options.tokenizer), 0, 0, 0, 0
    for trajectory in read_trajectories(options.data):
        turns = codec.encode(trajectory.tools, trajectory.messages).turns
        if len(turns) > 1:
            conversations, answers = conversations + 1, answers + len(turns)
            anew += turns[0].start + options.group * sum(turn.start for turn in turns[1:])
            kept += turns[0].start + options.group * sum(after.start - one.end for one, after in pairwise(turns))
    print(f"{conversations} conversations of {answers / conversations:.1f} answers, {options.group} episodes of each")
    print(f"anew: {anew} tokens read; kept: {kept}, {anew / kept:.1f} times fewer")


def play(
    engine: InProcessEngine, recordings: Sequence[Recording], group: int, sampling: SamplingConfig
) -> tuple[list[list[int]], int]:
    """All tokens of each episode, and how many tokens were read."""
    episodes = [recording for recording in recordings for _ in range(group)]
    prompts, read = [list(recording[0]) for recording in episodes], 0
    ends = Ends(tuple(range(3, engine.model.vocab_size, ENDING)))
    with engine.conversations():
        for turn in range(len(recordings[0])):
            made = engine.generate(prompts, sampling, jax.random.key(turn), ends)
            assert made.read is not None
            read += int(made.read.sum())
            for row, recording in enumerate(episodes):
                spoken = made.tokens[row, : made.lengths[row] - int(made.finished[row])].tolist()
                prompts[row] += [*spoken, *(recording[turn + 1] if turn + 1 < len(recording) else [])]
    return prompts, read


def used() -> float:
    """Seconds of processors."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
