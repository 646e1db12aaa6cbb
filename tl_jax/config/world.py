"""The dials of the made-up world of tools, see docs/when_it_helps.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from tl_jax.config.base import Choice, Node, OrWord, Real, Whole, one_or_more
from tl_jax.plugins import Function
from tl_jax.registry import Registry

Overlap: TypeAlias = Literal["as_written", "none", "prefixes", "near_duplicates"]
SLIPS: Literal["slips"] = "slips"


@dataclass(frozen=True)
class ErrorKind:
    """One way for a recorded call to go wrong."""

    name: str
    """what ``error_kinds`` says: the reward table's name, where it has one"""
    make: str | Function
    """a function of a `tl_jax.demo.mistakes.Attempt` that returns a `tl_jax.demo.mistakes.Mistake`, or None where the
    call has no room for one; or the dotted path of one"""
    about: str


ERROR_KINDS: Registry[ErrorKind] = Registry(
    "kind of error",
    (
        ErrorKind("hallucinated_tool", "tl_jax.demo.mistakes:hallucinated_tool", "a tool that does not exist"),
        ErrorKind("hallucinated_parameter", "tl_jax.demo.mistakes:hallucinated_parameter", "one outside the schema"),
        ErrorKind("missing_parameter", "tl_jax.demo.mistakes:missing_parameter", "a required one is left out"),
        ErrorKind("unknown_value", "tl_jax.demo.mistakes:unknown_value", "`unknown` in place of a value"),
        ErrorKind("timeout", "tl_jax.demo.mistakes:timeout", "the right call, and no answer in time"),
        ErrorKind("wrong_tool", "tl_jax.demo.mistakes:wrong_tool", "of those on offer the one named most alike"),
        ErrorKind("redundant_parameter", "tl_jax.demo.mistakes:redundant_parameter", "an optional one not asked for"),
        ErrorKind("wrong_value", "tl_jax.demo.mistakes:wrong_value", "another value than the one asked for"),
    ),
    columns={"kind": lambda kind: f"`{kind.name}`", "what is wrong": lambda kind: kind.about},
)
"""What ``error_kinds`` names; a name there is a record here."""
ERRORS_ONLY = ("error_kinds", "repeated", "silent")
"""Dials that say what wrong calls are like."""
_DEFAULT_KINDS = ("hallucinated_tool", "hallucinated_parameter", "missing_parameter", "unknown_value", "timeout")


class WorldConfig(Node):
    """Errors are those of the recorded caller in training; held-out trajectories are the same whatever they say."""

    error_rate: Annotated[Annotated[Real, Field(ge=0, le=0.5)] | Literal["slips"], OrWord(SLIPS)] = Field(
        SLIPS,
        description="share of the recorded calls that are wrong; slips = of first attempts 3 in 4 at one tool of each "
        "domain, and 1 in 25 at the others",
    )
    error_kinds: Annotated[tuple[str, ...], BeforeValidator(one_or_more), Choice(ERROR_KINDS)] = Field(
        _DEFAULT_KINDS, min_length=1, description="ways to be wrong, which are equally likely; slips are of the first"
    )
    repeated: Real = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the wrong calls that are wrong in the first way of error_kinds",
    )
    silent: Real = Field(
        0.0, ge=0, le=1, description="share of the wrong calls that nobody complains of and nobody puts right"
    )
    overlap: Overlap = Field(
        "as_written",
        description="of tools' names: none = no two begin with the same word; prefixes = all of a domain do; "
        "near_duplicates = each is there twice, but for the last word the same",
    )
    tools: Whole | None = Field(
        None,
        ge=1,
        le=8,
        description="on offer besides finish, never fewer than are needed; null = 1 to 3 more",
    )
    train: Whole = Field(3000, ge=1, description="trajectories to learn from")
    new_values: Whole = Field(130, ge=0, description="held-out trajectories with known tools and values never seen")
    new_tools: Whole = Field(
        0, ge=0, description="held-out ones with a tool of each known domain that training then neither calls nor shows"
    )
    new_domains: Whole = Field(70, ge=0, description="held-out ones of domains never seen")

    @model_validator(mode="after")
    def _agrees(self) -> WorldConfig:
        if self.repeated and self.error_rate == SLIPS:
            raise ValueError("repeated needs an error_rate that is a number: slips repeat at their tools as it is")
        if len(set(self.error_kinds)) < len(self.error_kinds):
            raise ValueError("error_kinds: name each once; all are equally likely")
        if self.silent and self.error_kinds == ("timeout",):
            raise ValueError("silent needs another of error_kinds than timeout, which is the complaint itself")
        if not self.new_values + self.new_tools + self.new_domains:
            raise ValueError("nothing is held out: set new_values, new_tools or new_domains")
        return self

    def effective(self) -> WorldConfig:
        """Where no call is wrong without what wrong ones would be like: worlds of equal settings are the same."""
        if self.error_rate:
            return self
        return self.model_copy(update={name: getattr(WorldConfig(), name) for name in ERRORS_ONLY})
