"""What is planned, as it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tl_jax.config import ConfigError, RlConfig, SftConfig
from tl_jax.plan.config import load_planned


def loaded(tmp_path: Path, text: str, *overrides: str) -> SftConfig | RlConfig:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    config = load_planned([file], overrides)
    assert isinstance(config, SftConfig | RlConfig)
    return config


@pytest.mark.parametrize(
    ("text", "overrides", "kind"),
    [
        ("seed: 1", (), SftConfig),
        ("data: {batch_size: 8}", ("accumulate=2",), SftConfig),
        ("batch_size: 8", (), RlConfig),
        ("seed: 1", ("algorithm.epochs=2",), RlConfig),
    ],
)
def test_the_keys_tell_which_command_is_meant(
    tmp_path: Path, text: str, overrides: tuple[str, ...], kind: type
) -> None:
    assert type(loaded(tmp_path, text, *overrides)) is kind


def test_what_a_plan_does_not_need_stands_below_what_is_said(tmp_path: Path) -> None:
    config = loaded(tmp_path, "model: {path: m}\ndata: {max_length: 64}", "data.path=d")
    assert (config.run_dir, config.model.path, config.data.path) == (Path("run"), Path("m"), Path("d"))
    assert loaded(tmp_path, "", "model={path: n}").model.path == Path("n")


@pytest.mark.parametrize("text", ["model: 3", "data: [64]", "run_dir: {}", "model: {path: []}", "- a", "\x00", "a: *b"])
def test_what_training_refuses_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        loaded(tmp_path, text)
