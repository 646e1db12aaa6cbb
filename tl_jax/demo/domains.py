"""The domains of the demo's world: those of ``domains.yaml``, and ones invented anew."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from tl_jax.demo.values import made_up_word, schema
from tl_jax.tooluse.schema import Tool


@dataclass(frozen=True)
class Action:
    """A tool: its slots as parameters (in order; True = required) and the slots of its result."""

    text: str
    takes: Mapping[str, bool]
    gives: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What a user wants: the tools to call, ways to ask and the answer, both with ``{slot}`` to fill in."""

    steps: tuple[str, ...]
    ask: tuple[str, ...]
    tell: str


@dataclass(frozen=True)
class Domain:
    """Tools that belong together. ``slots`` maps a name to (kind, description), see ``domains.yaml``."""

    name: str
    slots: Mapping[str, tuple[str, str]]
    actions: Mapping[str, Action]
    tasks: tuple[Task, ...]
    slips: tuple[str, ...]
    """tools that the recorded caller keeps getting wrong"""
    twins: Mapping[str, str] = field(default_factory=dict)
    """tool -> its near duplicate, which is on offer whenever it is"""

    def tool(self, name: str) -> Tool:
        """The tool as its user sees it, with a JSON schema."""
        action = self.actions[name]
        properties = {slot: schema(*self.slots[slot]) for slot in action.takes}
        required = [slot for slot, needed in action.takes.items() if needed]
        return Tool(name, action.text, {"type": "object", "properties": properties, "required": required})

    @property
    def set_apart(self) -> str:
        """The tool that training does not see where some are held out: the last that is called by itself only."""
        together = {step for task in self.tasks if len(task.steps) > 1 for step in task.steps}
        alone = {task.steps[0] for task in self.tasks if len(task.steps) == 1}
        return [name for name in self.actions if name in alone - together - set(self.slips)][-1]

    def without(self, tool: str) -> Domain:
        """The domain as if there were no such tool."""
        actions = {name: action for name, action in self.actions.items() if name != tool}
        return replace(self, actions=actions, tasks=tuple(task for task in self.tasks if tool not in task.steps))

    def about(self, tool: str) -> Domain:
        """The domain with those tasks only that need the tool."""
        return replace(self, tasks=tuple(task for task in self.tasks if tool in task.steps))


@cache
def _file() -> dict[str, Any]:
    text = resources.files("tl_jax.demo").joinpath("domains.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@cache
def domains(group: Literal["known", "unseen"]) -> tuple[Domain, ...]:
    """The domains of ``domains.yaml``."""
    return tuple(_domain(name, row) for name, row in _file()[group].items())


def _domain(name: str, row: Mapping[str, Any]) -> Domain:
    slots = {slot: _pair(text) for slot, text in row["slots"].items()}
    actions = {tool: _action(text) for tool, text in row["tools"].items()}
    tasks = tuple(Task(tuple(task["steps"]), tuple(task["ask"]), task["tell"]) for task in row["tasks"])
    return Domain(name, slots, actions, tasks, (row["slip"],))


def _action(line: str) -> Action:
    signature, text = _pair(line)
    takes, _, gives = signature.partition(" -> ")
    return Action(text, {slot.rstrip("?"): not slot.endswith("?") for slot in takes.split()}, tuple(gives.split()))


def _pair(line: str) -> tuple[str, str]:
    left, _, description = line.partition(" | ")
    return left, description


def invent(rng: random.Random) -> Domain:
    """A new domain around one noun: a key (the number of a lamp), aspects, and tools to find, read and change it."""
    noun, place, *aspects = made_up_words(rng, 6)
    slots = {noun: ("code", f"Number of the {noun}."), place: ("name", f"{place.capitalize()} of the {noun}.")}
    kinds = ("name", "title", "code", "time", "date", "2-90", "10-999", "/".join(made_up_words(rng, 3)))
    slots |= {aspect: (rng.choice(kinds), f"{aspect.capitalize()} of the {noun}.") for aspect in aspects}
    a, b, c, d = aspects
    actions = {
        f"find_{noun}": Action(f"Find a {noun}.", {place: True}, (noun, a)),
        f"get_{noun}": Action(f"Show a {noun}.", {noun: True}, (a, b)),
        f"get_{noun}_{c}": Action(f"The {c} of a {noun}.", {noun: True}, (c,)),
        f"set_{noun}_{b}": Action(f"Change the {b} of a {noun}.", {noun: True, b: True}, (b,)),
        f"add_{noun}": Action(f"Add a {noun}.", {place: True, a: True, d: False}, (noun,)),
        f"get_{noun}_{d}": Action(f"The {d} of a {noun}.", {noun: True}, (d,)),
    }

    def read(aspect: str) -> Task:
        ask = (
            f"What is the {aspect} of {noun} {{{noun}}}?",
            f"Tell me the {aspect} of {{{noun}}}.",
            f"{{{noun}}}: which {aspect}?",
        )
        return Task((f"get_{noun}_{aspect}",), ask, f"The {aspect} is {{{aspect}}}.")

    tasks = (
        Task(
            (f"find_{noun}",),
            (f"Find a {noun} with {place} {{{place}}}.", f"Is there a {noun} for {{{place}}}?"),
            f"The {noun} is {{{noun}}}.",
        ),
        Task(
            (f"get_{noun}",),
            (f"Show me {noun} {{{noun}}}.", f"What do we know about {{{noun}}}?"),
            f"It has {a} {{{a}}} and {b} {{{b}}}.",
        ),
        read(c),
        read(d),
        Task(
            (f"set_{noun}_{b}",),
            (f"Set the {b} of {{{noun}}} to {{{b}}}.", f"Let {noun} {{{noun}}} have {{{b}}} as {b}."),
            f"The {b} is {{{b}}} now.",
        ),
        Task(
            (f"add_{noun}",),
            (
                f"Add a {noun} with {place} {{{place}}} and {a} {{{a}}}.",
                f"New {noun} for {{{place}}}: {a} {{{a}}}, {d} {{{d}}}.",
            ),
            f"It is {noun} {{{noun}}}.",
        ),
        Task(
            (f"find_{noun}", f"get_{noun}_{c}"),
            (f"Find the {noun} of {{{place}}} and tell me its {c}.", f"Which {c} has the {noun} for {{{place}}}?"),
            f"The {c} of {{{noun}}} is {{{c}}}.",
        ),
        Task(
            (f"find_{noun}", f"set_{noun}_{b}"),
            (f"Find the {noun} of {{{place}}}, set its {b} to {{{b}}}.",),
            f"Done, {{{noun}}} has {b} {{{b}}}.",
        ),
    )
    return Domain(noun, slots, actions, tasks, slips=(f"get_{noun}_{d}",))


def made_up_words(rng: random.Random, number: int) -> list[str]:
    """Different words, half of them made up, so that reading them is the only way to know them."""
    known = _file()["words"].split() + _file()["aspects"].split()
    words: list[str] = []
    while len(words) < number:
        word = rng.choice(known) if rng.random() < 0.5 else made_up_word(rng)
        if word not in words:
            words.append(word)
    return words
