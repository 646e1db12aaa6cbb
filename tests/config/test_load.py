from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import pytest
from pydantic import Field, TypeAdapter
from pydantic.fields import FieldInfo

from tl_jax.config import ConfigError, RlConfig, SftConfig, annotated_yaml, load_config, to_yaml
from tl_jax.config.ablation import AblationConfig
from tl_jax.config.base import Node
from tl_jax.config.fields import number_range, section
from tl_jax.config.variants import VARIANTS
from tl_jax.tooluse.mae.finding import Finder
from tl_jax.tooluse.mae.rules import RULES, Rule
from tl_jax.yaml_text import yaml_or_text

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
ABLATIONS = {"ablation": tuple(VARIANTS), "when_it_helps": ("SFT", "MAE")}
PATHS = ["run_dir=r", "model.path=m", "data.path=d"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path: Path) -> None:
    if path.stem in ABLATIONS:
        assert load_config(AblationConfig, [path], []).variants == ABLATIONS[path.stem]
        return
    kind = RlConfig if {"ppo", "grpo"} & {*path.stem.split("_")} else SftConfig
    config = load_config(kind, [path], PATHS)
    assert str(config.run_dir) == "r"


def test_later_files_and_overrides_win(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("seed: 1\ndata: {batch_size: 2, max_length: 64}\n")
    second.write_text("data: {batch_size: 3}\n")
    config = load_config(SftConfig, [first, second], [*PATHS, "optimizer.clip_norm=null", "data.max_length=128"])
    assert (config.seed, config.data.batch_size, config.data.max_length) == (1, 3, 128)
    assert config.optimizer.clip_norm is None


def test_written_config_reads_back_the_same(tmp_path: Path) -> None:
    config = load_config(SftConfig, [], PATHS)
    file = tmp_path / "c.yaml"
    file.write_text(to_yaml(config))
    assert load_config(SftConfig, [file], []) == config


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.learning_rat=1", "did you mean 'optimizer.learning_rate'?"),
        ("sed=1", "did you mean 'seed'?"),
        ("zzz=1", "known here: run_dir"),
        ("data.batch_size=0", "key 'data.batch_size'"),
        ("data.batch_size=many", "key 'data.batch_size'"),
        ("model.dtype=fp8", "key 'model.dtype'"),
        ("optimizer=3", "key 'optimizer'"),
        ("data={pack: false, share_prefixes: 256}", "data: share_prefixes needs several trajectories in a row"),
        ("data={max_length: 2048, share_prefixes: 2048}", "data: share_prefixes=2048 is no beginning of a row of"),
        ("lora.quantize=nf4", "lora: quantize is of adapters, and there are none without lora.rank"),
        ("seed", "write key=value"),
    ],
)
def test_a_wrong_override_is_explained(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(SftConfig, [], [*PATHS, override])
    assert expected in str(raised.value)


def test_what_a_chat_template_is_told() -> None:
    paths = ["run_dir=a", "model.path=b", "data.path=c"]
    told = ["data.chat_template_kwargs={thinking: true}", "data.chat_template_kwargs.date_string=2026-01-31"]
    for kind in (SftConfig, RlConfig):
        config = load_config(kind, [], [*paths, *told, "data.chat_template=tool_use"])
        assert config.template.name == "tool_use"
        assert config.template.kwargs == {"thinking": True, "date_string": "2026-01-31"}
        for wrong in ("tools", "not-a-word"):
            with pytest.raises(ConfigError, match=f"'{wrong}' is no word that a chat template can be told"):
                load_config(kind, [], [*paths, f"data.chat_template_kwargs.{wrong}=1"])


def test_a_path_that_looks_like_a_number_is_a_path() -> None:
    assert load_config(SftConfig, [], ["run_dir=2026", *PATHS[1:]]).run_dir == Path("2026")


def test_a_missing_key_says_how_to_set_it() -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(SftConfig, [], ["run_dir=r", "model.path=m"])
    assert "data" in str(raised.value)


def test_a_file_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("- 1\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: must be a mapping"):
        load_config(SftConfig, [bad], PATHS)
    bad.write_text("a: [1\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(SftConfig, [bad], PATHS)


def test_an_exponent_without_a_dot_is_a_number(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-5 as text; people write it all the time."""
    file = tmp_path / "lr.yaml"
    file.write_text("optimizer: {learning_rate: 1e-5}\n")
    assert load_config(SftConfig, [file], PATHS).optimizer.learning_rate == pytest.approx(1e-5)


@pytest.mark.parametrize("kind", [SftConfig, RlConfig])
def test_the_annotated_defaults_are_the_defaults(tmp_path: Path, kind: type[SftConfig] | type[RlConfig]) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(annotated_yaml(kind))
    assert load_config(kind, [file], PATHS) == load_config(kind, [], PATHS)
    assert "# auto | on | off; jax.distributed" in file.read_text()


def named_values(kind: type[Node]) -> Iterator[tuple[str, FieldInfo, str]]:
    """Every setting that chooses among names, with each of them."""
    for key, field in kind.model_fields.items():
        if node := section(field):
            yield from ((f"{key}.{rest}", inner, name) for rest, inner, name in named_values(node))
        if get_origin(field.annotation) is Literal:
            yield from ((key, field, name) for name in get_args(field.annotation))


@pytest.mark.parametrize("kind", [SftConfig, RlConfig])
def test_every_name_can_be_given_as_it_is_shown(kind: type[SftConfig] | type[RlConfig]) -> None:
    """YAML takes on and off for true and false."""
    named = [*named_values(kind)]
    assert {name for key, _, name in named if key == "distributed"} == {"auto", "on", "off"}
    for _, field, name in named:  # raises
        TypeAdapter(Annotated[field.annotation, Field(), *field.metadata]).validate_python(yaml_or_text(name))
    for name in ("on", "off"):
        assert load_config(kind, [], [*PATHS, f"distributed={name}"]).distributed == name


@pytest.mark.parametrize("kind", [SftConfig, RlConfig])
def test_a_switch_is_no_number_and_no_path(kind: type[SftConfig] | type[RlConfig]) -> None:
    """Python counts true as 1; whoever writes yes or on for a number means something else."""
    asked = [*numbers_and_paths(kind)]
    assert {"seed", "run_dir", "optimizer.learning_rate" if kind is SftConfig else "actor.learning_rate"} < {*asked}
    for key in asked:
        with pytest.raises(ConfigError, match=rf"{re.escape(key)}.*true or false"):
            load_config(kind, [], [*PATHS, f"{key}=true"])


def numbers_and_paths(kind: type[Node]) -> Iterator[str]:
    for key, field in kind.model_fields.items():
        if node := section(field):
            yield from (f"{key}.{rest}" for rest in numbers_and_paths(node))
        elif number_range(field) or "Path" in str(field.annotation):
            yield key


@pytest.mark.parametrize("weight", ["true", "no", "[1]", "x"])
def test_the_weight_of_a_reward_is_a_number(weight: str) -> None:
    with pytest.raises(ConfigError, match="the weight of monotone must be a number"):
        load_config(RlConfig, [], [*PATHS, f"reward={{monotone: {weight}}}"])


def test_mae_takes_families_of_errors() -> None:
    packs = load_config(SftConfig, [], [*PATHS, "data.mae.packs=[python,http]"]).data.mae.packs
    assert packs == ("python", "http")
    with pytest.raises(ConfigError, match=r"key 'data.mae.packs': unknown 'htp'; did you mean 'http'\?"):
        load_config(SftConfig, [], [*PATHS, "data.mae.packs=[python,htp]"])


@pytest.mark.parametrize("kind", [SftConfig, RlConfig])
def test_a_name_by_itself_is_a_list_of_one(kind: type[SftConfig | RlConfig]) -> None:
    data = load_config(kind, [], [*PATHS, "data.mae.packs=http", "data.include=reasoning"]).data
    assert (data.mae.packs, data.include) == (("http",), ("reasoning",))


def test_a_key_of_a_section_leaves_the_defaults_of_the_others() -> None:
    config = load_config(RlConfig, [], [*PATHS, "actor.weight_decay=0.1"])
    assert (config.actor.learning_rate, config.actor.weight_decay) == (1e-6, 0.1)
    assert config.critic == load_config(RlConfig, [], PATHS).critic


def test_an_old_name_of_a_key_is_read_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("algorithm: {critic_tower: shared}\n")
    assert load_config(RlConfig, [file], PATHS).algorithm.critic_backbone == "shared"
    assert caplog.messages == [f"{file}: algorithm.critic_tower is now called algorithm.critic_backbone"]
    later = load_config(RlConfig, [file], [*PATHS, "algorithm.critic_backbone=random"])
    assert later.algorithm.critic_backbone == "random"
    assert load_config(RlConfig, [], [*PATHS, "algorithm.critic_tower=random"]).algorithm.critic_backbone == "random"
    file.write_text("algorithm: {critic_tower: shared, critic_backbone: sft}\n")
    with pytest.raises(ConfigError, match=r"critic_tower is now called algorithm.critic_backbone; remove one of them"):
        load_config(RlConfig, [file], PATHS)


def test_zero_is_a_limit_and_null_is_none() -> None:
    for value, expected in (("0", 0.0), ("null", None), ("0.3", 0.3)):
        names = ("clip_low", "clip_high", "value_clip", "reward_clip", "target_kl", "importance_cap")
        algorithm = load_config(RlConfig, [], [*PATHS, *(f"algorithm.{name}={value}" for name in names)]).algorithm
        assert {getattr(algorithm, name) for name in names} == {expected}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["algorithm.kl_estimator=k2"], "algorithm: kl_estimator=k2 in the reward has a wrong gradient"),
        (
            ["algorithm.old_log_probs=sampler", "algorithm.logprob_temperature=0.5"],
            "not at algorithm.logprob_temperature=0.5; make both the same, or use recompute",
        ),
        (["algorithm.estimator=gdpo", "group_size=4"], "algorithm: gdpo normalises each reward by itself"),
        (["algorithm.estimator=rloo"], "set group_size to 2 or more"),
        (["algorithm.dual_clip=1"], "key 'algorithm.dual_clip'"),
    ],
)
def test_settings_that_contradict_each_other_are_explained(overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(RlConfig, [], [*PATHS, *overrides])
    assert expected in str(raised.value)
    assert "{'" not in str(raised.value)  # no dump of the whole tree


@pytest.mark.parametrize("kind", [SftConfig, RlConfig])
def test_the_annotated_defaults_show_what_registries_offer(kind: type[SftConfig] | type[RlConfig]) -> None:
    lines = annotated_yaml(kind).splitlines()
    rule, *_ = [line for line in lines if line.lstrip().startswith("rule:")]  # of online_mae, too
    assert rule.split("# ")[1].startswith(f"{' | '.join(RULES)} | module:function; ")
    with RULES.added(Rule("threes", "", lambda packs: Finder.of_results(lambda result, calls: None))):
        assert any("reference | threes | module:function" in line for line in annotated_yaml(kind).splitlines())
