"""What answers to BFCL's questions are worth: right or what is wrong, and the shares of the leaderboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from tl_jax.errors import UserError
from tl_jax.tooluse.bfcl.categories import CATEGORIES, BfclCategory, Overall, Share, category_of, overall
from tl_jax.tooluse.bfcl.check import CORRECT, check_calls
from tl_jax.tooluse.environments.bfcl import BfclTools
from tl_jax.tooluse.intervals import bootstrap_interval
from tl_jax.tooluse.metrics import NO_GOLD
from tl_jax.tooluse.readers.answers import ApiAnswer
from tl_jax.tooluse.readers.predictions import Turns
from tl_jax.tooluse.rewards.compare import bind_all, offered_tools
from tl_jax.tooluse.rewards.grade import uncalled_for
from tl_jax.tooluse.schema import Call, Case
from tl_jax.tooluse.text.parse import parse_answer

MISSING = "missing"
"""What is wrong where there is no prediction."""

Prediction: TypeAlias = str | Turns
"""An answer, or the answers to a question of several turns."""


def is_episode(case: Case) -> bool:
    """Whether a question has several turns, in which tools answer."""
    return _category(case).rule == "episode"


def fault(prediction: Prediction, case: Case, tools: BfclTools | None = None) -> str:
    """What is wrong with the answer to a question, or ``correct``; ``no_gold`` if nothing tells what is right.

    Args:
        tools: where the calls of several turns are made; None = an environment of its own.

    Raises:
        UserError: the answer to a question of several turns is one text or the other way round, or their tools cannot
            be run.
    """
    category = _category(case)
    if (category.rule == "episode") is isinstance(prediction, str):
        wanted = "a list of turns, each a list of texts" if isinstance(prediction, str) else "a text"
        raise UserError(f"the prediction for {case.id!r} must be {wanted}")
    if not _has_gold(case):
        return NO_GOLD
    if isinstance(prediction, str):
        return _fault_of_answer(prediction, case, category)
    with nullcontext(tools) if tools else BfclTools() as environment:
        return _fault_of_episode(prediction, case, environment)


def _fault_of_answer(prediction: str, case: Case, category: BfclCategory) -> str:
    offered = offered_tools(case)
    answer = parse_answer(prediction, offered.values())
    if category.rule == "no_call":
        found = uncalled_for(prediction, answer, offered)
        return found.category if found else CORRECT
    if answer.problem is not None:
        return "parse_failure"
    if category.rule == "any_call":
        return CORRECT
    called = _with_dots(answer.calls, offered) if isinstance(prediction, ApiAnswer) else answer.calls
    calls = bind_all(called, answer.positional, offered)
    return check_calls(calls, case.meta["gold_source"], case.tools, category.language)


def _with_dots(calls: Sequence[Call], offered: Iterable[str]) -> list[Call]:
    """The calls with the names of the tools on offer, whose dots APIs want as ``_``: BFCL's ``underscore_to_dot``."""
    known = list(offered)
    names = {name.replace(".", "_"): name for name in known} | {name: name for name in known}
    return [replace(call, name=names.get(call.name, call.name)) for call in calls]


def _fault_of_episode(turns: Turns, case: Case, environment: BfclTools) -> str:
    """The fault after making the calls of all turns again."""
    environment.reset(case)
    for turn in turns:
        for text in turn:
            answer = parse_answer(text, environment.offered.values())
            for call in bind_all(answer.calls, answer.positional, environment.offered):
                environment.step(call)
        environment.user_says("")
    outcome = environment.outcome
    if outcome["fault"]:
        return outcome["fault"].partition(":")[0]
    return CORRECT if len(turns) == outcome["passed"] == outcome["turns"] else "turns"


def _has_gold(case: Case) -> bool:
    return _category(case).rule in ("no_call", "any_call") or "gold_source" in case.meta


def _category(case: Case) -> BfclCategory:
    name = str(case.meta.get("category", ""))
    return CATEGORIES.get(name) or category_of(case.id) or BfclCategory(name, "")


@dataclass(slots=True)
class Tally:
    """The answers to the questions of a category by what was wrong with them; those without gold are ``unscored``."""

    faults: Counter[str] = field(default_factory=Counter)

    @property
    def unscored(self) -> int:
        return self.faults[NO_GOLD]

    @property
    def wrong(self) -> Counter[str]:
        """How often there was each fault."""
        return Counter({name: count for name, count in self.faults.items() if name not in (CORRECT, NO_GOLD)})

    @property
    def share(self) -> Share:
        return Share(self.faults[CORRECT], self.faults.total() - self.unscored)

    def to_json(self) -> dict[str, Any]:
        """``cases``, ``accuracy`` in % with its ``interval``, ``unscored`` and ``faults`` (counts)."""
        share = self.share
        return {
            "cases": share.cases,
            "accuracy": share.accuracy,
            "interval": list(bootstrap_interval(share.right, share.cases)),
            "unscored": self.unscored,
            "faults": {name: count for name, count in self.faults.most_common() if name != NO_GOLD},
        }


@dataclass(frozen=True, slots=True)
class BfclScores:
    """The scores of some categories.

    Attributes:
        missing: cases that have no prediction; they count as wrong.
    """

    categories: Mapping[str, Tally]
    missing: int = 0

    @property
    def overall(self) -> Overall:
        return overall({name: tally.share for name, tally in self.categories.items() if tally.share.cases})

    def to_json(self) -> dict[str, Any]:
        """What ``summary.json`` holds."""
        whole = self.overall
        return {
            "overall": whole.score,
            "points": whole.points,
            "leaderboard": whole.leaderboard,
            "parts": dict(whole.parts),
            "absent": dict(whole.absent),
            "missing": self.missing,
            "categories": {name: tally.to_json() for name, tally in self.categories.items()},
        }


def faults(
    pairs: Iterable[tuple[Case, Prediction | None]],
) -> Iterator[tuple[Case, Prediction | None, str]]:
    """Each case and prediction with what is wrong; the tools of questions of several turns are made once for all.

    Raises:
        UserError: as `fault`.
    """
    tools = None
    try:
        for case, prediction in pairs:
            if tools is None and is_episode(case):
                tools = BfclTools()
            if prediction is None:
                yield case, None, MISSING if _has_gold(case) else NO_GOLD
            else:
                yield case, prediction, fault(prediction, case, tools)
    finally:
        if tools is not None:
            tools.close()


def score_cases(pairs: Iterable[tuple[Case, Prediction | None]]) -> BfclScores:
    """The scores of predictions, None where there is none.

    Raises:
        UserError: as `fault`.
    """
    tallies: dict[str, Tally] = {}
    missing = 0
    for case, _, found in faults(pairs):
        missing += found == MISSING
        tallies.setdefault(_category(case).name, Tally()).faults[found] += 1
    return BfclScores(tallies, missing)
