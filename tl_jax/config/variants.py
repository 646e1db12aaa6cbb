"""The variants of an ablation: every subset of MAE, PKT and IRM, and what the paper reports of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tl_jax.registry import Registry

FACTORS = ("MAE", "PKT", "IRM")
"""The three parts of the method, independent switches: two of supervised training, and the reinforcement after it."""
BENCHMARKS = ("ToolAlpaca", "RoTBench")

Shares = tuple[float, float, float]
"""TS, PI and CF in %."""


@dataclass(frozen=True)
class Variant:
    """Which of `FACTORS` are on."""

    name: str
    factors: frozenset[str]
    reported: Mapping[str, Shares] = field(default_factory=dict)
    """benchmark -> what the paper reports for CodeLLaMA-7B (arXiv 2412.15495, its ablation)"""

    def without(self, factor: str) -> frozenset[str]:
        """The other factors that are on."""
        return self.factors - {factor}


def _variant(name: str, *reported: Shares) -> Variant:
    return Variant(name, frozenset(name.split("+")) - {"SFT"}, dict(zip(BENCHMARKS, reported, strict=True)))


def _cell(variant: Variant, benchmark: str) -> str:
    return " / ".join(f"{share:.2f}" for share in variant.reported[benchmark])


VARIANTS: Registry[Variant] = Registry(
    "variant",
    [
        _variant("SFT", (74.56, 70.18, 42.98), (76.19, 55.24, 38.10)),
        _variant("MAE", (73.68, 64.91, 43.68), (78.10, 57.14, 40.95)),
        _variant("PKT", (77.78, 71.72, 43.86), (82.86, 63.81, 48.57)),
        _variant("IRM", (88.60, 84.21, 57.02), (79.05, 59.05, 44.76)),
        _variant("MAE+PKT", (73.68, 64.91, 43.86), (80.95, 56.19, 40.00)),
        _variant("MAE+IRM", (87.72, 78.95, 57.89), (82.86, 56.19, 45.71)),
        _variant("PKT+IRM", (86.84, 79.82, 57.02), (82.86, 63.81, 48.57)),
        _variant("MAE+PKT+IRM", (87.72, 78.07, 57.89), (83.81, 54.29, 42.86)),
    ],
    columns={
        "variant": lambda variant: f"`{variant.name}`",
        "ToolAlpaca TS / PI / CF": lambda variant: _cell(variant, "ToolAlpaca"),
        "RoTBench TS / PI / CF": lambda variant: _cell(variant, "RoTBench"),
    },
)


def variant_of(factors: Collection[str]) -> Variant:
    """The variant with these factors.

    Example:
        >>> variant_of({"IRM", "MAE"}).name
        'MAE+IRM'
    """
    return next(variant for variant in VARIANTS.values() if variant.factors == frozenset(factors))
