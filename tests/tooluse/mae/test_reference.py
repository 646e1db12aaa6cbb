"""The released rule of MAE against an independent restatement of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.mae.apply import blocked_turns, find_error
from tl_jax.tooluse.schema import Message, Trajectory

CUES = [
    "is not defined",
    "positional argument",
    "unexpected keyword",
    "'related_searches'",
    "ConnectionError",
    '"error":',
    "not supported",
    "Invalid API call",
    "Response error",
    "Object of type SerpResults is not JSON serializable",
    "400 Client Error",
    "'error'",
    "slice indices must be integers or None or have an __index__ method",
    "connection error",
]


def squeezed(text: str) -> str:
    """What the released code compares: CJK ideographs, ASCII letters and digits, and by accident the caret."""
    kept = (c for c in text if c == "^" or "\u4e00" <= c <= "\u9fa5" or (c.isascii() and c.isalnum()))
    return "".join(kept).lower()


def released_keeps(roles_and_contents: list[tuple[str, str]]) -> list[int]:
    """The assistant messages that become samples: the last one, and those that a result without cue follows."""
    kept = []
    for i, (role, _) in enumerate(roles_and_contents):
        if role != "assistant":
            continue
        following = roles_and_contents[i + 1 :][:1]
        clean = [r == "tool" and not any(squeezed(cue) in squeezed(c) for cue in CUES) for r, c in following]
        if all(clean):
            kept.append(i)
    return kept


pieces = st.sampled_from([*CUES, "ERROR", "e r-r.o^r", "fine", "中文", "terror", "^", "\n", " "])
contents = st.one_of(st.text(max_size=15), st.lists(pieces, max_size=4).map(" ".join))


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), contents), min_size=1, max_size=8))
def test_reference_rule_is_the_released_one(conversation: list[tuple[Any, str]]) -> None:
    trajectory = Trajectory("t", (), tuple(Message(role, content) for role, content in conversation))
    kept = released_keeps(conversation)
    blocked = [block.message for block in blocked_turns(trajectory, "reference")]
    assert sorted(kept + blocked) == [index for index, _ in trajectory.turns]


@pytest.mark.parametrize(
    "result", ["No errors were found.", '{"error": null}', "Terror attacks in 1998", "He is. Not defined by"]
)
def test_reference_false_hits(result: str) -> None:
    assert find_error(result, "reference") is not None


@pytest.mark.parametrize(
    "result", ["404 Not Found", "Invalid parameter", "Rate limit exceeded", '{"status": "fail"}', "调用失败"]
)
def test_reference_misses(result: str) -> None:
    assert find_error(result, "reference") is None


def test_reference_keeps_the_caret_and_nothing_else_of_punctuation() -> None:
    assert find_error("e-R r.\nO_r", "reference") is not None
    assert find_error("erro^r", "reference") is None
