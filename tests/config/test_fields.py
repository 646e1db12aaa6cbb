"""What settings may hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tl_jax.config import ConfigError, Node, RlConfig, SftConfig, load_config
from tl_jax.config.fields import named_code, number_range, section

REQUIRED = ["run_dir=r", "model.path=m", "data.path=d"]


def settings(kind: type[Node], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in kind.model_fields.items():
        inner = section(field)
        yield from settings(inner, f"{prefix}{name}.") if inner else [(prefix + name, field)]


NUMBERS = [
    pytest.param(kind, key, found, id=f"{kind.__name__}.{key}")
    for kind in (SftConfig, RlConfig)
    for key, field in settings(kind)
    if (found := number_range(field))
]


def test_the_numbers_are_found() -> None:
    names = {case.id for case in NUMBERS}
    assert len(names) > 60
    assert {"SftConfig.seed", "RlConfig.algorithm.clip_low", "RlConfig.actor.b1", "SftConfig.mesh.fsdp"} <= names


@pytest.mark.parametrize(("kind", "key", "found"), NUMBERS)
def test_every_number_has_two_ends_and_nothing_beyond_them_is_taken(kind: type[Node], key: str, found: object) -> None:
    """pydantic decides, and the range says of it what is so."""
    field = dict(settings(kind))[key]
    limits = number_range(field)
    assert limits is not None
    assert limits.least is not None
    assert limits.most is not None
    wrong = ["nan", "inf", "-.inf", "1e999", "x", limits.least - 1, limits.most * 2 + 1]
    wrong += [limits.least] if limits.above_least else []
    wrong += [limits.most] if limits.below_most else []
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"^key '{key}': "):
            load_config(kind, [], [*REQUIRED, f"{key}={value}"])


@pytest.mark.parametrize("path", ["", "a\0b", "\udcff", "s3://bucket/runs", "gs://bucket", "gs://B/x", "gs://b-1/../x"])
def test_a_path_is_one(path: str) -> None:
    with pytest.raises(ValidationError, match="run_dir"):
        SftConfig.model_validate({"run_dir": path, "model": {"path": "m"}, "data": {"path": "d"}})


def test_code_outside_of_the_tables_is_found() -> None:
    sft = load_config(SftConfig, [], [*REQUIRED, "loss=a.b:f", "data.mae.rule={name: c:g, options: {x: 1}}"])
    assert set(named_code(sft)) == {("loss", "a.b:f"), ("data.mae.rule", "c:g")}
    named = load_config(SftConfig, [], [*REQUIRED, "loss={name: label_smoothing, options: {smoothing: 0.1}}"])
    assert not list(named_code(named))
    rl = load_config(
        RlConfig, [], [*REQUIRED, "reward={paper: 1, d:h: 0.5}", "environment=e:make", "episode_reward=f:i"]
    )
    assert set(named_code(rl)) == {("reward", "d:h"), ("environment", "e:make"), ("episode_reward", "f:i")}
