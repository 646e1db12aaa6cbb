"""Figures, gains and pages, from answers written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.ablation.small import RIGHT, TOOL, VALUE, answered, plan_of, trained, write_ablation
from tl_jax.ablation import results as results_module
from tl_jax.ablation.page import to_html
from tl_jax.ablation.results import gains, mean_points, read_results
from tl_jax.ablation.sweep import sweep_plans
from tl_jax.ablation.sweep_page import sweep_image, sweep_to_html
from tl_jax.ablation.written import write_report, write_sweep
from tl_jax.cli import main
from tl_jax.config import load_config
from tl_jax.config.ablation import AblationConfig
from tl_jax.config.variants import FACTORS, VARIANTS
from tl_jax.report.record import RunRecord, read_run

BASE = [TOOL, TOOL, TOOL, VALUE]
ANSWERS = {
    ("SFT", 0): [RIGHT, TOOL, TOOL, VALUE],
    ("SFT", 1): [TOOL, TOOL, RIGHT, VALUE],
    ("PKT", 0): [RIGHT, RIGHT, TOOL, RIGHT],
    ("PKT", 1): [RIGHT, TOOL, RIGHT, VALUE],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An ablation of two variants, one of which has not been answered in seed 2."""
    file = write_ablation(tmp_path, variants=["SFT", "PKT"], seeds=[0, 1, 2])
    plan = plan_of(file)
    answered(plan.base, BASE)
    for key, answers in ANSWERS.items():
        answered(plan.evaluations[key], answers)
    answered(plan.evaluations["SFT", 2], [RIGHT] * 4, seconds=7)
    return file


def test_figures_are_shares_of_the_answers(file: Path) -> None:
    results = read_results(plan_of(file))
    assert (results.cases, results.suites) == (4, {"s0": 2, "s1": 2})
    assert results.base is not None
    figures = results.base.figures
    assert [figures[name].mean for name in ("TS", "PI", "CF")] == [25, 25, 0]
    assert figures["reward"].mean == pytest.approx((3 * -2 - 0.25) / 4)
    sft, pkt = results.variants["SFT"], results.variants["PKT"]
    assert (sft.seeds, pkt.seeds) == ((0, 1, 2), (0, 1))
    assert sft.figures["TS"].seeds == (50, 50, 100)
    assert pkt.figures["CF"].seeds == (75, 50)
    assert pkt.suites["s0"]["CF"].seeds == (50, 100)
    assert "eval PKT seed 2" in results.missing
    assert (results.costs["eval"].stages, results.costs["eval"].seconds) == (6, 12)


def test_what_counts_is_what_was_answered_in_whatever_format(tmp_path: Path) -> None:
    """An evaluation leaves out what its format cannot say, which for ``chat`` only the model's tokenizer tells."""
    file = write_ablation(tmp_path, variants=["SFT"], seeds=[0])
    plan = plan_of(file, "sft.settings.data.renderer=chat", "rl.settings.data.renderer=chat")
    answered(plan.base, BASE[:3])
    answered(plan.evaluations["SFT", 0], ANSWERS["SFT", 0][:3])
    results = read_results(plan)
    assert (results.cases, results.suites) == (3, {"s0": 2, "s1": 1})
    assert results.variants["SFT"].figures["CF"].mean == pytest.approx(100 / 3)


def test_a_gain_is_of_the_seeds_that_both_have(file: Path) -> None:
    (gain,) = read_results(plan_of(file)).gains
    assert (gain.factor, gain.without, gain.seeds) == ("PKT", ("SFT",), (0, 1))
    assert gain.figures["TS"].seeds == (25, 25)
    assert gain.figures["CF"].mean == pytest.approx((75 - 25 + 50 - 25) / 2)


