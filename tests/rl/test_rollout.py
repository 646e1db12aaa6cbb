"""Episodes: tokens in, tokens out, whatever the format; and what ends them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import jax
import pytest

from tests.inference.speaking import Scripted, Unused
from tests.tooluse.text.templates import QWEN_3
from tl_jax.config import SamplingConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.inference.engine import Generation, Listener
from tl_jax.rl.episodes import Episode
from tl_jax.rl.rollout import EnvironmentSpec, RolloutWorker, run_multi_turn
from tl_jax.rl.waiting import Watch
from tl_jax.tooluse.environments.replay import Replay
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory
from tl_jax.tooluse.text.spoken import Include
from tl_jax.training.stop import Interrupted

CHATML = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLACE = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TOOLS = (Tool("find_city", "Finds a city.", PLACE), Tool("find_country", "Finds a country.", PLACE))
CALLS = (Call("find_city", {"name": "Oslo"}), Call("find_country", {"name": "Norway"}))
TRAJECTORY = Trajectory(
    "t",
    TOOLS,
    (
        Message("user", "Where is Oslo, and where is Norway?"),
        Message("assistant", "", (CALLS[0],)),
        Message("tool", '{"row": 7}'),
        Message("assistant", "", (CALLS[1],)),
        Message("tool", '{"row": 8}'),
        Message("assistant", "In rows 7 and 8."),
    ),
)


@pytest.fixture(scope="module", params=["paper", "chat"])
def codec(request: pytest.FixtureRequest, model_dir: Path) -> Codec:
    tokenizer = load_tokenizer(model_dir)
    if request.param == "chat":
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.chat_template = CHATML
    return Codec.open(request.param, tokenizer)


def played(
    codec: Codec,
    lines: Sequence[Sequence[str]],
    trajectory: Trajectory = TRAJECTORY,
    *,
    max_turns: int = 9,
    max_length: int = 4096,
    new_tokens: int = 120,
    loose: bool = False,
    include: tuple[Include, ...] = (),
) -> tuple[list[Episode], Scripted]:
    sampler = Scripted(
        Unused(), codec, SamplingConfig(max_new_tokens=new_tokens), codec.stop_ids, lines=lines, loose=loose
    )
    stage = EnvironmentSpec(lambda: Replay([trajectory]), max_turns, max_length, include=include)
    case = Replay([trajectory]).cases[0]
    prompts = [Prompt(case, tuple(codec.prompt(case.tools, case.messages)))] * len(lines[0])
    return run_multi_turn(sampler, prompts, jax.random.key(0), stage), sampler


def spoken(codec: Codec, *calls: Call) -> str:
    """Calls as the format writes them, from right after the generation prompt."""
    rendered = codec.renderer.render(TOOLS, [TRAJECTORY.messages[0], Message("assistant", "", calls)])
    start, end = rendered.turns[0].answer
    return rendered.text[start:end]


def test_the_gold_calls_replayed_are_the_training_stream(codec: Codec) -> None:
    """What was read is, token for token, the beginning of the stream that supervised training makes of the recording,
    and every answer with its end is where a target of it is."""
    (episode,), _ = played(codec, [[spoken(codec, call)] for call in CALLS])
    whole = codec.encode(TOOLS, TRAJECTORY.messages)
    until = whole.turns[1].end
    assert episode.stream[:until] == whole.ids[:until].tolist()
    assert len(episode.stream) == until + 1  # the last answer is read with its EOS: nothing follows
    for turn, expected in zip(episode.turns, whole.turns, strict=False):
        assert turn.predict_from == expected.start - 1
        assert list(turn.tokens[:-1]) == whole.ids[expected.start : expected.end].tolist()
    assert [turn.results for turn in episode.turns] == [('{"row": 7}',), ('{"row": 8}',)]
    assert [turn.case.gold for turn in episode.turns] == [(CALLS,), ((CALLS[1],),)]
    assert not episode.truncated


def test_recorded_calls_may_be_made_at_once_or_one_after_another(codec: Codec) -> None:
    """Three recorded calls, two of them in one turn: each way to make them earns 1 in every turn."""
    first, second = CALLS
    third = Call("find_city", {"name": "Bergen"})
    messages = TRAJECTORY.messages
    recording = Trajectory(
        "t",
        TOOLS,
        (
            messages[0],
            Message("assistant", "", (first, second)),
            messages[2],
            messages[4],
            Message("assistant", "", (third,)),
            Message("tool", '{"row": 9}'),
        ),
    )
    ways = [[(first, second), (third,)], [(first,), (third, second)], [(second,), (first,), (third,)]]
    for way in ways:
        (episode,), _ = played(codec, [[spoken(codec, *calls)] for calls in way], recording)
        assert [turn.calls for turn in episode.turns] == way
        assert [score(turn.text, turn.case).value for turn in episode.turns] == [1.0] * len(way)


def test_nothing_that_was_sampled_is_tokenised_again(codec: Codec) -> None:
    """A policy that spells its calls in single characters is continued from those."""
    (usual,), first = played(codec, [[spoken(codec, call)] for call in CALLS])
    (spelt,), second = played(codec, [[spoken(codec, call)] for call in CALLS], loose=True)
    start = len(first.asked[0][0])
    answer = list(spelt.turns[0].tokens[:-1])
    assert len(answer) > len(usual.turns[0].tokens)
    assert second.asked[1][0][start : start + len(answer)] == answer
    following = first.asked[1][0][start + len(usual.turns[0].tokens) - 1 :]
    assert second.asked[1][0][start + len(answer) :] == following


def test_a_template_that_rewrites_the_past_is_read_anew(model_dir: Path) -> None:
    """Each turn answers exactly the prompt of the conversation so far, as supervised training has it."""
    tokenizer = load_tokenizer(model_dir)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = QWEN_3
    codec = Codec.open("chat", tokenizer)
    lines = [[codec.renderer.answer([call])] for call in CALLS]
    (episode,), sampler = played(codec, lines)
    assert len(episode.turns) == 2
    ends = []
    for turn, asked, index in zip(episode.turns, sampler.asked, (1, 3), strict=True):
        sample = codec.encode_turn(TOOLS, TRAJECTORY.messages[: index + 1])
        assert (
            asked
            == [codec.prompt(TOOLS, TRAJECTORY.messages[:index])]
            == [sample.ids[: sample.turns[-1].start].tolist()]
        )
        begin = turn.predict_from + 1 - len(asked[0])
        assert episode.stream[begin : turn.predict_from + 1] == asked[0]
        assert begin == (ends[-1] if ends else 0)
        ends.append(turn.predict_from + 1 + len(turn.tokens))
        assert tuple(episode.stream[turn.predict_from + 1 : ends[-1]]) == turn.tokens
    assert episode.restarts == ends[:-1]
    assert episode.turns[1].results == ('{"row": 8}',)


def test_thoughts_are_read_again_if_they_are_included(model_dir: Path) -> None:
    tokenizer = load_tokenizer(model_dir)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = QWEN_3
    codec = Codec.open("chat", tokenizer)
    lines = [[codec.renderer.answer([call], "<think>\nHm.\n</think>\n\n")] for call in CALLS]
    choices: tuple[tuple[Include, ...], ...] = ((), ("reasoning",))
    for include in choices:
        _, sampler = played(codec, lines, include=include)
        assert ("Hm." in tokenizer.decode(sampler.asked[1][0])) == bool(include)


def test_what_ends_an_episode(codec: Codec) -> None:
    """An unknown call, an answer in words, an answer without end; the fourth one plays on alone."""
    right = spoken(codec, CALLS[0])
    wrong = spoken(codec, Call("find_city", {"name": "Rome"}))
    lines = [[wrong, "I do not know.", right * 40, right], ["Done."]]
    episodes, sampler = played(codec, lines, new_tokens=80)
    assert [len(episode.turns) for episode in episodes] == [1, 1, 1, 2]
    assert [len(asked) for asked in sampler.asked] == [4, 1]
    assert [episode.truncated for episode in episodes] == [False, False, True, False]
    assert "no such call" in episodes[0].turns[0].results[0]
    assert [episode.turns[0].calls != () for episode in episodes] == [True, False, False, True]
    for episode in episodes:
        assert episode.stream[-len(episode.turns[-1].tokens) :] == list(episode.turns[-1].tokens)


def test_limits_on_turns_and_length(codec: Codec) -> None:
    lines = [[spoken(codec, call)] for call in CALLS]
    (episode,), _ = played(codec, lines, max_turns=1)
    assert (len(episode.turns), episode.truncated) == (1, True)
    (episode,), _ = played(codec, lines, max_turns=2)
    assert (len(episode.turns), episode.truncated) == (2, False)  # the environment ended it
    (episode,), sampler = played(codec, lines)
    enough = len(sampler.asked[1][0])
    (episode,), _ = played(codec, lines, max_length=enough)
    assert len(episode.turns) == 2
    (episode,), _ = played(codec, lines, max_length=enough - 1)
    assert (len(episode.turns), episode.truncated) == (1, True)


def test_environments_answer_turns_that_have_ended_while_others_are_written(codec: Codec) -> None:
    """The last row ends first; the next one is written on until the environment has answered."""
    answered = threading.Semaphore(0)

    class Telling(Replay):
        def step(self, call: Call) -> tuple[str, bool]:
            answered.release()
            return f"{call.arguments['name']} is found", False

    class RowByRow(Scripted):
        def tell(self, answers: Generation, listener: Listener) -> None:
            for row in reversed(range(1, len(answers.tokens))):  # of the first nothing is told before the end
                listener.ended([row], answers.of([row]))
                assert answered.acquire(timeout=20)

    places = ("Oslo", "Rome", "Bergen")
    calls = [Call("find_city", {"name": place}) for place in places]
    lines = [[spoken(codec, call) for call in calls]]
    sampler = RowByRow(Unused(), codec, SamplingConfig(max_new_tokens=120), codec.stop_ids, lines=lines)
    case = Replay([TRAJECTORY]).cases[0]
    prompts = [Prompt(case, tuple(codec.prompt(case.tools, case.messages)))] * 3
    spec = EnvironmentSpec(lambda: Telling([TRAJECTORY]), 1, 4096)
    found = run_multi_turn(sampler, prompts, jax.random.key(0), spec)
    assert [one.turns[0].calls for one in found] == [(call,) for call in calls]
    assert [one.turns[0].results for one in found] == [(f"{place} is found",) for place in places]


def test_single_answers_are_given_up_between_two_batches(codec: Codec) -> None:
    asked = []

    class InBatches(Scripted):
        def said(self, prompts: Sequence[Sequence[int]], listener: Listener) -> Sequence[str]:
            for one in prompts:
                listener.before_batch()
                asked.append(one)
            return super().said(prompts, listener)

    sampler = InBatches(Unused(), codec, SamplingConfig(max_new_tokens=50), codec.stop_ids, lines=[["a", "b", "c"]])
    prompts = [Prompt(Replay([TRAJECTORY]).cases[0], (1, 2))] * 3
    worker = RolloutWorker(sampler, None, Watch(halts=lambda: len(asked) == 2))
    with pytest.raises(Interrupted):
        worker(None, prompts, jax.random.key(0))  # type: ignore[arg-type]
    assert len(asked) == 2
    assert len(RolloutWorker(sampler, None)(None, prompts, jax.random.key(0))) == 3  # type: ignore[arg-type]
