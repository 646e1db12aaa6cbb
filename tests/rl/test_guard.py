"""An environment is never trusted: what hangs, raises or is no text costs a call or an episode, never the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference.speaking import Scripted, Unused
from tests.rl.test_rollout import codec
from tests.thoroughness import examples
from tl_jax.config import SamplingConfig
from tl_jax.config.faults import UNGUARDED, FaultsConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt
from tl_jax.rl import guard
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.guard import OVER, GuardedEnvironment, mended
from tl_jax.rl.rollout import EnvironmentSpec, run_multi_turn
from tl_jax.rl.waiting import Watch
from tl_jax.tooluse.environments.base import UserTurn
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.training.stop import Interrupted

__all__ = ["codec"]

CASE = Case("c", (Tool("open"),), (Message("user", "Open it."),))
SOON = FaultsConfig(retries=1, call_seconds=0.05)
HALF = "\ud800"


class Moody:
    """An environment that answers what it is told to; what can be called is called."""

    made: list[Moody]

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.stepped: list[str] = []
        self.closed = 0

    def _say(self, what: str, otherwise: Any) -> Any:
        answer = self.answers.get(what, otherwise)
        return answer() if callable(answer) else answer

    def reset(self, case: Case) -> Case:
        return self._say("reset", case)  # type: ignore[no-any-return]

    def step(self, call: Call) -> tuple[str, bool]:
        self.stepped.append(call.name)
        return self._say("step", ("fine", False))  # type: ignore[no-any-return]

    def user_says(self, answer: str) -> UserTurn | None:
        return self._say("user_says", None)  # type: ignore[no-any-return]

    @property
    def expected(self) -> Any:
        return self._say("expected", ())

    @property
    def outcome(self) -> Any:
        return self._say("outcome", None)

    def close(self) -> None:
        self.closed += 1
        self._say("close", None)


@pytest.fixture
def hangs() -> Iterator[Callable[[], None]]:
    """Waits until the test is over."""
    release = threading.Event()
    yield lambda: release.wait(60) and None
    release.set()


def fails() -> Any:
    raise KeyError("Oslo")


def leaves() -> Any:
    raise SystemExit


def turn(*calls: str, text: str = "text", finished: bool = True) -> Turn:
    return Turn(CASE, text, finished, 0, (5,), (0.0,), tuple(map(Call, calls)))


def guarded(environment: Moody, faults: FaultsConfig = SOON) -> GuardedEnvironment:
    found = GuardedEnvironment(lambda: environment, faults)
    found.reset(CASE)
    return found


def test_calls_after_the_end_are_not_made() -> None:
    environment = Moody(step=("done", True))
    reply = guarded(environment).reply(turn("open", "close", "open"))
    assert environment.stepped == ["open"]
    assert reply.results == ["done", OVER, OVER]
    assert (reply.done, reply.fault) == (True, "")


@pytest.mark.parametrize("error", [fails, leaves])
def test_a_call_that_raises_is_answered_by_the_error(error: Any) -> None:
    environment = Moody(step=error)
    reply = guarded(environment).reply(turn("open", "close"))
    assert environment.stepped == ["open", "close"]
    expected = "Error: KeyError: 'Oslo'" if error is fails else "Error: RuntimeError: SystemExit: "
    assert reply.results == [expected] * 2
    assert (reply.done, reply.fault) == (False, "")
    assert reply.raised.startswith("step open: ")
    assert error is leaves or "(test_guard.py:" in reply.raised


@pytest.mark.parametrize("answer", [None, "fine", ("fine",), (7, False), (b"fine", False), (None, True)])
def test_a_result_that_is_no_text_is_answered_by_an_error(answer: Any) -> None:
    reply = guarded(Moody(step=lambda: answer)).reply(turn("open"))
    assert reply.results[0].startswith("Error: ")
    assert reply.raised


@pytest.mark.parametrize(
    ("text", "expected"), [(f"a{HALF}b", "a\ufffdb"), ("\ud83d\ude00", "\U0001f600"), (f"{HALF}", "\ufffd")]
)
def test_half_a_surrogate_pair_is_mended_wherever_it_stands(text: str, expected: str) -> None:
    said = UserTurn((Message("user", text),), (Tool(text),))
    environment = Moody(
        step=(text, False),
        reset=replace(CASE, messages=(Message("user", text),)),
        user_says=said,
        expected=(Call(text, {text: [text]}),),
        outcome={"why": text},
    )
    found = GuardedEnvironment(lambda: environment, SOON)
    assert found.reset(CASE).messages[0].content == expected
    reply = found.reply(turn("open"))
    assert reply.results == [expected]
    assert reply.expected == [Call(expected, {expected: [expected]}).to_json()]
    assert reply.outcome == {"why": expected}
    assert found.reply(turn()).user_turn == UserTurn((Message("user", expected),), (Tool(expected),))
    raises = Moody(step=lambda: [][text])  # type: ignore[call-overload]
    assert guarded(raises).reply(turn("open")).results[0].startswith("Error: TypeError")


@pytest.mark.fuzz
@settings(max_examples=examples(30))
@given(st.lists(st.text(st.characters(codec=None)) | st.integers()))
def test_what_is_mended_can_be_encoded_and_stays_so(value: Any) -> None:
    once = mended(value)
    str(once).encode("utf-8")
    assert mended(once) == once


def test_a_result_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_RESULT", 10)
    (result,) = guarded(Moody(step=("x" * 50, False))).reply(turn("open")).results
    assert result == "x" * 10 + "\n[cut here; all of it: 50 characters]"


@pytest.mark.parametrize("what", ["reset", "step", "user_says", "expected", "outcome"])
def test_what_hangs_is_left_behind_and_ends_the_episode(what: str, hangs: Callable[[], None]) -> None:
    environment = Moody(**{what: hangs})
    found = guarded(environment)
    reply = found.reply(turn("open") if what != "user_says" else turn())
    assert reply.done
    assert f"environment, {what}" in reply.fault
    assert "timed out, no answer within 0.05 seconds" in reply.fault
    assert environment.closed >= 1
    if what == "step":
        assert reply.results == ["Error: DeadlineError: timed out, no answer within 0.05 seconds"]
    if what == "reset":
        assert reply.results == [OVER]
        assert environment.stepped == []
    if what in ("expected", "outcome"):
        assert reply.results == ["fine"]


@pytest.mark.parametrize("what", ["reset", "user_says", "expected", "outcome"])
def test_what_raises_outside_of_a_call_ends_the_episode(what: str) -> None:
    reply = guarded(Moody(**{what: fails})).reply(turn())
    assert reply.done
    assert f"environment, {what}: KeyError: 'Oslo' (test_guard.py:" in reply.fault
    with pytest.raises(KeyError):
        guarded(Moody(**{what: fails}), replace_policy("raise")).reply(turn())


@pytest.mark.parametrize(
    "answers", [{"outcome": {1, 2}}, {"expected": ["open"]}, {"user_says": "hello"}, {"reset": None}, {"expected": 7}]
)
def test_what_is_no_json_or_no_call_ends_the_episode(answers: dict[str, Any]) -> None:
    reply = guarded(Moody(**answers)).reply(turn())
    assert reply.done
    assert reply.fault.startswith(f"environment, {next(iter(answers))}: ")


def replace_policy(policy: str) -> FaultsConfig:
    return SOON.model_copy(update={"on_error": policy})


def test_an_error_ends_the_run_where_that_is_wanted() -> None:
    with pytest.raises(KeyError):
        guarded(Moody(step=fails), replace_policy("raise")).reply(turn("open"))


def test_reset_is_tried_again_in_a_new_environment() -> None:
    made: list[Moody] = []

    def make() -> Moody:
        made.append(Moody(reset=fails) if not made else Moody())
        return made[-1]

    found = GuardedEnvironment(make, SOON)
    assert found.reset(CASE) == CASE
    assert found.fault == ""
    assert [one.closed for one in made] == [1, 0]
    found.close()
    assert [one.closed for one in made] == [1, 1]
    no_retry = GuardedEnvironment(fails, SOON.model_copy(update={"retries": 0}))
    assert no_retry.reset(CASE) is CASE
    assert "environment, reset: KeyError" in no_retry.fault


def test_an_episode_has_a_deadline_of_its_own() -> None:
    faults = FaultsConfig(call_seconds=5.0, episode_seconds=0.2)
    found = guarded(Moody(step=lambda: (time.sleep(0.15), ("fine", False))[1]), faults)
    reply = found.reply(turn("open", "open", "open"))
    assert reply.results[0] == "fine"
    assert reply.results[1].startswith("Error: DeadlineError: timed out, no answer within")
    assert reply.results[2] == OVER
    assert reply.done


@pytest.mark.parametrize("close", [fails, leaves])
def test_closing_never_fails(close: Any) -> None:
    guarded(Moody(close=close)).close()


def test_closing_does_not_hang(monkeypatch: pytest.MonkeyPatch, hangs: Callable[[], None]) -> None:
    monkeypatch.setattr(guard, "CLOSE_SECONDS", 0.05)
    guarded(Moody(close=hangs)).close()


# --- in a rollout -----------------------------------------------------------------------------------------------------


def played(
    codec: Codec,
    environments: list[Any],
    *texts: str,
    faults: FaultsConfig = SOON,
    max_length: int = 4096,
    watch: Watch | None = None,
) -> list[Episode]:
    """An episode in each environment; all say the same."""
    count = len(environments)
    left = iter(environments)
    sampling = SamplingConfig(max_new_tokens=200)
    lines = [[text] * count for text in texts]
    sampler = Flexible(Unused(), codec, sampling, codec.stop_ids, lines=lines)
    prompt = Prompt(CASE, tuple(codec.prompt(CASE.tools, CASE.messages)))
    spec = EnvironmentSpec(lambda: next(left), len(texts), max_length, faults)
    return run_multi_turn(sampler, [prompt] * count, jax.random.key(0), spec, watch or Watch())


class Flexible(Scripted):
    """Says its lines to as many episodes as still go on."""

    def generate(self, prompts: Any, key: Any, listener: Any = None, numbers: Any = None) -> Any:
        number = len(self.asked)
        cut = [list(row)[: len(prompts)] for row in self.lines]
        shorter = Scripted(Unused(), self.codec, self.sampling, self.eos_ids, lines=cut, asked=self.asked)
        assert len(shorter.asked) == number
        return shorter.generate(prompts, key)


def spoken(codec: Codec, content: str = "", *calls: Call) -> str:
    rendered = codec.renderer.render(CASE.tools, [*CASE.messages, Message("assistant", content, calls)])
    start, end = rendered.turns[0].answer
    return rendered.text[start:end]


def test_one_bad_environment_leaves_the_other_episodes_alone(codec: Codec, hangs: Callable[[], None]) -> None:
    environments = [
        Moody(),
        Moody(step=(f"row {HALF}", False)),
        Moody(step=hangs),
        Moody(step=fails),
        Moody(outcome=fails),
    ]
    calls = spoken(codec, "", Call("open"))
    episodes = played(codec, environments, calls, spoken(codec, "Done."))
    became = {  # in any order: the environments are made side by side
        (len(episode.turns), bool(episode.fault), bool(episode.raised), episode.turns[0].results[0])
        for episode in episodes
    }
    assert became == {
        (2, False, False, "fine"),
        (2, False, False, "row \ufffd"),
        (1, True, False, "Error: DeadlineError: timed out, no answer within 0.05 seconds"),
        (2, False, True, "Error: KeyError: 'Oslo'"),
        (1, True, False, "fine"),
    }
    assert all(environment.closed for environment in environments)


def test_all_environments_are_closed_when_one_cannot_be_made(codec: Codec) -> None:
    begun = threading.Barrier(3)  # what is not begun when another fails is not made

    def begins() -> Case:
        begun.wait(60)
        return CASE

    def fails_then() -> Case:
        begun.wait(60)
        return fails()  # type: ignore[no-any-return]

    environments = [Moody(reset=begins), Moody(reset=fails_then), Moody(reset=begins)]
    with pytest.raises(KeyError):
        played(codec, environments, "x", faults=UNGUARDED)
    assert [environment.closed for environment in environments] == [1, 1, 1]


def test_an_opening_without_end_or_of_nonsense_is_replaced_by_the_prompt(codec: Codec) -> None:
    long = replace(CASE, messages=(Message("user", "x " * 5000),))
    environments = [Moody(reset=long), Moody()]
    prompt = tuple(codec.prompt(CASE.tools, CASE.messages))
    episodes = played(codec, environments, spoken(codec, "", Call("open")), "Done.", max_length=len(prompt) + 400)
    odd, usual = sorted(episodes, key=lambda episode: not episode.fault)
    assert "environment, opening: " in odd.fault
    assert (len(odd.turns), len(usual.turns), usual.fault) == (1, 2, "")
    assert tuple(odd.stream[: len(prompt)]) == prompt


def test_a_rollout_is_given_up_between_two_turns(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """And all environments are closed."""
    monkeypatch.setattr("tl_jax.rl.waiting.GLANCE_SECONDS", 0.01)
    release = threading.Event()
    environment = Moody(step=lambda: release.wait(60) and None)
    watch = Watch(halts=lambda: bool(environment.stepped))
    with pytest.raises(Interrupted):
        played(codec, [environment], spoken(codec, "", Call("open")), faults=UNGUARDED, watch=watch)
    assert environment.closed == 1
    release.set()


def test_a_rollout_that_is_given_up_does_not_wait_for_what_will_not_close(
    codec: Codec, monkeypatch: pytest.MonkeyPatch, hangs: Callable[[], None]
) -> None:
    """Whoever sent the signal kills the run soon, and its state is not saved yet."""
    monkeypatch.setattr("tl_jax.rl.waiting.GLANCE_SECONDS", 0.01)
    monkeypatch.setattr("tl_jax.rl.rollout.LEAVE_SECONDS", 0.1)
    environments = [Moody(close=hangs) for _ in range(20)]  # each of them for CLOSE_SECONDS
    watch = Watch(halts=lambda: any(one.stepped for one in environments))
    began = time.monotonic()
    with pytest.raises(Interrupted):
        played(codec, environments, spoken(codec, "", Call("open")), faults=UNGUARDED, watch=watch)
    assert time.monotonic() - began < guard.CLOSE_SECONDS


@pytest.mark.parametrize("late", [True, False])
def test_an_environment_that_nobody_waits_for_any_more_is_closed_when_it_is_made(late: bool) -> None:
    """It took too long, or the rollout is over meanwhile."""
    release, asked, environment = threading.Event(), threading.Event(), Moody()

    def make() -> Moody:
        asked.set()
        release.wait(60)
        return environment

    faults = (SOON if late else UNGUARDED).model_copy(update={"retries": 0, "on_error": "drop"})
    found = GuardedEnvironment(make, faults)
    waiting = threading.Thread(target=found.reset, args=(CASE,))
    waiting.start()
    assert asked.wait(60)
    if late:
        waiting.join()
        assert "timed out" in found.fault
    else:
        found.close()
    release.set()
    waiting.join()
    until = time.monotonic() + 60
    while not environment.closed and time.monotonic() < until:
        time.sleep(0.01)
    assert environment.closed == 1
