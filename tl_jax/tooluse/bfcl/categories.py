"""The categories of BFCL v4, and how their scores make up the leaderboard's overall score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tl_jax.errors import UserError
from tl_jax.registry import Registry
from tl_jax.tooluse.bfcl.literals import Language

Rule: TypeAlias = Literal["calls", "no_call", "any_call", "episode"]


@dataclass(frozen=True, slots=True)
class BfclCategory:
    """A file of questions.

    Attributes:
        rule: what is right: the calls of the data (``calls``), none (``no_call``), some call (``any_call``), or calls
            over several turns of the user that leave the tools in the right state (``episode``).
        language: in which values are written.
    """

    name: str
    group: str
    rule: Rule = "calls"
    language: Language = "python"

    @property
    def file(self) -> str:
        """The name of the file of questions; that of the answers is the same, in ``possible_answer``."""
        return f"BFCL_v4_{self.name}.json"


_RIGHT: Mapping[Rule, str] = {
    "calls": "the calls of the data, by BFCL's AST checker",
    "no_call": "no call",
    "any_call": "a call, whichever",
    "episode": "state and results of the tools, turn by turn",
}

CATEGORIES = Registry(
    "category",
    (
        BfclCategory("simple_python", "non_live"),
        BfclCategory("simple_java", "non_live", language="java"),
        BfclCategory("simple_javascript", "non_live", language="javascript"),
        BfclCategory("multiple", "non_live"),
        BfclCategory("parallel", "non_live"),
        BfclCategory("parallel_multiple", "non_live"),
        BfclCategory("irrelevance", "non_live", "no_call"),
        BfclCategory("live_simple", "live"),
        BfclCategory("live_multiple", "live"),
        BfclCategory("live_parallel", "live"),
        BfclCategory("live_parallel_multiple", "live"),
        BfclCategory("live_irrelevance", "live", "no_call"),
        BfclCategory("live_relevance", "live", "any_call"),
        BfclCategory("multi_turn_base", "multi_turn", "episode"),
        BfclCategory("multi_turn_miss_func", "multi_turn", "episode"),
        BfclCategory("multi_turn_miss_param", "multi_turn", "episode"),
        BfclCategory("multi_turn_long_context", "multi_turn", "episode"),
    ),
    columns={
        "`--category`": lambda category: f"`{category.name}`",
        "group": lambda category: f"`{category.group}`",
        "what is right": lambda category: _RIGHT[category.rule],
    },
)


@dataclass(frozen=True, slots=True)
class Part:
    """A mean of categories or of other parts.

    Attributes:
        by_cases: every case counts the same, and not every member.
        points: its share of the overall score, in %.
    """

    name: str
    members: tuple[str, ...]
    by_cases: bool = False
    points: int = 0


PARTS = Registry(
    "part",
    (
        Part("simple", ("simple_python", "simple_java", "simple_javascript")),
        Part("non_live", ("simple", "multiple", "parallel", "parallel_multiple"), points=10),
        Part(
            "live",
            ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
            by_cases=True,
            points=10,
        ),
        Part("no_call", ("irrelevance", "live_irrelevance"), points=10),
        Part(
            "multi_turn",
            ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context"),
            points=30,
        ),
        Part("agentic", ("web_search", "memory"), points=40),
    ),
    columns={
        "part": lambda part: f"`{part.name}`",
        "points": lambda part: part.points or "",
        "mean of": lambda part: (
            ", ".join(f"`{name}`" for name in part.members) + (" (every case counts the same)" if part.by_cases else "")
        ),
    },
)
"""How BFCL v4 weighs. Its agentic categories need the web and paid services, and are not run here."""

ALL = "all"
GROUPS = tuple(dict.fromkeys(category.group for category in CATEGORIES.values()))


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the ``cases`` of a category are right."""

    right: int
    cases: int

    @property
    def accuracy(self) -> float:
        """In %."""
        return 100 * self.right / self.cases if self.cases else 0.0


@dataclass(frozen=True, slots=True)
class Overall:
    """The leaderboard's figures, in %.

    Attributes:
        parts: those of which every category was measured.
        absent: parts with points that were not measured, and how many points that is.
        points: what the parts measured are worth.
        score: the weighted mean of the parts measured; None where none was.
        leaderboard: what BFCL would print: a part that was not measured counts 0.
    """

    parts: Mapping[str, float]
    absent: Mapping[str, int]
    points: int
    score: float | None
    leaderboard: float


def overall(shares: Mapping[str, Share]) -> Overall:
    """The parts and the overall score, from the categories measured.

    Example:
        >>> found = overall({"irrelevance": Share(8, 10), "live_irrelevance": Share(6, 10), "multiple": Share(1, 2)})
        >>> dict(found.parts), found.points, found.score, found.leaderboard
        ({'no_call': 70.0}, 10, 70.0, 7.0)
    """
    found = {name: share.accuracy for name, share in shares.items()}
    parts = {}
    for part in PARTS.values():
        if not all(name in found for name in part.members):
            continue
        weights = [shares[name].cases if part.by_cases else 1 for name in part.members]
        total = sum(weight * found[name] for weight, name in zip(weights, part.members, strict=True))
        parts[part.name] = found[part.name] = total / (sum(weights) or 1)
    weighed = {part.name: part.points for part in PARTS.values() if part.points}
    points = sum(weighed[name] for name in parts if name in weighed)
    earned = sum(weighed[name] * accuracy for name, accuracy in parts.items() if name in weighed)
    absent = {name: worth for name, worth in weighed.items() if name not in parts}
    return Overall(parts, absent, points, earned / points if points else None, earned / sum(weighed.values()))


def chosen(names: Iterable[str]) -> list[BfclCategory]:
    """The categories that users name: by themselves, by their group, or all.

    Raises:
        UserError: there is none of a name, with the nearest one.
    """
    wanted: dict[str, BfclCategory] = {}
    for name in names:
        members = [category for category in CATEGORIES.values() if name in (ALL, category.group)]
        wanted |= {category.name: category for category in members or [CATEGORIES.find(name)]}
    if not wanted:
        raise UserError(f"no category is chosen; known: {ALL}, {', '.join((*GROUPS, *CATEGORIES))}")
    return [category for category in CATEGORIES.values() if category.name in wanted]


def category_of(identity: str) -> BfclCategory | None:
    """The category that the id of a question begins with; BFCL v3 calls three of them otherwise.

    Example:
        >>> category_of("live_simple_12-3-0").name, category_of("simple_7").name, category_of("exec_simple_7")
        ('live_simple', 'simple_python', None)
    """
    name = identity.rpartition("_")[0]
    return CATEGORIES.get(_IN_V3.get(name, name))


_IN_V3 = {"simple": "simple_python", "java": "simple_java", "javascript": "simple_javascript"}
