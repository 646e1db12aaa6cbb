"""Which stages there are, what variants and dials share, and which settings may change."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ablation.small import plan_of, write_ablation
from tl_jax.ablation.plan import AblationPlan, Stage
from tl_jax.ablation.settings import keep_settings
from tl_jax.ablation.sweep import all_stages, sweep_plans
from tl_jax.bucket import Folder
from tl_jax.config import ConfigError, SftConfig, WorldConfig, load_config
from tl_jax.config.ablation import AblationConfig
from tl_jax.config.variants import FACTORS, VARIANTS
from tl_jax.errors import UserError


def trained(plan: AblationPlan, variant: str, kind: str, seed: int = 0) -> dict[str, Any]:
    """The settings that a training of the variant reads."""
    stage = next(stage for stage in plan.trainings[variant, seed] if stage.kind == kind)
    tree = yaml.safe_load(stage.settings)
    assert isinstance(tree, dict)
    return tree


def test_the_variants_are_all_subsets_of_the_three_parts() -> None:
    subsets = {frozenset(factor for n, factor in enumerate(FACTORS) if mask >> n & 1) for mask in range(8)}
    assert {variant.factors for variant in VARIANTS.values()} == subsets
    assert len(VARIANTS) == 8


def test_what_variants_share_is_one_stage(tmp_path: Path) -> None:
    """Supervised training does not depend on IRM: four of them a seed, not eight; and one evaluation of the base."""
    plan = plan_of(write_ablation(tmp_path), "seeds=[0,1,2]")
    kinds = Counter(stage.kind for stage in plan.stages)
    assert kinds == {"sft": 12, "rl": 12, "eval": 25}
    assert len({stage.directory for stage in plan.stages}) == len(plan.stages)
    for seed in (0, 1, 2):
        assert plan.trainings["MAE+PKT+IRM", seed][0] is plan.trainings["MAE+PKT", seed][0]
    assert plan.trainings["MAE", 0][0] is not plan.trainings["MAE", 1][0]


def test_stages_come_after_what_they_need_and_seeds_one_after_another(tmp_path: Path) -> None:
    plan = plan_of(write_ablation(tmp_path))
    places = {stage.key: place for place, stage in enumerate(plan.stages)}
    assert all(places[need.key] < places[stage.key] for stage in plan.stages for need in stage.needs)
    ends = [max(places[plan.evaluations[name, seed].key] for name in VARIANTS) for seed in (0, 1, 2)]
    assert ends == sorted(ends)
    assert all(places[stage.key] > ends[0] for (_, seed), stage in plan.evaluations.items() if seed == 1)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_trained_with_its_parts_and_no_others(name: str, tmp_path: Path) -> None:
    plan, factors = plan_of(write_ablation(tmp_path), "seeds=[7]"), VARIANTS[name].factors
    sft = trained(plan, name, "sft", 7)
    assert (sft["data"]["mae"]["rule"] != "none") == ("MAE" in factors)
    assert (sft["data"]["pkt"]["mode"] != "none") == ("PKT" in factors)
    assert (sft["seed"], sft["steps"], sft["data"]["max_length"]) == (7, 3, 64)
    assert len(plan.trainings[name, 7]) == (2 if "IRM" in factors else 1)
    if "IRM" in factors:
        rl = trained(plan, name, "rl", 7)
        assert rl["model"]["path"] == sft["run_dir"]
        assert (rl["data"]["mae"]["rule"] != "none") == ("MAE" in factors)
        assert (rl["seed"], rl["steps"]) == (7, 2)
    model = plan.evaluations[name, 7].words[plan.evaluations[name, 7].words.index("--model") + 1]
    assert model == str(plan.trainings[name, 7][-1].directory)


def test_a_chat_template_that_training_names_writes_the_questions_too(tmp_path: Path) -> None:
    """What it is told may be a date, which YAML makes of ``2026-01-31``."""
    chat = "data: {renderer: chat, chat_template: tools, chat_template_kwargs: {date_string: 2026-01-31, loud: true}}"
    file = write_ablation(tmp_path)
    plan = plan_of(file, f"sft.settings={{{chat}}}", "rl.settings.data.renderer=chat")
    assert trained(plan, "SFT", "sft")["data"]["chat_template_kwargs"] == {"date_string": "2026-01-31", "loud": True}
    given = " ".join(plan.base.words)
    assert "--renderer chat" in given
    assert "--chat-template tools --template-arg date_string='2026-01-31' --template-arg loud=true" in given


def everything_at(home: str) -> list[str]:
    """Settings that name files in all ways."""
    files = {"data.path": "train.jsonl", "data.cases": "cases.jsonl", "sft.settings.data.eval_path": "train.jsonl"}
    files |= {"rl.settings.data.eval_path": "cases.jsonl", "rl.settings.reward": "mine.yaml"}
    return ["seeds=[0]", *(f"{key}={home}/{name}" for key, name in files.items())]


def keys(plan: AblationPlan) -> dict[str, str]:
    return {stage.title: stage.key for stage in plan.stages}


def test_files_in_a_bucket_go_by_what_is_in_them(folder: Folder, tmp_path: Path) -> None:
    """So the same files here are the same stages, and others under the same names are not."""
    file, there = write_ablation(tmp_path), everything_at(folder.address)
    (tmp_path / "mine.yaml").write_text("parse_failure: -3\n")
    for name in ("train.jsonl", "cases.jsonl", "mine.yaml"):
        folder.upload(tmp_path / name, name)
    plan = plan_of(file, *there)
    assert trained(plan, "IRM", "sft")["data"]["path"] == trained(plan, "IRM", "rl")["data"]["path"]
    assert trained(plan, "IRM", "sft")["data"]["eval_path"] == f"{folder.address}/train.jsonl"
    assert trained(plan, "IRM", "rl")["reward"] == f"{folder.address}/mine.yaml"
    assert plan.base.words[plan.base.words.index("--cases") + 1] == f"{folder.address}/cases.jsonl"
    assert plan.cases.read_bytes() == (tmp_path / "cases.jsonl").read_bytes()  # what the report scores
    here = plan_of(file, *everything_at(str(tmp_path)))
    assert keys(plan) == keys(here)
    keep_settings(here)
    keep_settings(plan)
    changed = {name: {*keys(plan)} for name in ("train.jsonl", "mine.yaml")}
    changed["train.jsonl"] -= {"eval base"}
    changed["mine.yaml"] = {title for title in changed["mine.yaml"] if "IRM" in title}
    for name, titles in changed.items():
        before = keys(plan_of(file, *there))
        folder.write(name, folder.read(name) + b"\n")
        after = keys(plan_of(file, *there))
        assert {title for title in before if before[title] != after[title]} == titles
    with pytest.raises(ConfigError, match=r"contents\.path"):
        keep_settings(plan_of(file, *there))
    (tmp_path / "mine.yaml").write_text("parse_failure: -4\n")
    others = keys(plan_of(file, *everything_at(str(tmp_path))))
    assert {title for title, key in others.items() if key != keys(here)[title]} == changed["mine.yaml"]


def test_a_folder_of_data_goes_by_its_files_and_a_file_with_its_tools(tmp_path: Path) -> None:
    file, data = write_ablation(tmp_path), tmp_path / "data"
    data.mkdir()
    (data / "a.jsonl").write_bytes((tmp_path / "train.jsonl").read_bytes())
    for path, added in ((data, data / "b.jsonl"), (tmp_path / "train.jsonl", tmp_path / "train.tools.json")):
        settings = ["seeds=[0]", f"data.path={path}"]
        before = keys(plan_of(file, *settings))
        assert keys(plan_of(file, *settings)) == before
        added.write_text("[]")
        after = keys(plan_of(file, *settings))
        assert {title for title in before if before[title] == after[title]} == {"eval base"}
    elsewhere = plan_of(file, "seeds=[0]", "data.path=someone/on_the_hub")
    assert elsewhere.settings["contents.path"] == "someone/on_the_hub"


def test_a_stage_is_known_by_what_decides_it_not_by_where_it_lies(tmp_path: Path) -> None:
    file = write_ablation(tmp_path)

    def with_(*overrides: str) -> dict[str, str]:
        return keys(plan_of(file, "seeds=[0]", *overrides))

    before = with_()
    assert with_(f"out={tmp_path / 'elsewhere'}") == before
    other_pkt = with_("sft.settings.data.pkt.max_weight=3")
    assert {title for title in before if other_pkt[title] == before[title]} == {
        *("eval base", "sft SFT seed 0", "eval SFT seed 0", "sft MAE seed 0", "eval MAE seed 0"),
        *("rl IRM seed 0", "eval IRM seed 0", "rl MAE+IRM seed 0", "eval MAE+IRM seed 0"),
    }
    other_rl = with_("rl.settings.steps=5")
    assert {title for title in before if other_rl[title] != before[title]} == {
        title for title in before if "IRM" in title
    }
    (tmp_path / "train.jsonl").write_text((tmp_path / "train.jsonl").read_text() + "\n")
    changed = with_()
    assert {title for title in before if changed[title] == before[title]} == {"eval base"}


def test_stages_are_known_wherever_they_are_copied_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To another machine, for instance, where the model lies elsewhere under the same relative name."""
    plans = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        plans.append(plan_of(write_ablation(Path(), model="model"), "seeds=[0]"))
    here, there = plans
    assert [stage.key for stage in here.stages] == [stage.key for stage in there.stages]
    assert here.settings == there.settings
    assert trained(here, "SFT", "sft")["model"]["path"] == str(tmp_path / "here/model")
    assert plan_of(Path("ablation.yaml"), "seeds=[0]", "model=other").base.key != there.base.key
    keep_settings(there)
    with pytest.raises(ConfigError, match=r'model \("model" before, "other" now\)'):
        keep_settings(plan_of(Path("ablation.yaml"), "seeds=[0]", "model=other"))


