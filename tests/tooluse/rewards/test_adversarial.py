"""Nobody earns more than deserved, nothing is ever executed, and no answer takes long."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.growth import takes_less
from tests.tooluse.rewards.attacks import NO_CALL, PARALLEL, SEVERAL, SINGLE, Attack, attacks
from tl_jax.tooluse.rewards.reference import Reference
from tl_jax.tooluse.rewards.score import PROFILES, RewardTable, score
from tl_jax.tooluse.text.render import PaperRenderer

SECONDS = 0.05
OWN = RewardTable("own", parse_failure=-1, hallucinated_tool=-3, wrong_tool=-0.5, wrong_value=0.2, correct=2)
ORDERED = RewardTable("ordered", pairing="in_order")
GRADED = [
    *(name for name, profile in PROFILES.items() if not isinstance(profile, Reference)),  # which is easily cheated
    OWN,
    ORDERED,
]

TABLES = [one for one in GRADED if isinstance(PROFILES.get(one) if isinstance(one, str) else one, RewardTable)]

events: list[str] | None = None


def name(profile: str | RewardTable) -> str:
    return profile if isinstance(profile, str) else profile.name


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if events is not None and event in {"open", "exec", "import", "os.system", "subprocess.Popen", "pickle.find_class"}:
        events.append(f"{event} {arguments[:1]!r:.80}")


sys.addaudithook(_watch)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Attack]:
    return list(attacks(str(tmp_path_factory.mktemp("attacks") / "touched")))


def test_there_are_many_and_no_two_are_the_same(everything: list[Attack]) -> None:
    assert len({(attack.case.id, attack.answer) for attack in everything}) >= 200
    assert len({attack.name for attack in everything}) == len(everything)


@pytest.mark.parametrize("profile", GRADED, ids=name)
def test_none_earns_more_than_deserved(everything: list[Attack], profile: str | RewardTable) -> None:
    best = {one.id: score(right(one), one, profile).value for one in (*SINGLE, PARALLEL, NO_CALL)}
    for attack in everything:
        reward = score(attack.answer, attack.case, profile)
        honest = [score(answer, attack.case, profile).value for answer in attack.honest]
        assert reward.value <= sum(honest) / len(honest) + 1e-9, (attack.name, attack.answer[:200], reward, honest)
        assert reward.category != "correct", (attack.name, attack.answer[:200])
        assert reward.value < best[attack.case.id], (attack.name, attack.answer[:200])


@pytest.mark.parametrize("profile", TABLES, ids=name)
def test_a_table_takes_guesses_for_a_failure(everything: list[Attack], profile: str | RewardTable) -> None:
    guesses = [attack for attack in everything if attack.name.split(":")[0] in SEVERAL]
    assert len(guesses) >= 40
    for attack in guesses:
        assert score(attack.answer, attack.case, profile).category == "parse_failure", attack.name


@pytest.mark.long
@pytest.mark.parametrize("profile", [*PROFILES, OWN, ORDERED], ids=name)
def test_none_executes_anything(everything: list[Attack], profile: str | RewardTable) -> None:
    """Python itself reports files opened, code run, modules imported and processes started."""
    global events
    score("f(x=0x1)", SINGLE[0], profile)  # whatever is imported on first use
    for attack in everything:
        events = []
        try:
            score(attack.answer, attack.case, profile)
        finally:
            seen, events = events, None
        assert not seen, (attack.name, seen)
    touched = next(part for attack in everything for part in attack.answer.split("'") if part.endswith("touched"))
    assert not Path(touched).exists()


@pytest.mark.long
@pytest.mark.parametrize("profile", [*PROFILES, OWN, ORDERED], ids=name)
def test_none_takes_long(everything: list[Attack], profile: str | RewardTable) -> None:
    slow = [
        attack.name
        for attack in everything
        if not takes_less(partial(score, attack.answer, attack.case, profile), SECONDS, time.thread_time, tries=3)
    ]
    assert not slow


def right(one: Any) -> str:
    """The right answer."""
    gold = one.gold[0][:1] if one.gold_kind == "sequence" else one.gold[0]
    return PaperRenderer().answer(gold) if gold else "No call is needed."
