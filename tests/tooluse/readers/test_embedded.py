"""JSON that stands inside of texts."""

from __future__ import annotations

from typing import Any

import pytest

from tl_jax.tooluse.readers import embedded
from tl_jax.tooluse.strict_json import DECODER


def test_what_is_read_in_vain_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these objects is read up to the end, which is missing."""
    tried: list[int] = []

    class Counting:
        def raw_decode(self, text: str, start: int) -> tuple[Any, int]:
            tried.append(start)
            return DECODER.raw_decode(text, start)

    monkeypatch.setattr(embedded, "DECODER", Counting())
    text = '{"a":' * 300 + "[" + "1, " * 20_000
    assert list(embedded.embedded(text)) == []
    assert 1 < len(tried) <= embedded.TRIED + 1
