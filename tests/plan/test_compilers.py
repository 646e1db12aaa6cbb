"""The compilers for TPUs and GPUs, where they are installed, and what the configurations say that they say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.plans import CLAIMS, GIB, Claim, planned
from tl_jax.model.presets import PRESETS

TPU = pytest.mark.skipif(find_spec("libtpu") is None, reason="needs tl-jax[plan-tpu]")
UNPADDED = replace(
    PRESETS["tiny"].config, hidden_size=512, intermediate_size=512, num_heads=4, num_kv_heads=4, head_dim=128
)
"""Sizes that a TPU, which lays arrays out in tiles, adds nothing to."""
GPU = pytest.mark.skipif(find_spec("jax_cuda12_plugin") is None, reason="needs tl-jax[plan-gpu]")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "kind"),
    [pytest.param("v5e:2x2", "TPU v5 lite", marks=TPU), pytest.param("h100:4", "H100", marks=GPU)],
)
def test_a_small_step_is_compiled_for_devices_that_are_not_here(tmp_path: Path, devices: str, kind: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"model: {{path: {tmp_path}}}\ndata: {{max_length: 128, batch_size: 4}}\n")
    (tmp_path / "config.json").write_text(json.dumps(UNPADDED.to_hf()))
    plan = planned(["--config", str(config), "--devices", devices, "--quick"])
    step, held_out = plan["programs"]
    state = 3 * 4 * plan["parameters"] / 4  # float32 parameters and two moments, over four devices
    assert plan["device_kind"] == kind
    assert plan["fits"]
    assert step["argument"] == pytest.approx(state, rel=0.05)
    assert step["alias"] == pytest.approx(state, rel=0.05)
    assert set(step["sent"]) == set(held_out["sent"]) == {"fsdp"}
    # gathered in bfloat16 at least twice, and gradients scattered: three quarters of it come from other devices
    assert step["sent"]["fsdp"] > 3 / 4 * 2 * 2 * plan["parameters"]
    assert 0 < plan["bound"]["mfu"] < 1


def test_a_claim_is_read() -> None:
    command = "tl-jax plan --config configs/sft.yaml --preset tiny --devices h100:8 mesh.data=2 accumulate=4"
    claim = Claim(
        Path("configs/sft.yaml"),
        command,
        "training step 9.50, held-out loss 11.00, of 72.78; a step takes 2 s at least",
    )
    assert (claim.name, claim.extra) == ("sft h100:8 mesh.data=2 accumulate=4", "plan-gpu")
    assert claim.figures == ("11.00", "72.78", "2 s")


def test_configurations_say_what_they_need() -> None:
    told = {claim.file.name for claim in CLAIMS.values()}
    assert {f"codellama_7b_{name}.yaml" for name in ("sft", "lora", "ppo", "grpo")} <= told


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: f"{claim.file.stem}-{claim.devices}")
def test_what_a_configuration_says_is_what_the_compiler_says(claim: Claim) -> None:
    """Within 3 %: other versions of XLA lay memory out differently."""
    if not claim.installed:
        pytest.skip(f"needs tl-jax[{claim.extra}]")
    plan = planned(claim.command.removeprefix("tl-jax plan ").split())
    for program in plan["programs"]:
        found = re.search(rf"(?:^|, ){program['name']} ([\d.]+)", claim.told)
        assert found, claim.told
        assert program["needed"] / GIB == pytest.approx(float(found[1]), rel=0.03)
