"""The flags that tests give to XLA."""

from __future__ import annotations

import pytest

from tests.xla_flags import is_known, xla_flags


@pytest.mark.jax
def test_a_flag_that_xla_does_not_have_is_left_out() -> None:
    pytest.importorskip("jaxlib")
    assert is_known("--xla_backend_optimization_level=0")
    assert not is_known("--xla_of_another_version=1")
    assert "--xla_force_host_platform_device_count=8" in xla_flags(8).split()
