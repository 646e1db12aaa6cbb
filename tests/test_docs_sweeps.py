"""The dials of an ablation on a page of the documents, from answers written by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.ablation.small import RIGHT, TOOL, VALUE, answered, write_ablation
from tl_jax.ablation.sweep import sweep_plans
from tl_jax.ablation.written import write_sweep
from tl_jax.config import load_config
from tl_jax.config.ablation import AblationConfig
from tl_jax.errors import UserError

PAGE = "a\n<!-- sweeps -->\nold\n<!-- end -->\nb\n"


@pytest.fixture(scope="module")
def sweeps() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweeps", Path(__file__).parents[1] / "docs/sweeps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_dial_becomes_images_and_a_table(sweeps: ModuleType, tmp_path: Path) -> None:
    dial = {"setting": "sft.settings.data.pkt.max_weight", "values": [2, 9], "variants": ["SFT", "PKT"]}
    file = write_ablation(tmp_path, seeds=[0], sweeps={"weight": dial})
    config = load_config(AblationConfig, [file], [])
    plans = sweep_plans(config, "weight", [file], [])
    write_sweep(config, "weight", plans)
    with pytest.raises(UserError, match=r"no sweep-NAME\.json with a gain"):
        sweeps.with_sweeps(PAGE, config.out, tmp_path / "plots")
    answered(plans["2"].evaluations["SFT", 0], [TOOL, TOOL, TOOL, VALUE])
    answered(plans["2"].evaluations["PKT", 0], [RIGHT, TOOL, TOOL, VALUE])
    answered(plans["9"].evaluations["PKT", 0], [RIGHT] * 4)
    write_sweep(config, "weight", plans)
    page = sweeps.with_sweeps(PAGE, config.out, tmp_path / "plots")
    before, heading, _, image, _, head, _, two, nine, after = page.split("\n", 11)[1:11]
    assert (before, heading) == ("<!-- sweeps -->", "### PKT against `weight`")
    assert (
        image == "![gain in TS against weight](plots/weight-TS.svg) ![gain in CF against weight](plots/weight-CF.svg)"
    )
    assert head.startswith("| `max_weight` | seeds |")
    cells = [cell.strip() for cell in two.strip("|").split("|")]
    assert cells[:4] == ["2", "1", "SFT 25.0 / 25.0 / 0.0, PKT 50.0 / 50.0 / 25.0", "+25.0 (+0.0, +75.0)"]
    assert "**+75.0 (+25.0, +100.0)**" in nine  # TS: the interval leaves 0 out
    assert after == "<!-- end -->"
    assert page.endswith("<!-- end -->\nb\n")
    for figure in ("TS", "CF"):
        written = (config.out / f"sweep-weight-{figure}.svg").read_bytes()
        assert (tmp_path / f"plots/weight-{figure}.svg").read_bytes() == written
    assert sweeps.with_sweeps(page, config.out, tmp_path / "plots") == page


def test_dials_of_other_folders_stay_on_the_page(sweeps: ModuleType, tmp_path: Path) -> None:
    dial = {"setting": "sft.settings.data.pkt.max_weight", "values": [2], "variants": ["SFT", "PKT"]}
    file = write_ablation(tmp_path, seeds=[0], sweeps={"weight": dial})
    config = load_config(AblationConfig, [file], [])
    plans = sweep_plans(config, "weight", [file], [])
    answered(plans["2"].evaluations["SFT", 0], [TOOL, TOOL, TOOL, VALUE])
    answered(plans["2"].evaluations["PKT", 0], [RIGHT, TOOL, TOOL, VALUE])
    write_sweep(config, "weight", plans)
    mae, irm, stale = (
        "### MAE against `rate`\n\nfirst\n",
        "### IRM against `data`\n\nlast\n",
        "### PKT against `weight`",
    )
    page = f"<!-- sweeps -->\n{mae}\n{stale}\n\nstale\n\n{irm}<!-- end -->\n"
    after = sweeps.with_sweeps(page, config.out, tmp_path / "plots")
    assert after.startswith(f"<!-- sweeps -->\n{mae}\n{stale}\n\n![gain")
    assert after.endswith(f"\n{irm}<!-- end -->\n")
    assert "stale" not in after
