"""The child's side of `tl_jax.tooluse.environments.bfcl`: BFCL's classes of tools, once for the model, once for gold.

The classes are those of the package `bfcl-eval`. What a call gives, and when states are equal, is as in its checker.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from tl_jax.tooluse.bfcl.package import CLASSES, SOURCE

STATELESS = ("MathAPI",)


class Side:
    """Instances of the classes that an episode involves, and what their methods returned."""

    def __init__(self, classes: Sequence[str], config: Mapping[str, Any], long_context: bool) -> None:
        self.instances: dict[str, Any] = {}
        self.results: list[str] = []
        self._methods: dict[str, Callable[..., Any]] = {}
        for name in classes:
            instance = getattr(importlib.import_module(f"{SOURCE}.{CLASSES[name]}"), name)()
            if name not in STATELESS:
                instance._load_scenario(deepcopy(config.get(name, {})), long_context=long_context)
            self.instances[name] = instance
            methods = inspect.getmembers(instance, inspect.ismethod)
            self._methods |= {method: bound for method, bound in methods if not method.startswith("_")}

    def call(self, name: str, positional: Sequence[Any], arguments: Mapping[str, Any]) -> str:
        """What a method returns, as text."""
        try:
            if name not in self._methods:
                raise NameError(f"name {name!r} is not defined")
            text = _as_text(self._methods[name](*positional, **arguments))
        except Exception as error:
            text = f"Error during execution: {error}"
        self.results.append(text)
        return text

    def differs(self, other: Side) -> str | None:
        """The first attribute of which the other side has another value; private ones are not compared."""
        for name, instance in self.instances.items():
            for attribute, value in vars(instance).items():
                if not attribute.startswith("_") and getattr(other.instances[name], attribute) != value:
                    return f"{name}.{attribute}"
        return None


_SIDES: dict[str, Side] = {}


def begin(classes: Sequence[str], config: Mapping[str, Any], long_context: bool) -> dict[str, Any]:
    """Begins an episode."""
    for side in ("model", "gold"):
        _SIDES[side] = Side(classes, config, long_context)
    return {"begun": True}


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """The result of a call of the model."""
    return _SIDES["model"].call(name, (), arguments)


def judge(calls: Sequence[tuple[str, Sequence[Any], Mapping[str, Any]]]) -> dict[str, str | None]:
    """Makes the gold calls of a turn, and compares what came of them with what came of the model's calls so far.

    Returns:
        ``fault``: ``state`` if the states differ (``at`` which attribute), ``result`` if a gold call's result is not
        among those that the model has seen, each as often; None where nothing is wrong.
    """
    model, gold = _SIDES["model"], _SIDES["gold"]
    results = [gold.call(*each) for each in calls]
    if not calls:
        return {"fault": None}
    if (at := gold.differs(model)) is not None:
        return {"fault": "state", "at": at}
    lacking = Counter(results) - Counter(model.results)
    return {"fault": "result", "at": next(iter(lacking))[:200]} if lacking else {"fault": None}


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            return str(value)
    return value if isinstance(value, str) else str(value)
