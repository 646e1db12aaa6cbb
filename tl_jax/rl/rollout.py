"""Playing a model: one answer to a prompt, or turn after turn with an environment that answers its calls.

Tokens in, tokens out: what the model wrote stays as it was sampled, and only what follows it, the tools' results and
the next generation prompt, is encoded, as part of the whole conversation and by the same encoder as training's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import jax

from tl_jax.data.prompts import Prompt
from tl_jax.inference.generate import Sampling
from tl_jax.inference.sampler import Sampler
from tl_jax.model.parameters import Params
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.tooluse.environments.base import Environment
from tl_jax.tooluse.rewards.compare import bind_all, offered_tools
from tl_jax.tooluse.schema import Case, Message
from tl_jax.tooluse.text.parse import parse_answer
from tl_jax.training.distributed import agreed, is_main

THREADS = 8
"""Environments that work at the same time."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """Where episodes of several turns are played."""

    make: Callable[[], Environment]
    """a new environment; every episode has its own"""
    max_turns: int
    max_length: int
    """tokens of a conversation, from which an answer still begins"""


class RolloutWorker:
    """Samples episodes: of several turns with an environment, of one without."""

    def __init__(self, sampler: Sampler, stage: EnvironmentSpec | None) -> None:
        self.sampler, self.stage = sampler, stage

    def __call__(self, params: Params, prompts: Sequence[Prompt], key: jax.Array) -> list[Episode]:
        """An episode for every prompt; the same ``key`` gives the same ones."""
        if self.stage is None:
            return run_single_turn(self.sampler, params, prompts, key)
        return run_multi_turn(self.sampler, params, prompts, key, self.stage)

    def greedy(self, batch_size: int) -> RolloutWorker:
        """The same without chance, ``batch_size`` episodes at once."""
        sampling = Sampling(self.sampler.sampling.max_new_tokens, temperature=0.0)
        return RolloutWorker(replace(self.sampler, sampling=sampling, max_batch=batch_size), self.stage)


def run_single_turn(sampler: Sampler, params: Params, prompts: Sequence[Prompt], key: jax.Array) -> list[Episode]:
    """One answer to every prompt."""
    episodes = [Episode(prompt.case, list(prompt.tokens), len(prompt.tokens)) for prompt in prompts]
    generate_turn(sampler, params, episodes, [prompt.case for prompt in prompts], key)
    for episode in episodes:
        episode.stream += episode.turns[0].tokens
    return episodes


def run_multi_turn(
    sampler: Sampler, params: Params, prompts: Sequence[Prompt], key: jax.Array, stage: EnvironmentSpec
) -> list[Episode]:
    """Turn after turn, until the environment is done, a turn makes no call or is cut off, or a limit is reached.

    The environments live in the main process; the others are told what came back.
    """
    with _environments(stage, len(prompts)) as environments:
        cases = [Case.from_json(row) for row in agreed(lambda: _openings(environments, prompts))]
        episodes = []
        for case in cases:
            tokens = sampler.codec.prompt(case.tools, case.messages)
            episodes.append(Episode(case, tokens, len(tokens)))
        playing = list(range(len(episodes)))
        for number in range(stage.max_turns):
            chosen = [episodes[index] for index in playing]
            generate_turn(sampler, params, chosen, [cases[index] for index in playing], jax.random.fold_in(key, number))
            replies = agreed(lambda: _replies(environments, episodes, playing))  # noqa: B023 (called at once)
            last = number == stage.max_turns - 1
            playing = [
                index
                for index, reply in zip(playing, replies, strict=True)
                if _goes_on(episodes[index], cases, index, reply, last, stage, sampler)
            ]
            if not playing:
                break
    return episodes


def generate_turn(
    sampler: Sampler, params: Params, episodes: Sequence[Episode], cases: Sequence[Case], key: jax.Array
) -> None:
    """Adds a turn to every episode."""
    generation = sampler.generate(params, [episode.stream for episode in episodes], key)
    texts = sampler.texts(generation)
    for row, (episode, case) in enumerate(zip(episodes, cases, strict=True)):
        length, finished = generation.lengths[row], bool(generation.finished[row])
        tokens, logprobs = (x[row, :length].tolist() for x in (generation.tokens, generation.logprobs))
        turn = Turn(case, texts[row], finished, len(episode.stream) - 1, tuple(tokens), tuple(logprobs))
        parsed = parse_answer(turn.text)
        calls = bind_all(parsed.calls, parsed.positional, offered_tools(case))
        episode.turns.append(replace(turn, calls=tuple(calls) if finished else ()))
        episode.truncated = not finished


@contextmanager
def _environments(stage: EnvironmentSpec, count: int) -> Iterator[list[Environment]]:
    """One for each episode, in the main process."""
    made: list[Environment] = []
    try:
        if is_main():
            made += [stage.make() for _ in range(count)]
        yield made
    finally:
        for environment in made:
            environment.close()


def _openings(environments: Sequence[Environment], prompts: Sequence[Prompt]) -> list[Any]:
    with ThreadPoolExecutor(THREADS) as pool:
        cases = pool.map(lambda pair: pair[0].reset(pair[1].case), zip(environments, prompts, strict=True))
        return [case.to_json() for case in cases]


def _replies(environments: Sequence[Environment], episodes: Sequence[Episode], playing: Sequence[int]) -> list[Any]:
    """What comes back to the newest turn of every episode that is still playing."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda index: _reply(environments[index], episodes[index].turns[-1]), playing))


def _reply(environment: Environment, turn: Turn) -> dict[str, Any]:
    """Results of the turn's calls, whether the episode is over, and the gold calls of the next turn."""
    results, done = [], not turn.calls
    for call in turn.calls:
        result, over = environment.step(call)
        results.append(result)
        done = done or over
    expected = getattr(environment, "expected", ())
    return {"results": results, "done": done, "gold": [[call.to_json()] for call in expected]}


def _goes_on(
    episode: Episode,
    cases: list[Case],
    index: int,
    reply: dict[str, Any],
    last: bool,
    stage: EnvironmentSpec,
    sampler: Sampler,
) -> bool:
    """Takes the results into the episode; whether another turn follows them."""
    turn = episode.turns[-1] = replace(episode.turns[-1], results=tuple(reply["results"]))
    if not reply["done"] and not last:
        after, tokens = _continued(turn, reply["gold"], sampler)
        closing = int(turn.finished)  # EOS was a label; the conversation goes on as the format writes it
        if len(episode.stream) + len(turn.tokens) - closing + len(tokens) <= stage.max_length:
            episode.stream += [*turn.tokens[: len(turn.tokens) - closing], *tokens]
            cases[index] = after
            return True
        episode.truncated = True
    episode.stream += turn.tokens
    return False


def _continued(turn: Turn, gold: list[Any], sampler: Sampler) -> tuple[Case, list[int]]:
    """The case of the next turn, and the tokens between this answer and the next one."""
    said = Message("assistant", parse_answer(turn.text).text, turn.calls)
    results = (Message("tool", result, name=call.name) for call, result in zip(turn.calls, turn.results, strict=True))
    messages = (*turn.case.messages, said, *results)
    encoded = sampler.codec.encode(turn.case.tools, messages, generation=True)
    after = encoded.turns[-1].end
    case = Case.from_json(
        turn.case.to_json()
        | {
            "messages": [message.to_json() for message in messages],
            "gold": gold,
            "gold_kind": "alternatives" if gold else "none",
        }
    )
    return case, [int(token) for token in encoded.ids[after:]]
