"""BFCL's multi-turn questions as an environment: its classes of tools run, and its user speaks turn after turn.

The classes (file system, trading, travel, vehicle, messages, tickets, maths, posting) are those of the package
`bfcl-eval`. They run in a process of their own behind limits (`tl_jax.tooluse.environments.process`), once with the
model's calls and once with the gold calls; at the end of each turn of the user both are compared as BFCL does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, TypedDict

from tl_jax.errors import UserError
from tl_jax.tooluse.bfcl.package import CLASSES, INSTALL, SOURCE, data_folder
from tl_jax.tooluse.environments.base import UserTurn
from tl_jax.tooluse.environments.process import Limits, Worker
from tl_jax.tooluse.rewards.compare import compare, offered_tools, same_value
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.parse import bind, parse_answer

MAX_CALLS = 100
"""Calls in one turn of the user, after which an episode is given up. The gold answers have at most 34."""

_FUNCTIONS = {
    **{name: ("tl_jax.tooluse.environments.bfcl_classes", name) for name in ("begin", "call", "judge")},
    **{name: (f"{SOURCE}.{module}", name) for name, module in CLASSES.items()},
}
"""What the process loads as it starts: what we call there, and what that needs."""


class BfclOutcome(TypedDict):
    """How far an episode is right."""

    turns: int
    """how many turns the user has"""
    passed: int
    """how many of them, from the first on, were right; BFCL counts an episode as right if all are"""
    fault: str
    """what was wrong with the next one; empty where nothing was, or where it did not come to its end"""


class BfclTools:
    """An `Environment` for cases of BFCL's multi-turn categories, as the format ``bfcl_v4`` reads them.

    The model makes calls until it answers without one; then the user says what comes next (`user_says`). Episodes side
    by side need one each.

    Args:
        seconds: how long a call may take. One that takes longer ends the episode, for the state is gone.
        memory_mb: the address space of the process.

    Attributes:
        offered: the functions of the episode by name, those included that come later.

    Raises:
        UserError: the package is not installed, or a system without limits for processes (Windows).
    """

    def __init__(self, seconds: float = 5.0, memory_mb: int = 512) -> None:
        data_folder()
        self._limits = Limits(seconds, memory_mb)
        self._worker: Worker | None = None
        self._turns: list[_Turn] = []
        self.offered: Mapping[str, Tool] = {}
        self._number, self._passed, self._fault = 0, 0, ""
        self._made: list[Call] = []

    @property
    def outcome(self) -> BfclOutcome:
        """How far the episode is right up to here; the turn that goes on does not count."""
        return {"turns": len(self._turns), "passed": self._passed, "fault": self._fault}

    @property
    def expected(self) -> tuple[Call, ...]:
        """The gold calls of this turn that were not made yet."""
        if self._number >= len(self._turns):
            return ()
        left = [bound for bound, _ in self._turns[self._number].gold]
        for made in self._made:
            same = (
                i for i, call in enumerate(left) if not compare(made, call, self.offered, same_value, defaults=True)
            )
            if (found := next(same, None)) is not None:
                del left[found]
        return tuple(left)

    def reset(self, case: Case) -> Case:
        """Begins an episode. Returns the case itself.

        Raises:
            UserError: the case is none of BFCL's multi-turn questions, or has no answers or unknown classes.
        """
        meta = case.meta
        classes, turns = meta.get("involved_classes"), meta.get("turns")
        if not isinstance(classes, list) or not isinstance(turns, list):
            raise UserError(f"case {case.id!r}: is no multi-turn question of BFCL")
        if unknown := [name for name in classes if name not in CLASSES]:
            raise UserError(f"case {case.id!r}: unknown class {unknown[0]!r}; known: {', '.join(CLASSES)}")
        answers = meta.get("gold_source")
        if not isinstance(answers, list) or len(answers) != len(turns) + 1:
            raise UserError(f"case {case.id!r}: needs the gold calls of each of its {len(turns) + 1} turns")
        later = [UserTurn.from_json(turn) for turn in turns]
        tools = [*case.tools, *(tool for turn in later for tool in turn.tools)]
        self.offered = offered_tools(replace(case, tools=tuple(tools)))
        self._turns = [
            _Turn(says, tuple(_gold(source, self.offered, case.id) for source in gold))
            for says, gold in zip((None, *later), answers, strict=True)
        ]
        self._number, self._passed, self._fault, self._made = 0, 0, "", []
        begin = {"classes": classes, "config": meta.get("initial_config") or {}}
        self._ask("begin", **begin, long_context="long_context" in case.id or "composite" in case.id)
        return case

    def step(self, call: Call) -> tuple[str, bool]:
        """The result of a call, and whether the episode is given up: it took too long, or there were too many."""
        if self._worker is None:
            return "Error: the tools are gone", True
        self._made.append(call)
        try:
            result = self._worker.ask(Call("call", {"name": call.name, "arguments": dict(call.arguments)}))
        except (TimeoutError, ChildProcessError) as error:
            self.close()
            self._failed(type(error).__name__)
            return f"Error: {type(error).__name__}: {error}", True
        if len(self._made) >= MAX_CALLS:
            self._failed("too many calls")
        return result, len(self._made) >= MAX_CALLS

    def user_says(self, answer: str) -> UserTurn | None:
        """What the user says to an answer without calls, which ends the turn; None after the last one."""
        if self._number >= len(self._turns):
            return None
        turn = self._turns[self._number]
        if self._worker is not None and not self._fault:
            found = json.loads(self._ask("judge", calls=[source for _, source in turn.gold]))
            if turn.gold and not self._made:
                self._failed("no call")
            elif found["fault"]:
                self._failed(f"{found['fault']}: {found['at']}")
            else:
                self._passed += 1
        self._number, self._made = self._number + 1, []
        return self._turns[self._number].says if self._number < len(self._turns) else None

    def close(self) -> None:
        """Ends the process."""
        if self._worker:
            self._worker.stop()
        self._worker = None

    def __enter__(self) -> BfclTools:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _failed(self, fault: str) -> None:
        self._fault = self._fault or fault

    def _ask(self, function: str, **arguments: Any) -> str:
        """What one of our own functions in the process gives.

        Raises:
            UserError: it failed.
        """
        worker, self._worker = self._worker or Worker(_FUNCTIONS, self._limits), None
        try:
            result = worker.ask(Call(function, arguments))
        except (TimeoutError, ChildProcessError) as error:
            raise UserError(f"BFCL's classes could not be run: {error}") from None
        if result.startswith("Error: "):
            raise UserError(f"BFCL's classes could not be run ({INSTALL}): {result.removeprefix('Error: ')}")
        self._worker = worker
        return result


_Source: TypeAlias = tuple[str, tuple[Any, ...], Mapping[str, Any]]
"""A gold call as it is made: name, positional and named arguments."""


class _Turn(NamedTuple):
    """A turn of the user: what it begins with (None: the case itself), and its gold calls, bound and as written."""

    says: UserTurn | None
    gold: tuple[tuple[Call, _Source], ...]


def _gold(source: str, offered: Mapping[str, Tool], identity: str) -> tuple[Call, _Source]:
    answer = parse_answer(source)
    if answer.problem or len(answer.calls) != 1:
        raise UserError(f"case {identity!r}: the gold call {source!r} cannot be read")
    call, positional = answer.calls[0], answer.positional[0]
    if positional and call.name not in offered:
        raise UserError(f"case {identity!r}: the gold call {source!r} is of no function on offer")
    bound = bind(call, positional, offered[call.name]) if positional else call
    return bound, (call.name, positional, dict(call.arguments))
