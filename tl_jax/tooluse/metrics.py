"""TS, PI and CF: tool selection, parameter identification and content filling, as the paper's tables report them.

By default the first call of an answer is compared with any of the gold calls, whatever stands around it, and a string
equals the number it spells; docs/metrics.md has the options. Training rewards
(`tl_jax.tooluse.rewards.score`) are stricter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from tl_jax.tooluse.intervals import Interval, bootstrap_interval
from tl_jax.tooluse.rewards.compare import Equal, bind_all, compare, offered_tools, same_text, same_value
from tl_jax.tooluse.rewards.grade import uncalled_for
from tl_jax.tooluse.rewards.matching import best_assignment
from tl_jax.tooluse.rewards.writable import Unwritable
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.parse import first_call, parse_answer

Policy: TypeAlias = Literal["any", "all"]
"""``any``: the first call against any gold call. ``all``: every gold call has its match, and no call is left over."""

NO_GOLD = "no_gold"
"""The ``error`` of a case that has nothing to compare with."""

NO_ARGUMENTS = "no_arguments"
"""The ``error`` of a right call without arguments, where they are scored as RoTBench does."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What counts as right; by default what the paper counts.

    Attributes:
        policy: which of the answer's calls are compared with which gold calls, see `Policy`.
        strict: as in training rewards, values are compared with their types (``"500"`` is not ``500``), and an answer
            that is not calls and nothing else (prose, a code fence, a call that is not closed) is right in nothing.
        rotbench: as in RoTBench's own script, an answer with a call without arguments is right in nothing, and
            ``finish`` is understood where the finish tool has another name.
        unwritable: what becomes of cases whose gold answer the text format cannot say.

    Raises:
        ValueError: unknown policy.
    """

    policy: Policy = "any"
    strict: bool = False
    rotbench: bool = False
    unwritable: Unwritable = "skip"

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise ValueError(f"unknown policy {self.policy!r}; known: {', '.join(get_args(Policy))}")


PAPER_SCORING = Scoring()


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Are tool, parameter names and values right? ``error`` is a category of the reward's table or as above."""

    ts: bool
    pi: bool
    cf: bool
    error: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Shares in % of the ``cases`` that have gold calls; the ``unscored`` have none. ``errors`` counts categories.

    The intervals hold the share with 95 % confidence (see `bootstrap_interval`).
    """

    cases: int
    ts: float
    pi: float
    cf: float
    ts_interval: Interval
    pi_interval: Interval
    cf_interval: Interval
    errors: dict[str, int] = field(default_factory=dict)
    unscored: int = 0


def score_prediction(prediction: str, case: Case, scoring: Scoring = PAPER_SCORING) -> CaseScore:
    """Scores one answer. Never raises for any prediction.

    * TS: the tool's name is right.
    * PI: and the call has the same argument names.
    * CF: and the same values (``"500"`` equals ``500``). Values of wild arguments and of the finish and ask-the-user
      tools (``meta.finish``, ``meta.ask_to_user``) are not compared.
    * Where no call is needed (an empty alternative), an answer in text is right in all three.

    Example:
        >>> from tl_jax.tooluse.schema import Call, Message
        >>> case = Case("1", (), (Message("user", "Look for love."),), ((Call("search", {"query": "love"}),),))
        >>> score_prediction("Sure: search(query='hate')", case)
        CaseScore(ts=True, pi=True, cf=False, error='wrong_value')
    """
    if not case.has_gold:
        return CaseScore(False, False, False, NO_GOLD)
    alternatives = list(case.gold)
    offered = offered_tools(case)
    if () in alternatives and uncalled_for(prediction, parse_answer(prediction, offered.values()), offered) is None:
        return CaseScore(True, True, True, "correct")
    calls = _calls(prediction, offered, scoring)
    finish, ask = (_name_of(case, tool) for tool in ("finish", "ask_to_user"))
    if scoring.rotbench:
        calls = [replace(call, name=finish) if call.name == "finish" else call for call in calls]
    if scoring.policy == "any":
        alternatives = [(call,) for alternative in alternatives for call in alternative] or [()]
    wanted = [
        [replace(call, wild=call.known) if call.name in (finish, ask) else call for call in alternative]
        for alternative in alternatives
    ]
    equal = same_value if scoring.strict else same_text
    some = case.gold_kind == "open"
    scores = [_score(calls, gold, offered, equal, some) for gold in wanted]
    best = max(scores, key=lambda item: (item.ts, item.pi, item.cf))
    if scoring.rotbench and best.ts and not all(call.arguments for call in calls):
        return CaseScore(False, False, False, NO_ARGUMENTS)
    return best


def summarise(scores: Iterable[CaseScore]) -> Summary:
    """The shares over all cases with gold calls."""
    everything = list(scores)
    scored = [item for item in everything if item.error != NO_GOLD]

    def share(right: Callable[[CaseScore], bool]) -> tuple[float, Interval]:
        count = sum(map(right, scored))
        return 100 * count / len(scored) if scored else 0.0, bootstrap_interval(count, len(scored))

    ts, ts_interval = share(lambda item: item.ts)
    pi, pi_interval = share(lambda item: item.pi)
    cf, cf_interval = share(lambda item: item.cf)
    return Summary(
        len(scored),
        ts,
        pi,
        cf,
        ts_interval,
        pi_interval,
        cf_interval,
        errors=dict(Counter(item.error for item in scored).most_common()),
        unscored=len(everything) - len(scored),
    )


_LEVELS = {"wrong_value": 2, "hallucinated_parameter": 1, "redundant_parameter": 1, "missing_parameter": 1}
"""What a call with this fault still has right: 1 the tool, 2 the parameters as well. Others nothing; no fault is 3."""


def _name_of(case: Case, tool: str) -> str:
    """What the case calls one of RoTBench's tools: what ``meta`` says, if that is a name."""
    named = case.meta.get(tool)
    return named if isinstance(named, str) and named else tool


def _calls(prediction: str, offered: Mapping[str, Tool], scoring: Scoring) -> list[Call]:
    """The calls of an answer that are to be compared."""
    if scoring.policy == "any" and not scoring.strict:
        call = first_call(prediction, offered.values())
        return [call] if call else []
    answer = parse_answer(prediction, offered.values())
    if scoring.strict and answer.problem is not None:
        return []
    calls = bind_all(answer.calls, answer.positional, offered)
    return calls[:1] if scoring.policy == "any" else calls


def _score(
    calls: Sequence[Call], gold: Sequence[Call], offered: Mapping[str, Tool], equal: Equal, some: bool = False
) -> CaseScore:
    """Against one alternative: at each level every call must have its own match, and unless ``some`` of the gold calls
    are enough, every gold call one."""
    enough = len(calls) <= len(gold) if some else len(calls) == len(gold)
    if not calls or not enough:
        return CaseScore(False, False, False, "wrong_tool" if calls and not gold else "parse_failure")
    faults = [[compare(call, wanted, offered, equal, defaults=False) for wanted in gold] for call in calls]
    levels = [[_LEVELS.get(cell[0].category, 0) if cell else 3 for cell in row] for row in faults]

    def all_matched(level: int) -> bool:
        reached = [[float(cell >= level) for cell in row] for row in levels]
        return all(reached[row][column] for row, column in best_assignment(reached))

    pairs = best_assignment([[float(level) for level in row] for row in levels])
    row, column = min(pairs, key=lambda pair: levels[pair[0]][pair[1]])
    worst = faults[row][column]
    return CaseScore(all_matched(1), all_matched(2), all_matched(3), worst[0].category if worst else "correct")
