"""A dial: the same ablation at several values of one setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tl_jax.ablation.plan import AblationPlan, Stage, make_plan
from tl_jax.config import load_config
from tl_jax.config.ablation import AblationConfig
from tl_jax.config.load import as_override
from tl_jax.errors import UserError
from tl_jax.registry import suggestion


def sweep_plans(
    config: AblationConfig, name: str, files: Sequence[Path], overrides: Sequence[str]
) -> dict[str, AblationPlan]:
    """Value, as it is shown -> the plan of the ablation with it.

    Args:
        config: what ``files`` and ``overrides`` give without the dial.
        name: of one of its sweeps.

    Raises:
        UserError: there is no such sweep, or a value that the setting cannot have.
    """
    if name not in config.sweeps:
        raise UserError(
            f"unknown sweep {name!r}; {suggestion(name, config.sweeps) if config.sweeps else 'sweeps has none'}"
        )
    sweep = config.sweeps[name]
    variants = [as_override("variants", list(sweep.variants))] if sweep.variants else []
    plans = {}
    for value in sweep.values:
        dial = as_override(sweep.setting, value)
        plans[shown(value)] = make_plan(load_config(AblationConfig, files, [*overrides, *variants, dial]))
    return plans


def shown(value: Any) -> str:
    """A value as it is written.

    Example:
        >>> shown("paper"), shown(0.3), shown(None)
        ('paper', '0.3', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def all_stages(plans: Sequence[AblationPlan]) -> tuple[Stage, ...]:
    """The stages of several plans; what two of them share is there once."""
    return tuple({stage.key: stage for plan in plans for stage in plan.stages}.values())
