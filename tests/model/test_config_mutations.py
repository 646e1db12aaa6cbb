"""Whatever a ``config.json`` says: it is a model, or an error of one line that names the field."""

from __future__ import annotations

import copy
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.model.tiny import LLAMA3, SIZES
from tests.thoroughness import examples
from tl_jax.errors import UserError
from tl_jax.model.config import LlamaConfig, ModelConfigError
from tl_jax.model.config_fields import KINDS
from tl_jax.model.families import FAMILIES
from tl_jax.model.hf import read_config


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 1.5, 0.0, -0.5, 1e-320, 1e31, 1e308, float("inf"), float("nan")),
    *(2**31 - 1, 2**31, 2**63, 10**400, 10**5000, "", "x", "12", "llama", "\ud800", "linear", "llama3"),
    *([], [1], [-1], [None], ["x"], [[1]], [2**31], ["sliding_attention"], {}, {"x": 1}, {"rope_type": 1}, deep(5000)),
)


def base(name: str) -> dict[str, Any]:
    family = FAMILIES[name]
    return {
        "architectures": [family.hf_class],
        "model_type": name,
        **SIZES,
        "sliding_window": None,
        "rope_scaling": dict(LLAMA3),
        "eos_token_id": [1, 2],
        "pad_token_id": 0,
        "max_window_layers": 1,
    }


def check(config: dict[str, Any]) -> bool:
    """Whether it is a model, which is then whole; else it is refused as it has to be."""
    found, problem = None, ""
    try:
        found = LlamaConfig.from_hf(config)
    except ModelConfigError as error:
        problem = str(error)
    if found is None:
        assert "\n" not in problem
        assert 0 < len(problem) < 400
        return False
    hash(found)
    assert LlamaConfig.from_hf(json.loads(json.dumps(found.to_hf(), allow_nan=False))) == found
    sizes = (found.vocab_size, found.hidden_size, found.num_layers, found.head_dim, found.max_position_embeddings)
    assert all(type(size) is int and 0 < size < 2**31 for size in sizes)
    assert all(type(token) is int and 0 <= token < 2**31 for token in found.eos_ids)
    return True


@pytest.mark.parametrize("name", FAMILIES)
def test_every_field_with_every_value(name: str) -> None:
    fields = {*KINDS, *base(name), *FAMILIES[name].computed, "layer_types"}
    outcomes = []
    for field, value in itertools.product(sorted(fields), VALUES):
        outcomes.append(check({**base(name), field: value}))
    for field, value in itertools.product([*LLAMA3, "rope_theta", "type", "partial_rotary_factor"], VALUES):
        for where in ("rope_scaling", "rope_parameters"):
            outcomes.append(check({**base(name), where: {**LLAMA3, field: value}}))
    for field in base(name):
        config = base(name)
        del config[field]
        outcomes.append(check(config))
    assert 100 < sum(outcomes) < len(outcomes) - 500


@pytest.mark.fuzz
def test_several_fields_at_once() -> None:
    rng = random.Random(0)
    for _ in range(examples(3000)):
        config = copy.deepcopy(base(rng.choice(list(FAMILIES))))
        for field in rng.sample(sorted({*KINDS, "layer_types"}), rng.randint(1, 4)):
            config[field] = rng.choice(VALUES)
        check(config)


@pytest.mark.fuzz
def test_bytes(tmp_path: Path) -> None:
    """Flipped, cut off, repeated; and whole files that are no object, deep or endless."""
    rng, file = random.Random(0), tmp_path / "config.json"
    good = json.dumps(base("qwen3"), indent=1).encode()
    contents = [b"", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b'{"n": ' + b"9" * 10_000 + b"}"]
    for _ in range(examples(400)):
        changed = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        contents.append(bytes(changed[: rng.choice([len(good), rng.randrange(len(good))])]))
    problems = []
    for content in contents:
        file.write_bytes(content)
        try:
            read_config(tmp_path)
        except UserError as error:
            problems.append(str(error))
    assert len(problems) > len(contents) // 2
    assert all(problem.startswith(f"{file}: ") for problem in problems)
