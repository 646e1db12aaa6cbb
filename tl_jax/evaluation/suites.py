"""Benchmarks that ``--suite`` names: with their own data, rules and summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tl_jax.evaluation.bfcl import bfcl_faults, evaluate_bfcl, report, score_bfcl
from tl_jax.registry import Registry
from tl_jax.tooluse.schema import Case


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark.

    Attributes:
        evaluate: takes model, directory to write, categories, answering, source, limit and overwrite; gives scores.
        score: takes a file of predictions, categories and source; gives scores, which have `to_json` and ``missing``.
        report: the scores as rich shows them.
        faults: takes what ``score`` does; gives each case, its prediction or None, and what is wrong with it.
    """

    name: str
    description: str
    evaluate: Callable[..., Any]
    score: Callable[..., Any]
    report: Callable[[Any], Any]
    faults: Callable[..., Iterable[tuple[Case, Any, str]]]


SUITES = Registry(
    "suite",
    (
        Suite(
            "bfcl_v4",
            "BFCL v4 but for its agentic part, see [bfcl.md](bfcl.md)",
            evaluate_bfcl,
            score_bfcl,
            report,
            bfcl_faults,
        ),
    ),
    columns={"`--suite`": lambda suite: f"`{suite.name}`", "what it is": lambda suite: suite.description},
)
