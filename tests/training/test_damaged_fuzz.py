"""Models and runs damaged anyhow: whoever opens them gets a model or one line, never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.damage import files
from tests.model.test_config_mutations import VALUES
from tests.thoroughness import examples
from tests.training.test_damaged import run_with_two
from tests.training.test_run import INIT, open_run
from tl_jax.config import SftConfig
from tl_jax.data.codec import Codec
from tl_jax.errors import UserError
from tl_jax.model.store import open_model, save_model

pytestmark = [pytest.mark.fuzz, pytest.mark.slow]


def flips(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 30])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def repeated(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[rng.randrange(len(content)) :]


def other_value(content: bytes, rng: random.Random) -> bytes:
    """A JSON file in which one value is another one, or a flip where it is no such file."""
    try:
        tree = json.loads(content)
        spots = [(tree, key) for key in keys(tree)]
        for _ in range(rng.randrange(4)):
            inner = [(node[key], below) for node, key in spots for below in keys(node[key])]
            spots = inner or spots
        node, key = rng.choice(spots)
        if rng.random() < 0.2:
            del node[key]
        else:
            node[key] = rng.choice(VALUES)
        return json.dumps(tree).encode("utf-8", "surrogatepass")
    except (ValueError, IndexError, RecursionError):
        return flips(content, rng)


def keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flips, cut, repeated, other_value, other_value)


def damage(file: Path, rng: random.Random) -> str:
    """Does something to a file, and says what."""
    change = rng.choice([*CHANGES, None, None])
    if change:
        file.write_bytes(change(file.read_bytes(), rng))
        return change.__name__
    file.unlink()
    if rng.random() < 0.5:
        return "lost"
    file.mkdir()
    return "a directory"


def told(open_it: Callable[[], Any]) -> str:
    """The error of one line, if there is one; whatever else is raised fails the test."""
    line = ""
    try:
        open_it()
    except UserError as error:
        line = str(error)
        assert line
    assert "\n" not in line
    assert len(line) < 2000
    return line


def try_all(home: Path, count: int, open_it: Callable[[bool], Any]) -> list[str]:
    """What is told of ``count`` damaged versions of ``home``, which is as before in the end."""
    rng, kept = random.Random(str(home.name)), home.with_name(f"kept.{home.name}")
    shutil.copytree(home, kept)
    outcomes = []
    for number in range(count):
        present = files(home)
        file = rng.choice(present)
        what = damage(file, rng)
        try:
            outcomes.append(told(lambda: open_it(rng.random() < 0.5)))
        except BaseException as error:
            error.add_note(f"input {number}: {file.relative_to(home)}: {what}")
            raise
        shutil.rmtree(home)
        shutil.copytree(kept, home)
    shutil.rmtree(kept)
    return outcomes


def test_models(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "huggingface")
    model = open_model(model_dir)
    save_model(tmp_path / "checkpoint", model.config, model.params, model.tokenizer_dir)
    for name in ("huggingface", "checkpoint"):
        home = tmp_path / name

        def open_it(verify: bool, home: Path = home) -> None:
            opened = open_model(home, verify=verify)
            Codec.open("paper", opened.tokenizer_dir).prompt((), ())

        outcomes = try_all(home, examples(20), open_it)
        assert 0 < outcomes.count("") < len(outcomes)


def test_runs(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config()
    run_with_two(config)
    outcomes = try_all(config.run_dir, examples(20), lambda verify: open_model(config.run_dir, verify=verify))
    assert 0 < outcomes.count("") < len(outcomes)

    def go_on(verify: bool) -> None:
        run = open_run(sft_config(checkpoint__verify=verify))
        run.begin(INIT)
        with run:
            pass

    outcomes = try_all(config.run_dir, examples(8), go_on)
    assert outcomes.count("") > 0
