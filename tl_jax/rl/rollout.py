"""Rollouts: one answer to a prompt, or turn after turn with an environment that answers the calls.

Tokens in, tokens out: what the model wrote stays as it was sampled. Only what follows an answer, the tools' results and
the next generation prompt, is encoded, as part of the whole conversation and by the same codec as in training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax

from tl_jax.config import SamplingConfig
from tl_jax.config.faults import UNGUARDED, FaultsConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt
from tl_jax.inference.engine import Generation, Listener
from tl_jax.inference.sampler import Sampler
from tl_jax.model.parameters import Params
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.faults import described
from tl_jax.rl.guard import GuardedEnvironment, Reply
from tl_jax.rl.waiting import NO_WATCH, SideBySide, Watch, side_by_side
from tl_jax.tooluse.environments.base import Environment, UserTurn
from tl_jax.tooluse.rewards.compare import bind_all, offered_tools
from tl_jax.tooluse.schema import Call, Case, Message
from tl_jax.tooluse.text.parse import parse_answer
from tl_jax.tooluse.text.spoken import Include, with_parts
from tl_jax.training.distributed import agreed, is_main
from tl_jax.training.stop import Interrupted

THREADS = 8
"""Environments that work at the same time."""
LEAVE_SECONDS = 5.0
"""For closing all environments of a rollout that a signal ends: whoever sent it may not wait for long."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """What answers calls, and how long an episode may get."""

    make: Callable[[], Environment]
    """a new environment; every episode has its own"""
    max_turns: int
    max_length: int
    """tokens that the prompt of a turn may have, earlier turns included"""
    faults: FaultsConfig = UNGUARDED
    """deadlines, and what becomes of an environment that fails"""
    include: tuple[Include, ...] = ()
    """parts of the model's answers that are written in the prompts after them, as `DataConfig.include`"""


class RolloutWorker:
    """Samples episodes: of several turns with an environment, of one turn without."""

    def __init__(self, sampler: Sampler, environment: EnvironmentSpec | None, watch: Watch = NO_WATCH) -> None:
        self.sampler, self.environment, self.watch = sampler, environment, watch

    def __call__(self, params: Params, prompts: Sequence[Prompt], key: jax.Array) -> list[Episode]:
        """An episode for every prompt; the same ``key`` gives the same ones.

        Raises:
            Interrupted: ``watch`` halted it between two turns, or between two batches of a turn's prompts.
        """
        with self.sampler.serving(params):
            if self.environment is None:
                return run_single_turn(self.sampler, prompts, key, self.watch)
            return run_multi_turn(self.sampler, prompts, key, self.environment, self.watch)

    def greedy(self, batch_size: int | Literal["auto"]) -> RolloutWorker:
        """The same without chance, ``batch_size`` episodes at once."""
        length = self.sampler.sampling.max_new_tokens
        sampling = SamplingConfig(max_new_tokens=length, temperature=0.0, batch_size=batch_size)
        return RolloutWorker(replace(self.sampler, sampling=sampling), self.environment, self.watch)


def run_single_turn(
    sampler: Sampler, prompts: Sequence[Prompt], key: jax.Array, watch: Watch = NO_WATCH
) -> list[Episode]:
    """One answer to every prompt.

    Raises:
        Interrupted: ``watch`` halted it between two batches.
    """
    watch.tell(f"{len(prompts)} answers are sampled")
    episodes = [Episode.begin(prompt) for prompt in prompts]
    for episode, turn in zip(episodes, generate_turn(sampler, prompts, key, watch), strict=True):
        episode.end(turn)
    return episodes


