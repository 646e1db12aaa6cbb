"""What is said of a key that there is not."""

from __future__ import annotations

import pytest

from tl_jax.config import ConfigError, RlConfig, SftConfig, load_config
from tl_jax.config.unknown_keys import MOST, NAMES_ELSEWHERE, keys

NEEDED = {
    SftConfig: ["run_dir=r", "model.path=m", "data.path=d"],
    RlConfig: ["run_dir=r", "model.path=m", "data.path=d"],
}


@pytest.mark.parametrize(
    ("kind", "override", "meant"),
    [
        (SftConfig, "lr=1", "did you mean 'optimizer.learning_rate'?"),
        (RlConfig, "lr=1", "did you mean 'actor.learning_rate' or 'critic.learning_rate'?"),
        (SftConfig, "learning_rate=1", "did you mean 'optimizer.learning_rate'?"),
        (RlConfig, "optimizer.learning_rate=1", "did you mean 'actor'?"),
        (RlConfig, "temperature=1", "did you mean 'sampling.temperature'?"),
        (RlConfig, "max_seq_length=1", "did you mean 'data.max_prompt_length'?"),
        (SftConfig, "data.max_seq_length=1", "did you mean 'data.max_length'?"),
        (SftConfig, "checkpoint.save_steps=1", "did you mean 'checkpoint.every'?"),
        (SftConfig, "Output_Dir=x", "did you mean 'run_dir'?"),
        (SftConfig, "sede=1", "did you mean 'seed'?"),
        (SftConfig, "weigth_decay=1", "did you mean 'optimizer.weight_decay'?"),
        (SftConfig, "temperature=1", "known here: run_dir, seed, "),
        (SftConfig, "every=1", "did you mean 'checkpoint.every'?"),
    ],
)
def test_the_key_that_may_be_meant_is_named(kind: type, override: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(kind, [], [*NEEDED[kind], override])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"unknown key {override.partition('=')[0].split('.')[0]!r}"[:-1])
    assert meant in line


def test_each_name_of_other_libraries_leads_to_keys_that_there_are() -> None:
    known = {kind: {*keys(kind), *kind.model_fields} for kind in NEEDED}
    for name, meant in NAMES_ELSEWHERE.items():
        assert name == name.lower()
        assert set(meant) <= set.union(*known.values()), name
        assert any(set(meant) & of_kind and name not in of_kind for of_kind in known.values()), (
            f"{name} is a key itself"
        )
        assert all(len(set(meant) & of_kind) <= MOST for of_kind in known.values())


@pytest.mark.parametrize("kind", NEEDED)
def test_what_is_named_can_be_set(kind: type) -> None:
    tree = load_config(kind, [], NEEDED[kind]).model_dump()
    for key in keys(kind):
        node = tree
        for part in key.split("."):
            assert node is None or part in node, key
            node = None if node is None else node[part]
