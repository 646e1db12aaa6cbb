"""A small world of tools, made up for the demo: trajectories of any number from a seed, in splits that share nothing.

What may leak is cut off by construction. Every open value (names, titles, codes, times, dates, numbers) belongs to one
side by its hash, and a split draws from its own side only:

    base      domains invented anew for every episode, values of the side "base": what the base model is pretrained on
    train     the known domains of ``domains.yaml``, values of the side "train"
    values    the same domains, values never seen in training
    domains   domains never seen in training, values never seen in training

The recorded caller errs like people do: now and then at random, and nearly always at one tool of each domain (its
``slip``). The error is answered by a complaint and then made good, so a model that imitates every call learns the slip.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeAlias

import yaml

from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

Split: TypeAlias = Literal["base", "train", "values", "domains"]
Side: TypeAlias = Literal["base", "train", "held-out"]
Value: TypeAlias = str | int | bool

_ANSWER = {"type": "string", "description": "The answer."}
FINISH = Tool(
    "finish",
    "Give the final answer.",
    {"type": "object", "properties": {"answer": _ANSWER}, "required": ["answer"]},
)

SLIP_RATE = 0.75
"""How often the recorded caller errs at the tool that its domain names as ``slip``."""
ERROR_RATE = 0.04
"""How often it errs at any other call."""

_SIDES: tuple[Side, ...] = ("base", "train", "train", "held-out")
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")
_CODAS = ("l", "n", "r", "s")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_ADJECTIVES = (
    "red",
    "blue",
    "white",
    "old",
    "new",
    "big",
    "small",
    "dark",
    "bright",
    "quiet",
    "loud",
    "warm",
    "cold",
    "soft",
    "sweet",
    "long",
    "short",
    "happy",
)
_GREETINGS = ("", "", "", "Hello! ", "Please help: ", "Hi, ")
_SYNONYMS = {
    "get": "fetch",
    "find": "lookup",
    "set": "change",
    "list": "show",
    "add": "create",
    "book": "reserve",
    "reserve": "book",
    "cancel": "drop",
    "lend": "give",
    "return": "take",
    "send": "transmit",
    "move": "shift",
    "delete": "remove",
    "count": "number",
    "invite": "call",
    "search": "query",
    "order": "buy",
}
"""What the recorded caller believes a tool is called: the verb of the name is replaced."""


# --- what a domain is -------------------------------------------------------------------------------------------------


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
    slip: str

    def tool(self, name: str) -> Tool:
        """The tool as its user sees it, with a JSON schema."""
        action = self.actions[name]
        properties = {slot: schema(*self.slots[slot]) for slot in action.takes}
        required = [slot for slot, needed in action.takes.items() if needed]
        return Tool(name, action.text, {"type": "object", "properties": properties, "required": required})


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
    return Domain(name, slots, actions, tasks, row["slip"])


def _action(line: str) -> Action:
    signature, text = _pair(line)
    takes, _, gives = signature.partition(" -> ")
    return Action(text, {slot.rstrip("?"): not slot.endswith("?") for slot in takes.split()}, tuple(gives.split()))


def _pair(line: str) -> tuple[str, str]:
    left, _, description = line.partition(" | ")
    return left, description


# --- values -----------------------------------------------------------------------------------------------------------


def side(value: Value) -> Side:
    """The one side a value belongs to, by its hash: a quarter base, half train, a quarter held out."""
    return _SIDES[zlib.crc32(str(value).encode()) % len(_SIDES)]


def is_open(kind: str) -> bool:
    """Whether values of this kind are drawn from a side (an enum's and a boolean's belong to the tool's definition)."""
    return "/" not in kind and kind != "with"


def schema(kind: str, description: str) -> dict[str, Any]:
    """The JSON schema of a slot."""
    if "/" in kind:
        return {"type": "string", "description": description, "enum": kind.split("/")}
    type_ = "boolean" if kind == "with" else "integer" if "-" in kind else "string"
    return {"type": type_, "description": description}


def draw(kind: str, split: Split, rng: random.Random) -> Value:
    """A value of ``kind`` from the side that ``split`` may see."""
    if not is_open(kind):
        return rng.random() < 0.5 if kind == "with" else rng.choice(kind.split("/"))
    wanted = split if split in ("base", "train") else "held-out"
    while True:
        value = _value(kind, rng)
        if side(value) == wanted:
            return value


def _value(kind: str, rng: random.Random) -> Value:
    if "-" in kind:
        low, high = kind.split("-")
        return rng.randint(int(low), int(high))
    if kind == "name":
        return (_syllable(rng) + _syllable(rng) + rng.choice(_CODAS)).capitalize()
    if kind == "title":
        return f"{rng.choice(_ADJECTIVES)} {_syllable(rng)}{_syllable(rng)}"
    if kind == "code":
        return f"{rng.choice('ABCDEFGHKLMNPRSTVWXZ')}{rng.randint(10, 99)}"
    if kind == "time":
        return f"{rng.randint(6, 23)}:{rng.randint(0, 11) * 5:02d}"
    if kind == "date":
        return f"{rng.randint(1, 28)} {rng.choice(_MONTHS)}"
    raise ValueError(f"unknown kind of slot {kind!r}")


def _syllable(rng: random.Random) -> str:
    return rng.choice(_ONSETS) + rng.choice(_VOWELS)


def spoken(value: Value) -> str:
    """How a request or an answer says a value."""
    return ("with" if value else "without") if isinstance(value, bool) else str(value)


# --- invented domains -------------------------------------------------------------------------------------------------


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
    return Domain(noun, slots, actions, tasks, slip=f"get_{noun}_{d}")


def made_up_words(rng: random.Random, number: int) -> list[str]:
    """Different words, half of them made up, so that reading them is the only way to know them."""
    known = _file()["words"].split() + _file()["aspects"].split()
    words: list[str] = []
    while len(words) < number:
        word = rng.choice(known) if rng.random() < 0.5 else _syllable(rng) + _syllable(rng) + rng.choice(_CODAS)
        if word not in words:
            words.append(word)
    return words


# --- episodes ---------------------------------------------------------------------------------------------------------


def generate(seed: int, n: int, split: Split, simple: bool = False) -> Iterator[Trajectory]:
    """``n`` trajectories, the same for the same arguments. ``simple``: one tool, one call, no errors (a curriculum)."""
    for index in range(n):
        rng = random.Random(f"{seed}/{split}/{simple}/{index}")
        if split == "base":
            domain = invent(rng)
        else:
            domain = rng.choice(domains("unseen" if split == "domains" else "known"))
        yield _episode(domain, split, simple, rng, f"{domain.name}-{split}-{seed}-{index}")


def _episode(domain: Domain, split: Split, simple: bool, rng: random.Random, name: str) -> Trajectory:
    task = rng.choice([task for task in domain.tasks if not simple or len(task.steps) == 1])
    asked = rng.choice(task.ask)
    values = {slot: draw(domain.slots[slot][0], split, rng) for slot in _slots(asked)}
    while len({spoken(value) for value in values.values()}) < len(values):
        values = {slot: draw(domain.slots[slot][0], split, rng) for slot in values}
    mentioned = frozenset(values)
    names = list(dict.fromkeys(task.steps)) if simple else _offer(domain, task, rng)
    tools = [domain.tool(tool) for tool in names] + [FINISH] * (rng.random() < 0.5)
    rng.shuffle(tools)
    messages = [Message("user", rng.choice(_GREETINGS) + _fill(asked, values))]
    for step in task.steps:
        action = domain.actions[step]
        arguments = {slot: values[slot] for slot, needed in action.takes.items() if needed or slot in mentioned}
        call = Call(step, arguments)
        if not simple and rng.random() < (SLIP_RATE if step == domain.slip else ERROR_RATE):
            messages += _slip(call, domain, rng)
        for slot in action.gives:
            values.setdefault(slot, draw(domain.slots[slot][0], split, rng))
        result = json.dumps({slot: values[slot] for slot in action.gives})
        messages += [Message("assistant", tool_calls=(call,)), Message("tool", result, name=step)]
    messages.append(_answer(_fill(task.tell, values), FINISH in tools))
    return Trajectory(name, tuple(tools), tuple(messages), suite=domain.name, meta={"split": split})


def _offer(domain: Domain, task: Task, rng: random.Random) -> list[str]:
    """The tools of the task and one to three others of its domain."""
    others = [tool for tool in domain.actions if tool not in task.steps]
    return list(dict.fromkeys(task.steps)) + rng.sample(others, min(len(others), rng.randint(1, 3)))


def _answer(text: str, finish: bool) -> Message:
    if finish:
        return Message("assistant", tool_calls=(Call("finish", {"answer": text}),))
    return Message("assistant", text)


def _slots(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\{(\w+)\}", text)))


def _fill(text: str, values: Mapping[str, Value]) -> str:
    filled = re.sub(r"\{(\w+)\}", lambda found: spoken(values[found[1]]), text)
    return filled[0].upper() + filled[1:]


# --- errors -----------------------------------------------------------------------------------------------------------


def _slip(call: Call, domain: Domain, rng: random.Random) -> list[Message]:
    """A wrong call and the complaint about it. At the domain's slip the tool's name is wrong, elsewhere anything is."""
    errors = (_wrong_tool, _wrong_parameter, _missing_parameter, _bad_value, _timeout)
    error = _wrong_tool if call.name == domain.slip else rng.choice(errors)
    wrong, complaints = error(call, domain)
    return [Message("assistant", tool_calls=(wrong,)), Message("tool", rng.choice(complaints), name=wrong.name)]


def _wrong_tool(call: Call, domain: Domain) -> tuple[Call, Sequence[str]]:
    verb, _, rest = call.name.partition("_")
    name = f"{_SYNONYMS[verb]}_{rest}"
    return Call(name, call.arguments), (
        f"NameError: name '{name}' is not defined",
        json.dumps({"error": f"unknown tool {name}"}),
        f"Error: there is no tool called {name}.",
    )


def _wrong_parameter(call: Call, domain: Domain) -> tuple[Call, Sequence[str]]:
    slot, *others = call.arguments
    wrong = f"{slot}_value"
    arguments = {wrong: call.arguments[slot]} | {other: call.arguments[other] for other in others}
    return Call(call.name, arguments), (
        f"TypeError: {call.name}() got an unexpected keyword argument '{wrong}'",
        json.dumps({"error": f"unknown parameter {wrong}"}),
    )


def _missing_parameter(call: Call, domain: Domain) -> tuple[Call, Sequence[str]]:
    *kept, missing = domain.tool(call.name).required
    return Call(call.name, {slot: call.arguments[slot] for slot in kept}), (
        f"TypeError: {call.name}() missing 1 required positional argument: '{missing}'",
        json.dumps({"status": "error", "message": f"missing parameter {missing}"}),
    )


def _bad_value(call: Call, domain: Domain) -> tuple[Call, Sequence[str]]:
    slot = next(iter(call.arguments))
    return Call(call.name, {**call.arguments, slot: "unknown"}), (
        f"ValueError: invalid value 'unknown' for {slot}",
        json.dumps({"error": f"invalid {slot}: unknown"}),
    )


def _timeout(call: Call, domain: Domain) -> tuple[Call, Sequence[str]]:
    return call, ("TimeoutError: the service did not answer in time", json.dumps({"error": "timeout", "code": 504}))
