"""What an ablation's directory was begun with: another start there goes on with the same settings, or is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tl_jax.ablation.plan import AblationPlan
from tl_jax.config import ConfigError
from tl_jax.files import write_json

SETTINGS = "ablation.json"
BY_CONTENT = {"data.path": "contents.path", "data.cases": "contents.cases"}
"""Settings whose files may lie elsewhere, and where their digests are."""
TOLD = 4
"""Changes that the error names."""


def keep_settings(plan: AblationPlan) -> None:
    """Writes the settings, or compares them with those written before. More seeds or variants are no change.

    Raises:
        ConfigError: they are others; it names them.
    """
    file = plan.config.out / SETTINGS
    now = json.loads(json.dumps(plan.settings))
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        before = json.loads(file.read_text(encoding="utf-8"))
    changed = [key for key in {**before, **now} if before and _differ(key, before, now)]
    if changed:
        told = ", ".join(f"{key} ({_at(before, key)} before, {_at(now, key)} now)" for key in changed[:TOLD])
        more = f" and {len(changed) - TOLD} more" if len(changed) > TOLD else ""
        raise ConfigError(f"{plan.config.out}: was begun with other settings: {told}{more}; choose another out=")
    write_json(file, {**before, **now})


def _differ(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """A training that only one of the two has is no change, nor is a file that has another name."""
    if all(BY_CONTENT.get(key) in side for side in (before, now)):
        return False
    part = key.split(".")[0]
    both = all(any(other.split(".")[0] == part for other in side) for side in (before, now))
    return (both or part not in ("sft", "rl")) and ((key in before) != (key in now) or before.get(key) != now.get(key))


def _at(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "the default"
    text = json.dumps(settings[key])
    return text if len(text) <= 60 else f"{text[:57]}..."
