"""The counts of `tl-jax analyze` on a conversation counted by hand, and against plain restatements."""

from __future__ import annotations

import statistics
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.analysis import Distribution, analyse
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

TOOLS = tuple(Tool(name) for name in ("getUser", "get_user_orders", "get", "finish"))


def turn(*calls: Call) -> Message:
    return Message("assistant", "", calls)


def result(content: str) -> Message:
    return Message("tool", content)


F1, F2, G = Call("f", {"x": 1}), Call("f", {"x": 2}), Call("g")
EPISODE = Trajectory(
    "a",
    TOOLS,
    (
        Message("user", "go"),
        turn(F1),
        result("Error: no"),  # next: the same call
        turn(F1),
        result("Error: no"),  # next: the same tool; F1 comes again later
        Message("assistant", "thinking"),
        turn(F2),
        result("Read timed out"),  # next: another tool
        turn(G),
        result("3"),
        turn(F1),
        result("f() got an unexpected keyword argument 'x'"),  # next: nothing
        Message("assistant", "done"),
    ),
)
CLEAN = Trajectory("b", (), (Message("user", "go"), turn(G, G), result("3"), result("4")))


def test_errors_and_what_follows_them() -> None:
    found = analyse([EPISODE, CLEAN])
    assert (found.trajectories, found.turns.total, found.calling_turns, found.calls.total) == (2, 8, 6, 7)
    errors = found.errors
    assert errors.turns == {"unknown_error": 2, "environment": 1, "parameter_hallucination": 1}
    assert errors.trajectories == {"unknown_error": 1, "environment": 1, "parameter_hallucination": 1}
    assert (errors.any_trajectory, errors.calls) == (1, 4)
    assert set(errors.next_step.values()) == {1}
    assert len(errors.next_step) == 4
    assert (errors.same_call_later, errors.same_tool_later) == (2, 3)


def test_the_rule_decides_what_is_an_error() -> None:
    assert analyse([EPISODE], rule="none").errors.turns.total() == 0
    assert analyse([EPISODE], packs=("python",)).errors.turns == {"unknown_error": 2, "parameter_hallucination": 1}


def test_names_that_begin_alike() -> None:
    names = analyse([Trajectory("a", TOOLS, EPISODE.messages)]).names
    assert names.characters.counts == {0: 1, 3: 3}  # finish; "get" in the three others
    assert names.words.counts == {0: 1, 1: 1, 2: 2}  # get, user
    assert names.contained == 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_distributions(values: list[int]) -> None:
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    assert distribution.mean == statistics.fmean(values)
    assert distribution.quantile(0.5) == statistics.median_low(values)
    assert (distribution.quantile(0.0), distribution.quantile(1.0)) == (min(values), max(values))
    assert distribution.share(10) == sum(value >= 10 for value in values) / len(values)


def test_real_data(shared_data: Path) -> None:
    """4.4 % of the trajectories hold an error, as the data's own description says."""
    found = analyse(read_trajectories(shared_data / "train" / "permissive_1018.jsonl"))
    assert found.trajectories == 1018
    assert round(100 * found.errors.any_trajectory / found.trajectories, 1) == 4.4
    assert found.errors.next_step.total() == found.errors.calls >= found.errors.turns.total()
