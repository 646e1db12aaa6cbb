"""What a continued run is told about its settings."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tl_jax.config import RlConfig, SftConfig, changed_keys, load_config

PATHS = ["run_dir=r", "model.path=m", "data.path=d"]


def config(*overrides: str) -> RlConfig:
    return load_config(RlConfig, [], [*PATHS, *overrides])


def run(*overrides: str) -> Any:
    """What a run with these settings keeps of them."""
    return config(*overrides).model_dump(mode="json")


def test_the_same_settings() -> None:
    for overrides in ((), ("reward={monotone: 1, live: 0.5}",), ("reward={name: m:f, options: {scale: 2}}",)):
        assert changed_keys(run(*overrides), config(*overrides)) == []


def test_settings_that_differ_are_named_in_the_order_of_the_tree() -> None:
    changed = config("group_size=2", "data.mae.factor=0.5", "actor.learning_rate=1", "reward=live", "seed=3")
    assert changed_keys(run(), changed) == [
        "seed",
        "data.mae.factor",
        "reward",
        "group_size",
        "actor.learning_rate",
    ]


def test_a_key_that_the_older_run_lacks_has_its_default() -> None:
    before = run()
    del before["eval_every"], before["algorithm"]["lam"], before["sampling"], before["actor"]["learning_rate"]
    saved = copy.deepcopy(before)
    assert changed_keys(before, config()) == []
    assert changed_keys(before, config("algorithm.lam=0.9", "sampling.top_k=5", "actor.learning_rate=1e-5")) == [
        "sampling.top_k",
        "algorithm.lam",
        "actor.learning_rate",
    ]
    assert before == saved


def test_a_key_that_is_no_longer_there_is_told() -> None:
    before = run() | {"warmth": 3}
    before["algorithm"]["luck"] = True
    assert changed_keys(before, config()) == [
        "algorithm.luck (no longer a setting)",
        "warmth (no longer a setting)",
    ]


def test_a_key_that_has_another_name_now_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    before = run()
    before["algorithm"]["critic_tower"] = before["algorithm"].pop("critic_backbone")
    assert changed_keys(before, config()) == []
    assert changed_keys(before, config("algorithm.critic_backbone=shared")) == ["algorithm.critic_backbone"]
    assert caplog.messages == []


def test_a_value_that_is_refused_now_differs() -> None:
    before = run()
    before["algorithm"]["estimator"] = "of old"
    assert changed_keys(before, config()) == ["algorithm.estimator"]


def test_other_ways_of_writing_a_function_are_no_change() -> None:
    sft = load_config(SftConfig, [], PATHS)
    before = sft.model_dump(mode="json") | {"loss": "tl_jax.training.losses:weighted_cross_entropy"}
    assert changed_keys(before, sft) == []
    assert changed_keys(run() | {"reward": {"paper": 1.0}}, config()) == []
    one = ["loss=label_smoothing", "loss.options.smoothing=0.1"]
    smoothed = load_config(SftConfig, [], [*PATHS, *one])
    assert changed_keys(smoothed.model_dump(mode="json"), smoothed) == []
    other = load_config(SftConfig, [], [*PATHS, *one, "loss.options.smoothing=0.2"])
    assert changed_keys(smoothed.model_dump(mode="json"), other) == ["loss.options.smoothing"]
