"""How alike the names of tools are: a domain renamed, its tools otherwise as they were."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from tl_jax.config.world import Overlap
from tl_jax.demo.domains import Domain, Task
from tl_jax.demo.values import ONSETS, made_up_word

BRANCHES = ("north", "south")
"""Whose tools are near duplicates of each other's."""


def renamed(domain: Domain, overlap: Overlap) -> Domain:
    """The domain with names that overlap as much as is asked for."""
    if overlap == "as_written":
        return domain
    if overlap == "none":
        return _with_names(domain, {name: _apart(domain.name, i) + name for i, name in enumerate(domain.actions)})
    prefixed = _with_names(domain, {name: f"{domain.name}_{name}" for name in domain.actions})
    return prefixed if overlap == "prefixes" else _branched(prefixed)


def _apart(domain: str, index: int) -> str:
    """A word that no other tool's name begins with: in a domain not even with its first letter."""
    return f"{ONSETS[index]}{made_up_word(random.Random(f'{domain}/{index}'))[1:]}_"


def _with_names(domain: Domain, names: Mapping[str, str]) -> Domain:
    actions = {names[name]: action for name, action in domain.actions.items()}
    return replace(
        domain,
        actions=actions,
        tasks=tuple(_with_steps(task, names.__getitem__) for task in domain.tasks),
        slips=tuple(names[name] for name in domain.slips),
    )


def _with_steps(task: Task, name: Callable[[str], str]) -> Task:
    return replace(task, steps=tuple(map(name, task.steps)))


def _branched(domain: Domain) -> Domain:
    """Every tool once for each branch. The request says which branch it is about, and only the last word of a name and
    of its description tell whose tool it is."""
    actions = {
        f"{name}_{branch}": replace(action, text=f"{action.text.removesuffix('.')}, {branch} branch.")
        for name, action in domain.actions.items()
        for branch in BRANCHES
    }
    both = (BRANCHES, BRANCHES[::-1])
    return replace(
        domain,
        actions=actions,
        tasks=tuple(_at(task, branch) for task in domain.tasks for branch in BRANCHES),
        slips=tuple(f"{name}_{branch}" for name in domain.slips for branch in BRANCHES),
        twins={f"{name}_{one}": f"{name}_{other}" for name in domain.actions for one, other in both},
    )


def _at(task: Task, branch: str) -> Task:
    asked = tuple(f"{text} This is for the {branch} branch." for text in task.ask)
    return replace(_with_steps(task, lambda name: f"{name}_{branch}"), ask=asked)
