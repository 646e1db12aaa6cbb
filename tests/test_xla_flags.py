"""The flags that tests give to XLA."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.xla_flags import is_known, xla_flags


@pytest.mark.jax
def test_a_flag_that_xla_does_not_have_is_left_out() -> None:
    pytest.importorskip("jaxlib")
    assert is_known("--xla_backend_optimization_level=0")
    assert not is_known("--xla_of_another_version=1")
    assert "--xla_force_host_platform_device_count=8" in xla_flags(8).split()


def test_the_name_of_a_flag_that_is_gone_is_no_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libjax_common.so").write_bytes(b"R\x08xla_gone\x18\x01 \0xla_here\0")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("tests.xla_flags.find_spec", lambda name: spec)
    assert is_known.__wrapped__("--xla_here=1")
    assert not is_known.__wrapped__("--xla_gone=1")