def run_multi_turn(
    sampler: Sampler,
    prompts: Sequence[Prompt],
    key: jax.Array,
    spec: EnvironmentSpec,
    watch: Watch = NO_WATCH,
    numbers: Sequence[int] | None = None,
) -> list[Episode]:
    """Turn after turn, until the environment is done, a turn is cut off or makes no call, or a limit is reached.

    Where a turn makes no call, an environment with `user_says` may go on with what the user says. The environments live
    in the main process; the others are told what came back. ``numbers`` are those of `generate`, by default the
    episodes' indices.

    Raises:
        Interrupted: ``watch`` halted it between two turns, or between two batches of a turn's prompts.
    """
    codec, numbers = sampler.codec, numbers or range(len(prompts))
    with _environments(spec, len(prompts)) as environments, sampler.engine.conversations():
        openings = _told(partial(_openings, environments, prompts, watch))
        episodes, first = [], []
        for asked, row in zip(prompts, openings, strict=True):
            fault, opening = _tried("opening", partial(_opening, row, codec, spec), spec.faults)
            first.append(opening or asked)
            episodes.append(Episode.begin(first[-1], fault))
        pending = dict(enumerate(first))  # what the episodes that still go on are to answer next
        for number in range(spec.max_turns):
            watch.tell(f"turn {number + 1} is sampled: {len(pending)} of {len(prompts)} episodes")
            own, turn_key = [numbers[i] for i in pending], jax.random.fold_in(key, number)
            going = [environments[i] for i in pending] if environments else []
            with SideBySide(GuardedEnvironment.reply, THREADS) as calls:
                ended = partial(_answer, calls, going)
                turns = generate_turn(sampler, list(pending.values()), turn_key, watch, own, ended)
                replies = [Reply(*row) for row in _told(partial(calls.results, watch.of("environments answer")))]
            following = {}
            for (i, prompt), turn, reply in zip(pending.items(), turns, replies, strict=True):
                answered = replace(turn, results=tuple(reply.results))
                last = number == spec.max_turns - 1
                episodes[i].hear(reply.outcome, reply.fault, reply.raised)
                after = None
                if not (last or reply.done or episodes[i].fault):
                    goes_on = partial(
                        next_prompt, prompt, answered, reply.expected, codec, reply.user_turn, spec.include
                    )
                    fault, after = _tried("what it says", goes_on, spec.faults)
                    episodes[i].hear(reply.outcome, fault)
                if after and len(after.tokens) <= spec.max_length:
                    episodes[i].go_on(answered, after)
                    following[i] = after
                else:
                    over = reply.done or bool(episodes[i].fault)
                    episodes[i].end(answered, too_long=not over)
            pending = following
            if not pending:
                break
    return episodes


def generate_turn(
    sampler: Sampler,
    prompts: Sequence[Prompt],
    key: jax.Array,
    watch: Watch = NO_WATCH,
    numbers: Sequence[int] | None = None,
    on_turn: Callable[[int, Turn], None] = lambda row, turn: None,
) -> list[Turn]:
    """The model's answer to every prompt, with the calls it makes. ``numbers``, of their episodes, and ``key`` decide
    what is drawn. ``on_turn`` is told of each answer when it has ended, while others are written.

    Raises:
        Interrupted: ``watch`` halted it between two batches.
    """
    turns: dict[int, Turn] = {}

    def before_batch() -> None:
        if agreed(watch.halts):
            raise Interrupted

    def ended(rows: Sequence[int], answers: Generation) -> None:
        for at, (row, text) in enumerate(zip(rows, sampler.texts(answers), strict=True)):
            turns[row] = _turn(prompts[row], text, answers, at)
            on_turn(row, turns[row])

    asked = [prompt.tokens for prompt in prompts]
    generation = sampler.generate(asked, key, Listener(before_batch, ended), numbers)
    rest = [row for row in range(len(prompts)) if row not in turns]  # an engine need not tell of all
    ended(rest, generation.of(rest))
    return [turns[row] for row in range(len(prompts))]


def _turn(prompt: Prompt, text: str, answers: Generation, row: int) -> Turn:
    length, finished = answers.lengths[row], bool(answers.finished[row])
    tokens, logprobs = (x[row, :length].tolist() for x in (answers.tokens, answers.logprobs))
    filtered = answers.drawn_logprobs
    drawn = None if filtered is None else tuple(filtered[row, :length].tolist())
    calls = _calls(text, prompt.case) if finished else ()
    before = prompt.before + len(prompt.tokens) - 1
    read = None if answers.read is None else int(answers.read[row])
    sampled = (tuple(tokens), tuple(logprobs), calls)
    return Turn(prompt.case, text, finished, before, *sampled, drawn_logprobs=drawn, read=read)


