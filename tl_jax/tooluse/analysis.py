"""What the paper's second section counts, for any data: erroneous calls, how they are repeated, names that look alike.

`Analyser` takes one trajectory at a time; `tl_jax.data.analysis` does the same for what needs a tokenizer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tl_jax.plugins import Plugin
from tl_jax.tooluse.mae.apply import Block, apply_mae
from tl_jax.tooluse.prefixes import shared_prefixes
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory


@dataclass
class Distribution:
    """Whole numbers and how often each was seen."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, value: int) -> None:
        self.counts[value] += 1

    @property
    def total(self) -> int:
        return sum(value * n for value, n in self.counts.items())

    @property
    def mean(self) -> float:
        return self.total / self.counts.total() if self.counts else 0.0

    def quantile(self, share: float) -> int:
        """The smallest value that at least this share of all values does not exceed; 0 where there are none."""
        left = share * self.counts.total()
        for value in sorted(self.counts):
            left -= self.counts[value]
            if left <= 0:
                return value
        return 0

    def share(self, at_least: int) -> float:
        """The share of values of at least this size."""
        found = sum(n for value, n in self.counts.items() if value >= at_least)
        return found / self.counts.total() if self.counts else 0.0

    def to_json(self) -> dict[str, Any]:
        quantiles = {name: self.quantile(q) for name, q in (("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))}
        return {
            "count": self.counts.total(),
            "mean": self.mean,
            **quantiles,
            "counts": dict(sorted(self.counts.items())),
        }


NEXT_STEPS = ("same call again", "same tool, new arguments", "another tool", "no further call")


@dataclass
class Errors:
    """Turns that a tool answered with an error, by category."""

    turns: Counter[str] = field(default_factory=Counter)
    trajectories: Counter[str] = field(default_factory=Counter)
    """Trajectories with at least one such turn."""
    any_trajectory: int = 0
    calls: int = 0
    """Calls made in these turns."""
    next_step: Counter[str] = field(default_factory=Counter)
    """What each of these calls is followed by, see `NEXT_STEPS`: the next turn that makes calls counts."""
    same_call_later: int = 0
    """How many of these calls are made again at any later time: the same tool with the same arguments."""
    same_tool_later: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "turns": self.turns.total(),
            "turns_by_category": dict(self.turns.most_common()),
            "trajectories": self.any_trajectory,
            "trajectories_by_category": dict(self.trajectories.most_common()),
            "calls": self.calls,
            "next_step": {step: self.next_step[step] for step in NEXT_STEPS},
            "same_call_later": self.same_call_later,
            "same_tool_later": self.same_tool_later,
        }


@dataclass
class Names:
    """How much the names of the tools offered together look alike. A tool counts once for each trajectory."""

    characters: Distribution = field(default_factory=Distribution)
    """Length of the longest beginning that a name shares with another one's, in characters."""
    words: Distribution = field(default_factory=Distribution)
    """The same in words: ``get_user`` and ``getOrder`` begin with one word in common."""
    contained: int = 0
    """Tools whose whole name is the beginning of another's."""

    def to_json(self) -> dict[str, Any]:
        return {"characters": self.characters.to_json(), "words": self.words.to_json(), "contained": self.contained}


@dataclass
class Analysis:
    """Everything `Analyser` counts. The distributions are over trajectories."""

    rule: str
    trajectories: int = 0
    calling_turns: int = 0
    """Turns that call a tool: only these can be answered by an error."""
    turns: Distribution = field(default_factory=Distribution)
    calls: Distribution = field(default_factory=Distribution)
    tools: Distribution = field(default_factory=Distribution)
    characters: Distribution = field(default_factory=Distribution)
    """Of the messages' texts and the calls' arguments, tool definitions not included."""
    errors: Errors = field(default_factory=Errors)
    names: Names = field(default_factory=Names)

    def to_json(self) -> dict[str, Any]:
        lengths = {name: getattr(self, name).to_json() for name in ("turns", "calls", "tools", "characters")}
        return {
            "rule": self.rule,
            "trajectories": self.trajectories,
            "calling_turns": self.calling_turns,
            "errors": self.errors.to_json(),
            "names": self.names.to_json(),
            "lengths": lengths,
        }


class Analyser:
    """Counts trajectory after trajectory. Errors are what MAE's ``rule`` with these ``packs`` finds."""

    def __init__(self, rule: str | Plugin = "paper", packs: tuple[str, ...] = ()) -> None:
        self.result = Analysis(str(Plugin.read(rule)))
        self._rule, self._packs = rule, packs

    def add(self, trajectory: Trajectory) -> Trajectory:
        """Counts ``trajectory``; returns it with weight 0 on the turns that MAE blocks."""
        result = self.result
        marked, blocks = apply_mae(trajectory, self._rule, packs=self._packs)
        turns = [message for _, message in trajectory.turns]
        result.trajectories += 1
        result.calling_turns += sum(bool(turn.tool_calls) for turn in turns)
        result.turns.add(len(turns))
        result.calls.add(sum(len(turn.tool_calls) for turn in turns))
        result.tools.add(len(trajectory.tools))
        result.characters.add(sum(map(_size, trajectory.messages)))
        _count_errors(result.errors, trajectory, blocks)
        _count_names(result.names, trajectory.tools)
        return marked


def _size(message: Message) -> int:
    return len(message.content) + sum(len(call.name) + len(repr(dict(call.arguments))) for call in message.tool_calls)


def _count_errors(errors: Errors, trajectory: Trajectory, blocks: Sequence[Block]) -> None:
    categories = [str(block.finding.category) for block in blocks]
    errors.turns.update(categories)
    errors.trajectories.update(set(categories))
    errors.any_trajectory += bool(blocks)
    for block in blocks:
        later = [turn.tool_calls for index, turn in trajectory.turns if index > block.message and turn.tool_calls]
        for call in trajectory.messages[block.message].tool_calls:
            errors.calls += 1
            errors.next_step[_next_step(call, later)] += 1
            errors.same_call_later += any(call in calls for calls in later)
            errors.same_tool_later += any(call.name == other.name for calls in later for other in calls)


def _next_step(call: Call, later: Sequence[Sequence[Call]]) -> str:
    same_call, same_tool, other_tool, nothing = NEXT_STEPS
    if not later:
        return nothing
    if call in later[0]:
        return same_call
    return same_tool if any(call.name == other.name for other in later[0]) else other_tool


def _count_names(names: Names, tools: Sequence[Tool]) -> None:
    offered = tuple(sorted({tool.name for tool in tools}))
    for name, length in zip(offered, shared_prefixes(offered), strict=True):
        names.characters.add(length)
        names.contained += length == len(name)
    for length in shared_prefixes(tuple(sorted(map(_words, offered)))):
        names.words.add(length)


def _words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case: ``getUserDetails_v2`` gives get, user, details, v, 2."""
    return tuple(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+", name))


def analyse(trajectories: Iterable[Trajectory], rule: str = "paper", packs: tuple[str, ...] = ()) -> Analysis:
    """The counts over all trajectories."""
    analyser = Analyser(rule, packs)
    for trajectory in trajectories:
        analyser.add(trajectory)
    return analyser.result
