"""The records of estimators: what follows from them, and one of a user's own."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tl_jax.cli import main
from tl_jax.config import AlgorithmConfig, ConfigError, RlConfig, annotated_yaml, load_config
from tl_jax.config.estimators import ESTIMATORS, PUBLISHED, Estimator

PATHS = ["run_dir=r", "model.path=m", "data.path=d"]
MINE = Estimator(
    name="mine",
    compute="my_module:mine",
    advantage="`R_i` minus the median of its group",
    source="https://example.org/papers/mine",
    average="length",
    needs_critic=True,
    needs_groups=True,
    requires={"kl_in": "loss", "entropy_coef": None},
    because="has no room for the KL",
)


def algorithm(*overrides: str) -> AlgorithmConfig:
    return load_config(RlConfig, [], [*PATHS, *overrides]).algorithm


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_a_record_requires_can_be_set(name: str) -> None:
    settings = {"kl_estimator": "k3"} if ESTIMATORS[name].requires.get("kl_in") == "loss" else {}
    AlgorithmConfig(estimator=name, **settings, **ESTIMATORS[name].requires)
    assert ESTIMATORS[name].because or not ESTIMATORS[name].requires


@pytest.mark.parametrize("name", ESTIMATORS)
def test_groups_critic_and_average_are_the_records(name: str) -> None:
    record = ESTIMATORS[name]
    settings = [f"algorithm.{key}={value}" for key, value in record.requires.items()]
    config = algorithm(f"algorithm.estimator={name}", "group_size=2", *settings)
    assert config.has_critic == record.needs_critic
    assert config.loss_average == record.average
    assert algorithm("algorithm.average=length").loss_average == "length"
    if record.needs_groups:
        with pytest.raises(ConfigError, match=rf"estimator={name} compares answers.*set group_size to 2"):
            algorithm(f"algorithm.estimator={name}", *settings)
    else:
        algorithm(f"algorithm.estimator={name}", *settings)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_papers_settings_load(name: str) -> None:
    """docs/papers.md shows them."""
    settings = PUBLISHED[name].published.split()
    config = algorithm(f"algorithm.estimator={name}", *settings)
    assert config.loss_average == ESTIMATORS[name].average
    assert all(setting in PUBLISHED.table() for setting in settings)


def test_where_there_is_no_kl_its_place_is_free() -> None:
    settings = ("algorithm.estimator=gdpo", "group_size=2")
    with pytest.raises(ConfigError, match="gdpo normalises each reward by itself: use kl_in=loss"):
        algorithm(*settings)
    assert algorithm(*settings, "algorithm.kl_coef=0").kl_in == "reward"


def test_what_is_read_at_once_is_said_once() -> None:
    """Beside `tokens_per_microbatch` what `accumulate` said was ignored."""
    with pytest.raises(ConfigError, match=r"accumulate=2 would change nothing; set accumulate=1, or tokens_per_"):
        algorithm("algorithm.accumulate=2", "algorithm.tokens_per_microbatch=4096")


def test_a_coefficient_of_0_cannot_adapt() -> None:
    """Factors change it: it would stay 0 without a word."""
    with pytest.raises(ConfigError, match=r"kl_target adapts kl_coef by factors, .* a kl_coef above 0"):
        algorithm("algorithm.kl_coef=0", "algorithm.kl_target=6")


def test_rewards_of_turns_and_outcomes_cannot_be_whitened_together() -> None:
    with pytest.raises(ConfigError, match=r"advantage_scope=turn .* use whiten_rewards=false"):
        algorithm("algorithm.advantage_scope=turn", "algorithm.whiten_rewards=true")


def test_an_unknown_one_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'algorithm.estimator': .*did you mean 'grpo'\?"):
        algorithm("algorithm.estimator=grop")


def test_one_from_outside_is_known_everywhere() -> None:
    overrides = ("algorithm.estimator=mine", "algorithm.kl_in=loss", "group_size=4")
    with pytest.raises(ConfigError, match=r"unknown 'mine'; (did you mean|known: )"):
        algorithm(*overrides)
    with ESTIMATORS.added(MINE):
        config = algorithm(*overrides)
        assert (config.has_critic, config.loss_average) == (True, "length")
        with pytest.raises(ConfigError, match="mine has no room for the KL: use kl_in=loss and entropy_coef=null"):
            algorithm(overrides[0], overrides[2])
        with pytest.raises(ConfigError, match="set group_size to 2"):
            algorithm(*overrides[:2])
        assert "| mine |" in annotated_yaml(RlConfig).replace("; ", " | ")
        help_text = CliRunner().invoke(main, ["rl", "--help"]).output
        assert "R_i minus the median of its group" in " ".join(help_text.split())
        row = "| `R_i` minus the median of its group | critic, groups, `kl_in=loss`, `entropy_coef=null` | length |"
        assert row in ESTIMATORS.table()
    assert "mine" not in ESTIMATORS.table()
