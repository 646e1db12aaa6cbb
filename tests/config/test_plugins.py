"""Functions with options in a configuration: how they are written, overridden and written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tl_jax.config import ConfigError, RlConfig, SftConfig, load_config, to_yaml
from tl_jax.config.losses import LOSSES
from tl_jax.config.rewards import WeightedReward
from tl_jax.plugins import Plugin

PATHS = ["run_dir=r", "model.path=m", "data.path=d"]
SMOOTHING = "{name: label_smoothing, options: {smoothing: 0.2}}"


def loss(*overrides: str, files: tuple[Path, ...] = ()) -> Plugin:
    return load_config(SftConfig, files, [*PATHS, *overrides]).loss


def reward(*overrides: str, files: tuple[Path, ...] = ()) -> Any:
    return load_config(RlConfig, files, [*PATHS, *overrides]).reward


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], Plugin("weighted_cross_entropy")),
        (["loss=label_smoothing"], Plugin("label_smoothing")),
        (["loss=my_losses:focal"], Plugin("my_losses:focal")),
        ([f"loss={SMOOTHING}"], Plugin("label_smoothing", {"smoothing": 0.2})),
        (["loss=label_smoothing", "loss.options.smoothing=0.2"], Plugin("label_smoothing", {"smoothing": 0.2})),
        ([f"loss={SMOOTHING}", "loss.options.smoothing=0.3"], Plugin("label_smoothing", {"smoothing": 0.3})),
        ([f"loss={SMOOTHING}", "loss.options.floor=1"], Plugin("label_smoothing", {"smoothing": 0.2, "floor": 1})),
        ([f"loss={SMOOTHING}", "loss=my:f"], Plugin("my:f")),
        ([f"loss={SMOOTHING}", "loss.name=my:f"], Plugin("my:f")),
        (["loss.options.a.b=1"], Plugin("weighted_cross_entropy", {"a": {"b": 1}})),
        # the place of a loss that has a name now
        (["loss=tl_jax.training.losses:label_smoothing"], Plugin("label_smoothing")),
    ],
)
def test_a_function_as_it_is_written(overrides: list[str], expected: Plugin) -> None:
    assert loss(*overrides) == expected


def test_a_later_file_that_names_a_function_starts_its_options_anew(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml"))
    first.write_text(f"loss: {SMOOTHING}\n")
    second.write_text("loss: {options: {smoothing: 0.5}}\n")
    third.write_text("loss: {name: 'my:f', options: {a: 1}}\n")
    assert loss(files=(first, second)) == Plugin("label_smoothing", {"smoothing": 0.5})
    assert loss(files=(first, third)) == Plugin("my:f", {"a": 1})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss=label_smothing", "key 'loss': unknown 'label_smothing'; did you mean 'label_smoothing'?"),
        ("loss=nothing", f"known: {', '.join(LOSSES)}, module:function"),
        ("loss=3", "key 'loss': write a name, module:function or {name: ..., options: {...}}, got 3"),
        ("loss.option.smoothing=1", "loss: unknown key 'option'; did you mean 'options'?"),
        ("data.mae.rule=papper", "key 'data.mae.rule': unknown 'papper'; did you mean 'paper'?"),
    ],
)
def test_a_function_that_cannot_be_meant(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        loss(override)
    assert message in str(error.value)


def test_functions_of_reinforcement_learning() -> None:
    overrides = [
        "environment={name: my:make, options: {seconds: 2}}",
        "episode_reward=my:whole",
        "data.mae.rule=my:rule",
        "data.mae.rule.options.words=[timeout]",
    ]
    config = load_config(RlConfig, [], [*PATHS, *overrides])
    assert config.environment == Plugin("my:make", {"seconds": 2})
    assert config.episode_reward == Plugin("my:whole")
    assert config.data.mae.rule == Plugin("my:rule", {"words": ["timeout"]})
    with pytest.raises(ConfigError, match="'environment': unknown 'reply'; did you mean 'replay'"):
        load_config(RlConfig, [], [*PATHS, "environment=reply"])
    with pytest.raises(ConfigError, match="environment: has no name"):
        load_config(RlConfig, [], [*PATHS, "environment.options.seconds=2"])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [("paper", {}, 1.0)]),
        (["reward=live"], [("live", {}, 1.0)]),
        (["reward=tables/mine.yaml"], [("tables/mine.yaml", {}, 1.0)]),
        (["reward={monotone: 1, live: 0.5}"], [("monotone", {}, 1.0), ("live", {}, 0.5)]),
        (["reward={monotone: 1}", "reward.live=0.5"], [("monotone", {}, 1.0), ("live", {}, 0.5)]),
        (["reward={name: m:f, options: {scale: 2}}"], [("m:f", {"scale": 2}, 1.0)]),
        (["reward=m:f", "reward.options.scale=2"], [("m:f", {"scale": 2}, 1.0)]),
        (["reward={name: m:f, options: {scale: 2}, weight: 3}"], [("m:f", {"scale": 2}, 3.0)]),
        (["reward={name: m:f, options: {scale: 2}}", "reward={monotone: 1}"], [("monotone", {}, 1.0)]),
        (
            ["reward=[monotone, {name: m:f, options: {scale: 2}, weight: 0.5}, {name: m:f, options: {scale: 3}}]"],
            [("monotone", {}, 1.0), ("m:f", {"scale": 2}, 0.5), ("m:f", {"scale": 3}, 1.0)],
        ),
    ],
)
def test_rewards_as_they_are_written(overrides: list[str], expected: list[tuple[str, dict[str, Any], float]]) -> None:
    assert reward(*overrides) == tuple(
        WeightedReward(Plugin(name, options), weight) for name, options, weight in expected
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reward=papper", "key 'reward': unknown 'papper'; did you mean 'paper'?"),
        ("reward={monoton: 1}", "reward: unknown 'monoton'; did you mean 'monotone'?"),
        ("reward={}", "reward: names none; give a profile such as monotone"),
        ("reward=[]", "key 'reward': names none"),
        ("reward={paper: much}", "reward: the weight of paper must be a number, not 'much'"),
        ("reward={paper: .nan}", "reward: the weight of paper must be a number, not nan"),
        ("reward=[paper, paper]", "key 'reward': paper stands there twice; give it one weight"),
        ("reward=[{name: paper, wieght: 2}]", "unknown key 'wieght'"),
        ("reward=3", "key 'reward': write a name, {name: weight, ...}"),
    ],
)
def test_rewards_that_cannot_be_meant(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        reward(override)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "key", "written"),
    [
        (SftConfig, "loss", "label_smoothing"),
        (SftConfig, "loss", {"name": "label_smoothing", "options": {"smoothing": 0.2}}),
        (RlConfig, "environment", None),
        (RlConfig, "environment", {"name": "my:make", "options": {"functions": ["my:f"], "seconds": 2.0}}),
        (RlConfig, "reward", "monotone"),
        (RlConfig, "reward", {"monotone": 1.0, "live": 0.5}),
        (RlConfig, "reward", {"monotone": 2.0}),
        (RlConfig, "reward", {"name": "m:f", "options": {"scale": 2}}),
        (
            RlConfig,
            "reward",
            [{"name": "m:f", "options": {"scale": 2}, "weight": 1.0}, {"name": "live", "weight": 0.5}],
        ),
    ],
)
def test_what_is_written_back_is_the_shortest_and_reads_the_same(
    tmp_path: Path, kind: type[SftConfig] | type[RlConfig], key: str, written: Any
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({key: written}))
    config = load_config(kind, [file], PATHS)
    text = to_yaml(config)
    assert yaml.safe_load(text)[key] == written
    file.write_text(text)
    assert load_config(kind, [file], []) == config