def test_the_gain_by_a_part_is_the_main_effect_of_the_factorial_experiment() -> None:
    """Least squares of the outcomes on the three switches, which are orthogonal, finds the same."""
    generator = np.random.default_rng(0)
    tables = {name: {seed: generator.normal(size=(4, 30)) for seed in (0, 1)} for name in VARIANTS}
    found = {gain.factor: gain for gain in gains(tables) if len(gain.without) == 4}
    design = [[1.0, *(float(factor in VARIANTS[name].factors) for factor in FACTORS)] for name in tables]
    means = [np.mean([tables[name][seed][2] for seed in (0, 1)]) for name in tables]
    fitted = np.linalg.lstsq(np.array(design), np.array(means), rcond=None)[0]
    assert [found[factor].figures["CF"].mean for factor in FACTORS] == pytest.approx(fitted[1:])
    assert len(gains(tables)) == 3 * (1 + 4)


def test_cost_and_curves_are_those_of_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[Path]()

    def counted(home: Path) -> RunRecord:
        read.append(home)
        return read_run(home)

    monkeypatch.setattr(results_module, "read_run", counted)
    plan = plan_of(write_ablation(tmp_path, variants=["SFT", "IRM"], seeds=[0, 1]))
    for seed, loss in ((0, 2.0), (1, 4.0)):
        sft, rl = plan.trainings["IRM", seed]
        trained(sft, [{"step": step, "loss": loss / step, "tokens": 100.0} for step in (1, 2, 3)])
        trained(rl, [{"step": 1, "reward": loss, "answer_length": 7.5}, {"step": 4, "reward": 0, "answer_length": 4.0}])
    results = read_results(plan)
    assert sorted(read) == sorted(stage.directory for stage in plan.stages if stage.kind != "eval")  # each once
    assert results.curves == {
        "sft: loss": {"SFT": [(1, 3.0), (2, 1.5), (3, 1.0)]},
        "rl: reward": {"IRM": [(1, 3.0), (4, 0.0)]},
    }
    assert results.costs["sft"].tokens == 2 * 300
    assert results.costs["rl"].tokens == 2 * 64 * (7.5 + 3 * 4.0)
    assert "sft: loss, mean over seeds" in to_html(results)


def test_a_curve_over_seeds_has_the_steps_that_all_of_them_have() -> None:
    assert mean_points([[(1, 1.0), (2, 5.0)], [(1, 3.0)]]) == [(1, 2.0)]
    assert mean_points([]) == []


def test_the_report_is_json_and_a_page_without_markup_of_others(file: Path) -> None:
    plan = plan_of(file)
    write_report(plan)
    content = json.loads((plan.config.out / "report.json").read_text())
    assert content["variants"]["PKT"]["figures"]["CF"]["mean"] == 62.5
    text = (plan.config.out / "report.html").read_text()
    assert "74.6/70.2/43.0" in text  # beside the paper's
    assert "PKT added to SFT" in text
    assert "eval PKT seed 2" in text
    _well_formed(text)
    (file.parent / "cases.jsonl").write_text((file.parent / "cases.jsonl").read_text().replace('"s0"', '"<b>s0</b>"'))
    hostile = plan_of(file)
    answered(hostile.base, BASE)
    answered(hostile.evaluations["SFT", 0], BASE)
    page = to_html(read_results(hostile))
    assert "<b>s0" not in page
    assert "&lt;b&gt;s0" in page
    _well_formed(page)


def test_a_dial_has_a_page_of_gains_at_each_value(tmp_path: Path) -> None:
    dial = {"setting": "sft.settings.data.pkt.max_weight", "values": [2, 9], "variants": ["SFT", "PKT"]}
    file = write_ablation(tmp_path, seeds=[0], sweeps={"weight": dial})
    config = load_config(AblationConfig, [file], [])
    plans = sweep_plans(config, "weight", [file], [])
    answered(plans["2"].evaluations["SFT", 0], BASE)  # which the other value has, too
    answered(plans["2"].evaluations["PKT", 0], BASE)
    answered(plans["9"].evaluations["PKT", 0], [RIGHT] * 4)
    said = Console(width=200, record=True)
    said.print(write_sweep(config, "weight", plans))
    text, page = said.export_text(), (config.out / "sweep-weight.html").read_text()
    for told in ("+0.0 (+0.0, +0.0)", "+0.00 (+0.00, +0.00)", "+100.0 (+100.0, +100.0) *"):  # a share, a reward
        assert told in text
        assert f"<td>{told}</td>" in page
    for told in ("not done at 2: sft SFT seed 0, sft PKT seed 0", "not done at 9: sft SFT seed 0, sft PKT seed 0"):
        assert told in text
        assert f"<li>{told}</li>" in page
    content = json.loads((config.out / "sweep-weight.json").read_text())
    assert content["setting"] == "sft.settings.data.pkt.max_weight"
    assert [content["values"][value]["gains"][0]["figures"]["CF"]["mean"] for value in ("2", "9")] == [0, 100]
    _well_formed(page)
    _well_formed(sweep_to_html("empty", "x", {}))
    image = ElementTree.parse(config.out / "sweep-weight-CF.svg")
    shown = " ".join(image.getroot().itertext())
    assert "Gain: Content (CF), %, against max_weight" in shown
    assert "PKT added to SFT, 9: 100 (100 to 100)" in shown
    assert len(image.findall(".//{*}circle")) == 2
    assert sweep_image("x", {}, "CF") == ""


