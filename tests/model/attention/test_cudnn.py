"""What cuDNN cannot do is an error; what it computes needs an NVIDIA GPU."""

from __future__ import annotations

import jax
import pytest

from tests.model.attention.inputs import inputs, packed_mask
from tl_jax.model.attention import AttentionError, attention


def test_it_needs_a_gpu() -> None:
    with pytest.raises(AttentionError, match="'cudnn' needs an NVIDIA GPU, not 'cpu'"):
        attention(*inputs(1, 24, 2, 1, 8), packed_mask(1, 24), "cudnn")


def test_it_refuses_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(AttentionError, match="float32"):
        attention(*inputs(1, 24, 2, 1, 8), packed_mask(1, 24), "cudnn")
