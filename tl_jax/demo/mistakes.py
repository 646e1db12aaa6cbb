"""What the recorded caller of the demo's world does wrong: a function for each kind of `ERROR_KINDS`.

Each takes an `Attempt` and returns the `Mistake`, or None where the call has no room for one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tl_jax.config.world import ERROR_KINDS
from tl_jax.demo.domains import Domain
from tl_jax.demo.values import Split, draw
from tl_jax.plugins import resolve
from tl_jax.tooluse.prefixes import common_prefix
from tl_jax.tooluse.schema import Call

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


@dataclass(frozen=True)
class Attempt:
    """A call about to be made."""

    call: Call
    """the right one"""
    domain: Domain
    offered: Sequence[str]
    """names of the tools on offer"""
    split: Split
    rng: random.Random


@dataclass(frozen=True)
class Mistake:
    """The call that is made instead, and what may be said about it."""

    call: Call
    complaints: Sequence[str]
    silent: bool = False
    """nobody says anything: the result is the right call's"""


def mistake(attempt: Attempt, kinds: Sequence[str], habit: bool = False) -> Mistake | None:
    """A mistake of one of the kinds: of any that the call has room for, or, by ``habit``, of the first of them.

    None where there is room for none.
    """
    left = list(kinds)
    while left:
        kind = left[0] if habit else attempt.rng.choice(left)
        made: Mistake | None = resolve(ERROR_KINDS[kind].make)(attempt)
        if made:
            return made
        left.remove(kind)
    return None


def hallucinated_tool(attempt: Attempt) -> Mistake:
    call = attempt.call
    words = call.name.split("_")
    verb = next(word for word in words if word in _SYNONYMS)
    words[words.index(verb)] = _SYNONYMS[verb]
    name = "_".join(words)
    complaints = (
        f"NameError: name '{name}' is not defined",
        json.dumps({"error": f"unknown tool {name}"}),
        f"Error: there is no tool called {name}.",
    )
    return Mistake(Call(name, call.arguments), complaints)


def hallucinated_parameter(attempt: Attempt) -> Mistake:
    call = attempt.call
    slot, *others = call.arguments
    wrong = f"{slot}_value"
    arguments = {wrong: call.arguments[slot]} | {other: call.arguments[other] for other in others}
    complaints = (
        f"TypeError: {call.name}() got an unexpected keyword argument '{wrong}'",
        json.dumps({"error": f"unknown parameter {wrong}"}),
    )
    return Mistake(Call(call.name, arguments), complaints)


def missing_parameter(attempt: Attempt) -> Mistake:
    call = attempt.call
    *kept, missing = attempt.domain.tool(call.name).required
    complaints = (
        f"TypeError: {call.name}() missing 1 required positional argument: '{missing}'",
        json.dumps({"status": "error", "message": f"missing parameter {missing}"}),
    )
    return Mistake(Call(call.name, {slot: call.arguments[slot] for slot in kept}), complaints)


def unknown_value(attempt: Attempt) -> Mistake:
    call = attempt.call
    slot = next(iter(call.arguments))
    complaints = (f"ValueError: invalid value 'unknown' for {slot}", json.dumps({"error": f"invalid {slot}: unknown"}))
    return Mistake(Call(call.name, {**call.arguments, slot: "unknown"}), complaints)


def timeout(attempt: Attempt) -> Mistake:
    complaints = ("TimeoutError: the service did not answer in time", json.dumps({"error": "timeout", "code": 504}))
    return Mistake(attempt.call, complaints)


def wrong_tool(attempt: Attempt) -> Mistake | None:
    call, actions = attempt.call, attempt.domain.actions
    others = [name for name in actions if name in attempt.offered and name != call.name]
    if not others:
        return None
    name = max(others, key=lambda other: common_prefix(other, call.name))
    required = (slot for slot, needed in actions[name].takes.items() if needed)
    arguments = {slot: call.arguments.get(slot, _drawn(attempt, slot)) for slot in required}
    return Mistake(Call(name, arguments), ("Error: nothing found for this request", json.dumps({"error": "no result"})))


def redundant_parameter(attempt: Attempt) -> Mistake | None:
    call = attempt.call
    spare = [slot for slot in attempt.domain.actions[call.name].takes if slot not in call.arguments]
    if not spare:
        return None
    slot = spare[0]
    complaints = (f"ValueError: {slot} cannot be met", json.dumps({"error": f"nothing with this {slot}"}))
    return Mistake(Call(call.name, {**call.arguments, slot: _drawn(attempt, slot)}), complaints)


def wrong_value(attempt: Attempt) -> Mistake:
    call = attempt.call
    slot = next(iter(call.arguments))
    value = call.arguments[slot]
    while value == call.arguments[slot]:
        value = _drawn(attempt, slot)
    complaints = (f"ValueError: there is no {slot} {value}", json.dumps({"error": f"not found: {slot} {value}"}))
    return Mistake(Call(call.name, {**call.arguments, slot: value}), complaints)


def _drawn(attempt: Attempt, slot: str) -> str | int | bool:
    return draw(attempt.domain.slots[slot][0], attempt.split, attempt.rng)
