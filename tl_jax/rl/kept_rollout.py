"""A rollout as JSON values, for a checkpoint between its sampling and the step that learns from it.

Nothing is lost: what is read again is equal. Tools, messages and cases, which episodes share, are written once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Generic, TypeVar

from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.groups import AnswerGroup, Rollout
from tl_jax.rl.rubric import EpisodeRewards
from tl_jax.tooluse.schema import Call, Case, Message, Tool

T = TypeVar("T")


def to_json(rollout: Rollout) -> dict[str, Any]:
    """What `from_json` reads."""
    shared = _Shared()
    groups = [
        {
            "prompt": group.prompt,
            "episodes": [shared.episode(episode) for episode in group.episodes],
            "rewards": None if group.rewards is None else [one.to_json() for one in group.rewards],
        }
        for group in rollout.groups
    ]
    return {
        "groups": groups,
        "replaced": rollout.replaced,
        "staleness": rollout.staleness,
        "tools": shared.tools.rows,
        "messages": shared.messages.rows,
        "cases": shared.cases.rows,
    }


def from_json(row: Mapping[str, Any]) -> Rollout:
    """Accepts what `to_json` gives."""
    cases = [_case(case, row["tools"], row["messages"]) for case in row["cases"]]
    groups = tuple(
        AnswerGroup(
            group["prompt"],
            [_episode(episode, cases) for episode in group["episodes"]],
            None if group["rewards"] is None else [*map(EpisodeRewards.from_json, group["rewards"])],
        )
        for group in row["groups"]
    )
    return Rollout(groups, row["replaced"], row["staleness"])


class _Table(Generic[T]):
    """Rows of things that are told by their number from then on."""

    def __init__(self, write: Callable[[T], Any]) -> None:
        self._write = write
        self._numbers: dict[int, int] = {}
        self._things: list[T] = []
        """so that none of them goes and leaves its id to another"""
        self.rows: list[Any] = []

    def number(self, thing: T) -> int:
        if id(thing) not in self._numbers:
            row = self._write(thing)
            self._numbers[id(thing)] = len(self.rows)
            self._things.append(thing)
            self.rows.append(row)
        return self._numbers[id(thing)]


class _Shared:
    """What the episodes of a rollout share, by object."""

    def __init__(self) -> None:
        self.tools: _Table[Tool] = _Table(Tool.to_json)
        self.messages: _Table[Message] = _Table(Message.to_json)
        self.cases: _Table[Case] = _Table(self._case)

    def _case(self, case: Case) -> dict[str, Any]:
        return {
            **replace(case, tools=(), messages=()).to_json(),
            "tools": [self.tools.number(tool) for tool in case.tools],
            "messages": [self.messages.number(message) for message in case.messages],
        }

    def episode(self, episode: Episode) -> dict[str, Any]:
        turns = [
            {**_row(turn), "case": self.cases.number(turn.case), "calls": [call.to_json() for call in turn.calls]}
            for turn in episode.turns
        ]
        return {**_row(episode), "case": self.cases.number(episode.case), "turns": turns}


def _row(record: Episode | Turn) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _case(row: Mapping[str, Any], tools: Sequence[Any], messages: Sequence[Any]) -> Case:
    parts = {
        "tools": [tools[number] for number in row["tools"]],
        "messages": [messages[number] for number in row["messages"]],
    }
    return Case.from_json({**row, **parts})


def _episode(row: Mapping[str, Any], cases: Sequence[Case]) -> Episode:
    return Episode(**{**row, "case": cases[row["case"]], "turns": [_turn(turn, cases) for turn in row["turns"]]})


def _turn(row: Mapping[str, Any], cases: Sequence[Case]) -> Turn:
    drawn = row["drawn_logprobs"]
    read = {
        "case": cases[row["case"]],
        "tokens": tuple(row["tokens"]),
        "logprobs": tuple(row["logprobs"]),
        "calls": tuple(map(Call.from_json, row["calls"])),
        "results": tuple(row["results"]),
        "drawn_logprobs": None if drawn is None else tuple(drawn),
    }
    return Turn(**{**row, **read})
