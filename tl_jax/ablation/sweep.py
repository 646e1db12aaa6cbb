"""A dial: the same ablation at several values of one setting, others of its own fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tl_jax.ablation.plan import AblationPlan, Stage, make_plan
from tl_jax.config import ConfigError, load_config
from tl_jax.config.ablation import AblationConfig
from tl_jax.config.load import as_override
from tl_jax.errors import UserError
from tl_jax.registry import suggestion


def sweep_plans(
    config: AblationConfig, name: str, files: Sequence[Path], overrides: Sequence[str]
) -> dict[str, AblationPlan]:
    """Value, as it is shown -> the plan of the ablation with it; the model before training is not asked.

    Args:
        config: what ``files`` and ``overrides`` give without the dial.
        name: of one of its sweeps. What it fixes goes over the files, and ``overrides`` over both.

    Raises:
        UserError: there is no such sweep, a value that the setting cannot have, or two that do the same.
    """
    if name not in config.sweeps:
        raise UserError(
            f"unknown sweep {name!r}; {suggestion(name, config.sweeps) if config.sweeps else 'sweeps has none'}"
        )
    sweep = config.sweeps[name]
    fixed = [as_override(key, value) for key, value in sweep.fixed.items()]
    variants = [as_override("variants", list(sweep.variants))] if sweep.variants else []
    plans = {}
    for value in sweep.values:
        dial = as_override(sweep.setting, value)
        plan = make_plan(load_config(AblationConfig, files, [*fixed, *overrides, *variants, dial]))
        plans[shown(value)] = replace(plan, stages=tuple(stage for stage in plan.stages if stage is not plan.base))
    _check_differ(name, sweep.setting, plans)
    return plans


def _check_differ(name: str, setting: str, plans: Mapping[str, AblationPlan]) -> None:
    """
    Raises:
        ConfigError: hours would go into a dial that turns nothing.
    """
    known: dict[tuple[object, ...], str] = {}
    for value, plan in plans.items():
        same = known.setdefault((plan.config.eval.profile, *(one.key for one in plan.evaluations.values())), value)
        if same != value:
            raise ConfigError(
                f"sweep {name}: nothing depends on whether {setting} is {same} or {value} while the others are as they "
                f"are; set under sweeps.{name}.fixed what it needs, or leave one value out"
            )


def shown(value: Any) -> str:
    """A value as it is written.

    Example:
        >>> shown("paper"), shown(0.3), shown(None)
        ('paper', '0.3', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def all_stages(plans: Sequence[AblationPlan]) -> tuple[Stage, ...]:
    """The stages of several plans, in turn one of each, so that those of one size have all their first seed before one
    has its last; what two of them share is there once."""
    turns = zip_longest(*(plan.stages for plan in plans))
    return tuple({stage.key: stage for turn in turns for stage in turn if stage}.values())
