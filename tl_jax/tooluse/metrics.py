"""TS, PI and CF: tool selection, parameter identification and content filling, as the paper's tables report them.

By default the first call of an answer is compared with any of the gold calls, whatever stands around it, and a string
equals the number it spells. Training rewards are stricter: see `tl_jax.tooluse.reward`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from tl_jax.tooluse.compare import bind_all, compare, offered_tools, same_text
from tl_jax.tooluse.matching import best_assignment
from tl_jax.tooluse.parse import first_call, parse_answer
from tl_jax.tooluse.schema import Call, Case, Tool

Policy: TypeAlias = Literal["first", "all"]
"""``first``: the first call against any gold call. ``all``: every gold call has its match, and no call is left over."""

NO_GOLD = "no_gold"
"""The ``error`` of a case that has nothing to compare with."""


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Are tool, parameter names and values right? ``error`` is a category of the reward's table, or `NO_GOLD`."""

    ts: bool
    pi: bool
    cf: bool
    error: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Shares in % of the ``cases`` that have gold calls; the ``unscored`` have none. ``errors`` counts categories."""

    cases: int
    ts: float
    pi: float
    cf: float
    errors: dict[str, int] = field(default_factory=dict)
    unscored: int = 0


def score_prediction(prediction: str, case: Case, policy: Policy = "first") -> CaseScore:
    """Scores one answer. Never raises for any prediction.

    * TS: the tool's name is right.
    * PI: and the call has the same argument names.
    * CF: and the same values (``"500"`` equals ``500``). Values of wild arguments and of the finish and ask-the-user
      tools (``meta.finish``, ``meta.ask_to_user``) are not compared.
    * Where no call is needed (an empty alternative), an answer in text is right in all three.

    Raises:
        ValueError: unknown policy.
    """
    if policy not in ("first", "all"):
        raise ValueError(f"unknown policy {policy!r}; known: first, all")
    alternatives = list(case.gold)
    if case.gold_kind == "none" or not alternatives:
        return CaseScore(False, False, False, NO_GOLD)
    if () in alternatives and prediction.strip() and not parse_answer(prediction).calls:
        return CaseScore(True, True, True, "correct")
    offered = offered_tools(case)
    if policy == "first":
        call = first_call(prediction, offered.values())
        calls = [call] if call else []
        alternatives = [(call,) for alternative in alternatives for call in alternative] or [()]
    else:
        answer = parse_answer(prediction)
        calls = bind_all(answer.calls, answer.positional, offered)
    free = {case.meta.get("finish") or "finish", case.meta.get("ask_to_user") or "ask_to_user"}
    wanted = [
        [replace(call, wild=tuple(call.arguments)) if call.name in free else call for call in alternative]
        for alternative in alternatives
    ]
    return max((_score(calls, gold, offered) for gold in wanted), key=lambda item: (item.ts, item.pi, item.cf))


def summarise(scores: Iterable[CaseScore]) -> Summary:
    """The shares over all cases with gold calls."""
    everything = list(scores)
    scored = [item for item in everything if item.error != NO_GOLD]

    def share(right: Callable[[CaseScore], bool]) -> float:
        return 100 * sum(map(right, scored)) / len(scored) if scored else 0.0

    return Summary(
        cases=len(scored),
        ts=share(lambda item: item.ts),
        pi=share(lambda item: item.pi),
        cf=share(lambda item: item.cf),
        errors=dict(Counter(item.error for item in scored).most_common()),
        unscored=len(everything) - len(scored),
    )


_LEVELS = {"wrong_value": 2, "hallucinated_parameter": 1, "redundant_parameter": 1, "missing_parameter": 1}
"""What a call with this fault still has right: 1 the tool, 2 the parameters as well. Others nothing; no fault is 3."""


def _score(calls: Sequence[Call], gold: Sequence[Call], offered: Mapping[str, Tool]) -> CaseScore:
    """Against one alternative: at each level every call must have its own match."""
    if len(calls) != len(gold) or not calls:
        return CaseScore(False, False, False, "wrong_tool" if calls and not gold else "parse_failure")
    faults = [[compare(call, wanted, offered, same_text, defaults=False) for wanted in gold] for call in calls]
    levels = [[_LEVELS.get(cell[0].category, 0) if cell else 3 for cell in row] for row in faults]

    def all_matched(level: int) -> bool:
        reached = [[float(cell >= level) for cell in row] for row in levels]
        return all(reached[row][column] for row, column in best_assignment(reached))

    pairs = best_assignment([[float(level) for level in row] for row in levels])
    row, column = min(pairs, key=lambda pair: levels[pair[0]][pair[1]])
    worst = faults[row][column]
    return CaseScore(all_matched(1), all_matched(2), all_matched(3), worst[0].category if worst else "correct")
