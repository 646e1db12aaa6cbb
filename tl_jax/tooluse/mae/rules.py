"""The rules of MAE there are, and making one ready by what a user wrote.

A new rule is one record of `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from tl_jax.errors import UserError
from tl_jax.plugins import Plugin, bind
from tl_jax.registry import Registry
from tl_jax.tooluse.mae import reference
from tl_jax.tooluse.mae.detectors import detector
from tl_jax.tooluse.mae.finding import Finder, Finding, Said, excerpt
from tl_jax.tooluse.mae.phrases import Category


@dataclass(frozen=True, slots=True)
class Rule:
    """A way of telling which turns were answered by an error.

    Attributes:
        make: makes it ready for the named packs of errors.
        has_categories: its findings are counted by category; else by what found them.
    """

    name: str
    description: str
    make: Callable[[tuple[str, ...]], Finder]
    has_categories: bool = True


RULES = Registry(
    "MAE rule",
    (
        Rule("none", "nothing", lambda packs: Finder(lambda result, said: None, lambda calls, results, following: ())),
        Rule(
            "paper",
            "tool results that say so by their structure or begin like an error message, see below",
            lambda packs: Finder.of_results(detector(packs).find),
        ),
        Rule(
            "reference",
            "what the released code takes for one, bug for bug, so that figures can be compared",
            lambda packs: reference.FINDER,
            has_categories=False,
        ),
    ),
    columns={"rule": lambda rule: f"`{rule.name}`", "errors are": lambda rule: rule.description},
    also="module:function for your own",
)
"""What ``mae.rule`` and ``--rule`` name."""


def finder(rule: str | Plugin, packs: tuple[str, ...] = ()) -> Finder:
    """The rule that a user chose: one of `RULES`, or a function of the user's own.

    Args:
        rule: a name, or ``module:function``, with or without options. The function takes a result, and the options,
            and returns None, a `Finding`, or a category or its name.
        packs: families of errors (`PACKS`) that rule ``paper`` looks for; none named means all.

    Raises:
        UserError: unknown rule or pack; when used, if the user's function returns something else.
    """
    detector(packs)  # complains about unknown packs, whatever the rule
    plugin = Plugin.read(rule)
    if ":" in plugin.name:
        return _own_rule(plugin)
    if plugin.options:
        raise UserError(f"MAE rule {plugin.name} takes no options")
    return RULES.find(plugin.name).make(packs)


@lru_cache
def _own_rule(plugin: Plugin) -> Finder:
    function = bind(plugin, ("result",), key="mae.rule")

    def find(result: str, said: Said) -> Finding | None:
        answer = function(result)
        if answer is None or isinstance(answer, Finding):
            return answer
        if isinstance(answer, str) and answer in set(Category):
            return Finding(Category(answer), plugin.name, excerpt(result))
        raise UserError(
            f"MAE rule {plugin}: returned {answer!r}; it has to return None, a Finding or one of: {', '.join(Category)}"
        )

    return Finder.of_results(find)
