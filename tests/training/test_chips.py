"""Which record a device has."""

from __future__ import annotations

import pytest

from tl_jax.training.chips import CHIPS, Chip, chip_of


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("cpu", None),
    ],
)
def test_peak_of_a_device(kind: str, peak: float | None) -> None:
    found = chip_of(kind)
    assert (found and found.flops) == peak


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_every_record_can_be_found(chip: Chip) -> None:
    """None stands behind another whose text is part of its own."""
    assert chip_of(f"NVIDIA {chip.kind}") is chip