def test_the_world_is_made_once_for_all(tmp_path: Path) -> None:
    file = write_ablation(tmp_path, data={"world": {"train": 5, "error_rate": 0.3}, "seed": 4}, seeds=[0])
    plan = plan_of(file)
    world = plan.stages[0]
    assert [stage.kind for stage in plan.stages].count("data") == 1
    assert (yaml.safe_load(world.settings)["error_rate"], world.words[-2:]) == (0.3, ("--seed", "4"))
    assert all(world in stage.needs or world in stage.needs[0].needs for stage in plan.stages[1:])
    assert trained(plan, "IRM", "rl")["data"]["path"] == str(world.directory / "train.jsonl")
    assert plan.cases == world.directory / "cases.jsonl"
    other = plan_of(file, "data.world.error_rate=0.1")
    assert not {stage.key for stage in plan.stages} & {stage.key for stage in other.stages}


def test_a_dial_shares_what_it_does_not_change(tmp_path: Path) -> None:
    dial = {"setting": "sft.settings.data.pkt.max_weight", "values": [2, 5, 9.0], "variants": ["SFT", "PKT"]}
    file = write_ablation(tmp_path, seeds=[0, 1], sweeps={"weight": dial})
    config = load_config(AblationConfig, [file], [])
    plans = sweep_plans(config, "weight", [file], [])
    assert list(plans) == ["2", "5", "9.0"]
    weights = [trained(plan, "PKT", "sft")["data"]["pkt"]["max_weight"] for plan in plans.values()]
    assert weights == [2, 5, 9]
    assert Counter(stage.kind for stage in all_stages([*plans.values()])) == {"sft": 2 + 6, "eval": 2 + 6}
    turns = [stage.title for stage in all_stages([*plans.values()])]
    assert max(place for place, title in enumerate(turns) if title.endswith("seed 0")) == len(turns) // 2 - 1
    whole = {stage.key for stage in plan_of(file).stages}
    assert {stage.key for stage in plans["9.0"].stages} <= whole  # 9 is the default: the ablation's own stages


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sft.settings.data.mae.rule=none", "variant MAE: sft says data.mae.rule=none; name what MAE means there"),
        ("sft.settings.data.pkt.mode=none", "variant PKT: sft says data.pkt.mode=none; name what PKT means there"),
        ("rl.files=[]", "rl.files: name the settings of the training, configs/rl.yaml for instance"),
        ("sft.settings.stepps=3", "unknown key 'stepps'; did you mean 'steps'?"),
        ("sft.settings.steps=2026-01-31", "key 'steps'"),
        ("sft.settings.seed=3", "sft.settings.seed: an ablation sets it by its seeds; leave it out"),
        ("rl.settings={data: {path: x}}", "rl.settings.data.path: an ablation sets it by its data; leave it out"),
        ("rl.settings.data.renderer=released", "sft says data.renderer=paper, and rl data.renderer=released"),
        ("variants=[SFT,PKD]", "did you mean 'PKT'?"),
        ("eval.profile=papre", "did you mean 'paper'?"),
        ("eval.profile=nowhere.yaml", "nowhere.yaml"),
        ("seeds=[1,1]", "seeds: name each once, and one at least"),
        ("data.cases=null", "data: set path and cases, or world={} for the tool world"),
        ("data={path: null, cases: null, world: {eror_rate: 1}}", "did you mean 'data.world.error_rate'?"),
        ("data.world={}", "data: world makes the files that path and cases would name; leave out one or the other"),
        ("sweeps.a.valuse=[1]", "did you mean 'sweeps.a.values'?"),
        (
            "sweeps.a={setting: seeds, values: [1]}",
            "setting=seeds: a dial begins with model, data., sft., rl. or eval.",
        ),
        (
            "sweeps.a={setting: model, values: [1], fixed: {out: x}}",
            "fixed=out: a dial begins with model, data., sft., rl. or eval.",
        ),
        ("sweeps.a={setting: model, values: [1], fixed: {model: x}}", "fixed has model, which is the dial itself"),
        ("sweeps={'../a': {setting: model, values: [1]}}", "should match pattern"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(override: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        plan_of(write_ablation(tmp_path), override)
    assert told in str(error.value)


def test_an_unknown_sweep_is_told_with_the_nearest(tmp_path: Path) -> None:
    file = write_ablation(tmp_path, sweeps={"weight": {"setting": "model", "values": ["a"]}})
    config = load_config(AblationConfig, [file], [])
    with pytest.raises(UserError, match="unknown sweep 'wait'; did you mean 'weight'"):
        sweep_plans(config, "wait", [file], [])


def test_a_dial_has_settings_of_its_own_which_the_command_line_overrides(tmp_path: Path) -> None:
    dial = {
        "setting": "data.world.silent",
        "values": [0, 1],
        "fixed": {"data.world.error_rate": 0.4, "sft.settings.steps": 7},
    }
    file = write_ablation(tmp_path, data={"world": {"train": 5, "error_rate": 0}}, seeds=[0], sweeps={"silent": dial})

    def turned(*overrides: str) -> list[tuple[float, float, int]]:
        plans = sweep_plans(load_config(AblationConfig, [file], overrides), "silent", [file], overrides)
        worlds = [yaml.safe_load(plan.stages[0].settings) for plan in plans.values()]
        steps = [trained(plan, "PKT", "sft")["steps"] for plan in plans.values()]
        return [(world["silent"], world["error_rate"], n) for world, n in zip(worlds, steps, strict=True)]

    assert turned() == [(0, 0.4, 7), (1, 0.4, 7)]
    assert turned("data.world.error_rate=0.2") == [(0, 0.2, 7), (1, 0.2, 7)]
    assert plan_of(file).config.data.world == WorldConfig(train=5, error_rate=0)  # of the ablation without a dial


@pytest.mark.parametrize(
    ("setting", "values", "overrides"),
    [
        ("data.world.silent", [0, 0.5], []),
        ("data.world.error_kinds", ["timeout", "wrong_tool"], []),
        ("rl.settings.steps", [1, 2], ["variants=[SFT]"]),
        ("sft.settings.data.pkt.max_weight", [2, 2.0], []),
    ],
)
def test_a_dial_that_turns_nothing_is_told(
    setting: str, values: list[object], overrides: list[str], tmp_path: Path
) -> None:
    sweep = {"dial": {"setting": setting, "values": values}}
    file = write_ablation(tmp_path, data={"world": {"train": 5, "error_rate": 0}}, seeds=[0], sweeps=sweep)
    config = load_config(AblationConfig, [file], overrides)
    with pytest.raises(
        ConfigError, match=rf"sweep dial: nothing depends on whether {setting} is {values[0]} or"
    ) as error:
        sweep_plans(config, "dial", [file], overrides)
    assert "sweeps.dial.fixed" in str(error.value)


def test_a_dial_of_what_answers_are_worth_asks_once(tmp_path: Path) -> None:
    sweep = {"worth": {"setting": "eval.profile", "values": ["paper", "binary"]}}
    file = write_ablation(tmp_path, seeds=[0], sweeps=sweep)
    paper, binary = sweep_plans(load_config(AblationConfig, [file], []), "worth", [file], []).values()
    assert len(all_stages([paper, binary])) == len(paper.stages)


def test_more_seeds_and_variants_go_on_and_other_settings_are_refused(tmp_path: Path) -> None:
    file = write_ablation(tmp_path)
    keep_settings(plan_of(file, "seeds=[0]", "variants=[SFT]", "rl.files=[]"))
    keep_settings(plan_of(file, "seeds=[0,1]", "variants=[SFT,IRM]"))
    with pytest.raises(ConfigError) as error:
        keep_settings(plan_of(file, "sft.settings.steps=4", "eval.max_new_tokens=9"))
    text = str(error.value)
    assert "eval.max_new_tokens (the default before, 9 now)" in text
    assert "sft.steps (3 before, 4 now)" in text
    with pytest.raises(ConfigError, match=r"rl.steps \(2 before, 3 now\)"):
        keep_settings(plan_of(file, "rl.settings.steps=3"))
    (tmp_path / "rl.yaml").write_text("steps: 2\nseed: 4\n")  # a seed of a file is none of an ablation
    keep_settings(plan_of(file))
    (tmp_path / "cases.jsonl").write_text((tmp_path / "cases.jsonl").read_text() + "\n")
    with pytest.raises(ConfigError, match=r"contents\.cases"):
        keep_settings(plan_of(file))


def test_a_setting_that_a_version_adds_makes_no_other_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_ablation(tmp_path, seeds=[0], variants=["SFT", "IRM"])
    before = plan_of(file)
    keep_settings(before)

    class LaterSft(SftConfig):
        more: int = 3

    monkeypatch.setattr("tl_jax.ablation.plan.SftConfig", LaterSft)
    later = plan_of(file)
    keep_settings(later)
    assert yaml.safe_load(later.trainings["SFT", 0][0].settings)["more"] == 3
    assert [stage.key for stage in later.stages] == [stage.key for stage in before.stages]


def test_the_record_of_settings_is_json(tmp_path: Path) -> None:
    plan = plan_of(write_ablation(tmp_path), "seeds=[0]")
    keep_settings(plan)
    assert json.loads((plan.config.out / "ablation.json").read_text())["sft.data.max_length"] == 64


def test_a_stage_has_its_files_beside_each_other(tmp_path: Path) -> None:
    stage: Stage = plan_of(write_ablation(tmp_path)).base
    assert {file.parent for file in (stage.log, stage.record, stage.settings_file)} == {tmp_path / "out/stages"}


SHIPPED = Path(__file__).parents[2] / "configs" / "when_it_helps.yaml"


@pytest.mark.parametrize("name", load_config(AblationConfig, [SHIPPED], []).sweeps)
def test_the_dials_that_are_shipped_can_be_turned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SHIPPED.parents[1])  # its files are named from the repository's root
    plans = sweep_plans(load_config(AblationConfig, [SHIPPED], []), name, [SHIPPED], [])
    values = [plan.stages for plan in plans.values()]
    assert len({stages[-1].key for stages in values}) == len(values)  # each value makes a difference
