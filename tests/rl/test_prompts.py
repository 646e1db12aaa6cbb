"""Where prompts come from and where episodes are played."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.helpers import TINY
from tl_jax.config import load_config
from tl_jax.config.rl import RlConfig
from tl_jax.errors import UserError
from tl_jax.rl.prompts import make_environment_spec
from tl_jax.tooluse.environments.python import PythonTools

TOOLS = "tests.rl.city_tools"


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
