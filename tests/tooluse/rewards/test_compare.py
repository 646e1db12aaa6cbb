"""What is said about a difference between two calls."""

from __future__ import annotations

import pytest

from tl_jax.tooluse.rewards.compare import Fault
from tl_jax.tooluse.schema import Call

SAID, GOLD = Call("find", {"word": "love"}), Call("search", {"word": "hate"})


@pytest.mark.parametrize(
    ("category", "arguments"),
    [
        ("wrong_tool", ()),
        ("hallucinated_tool", ()),
        ("parse_failure", ()),
        ("wrong_value", ("word",)),
        ("missing_parameter", ("word",)),
    ],
)
def test_a_reason_that_is_given_is_what_is_told(category: str, arguments: tuple[str, ...]) -> None:
    assert Fault(category, arguments, SAID, GOLD, "the third call\ncame first").detail == "the third call came first"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("wrong_tool", (), SAID, GOLD), "'find' instead of 'search'"),
        (Fault("wrong_tool", (), SAID), "'find', where no call is needed"),
        (Fault("hallucinated_tool", (), SAID, GOLD), "'find' is not offered"),
        (Fault("wrong_value", ("word",), SAID, GOLD), "'word' is 'love', not 'hate'"),
        (Fault("wrong_value", ("word", "n")), "'word', 'n'"),
        (Fault("parse_failure"), ""),
    ],
)
def test_without_a_reason_the_calls_tell(fault: Fault, words: str) -> None:
    assert fault.detail == words
