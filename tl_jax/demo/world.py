"""A small world of tools, made up for the demo: trajectories of any number from a seed, in splits that share nothing.

What may leak is cut off by construction. Every open value (names, titles, codes, times, dates, numbers) belongs to one
side by its hash, and a split draws from its own side only:

    base      domains invented anew for every episode, values of the side "base": what the base model is pretrained on
    train     the known domains of ``domains.yaml``, values of the side "train"
    values    the same domains, values never seen in training
    tools     tools of the same domains that training neither calls nor shows, values never seen in training
    domains   domains never seen in training, values never seen in training

The recorded caller errs like people do: now and then at random, and nearly always at one tool of each domain (its
slip). The error is answered by a complaint and then made good, so a model that imitates every call learns the slip.
`WorldConfig` has the dials: how often training errs, and how, among other things.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tl_jax.config.world import ERRORS_ONLY, SLIPS, WorldConfig
from tl_jax.demo.domains import Domain, Task, domains, invent
from tl_jax.demo.mistakes import Attempt, Mistake, mistake
from tl_jax.demo.names import renamed
from tl_jax.demo.values import Split, Value, draw, spoken
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

_ANSWER = {"type": "string", "description": "The answer."}
FINISH = Tool(
    "finish",
    "Give the final answer.",
    {"type": "object", "properties": {"answer": _ANSWER}, "required": ["answer"]},
)

SLIP_RATE = 0.75
"""How often the recorded caller errs at the tool that its domain names as its slip."""
ERROR_RATE = 0.04
"""How often it errs at any other call."""

_GREETINGS = ("", "", "", "Hello! ", "Please help: ", "Hi, ")
DEFAULT = WorldConfig()
_HELD_OUT = {name: getattr(DEFAULT, name) for name in ("error_rate", *ERRORS_ONLY)}
"""What is held out is the same whatever errors are trained on."""


def generate(
    seed: int, n: int, split: Split, simple: bool = False, world: WorldConfig = DEFAULT
) -> Iterator[Trajectory]:
    """``n`` trajectories, the same for the same arguments. ``simple``: one tool, one call, no errors (a curriculum)."""
    world = world if split == "train" else world.model_copy(update=_HELD_OUT)
    for index in range(n):
        rng = random.Random(f"{seed}/{split}/{simple}/{index}")
        scene = _Scene(next(_domains(split, world, rng)), split, world, rng)
        yield _episode(scene, simple, f"{scene.domain.name}-{split}-{seed}-{index}")


def _domains(split: Split, world: WorldConfig, rng: random.Random) -> Iterator[Domain]:
    """Domains of the split without end, as ``world`` wants them."""
    while True:
        if split == "base":
            domain = invent(rng)
        else:
            domain = rng.choice(domains("unseen" if split == "domains" else "known"))
            if split == "tools":
                domain = domain.about(domain.set_apart)
            elif split != "domains" and world.new_tools:
                domain = domain.without(domain.set_apart)
        yield renamed(domain, world.overlap)


# --- episodes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scene:
    """Where an episode happens."""

    domain: Domain
    split: Split
    world: WorldConfig
    rng: random.Random

    def draw(self, slot: str) -> Value:
        return draw(self.domain.slots[slot][0], self.split, self.rng)


def _episode(scene: _Scene, simple: bool, name: str) -> Trajectory:
    domain, rng = scene.domain, scene.rng
    task = rng.choice([task for task in domain.tasks if not simple or len(task.steps) == 1])
    asked = rng.choice(task.ask)
    values = {slot: scene.draw(slot) for slot in _slots(asked)}
    while len({spoken(value) for value in values.values()}) < len(values):
        values = {slot: scene.draw(slot) for slot in values}
    mentioned = frozenset(values)
    offered = [domain.tool(step) for step in dict.fromkeys(task.steps)] if simple else _offer(scene, task)
    tools = offered + [FINISH] * (rng.random() < 0.5)
    rng.shuffle(tools)
    messages = [Message("user", rng.choice(_GREETINGS) + _fill(asked, values))]
    for step in task.steps:
        action = domain.actions[step]
        arguments = {slot: values[slot] for slot, needed in action.takes.items() if needed or slot in mentioned}
        call = Call(step, arguments)
        wrong = None if simple else _mistake(scene, call, [tool.name for tool in offered])
        if wrong and not wrong.silent:
            messages += _complained(wrong, rng)
        for slot in action.gives:
            values.setdefault(slot, scene.draw(slot))
        result = json.dumps({slot: values[slot] for slot in action.gives})
        made = wrong.call if wrong and wrong.silent else call
        messages += [Message("assistant", tool_calls=(made,)), Message("tool", result, name=made.name)]
    messages.append(_answer(_fill(task.tell, values), FINISH in tools))
    return Trajectory(name, tuple(tools), tuple(messages), suite=domain.name, meta={"split": scene.split})


def _offer(scene: _Scene, task: Task) -> list[Tool]:
    """The tools of the task with their near duplicates, and others: of its domain or, where these are not enough, of
    other domains."""
    domain, rng, number = scene.domain, scene.rng, scene.world.tools
    wanted = list(dict.fromkeys(name for step in task.steps for name in (step, domain.twins.get(step, step))))
    others = [name for name in domain.actions if name not in wanted]
    spare = rng.randint(1, 3) if number is None else max(number - len(wanted), 0)
    offered = [domain.tool(name) for name in wanted + rng.sample(others, min(len(others), spare))]
    elsewhere = _domains(scene.split, scene.world, rng)
    while number is not None and len(offered) < number:
        other = next(elsewhere)
        tool = other.tool(rng.choice(list(other.actions)))
        if tool.name not in {known.name for known in offered} | domain.actions.keys():
            offered.append(tool)
    return offered


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


def _mistake(scene: _Scene, call: Call, offered: Sequence[str]) -> Mistake | None:
    """What goes wrong at the first attempt at ``call``, if something does."""
    domain, world, rng = scene.domain, scene.world, scene.rng
    slips = world.error_rate == SLIPS
    if isinstance(world.error_rate, float):
        # Of n right calls to be made, n p go wrong; all but the silent ones are made again: p n / (n + (1 - s) p n).
        rate = world.error_rate / (1 - (1 - world.silent) * world.error_rate)
    else:
        rate = SLIP_RATE if call.name in domain.slips else ERROR_RATE
    if rng.random() >= rate:
        return None
    silent = world.silent > 0 and rng.random() < world.silent
    habit = call.name in domain.slips if slips else rng.random() < world.repeated
    kinds = [kind for kind in world.error_kinds if not (silent and kind == "timeout")]
    wrong = mistake(Attempt(call, domain, offered, scene.split, rng), kinds, habit)
    return replace(wrong, silent=silent) if wrong else None


def _complained(wrong: Mistake, rng: random.Random) -> list[Message]:
    """The wrong call and the complaint about it."""
    complaint = Message("tool", rng.choice(wrong.complaints), name=wrong.call.name)
    return [Message("assistant", tool_calls=(wrong.call,)), complaint]
