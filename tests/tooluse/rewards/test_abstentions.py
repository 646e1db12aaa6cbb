"""Where no call is needed: words are right, and whatever tries to make a call is not, in rewards and metrics alike."""

from __future__ import annotations

import pytest

from tests.tooluse.rewards.abstentions import ATTEMPTS, PROSE, TOOLS
from tl_jax.tooluse.metrics import Scoring, score_prediction
from tl_jax.tooluse.rewards.reference import Reference
from tl_jax.tooluse.rewards.score import PROFILES, score
from tl_jax.tooluse.schema import Call, Case, Message
from tl_jax.tooluse.text.syntaxes import SYNTAXES, Syntax

NO_CALL = Case("c", TOOLS, (Message("user", "Who won?"),), ((),), "parallel")
GRADED = [name for name, profile in PROFILES.items() if not isinstance(profile, Reference)]
POLICIES = [Scoring(policy, strict) for policy in ("any", "all") for strict in (False, True)]


def test_there_are_enough() -> None:
    assert len(set(PROSE)) == len(PROSE) >= 60
    assert len(set(ATTEMPTS)) == len(ATTEMPTS) >= 60


@pytest.mark.parametrize("answer", PROSE)
def test_words_are_right(answer: str) -> None:
    for profile in GRADED:
        reward = score(answer, NO_CALL, profile)
        assert reward.category == "correct", (profile, reward.explanation)
    for scoring in POLICIES:
        assert score_prediction(answer, NO_CALL, scoring).cf


@pytest.mark.parametrize("answer", [*ATTEMPTS, *(syntax.example for syntax in SYNTAXES.values())])
def test_an_attempt_is_wrong(answer: str) -> None:
    for profile in GRADED:
        reward = score(answer, NO_CALL, profile)
        assert reward.category != "correct", profile
        assert reward.value < score("It is 4.", NO_CALL, profile).value
    assert score(answer, NO_CALL).value < 0
    for scoring in POLICIES:
        assert not score_prediction(answer, NO_CALL, scoring).ts


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=lambda syntax: syntax.name)
def test_an_attempt_that_is_cut_off_is_one_as_soon_as_it_names_the_tool(syntax: Syntax) -> None:
    whole = syntax.write([Call("get_weather", {"city": "Oslo", "days": [1, 2]})])
    begun = whole.index("get_weather") + len("get_weather")
    for text in (whole, f"Let me see.\n{whole}"):
        shift = len(text) - len(whole)
        for end in range(begun + 3, len(whole) + 1):
            assert score(text[: shift + end], NO_CALL).value < 0, text[: shift + end]