def _well_formed(page: str) -> None:
    for part in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")


def test_the_command_lists_what_it_would_do(file: Path) -> None:
    found = CliRunner().invoke(main, ["ablation", "--config", str(file), "--dry-run"], env={"COLUMNS": "100"})
    assert found.exit_code == 0, found.output
    assert "sft PKT seed 1" in found.output
    assert "3 steps of 8 rows of 64 tokens" in found.output
    assert "13 stages, 7 to do" in found.output
    assert not (file.parent / "out/ablation.json").exists()


def test_the_command_reports_on_what_is_done_and_runs_nothing(file: Path) -> None:
    """Of an ablation that has not begun, too."""
    arguments = ["ablation", "--config", str(file), "--report"]
    for out, told in ((file.parent / "out", "PKT added to SFT"), (file.parent / "nothing", "0 cases")):
        found = CliRunner().invoke(main, [*arguments, f"out={out}"], env={"COLUMNS": "160"})
        assert found.exit_code == 0, found.output
        assert told in found.output
        assert "not done: " in found.output
        assert (out / "report.html").is_file()
        assert not list(out.glob("stages/*.log"))


def test_the_command_turns_several_dials_at_once(tmp_path: Path) -> None:
    dials = {
        name: {"setting": f"sft.settings.{name}", "values": [5, 9], "variants": ["SFT"]}
        for name in ("steps", "log_every")
    }
    file = write_ablation(tmp_path, seeds=[0], sweeps=dials)
    arguments = ["ablation", "--config", str(file), "--sweep", "steps", "--sweep", "log_every"]
    listed = CliRunner().invoke(main, [*arguments, "--dry-run"])
    assert "8 stages, 8 to do" in listed.output
    config = load_config(AblationConfig, [file], [])
    for name in dials:
        for plan in sweep_plans(config, name, [file], []).values():
            answered(plan.evaluations["SFT", 0], BASE)
            trained(plan.trainings["SFT", 0][0], [{"step": 1, "loss": 2.0}])
    found = CliRunner().invoke(main, arguments, env={"COLUMNS": "400"})
    assert found.exit_code == 0, found.output
    assert all((config.out / f"sweep-{name}.html").is_file() and f"sweep-{name}.html" in found.output for name in dials)
    assert not (config.out / "report.html").exists()


def test_the_command_writes_the_report_once_all_is_done(file: Path) -> None:
    for stage in plan_of(file, "seeds=[0,1]").stages:
        if stage.kind == "sft":
            trained(stage, [{"step": 3, "loss": 2.0, "tokens": 100}])
    found = CliRunner().invoke(main, ["ablation", "--config", str(file), "seeds=[0,1]"], env={"COLUMNS": "160"})
    assert found.exit_code == 0, found.output
    assert "9 of 9 stages are done already" in found.output
    assert "PKT added to SFT" in found.output
    assert "report.html" in found.output
    found = CliRunner().invoke(main, ["ablation", "--config", str(file), "eval.max_new_tokens=7"])
    assert found.exit_code == 2
    assert "eval.max_new_tokens (the default before, 7 now); choose another out=" in found.output
