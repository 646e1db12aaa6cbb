"""What lies between a rollout and an environment, which may hang, raise, or answer with what is no text."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tl_jax.config.faults import FaultsConfig
from tl_jax.rl.episodes import Turn
from tl_jax.rl.faults import described, retried
from tl_jax.rl.waiting import DeadlineError, within
from tl_jax.tooluse.environments.base import Environment, SpeakingEnvironment, UserTurn
from tl_jax.tooluse.schema import Call, Case

T = TypeVar("T")
OVER = "Error: not called, for the episode was over"
"""What a call is answered by that comes after the end of its episode, in the same turn."""
CLOSE_SECONDS = 10.0
MAX_RESULT = 1_000_000
"""Characters; a longer result is cut. No prompt has room for it anyway."""


class Reply(NamedTuple):
    """What comes back to a turn, in JSON values: processes tell it each other."""

    results: list[str]
    """one for each call"""
    done: bool
    """the episode is over"""
    expected: list[Any]
    """the calls still to be made, where the environment knows them"""
    says: dict[str, list[Any]] | None = None
    """what the user says to it: messages and tools"""
    outcome: Any = None
    """what the environment says of the episode so far"""
    fault: str = ""
    """how the environment failed, if it did; the episode is over then"""
    raised: str = ""
    """what the first call raised that raised anything; its result says so as well"""

    @property
    def user_turn(self) -> UserTurn | None:
        return UserTurn.from_json(self.says) if self.says else None


class GuardedEnvironment:
    """An environment for one episode that always answers, in time and with text.

    A call that raises is answered by the error. An environment that does not answer in time, or fails in any other way,
    is closed and left behind, and the episode is over. Nothing is raised unless ``faults.on_error`` is ``raise``.

    Args:
        make: gives the environment.
        faults: the deadlines, and what becomes of an environment that fails.
    """

    def __init__(self, make: Callable[[], Environment], faults: FaultsConfig) -> None:
        self._make, self._faults = make, faults
        self._environment: Environment | None = None
        self._lock = threading.Lock()
        self._ended = False
        """no environment is wanted any more"""
        self._seconds_left = math.inf
        self.fault = ""
        """how it failed, if it did"""

    def reset(self, case: Case) -> Case:
        """The opening of an episode: ``case`` itself where the environment fails, and so do those made in its place."""
        self.fault = ""
        try:
            return retried(partial(self._begin, case), self._faults.retries)
        except Exception as error:
            self._failed("reset", error)
            return case

    def _begin(self, case: Case) -> Case:
        self._seconds_left = self._faults.episode_seconds or math.inf
        try:
            environment = self._environment or self._made()
            opening = self._timed(partial(environment.reset, case))
            return Case.from_json(mended(opening.to_json()))
        except Exception:
            self._leave()
            raise

    def _made(self) -> Environment:
        """A new environment. One that is finished too late, when nobody waits for it any more, is closed at once."""
        wanted = threading.Event()
        wanted.set()

        def make() -> Environment:
            environment = self._make()
            with self._lock:
                if wanted.is_set() and not self._ended:
                    self._environment = environment
                    return environment
            environment.close()
            raise DeadlineError("made too late")

        try:
            return self._timed(make)
        except DeadlineError:
            with self._lock:
                wanted.clear()
            raise

    def reply(self, turn: Turn) -> Reply:
        """What comes back to a turn."""
        results, over, raised, says = [], False, "", None
        for call in turn.calls:
            if over or self._environment is None:
                result, over = OVER, True
            else:
                result, over, error = self._step(self._environment, call)
                raised = raised or error
            results.append(result)
        environment = self._environment
        if not turn.calls:
            if turn.finished and isinstance(environment, SpeakingEnvironment):
                says = self._of("user_says", lambda: _said(environment.user_says(turn.text)), None)
            over = says is None
        expected: list[Any] = self._of("expected", lambda: _calls(getattr(environment, "expected", ())), [])
        outcome = self._of("outcome", lambda: getattr(environment, "outcome", None), None)
        return Reply(results, over or bool(self.fault), expected, says, outcome, self.fault, raised)

    def _step(self, environment: Environment, call: Call) -> tuple[str, bool, str]:
        """Result of a call, whether the episode is over, and what it raised."""
        try:
            result, over = self._timed(partial(environment.step, call))
            if not isinstance(result, str):
                raise TypeError(f"step gave {type(result).__name__} as a result, not text")
        except DeadlineError as error:
            self._failed(f"step {call.name}", error)
            return _error_text(error), True, ""
        except Exception as error:
            if self._faults.on_error == "raise":
                raise
            return _error_text(error), False, f"step {call.name}: {described(error)}"
        cut = f"\n[cut here; all of it: {len(result)} characters]" if len(result) > MAX_RESULT else ""
        return mended(result[:MAX_RESULT]) + cut, bool(over), ""

    def close(self) -> None:
        """Closes the environment, if there is any and it can be, and any that is still being made."""
        with self._lock:
            self._ended = True
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            environment, self._environment = self._environment, None
        if environment is not None:
            with suppress(Exception):  # whatever it held is lost, and so is whoever waits for it
                within(CLOSE_SECONDS, environment.close)

    def _of(self, what: str, ask: Callable[[], T], otherwise: T) -> T:
        """What else the environment says, a JSON value; ``otherwise`` where it failed."""
        if self._environment is None:
            return otherwise
        try:
            answer: T = mended(self._timed(ask))
        except Exception as error:
            self._failed(what, error)
            return otherwise
        return answer

    def _timed(self, call: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return within(min(self._faults.call_seconds or math.inf, self._seconds_left), call)
        finally:
            self._seconds_left = max(self._seconds_left - (time.monotonic() - began), 0.0)

    def _failed(self, what: str, error: Exception) -> None:
        self._leave()
        if self._faults.on_error == "raise":
            raise error
        self.fault = f"environment, {what}: {described(error)}"


def mended(value: Any) -> Any:
    """A JSON value whose texts can be encoded: halves of surrogate pairs are joined, or replaced where one is alone.

    Raises:
        TypeError, ValueError: it is no JSON value.

    Example:
        >>> mended(["a\\ud83d\\ude00", "b\\ud800c"]) == ["a\\U0001f600", "b\\ufffdc"]
        True
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = json.dumps(value, ensure_ascii=False)
    whole = mended(text)
    return json.loads(whole)


def _calls(calls: Iterable[Call]) -> list[Any]:
    """Calls as JSON, checked."""
    return [Call.from_json(mended(call.to_json())).to_json() for call in calls]


def _said(turn: UserTurn | None) -> dict[str, list[Any]] | None:
    """A turn of the user's as JSON, checked."""
    return UserTurn.from_json(mended(turn.to_json())).to_json() if turn else None


def _error_text(error: Exception) -> str:
    """An error as the result of a call."""
    message = mended(str(error))[:MAX_RESULT]
    return f"Error: {type(error).__name__}: {message}" if message else f"Error: {type(error).__name__}"
