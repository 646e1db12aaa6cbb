"""How ``reward`` is written: one reward, several with weights, each with options or without.

| written | means |
|---|---|
| `monotone`, `my_module:function` | one reward |
| `{name: my_module:function, options: {scale: 2}}` | one reward with options |
| `{monotone: 1, live: 0.5}` | several, by their weights |
| `[{name: monotone}, {name: my_module:function, options: {scale: 2}, weight: 0.5}]` | several, with options |

A mapping with the key ``name`` is one reward; any other is names and weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import PlainSerializer, PlainValidator

from tl_jax.config.base import LARGEST, Choice, no_switch
from tl_jax.plugins import Plugin
from tl_jax.tooluse.rewards.profiles import PROFILES

RewardKind = Literal["turn", "penalty", "outcome"]
"""What a reward is of: a turn; a turn that breaks a limit, and nothing else; the whole episode."""
LIVE = "live"
"""The reward that compares with no gold calls but looks at what the tools answered."""


class WeightedReward(NamedTuple):
    """One of the rewards of a turn."""

    plugin: Plugin
    weight: float = 1.0

    @property
    def name(self) -> str:
        return self.plugin.name


def read_rewards(value: Any) -> tuple[WeightedReward, ...]:
    """The rewards as written.

    Raises:
        ValueError: written in another way than the table above has, none at all, or one twice.

    Example:
        >>> read_rewards({"monotone": 1, "live": 0.5})[1].weight
        0.5
    """
    if isinstance(value, str | Plugin) or (isinstance(value, Mapping) and {"name", "options"} & value.keys()):
        items = [value]
    elif isinstance(value, Mapping):
        items = [{"name": name, "weight": weight} for name, weight in value.items()]
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        raise ValueError("write a name, {name: weight, ...}, {name: ..., options: {...}} or a list of such")
    rewards = tuple(map(_read_one, items))
    if not rewards:
        raise ValueError("names none; give a profile such as monotone, or {profile: weight, ...}")
    plugins = [reward.plugin for reward in rewards]
    for plugin in plugins:
        if plugins.count(plugin) > 1:
            raise ValueError(f"{plugin} stands there twice; give it one weight")
    return rewards


def write_rewards(rewards: tuple[WeightedReward, ...]) -> Any:
    """The shortest form that `read_rewards` reads back."""
    if len(rewards) == 1 and rewards[0].weight == 1:
        return rewards[0].plugin.short()
    if not any(reward.plugin.options for reward in rewards):
        return {reward.name: reward.weight for reward in rewards}
    return [
        {"name": plugin.name, **({"options": dict(plugin.options)} if plugin.options else {}), "weight": weight}
        for plugin, weight in rewards
    ]


def _read_one(item: Any) -> WeightedReward:
    if isinstance(item, WeightedReward):
        return item
    if not isinstance(item, Mapping):
        return WeightedReward(Plugin.read(item))
    plugin = Plugin.read({key: part for key, part in item.items() if key != "weight"})
    try:
        weight = float(no_switch(item.get("weight", 1.0)))
    except (TypeError, ValueError):
        weight = math.nan
    if not abs(weight) <= LARGEST:  # so for NaN, too
        raise ValueError(f"the weight of {plugin} must be a number, not {item['weight']!r}")
    return WeightedReward(plugin, weight)


Rewards = Annotated[
    tuple[WeightedReward, ...],
    PlainValidator(read_rewards),
    PlainSerializer(write_rewards),
    Choice(PROFILES, also=(LIVE,), other="module:function, a YAML file with a table, or {name: weight, ...}"),
]
