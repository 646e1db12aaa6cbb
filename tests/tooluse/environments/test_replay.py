"""Replay: recordings answer as they were recorded, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

from tl_jax.errors import UserError
from tl_jax.tooluse.environments.base import Environment
from tl_jax.tooluse.environments.replay import NOT_RECORDED, Replay
from tl_jax.tooluse.mae.apply import apply_mae, find_error
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, Case, Message, Tool, Trajectory

LOOK_UP = Tool(
    "look_up",
    parameters={"properties": {"word": {"type": "string"}, "n": {"type": "integer", "default": 1}}},
)
QUESTION = (Message("system", "Be kind."), Message("user", "Cats and dogs?"), Message("assistant", "Let me see."))


def turn(*calls: Call, weight: float | None = None) -> Message:
    return Message("assistant", tool_calls=calls, weight=weight)


def look_up(word: str, **more: object) -> Call:
    return Call("look_up", {"word": word, **more})


def trajectory(*messages: Message, name: str = "t", opening: tuple[Message, ...] = QUESTION) -> Trajectory:
    return Trajectory(name, (LOOK_UP,), (*opening, *messages), "suite", {"from": "here"})


PETS = trajectory(
    turn(look_up("cat"), look_up("dog")),
    Message("tool", "meows"),
    Message("tool", "barks"),
    turn(look_up("cat")),
    Message("tool", "meows again"),
    Message("assistant", "They meow and bark."),
)


def begun(recording: Trajectory) -> Replay:
    replay = Replay([recording])
    replay.reset(replay.cases[0])
    return replay


def test_the_opening_is_what_comes_before_the_first_call() -> None:
    replay = Replay([PETS])
    calls = (look_up("cat"), look_up("dog"), look_up("cat"))
    wanted = Case("t", (LOOK_UP,), QUESTION, (calls,), "open", "suite", meta={"from": "here"})
    assert replay.cases == [wanted]
    bare = replace(wanted, tools=(), messages=QUESTION[:1], gold=())
    assert replay.reset(bare) == wanted
    assert replay.expected == calls


def test_calls_are_answered_in_any_order_each_once() -> None:
    replay = begun(PETS)
    environment: Environment = replay  # which mypy checks
    assert environment.step(look_up("dog")) == ("barks", False)
    assert environment.step(look_up("cat")) == ("meows", False)
    assert replay.expected == (look_up("cat"),)
    assert replay.step(look_up("cat")) == ("meows again", True)
    assert replay.step(look_up("cat")) == (NOT_RECORDED, True)


def test_reset_begins_anew() -> None:
    replay = begun(PETS)
    replay.step(look_up("cat"))
    replay.reset(replay.cases[0])
    assert replay.expected == replay.cases[0].gold[0]
    assert replay.step(look_up("cat")) == ("meows", False)


@pytest.mark.parametrize(
    "call",
    [
        look_up("cow"),
        look_up("cat", n=2),
        look_up("cat", page=1),
        Call("look_up"),
        Call("find", {"word": "cat"}),
        Call("look_up", {"word": ["cat"]}),
    ],
)
def test_a_call_that_was_not_recorded_ends_the_episode_with_an_error(call: Call) -> None:
    result, done = begun(PETS).step(call)
    assert done
    assert find_error(result, "paper")


def test_arguments_are_compared_with_their_types() -> None:
    recording = trajectory(turn(look_up("cat", n=2)), Message("tool", "purrs"))
    assert begun(recording).step(look_up("cat", n=2.0)) == ("purrs", True)
    assert begun(recording).step(look_up("cat", n="2"))[0] == NOT_RECORDED
    assert begun(recording).step(look_up("cat", n=True))[0] == NOT_RECORDED


def test_a_default_may_be_left_out_and_a_wild_argument_may_be_anything() -> None:
    assert begun(PETS).step(look_up("cat", n=1)) == ("meows", False)
    wild = trajectory(turn(Call("look_up", {"word": "cat"}, wild=("word",))), Message("tool", "purrs"))
    assert begun(wild).step(look_up("anything")) == ("purrs", True)


def test_a_failed_call_is_answered_but_not_expected() -> None:
    recording = trajectory(
        turn(Call("lookup", {"wrod": "cat"}), weight=0),
        Message("tool", "Error: unknown tool"),
        turn(look_up("cat"), weight=0),
        Message("tool", "Error: timed out"),
        turn(look_up("cat"), weight=0.5),
        Message("tool", "meows"),
    )
    replay = begun(recording)
    assert replay.cases[0].gold == ((look_up("cat"),),)
    assert replay.cases[0].messages == QUESTION
    assert replay.step(Call("lookup", {"wrod": "cat"})) == ("Error: unknown tool", False)
    assert replay.step(look_up("cat")) == ("meows", True)


def test_calls_without_a_result_are_left_out() -> None:
    recording = trajectory(
        turn(look_up("cat"), look_up("dog")),
        Message("tool", "meows"),
        Message("user", "And cows?"),
        Message("tool", "nobody asked"),
        turn(look_up("cow")),
    )
    assert begun(recording).expected == (look_up("cat"),)


def test_what_cannot_be_replayed_is_no_case() -> None:
    unanswered = trajectory(turn(look_up("cat")), name="unanswered")
    failed = trajectory(turn(look_up("cat"), weight=0), Message("tool", "Error"), name="failed")
    replay = Replay([trajectory(name="silent"), unanswered, PETS, failed])
    assert [case.id for case in replay.cases] == ["t"]
    for name in ("silent", "unanswered", "failed", "unheard of"):
        with pytest.raises(UserError, match=name):
            replay.reset(replace(replay.cases[0], id=name))


def test_two_recordings_of_one_id() -> None:
    with pytest.raises(UserError, match="'t'"):
        Replay([PETS, trajectory(name="other"), PETS])


def test_real_trajectories_replay_themselves(shared_data: Path) -> None:
    """The gold calls in their order give the recorded results, after MAE too, and the last one ends the episode."""
    recordings = list(read_trajectories(shared_data / "train" / "permissive_1018.jsonl"))
    marked = [apply_mae(recording)[0] for recording in recordings]
    replays = Replay(recordings), Replay(marked)
    blocked = 0
    for replay, source in zip(replays, (recordings, marked), strict=True):
        by_id = {recording.id: recording.messages for recording in source}
        for case in replay.cases:
            messages = by_id[case.id]
            first = next(index for index, message in enumerate(messages) if message.tool_calls)
            played = list(messages[:first])  # until the user speaks again
            played += takewhile(lambda message: message.role != "user", messages[first:])
            pairs = list(pairwise(played))  # in this file a turn makes one call at most
            answered = [(a, b.content) for a, b in pairs if a.tool_calls and b.role == "tool"]
            blocked += sum(a.weight == 0 for a, _ in answered)
            wanted = [(a.tool_calls[0], result) for a, result in answered if a.weight != 0]
            opening = replay.reset(case)
            assert opening.messages == messages[: messages.index(next(a for a in messages if a.tool_calls))]
            for number, (call, result) in enumerate(wanted, 1):
                assert replay.expected[0] == call
                assert replay.step(call) == (result, number == len(wanted))
    assert len(replays[0].cases) > 900
    assert blocked > 5  # most failed calls come after the user spoke again


def test_results_are_their_calls_by_id() -> None:
    """In another order, after a further call, and after the user's words."""
    cat, dog, cow = replace(look_up("cat"), id="1"), replace(look_up("dog"), id="2"), replace(look_up("cow"), id="3")
    recording = trajectory(
        turn(cat, dog),
        turn(cow),
        Message("tool", "moos", call_id="3"),
        Message("tool", "barks", call_id="2"),
        Message("user", "Hurry!"),
        Message("tool", "meows", call_id="1"),
        turn(look_up("hen")),
        Message("tool", "clucks"),
    )
    replay = begun(recording)
    assert replay.expected == (cat, dog, cow)  # what follows the user's words is left out
    assert [replay.step(call)[0] for call in (look_up("cat"), look_up("cow"), look_up("dog"))] == [
        "meows",
        "moos",
        "barks",
    ]