def next_prompt(
    prompt: Prompt,
    turn: Turn,
    expected: Sequence[Any],
    codec: Codec,
    says: UserTurn | None = None,
    include: Collection[Include] = (),
) -> Prompt:
    """What the model is asked after a turn: the conversation with its answer, and the results of its calls or what the
    user says to it.

    Where the chat template rewrites the past, the model reads the conversation anew, as it is written now.

    Args:
        prompt: that the turn answered.
        turn: a finished one, with results.
        expected: the calls still expected, as JSON: gold of the next turn.
        codec: encodes what follows the answer.
        says: what the user says; the tools that come with it count as offered from now on.
        include: what else of the answer than its text and calls is written.
    """
    answer = parse_answer(turn.text, offered_tools(prompt.case).values())
    said = with_parts(Message("assistant", answer.text, turn.calls, reasoning=answer.reasoning or None), include)
    results = (Message("tool", result, name=call.name) for call, result in zip(turn.calls, turn.results, strict=True))
    messages = (*prompt.case.messages, said, *results, *(says.messages if says else ()))
    gold = (tuple(map(Call.from_json, expected)),) if expected else ()
    case = replace(prompt.case, messages=messages, gold=gold, gold_kind="open" if gold else "none")
    encoded = codec.encode(case.tools, messages, generation=True)
    case = replace(case, tools=(*case.tools, *(says.tools if says else ())))
    written = next((one for one in encoded.turns if one.message == len(prompt.case.messages)), None)
    if written is None:
        return Prompt(case, tuple(encoded.ids.tolist()), prompt.before + len(prompt.tokens) + len(turn.tokens))
    between = encoded.ids[written.end :].tolist()
    spoken = turn.tokens[:-1]  # without EOS, which was a label: the conversation goes on as the format writes it
    return Prompt(case, (*prompt.tokens, *spoken, *between), prompt.before)


def _calls(text: str, case: Case) -> tuple[Call, ...]:
    """The calls that an answer makes, positional arguments named by the tools on offer."""
    offered = offered_tools(case)
    parsed = parse_answer(text, offered.values())
    return tuple(bind_all(parsed.calls, parsed.positional, offered))


def _opening(row: Mapping[str, Any], codec: Codec, spec: EnvironmentSpec) -> Prompt:
    """What the model is asked first.

    Raises:
        ValueError: it is too long.
    """
    case = Case.from_json(row)
    tokens = tuple(codec.prompt(case.tools, case.messages))
    if len(tokens) > spec.max_length:
        raise ValueError(f"{len(tokens)} tokens, where {spec.max_length} have room")
    return Prompt(case, tokens)


def _tried(what: str, make: Callable[[], Prompt], faults: FaultsConfig) -> tuple[str, Prompt | None]:
    """A prompt out of what an environment says, or why there is none: it may say what the text format cannot."""
    try:
        return "", make()
    except Exception as error:
        if faults.on_error == "raise":
            raise
        return f"environment, {what}: {described(error)}", None


@contextmanager
def _environments(spec: EnvironmentSpec, count: int) -> Iterator[list[GuardedEnvironment]]:
    """One for each episode, in the main process; all are closed in the end, as far as there is time."""
    guarded = [GuardedEnvironment(spec.make, spec.faults) for _ in range(count)] if is_main() else []
    until = math.inf
    try:
        yield guarded
    except Interrupted:
        until = time.monotonic() + LEAVE_SECONDS
        raise
    finally:
        watch = Watch(halts=lambda: time.monotonic() > until)
        side_by_side(GuardedEnvironment.close, [(one,) for one in guarded], THREADS, watch)


def _openings(environments: Sequence[GuardedEnvironment], prompts: Sequence[Prompt], watch: Watch) -> list[Any] | None:
    """The cases with which the episodes begin, as JSON; None if the rollout is given up."""
    rows = [(environment, prompt.case) for environment, prompt in zip(environments, prompts, strict=True)]
    cases = side_by_side(GuardedEnvironment.reset, rows, THREADS, watch.of("environments begin"))
    return None if cases is None else [case.to_json() for case in cases]


def _answer(calls: SideBySide[Reply], environments: Sequence[GuardedEnvironment], row: int, turn: Turn) -> None:
    """Has a turn that has ended answered by the environment of its row, in the main process, which has them."""
    if environments:
        calls.add(row, (environments[row], turn))


def _told(make: Callable[[], list[Any] | None]) -> list[Any]:
    """What the main process has found, in all of them.

    Raises:
        Interrupted: it has found that the run is to end.
    """
    found: list[Any] | None = agreed(make)
    if found is None:
        raise Interrupted
    return found
