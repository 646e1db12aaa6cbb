"""Where prompts come from and where episodes are played."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.helpers import TINY
from tl_jax import demo
from tl_jax.config import load_config
from tl_jax.config.rl import RlConfig
from tl_jax.data.codec import Codec
from tl_jax.errors import UserError
from tl_jax.rl.prompts import load_prompts, make_environment_spec
from tl_jax.rl.rubric import make_rubric
from tl_jax.tooluse.environments.python import PythonTools

TOOLS = "tests.rl.city_tools"
BASE = Path(demo.__path__[0]) / "base"


def spec(environment: str) -> Any:
    paths = ["run_dir=r", "model.path=m", "data.path=nowhere.jsonl"]
    return make_environment_spec(load_config(RlConfig, [], [*paths, f"environment={environment}"]), TINY)


def test_python_functions_are_an_environment_by_options_alone() -> None:
    made = spec(
        "{name: tl_jax.tooluse.environments.python:PythonTools, "
        f"options: {{functions: ['{TOOLS}:find_city', '{TOOLS}:find_country'], seconds: 3}}}}"
    )
    first, second = made.make(), made.make()
    try:
        assert isinstance(first, PythonTools)
        assert [tool.name for tool in first.tools] == ["find_city", "find_country"]
        assert first is not second
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("tl_jax.tooluse.environments.python:PythonTools", "environment: .*PythonTools needs the option 'functions'"),
        (
            "{name: tl_jax.tooluse.environments.python:PythonTools, options: {functions: [f], second: 1}}",
            "has no option 'second'; did you mean 'seconds'",
        ),
        ("{name: replay, options: {seconds: 1}}", "environment.options: replay takes no options, got 'seconds'"),
        ("nowhere:make", "environment: 'nowhere:make': there is no module 'nowhere'"),
    ],
)
def test_an_environment_that_cannot_be_made(environment: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        spec(environment)


@pytest.mark.parametrize("environment", [None, "replay"])
def test_gold_that_the_format_cannot_say(tmp_path: Path, environment: str | None) -> None:
    """Refused unless told otherwise; names with blanks can be said."""
    tool = {"name": "Tide Table", "parameters": {"properties": {"text": {"type": "string"}}}}
    rows = [
        {
            "id": name,
            "tools": [tool],
            "messages": [
                {"role": "user", "content": "?"},
                {"role": "assistant", "tool_calls": [{"name": "Tide Table", "arguments": {"text": text}}]},
                {"role": "tool", "content": "low"},
            ],
        }
        for name, text in (("short", "a"), ("long", "x" * 20_001))
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def load(*settings: str) -> tuple[list[str], str]:
        more = [f"environment={environment}"] if environment else []
        config = load_config(RlConfig, [], ["run_dir=r", "model.path=m", f"data.path={path}", *settings, *more])
        prompts, report = load_prompts(config, make_rubric(config), Codec.open("paper", BASE), TINY, path)
        return [prompt.case.id.partition("#")[0] for prompt in prompts], report

    line = "1 case has a gold answer that the format 'paper' cannot say"
    with pytest.raises(UserError, match=rf"{line}: long.* \(longer than 20000 characters\); .*unwritable=skip"):
        load()
    ids, report = load("data.unwritable=skip")
    assert ids == ["short"]
    assert f"{line}, and is left out: long" in report
    ids, report = load("data.unwritable=keep")
    assert ids == ["short", "long"]
    assert f"{line}: long" in report
    ids, report = load("reward=tests.rl.test_prompts:brief")
    assert ids == ["short", "long"]
    assert "cannot say" not in report


def brief(prediction: str, case: Any) -> float:
    """A reward that needs no gold."""
    return -float(len(prediction))
