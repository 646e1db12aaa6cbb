"""A run whose answers a server writes: it gets the weights before each rollout, its drift is measured and corrected."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.inference.completions_server import CompletionsServer
from tests.rl.small_run import question, write
from tl_jax.config import ConfigError, RlConfig, load_config
from tl_jax.inference.json_server import EngineError
from tl_jax.rl.train import run_rl

STEPS = 2


def rl_config(home: Path, model: Path, *more: str) -> RlConfig:
    gold = [[{"name": "find_city", "arguments": {}}]]
    cases = write(home / "cases.jsonl", [{"id": f"c{i}", "gold": gold, **question(i)} for i in range(4)])
    settings = [
        f"run_dir={home / 'run'}",
        f"model.path={model}",
        "model.dtype=float32",
        "mesh.data=-1",
        "mesh.fsdp=1",
        f"data.path={cases}",
        "batch_size=4",
        "group_size=2",
        f"steps={STEPS}",
        "eval_prompts=0",
        "log_every=1",
        "sampling.max_new_tokens=6",
        "sampling.temperature=0.7",
        "algorithm.estimator=grpo",
        "algorithm.kl_coef=0",
        "actor.learning_rate=0.01",
        "engine.name=openai",
        *more,
    ]
    return load_config(RlConfig, [], settings)


def rows_of(config: RlConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_a_run_learns_from_a_servers_answers(tmp_path: Path, model_dir: Path) -> None:
    with CompletionsServer() as server:
        config = rl_config(tmp_path, model_dir, f"engine.url={server.url}/v1", "algorithm.importance_cap=2")
        run_rl(config)
    rows = rows_of(config)
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:  # the second step's server has what the first step learnt, or it would drift
        assert row["sampler_drift_max"] < 1e-3
        assert row["importance"] == pytest.approx(1, abs=1e-3)
    assert len(server.directories) == STEPS
    assert {path.parent for path in server.directories} == {config.run_dir / "engine"}
    assert len(server.asked) == STEPS * 8 + 2  # which say how it counts


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_what_a_server_draws_by_weighs_in(tmp_path: Path, model_dir: Path) -> None:
    """A server that says it drew each token with half the probability: weights of 2, to the cap."""

    def alter(path: str, reply: Any) -> tuple[int, Any]:
        if path == "/v1/completions":
            logprobs = reply["choices"][0]["logprobs"]
            logprobs["token_logprobs"] = [value - math.log(2) for value in logprobs["token_logprobs"]]
        return 200, reply

    with CompletionsServer(alter) as server:
        config = rl_config(tmp_path, model_dir, f"engine.url={server.url}", "algorithm.importance_cap=1.5", "steps=1")
        run_rl(config)
    (row,) = rows_of(config)
    assert row["sampler_drift"] == pytest.approx(math.log(2), abs=1e-3)
    assert row["importance"] == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], r"engine: name=openai asks a server; set url"),
        (["engine.url=localhost:8000"], r"engine\.url': is not the address of a server"),
        (["engine.url=http://u:p@host"], r"engine\.url': is not the address of a server"),
        (["engine.url=http://:p@host"], r"engine\.url': is not the address of a server"),
        (["engine.url=http://host?"], r"engine\.url': is not the address of a server"),
        (["engine.url=http://host:99999999"], r"engine\.url': is not the address of a server"),
        (["engine.url=http://host:1"], r"set algorithm\.importance_cap, for instance 2"),
        (
            ["engine.url=http://host:1", "algorithm.importance_cap=2", "algorithm.old_log_probs=sampler"],
            "another engine computes otherwise than the step; use auto",
        ),
        (["engine.url=http://host:1", "algorithm.importance_cap=2", "lora.rank=4"], "gets whole models, no adapters"),
        (["engine.url=http://host:1", "engine.kv_cache_dtype=int8"], "kv_cache_dtype=int8 is for name=in_process"),
        (["engine.url=http://host:1", "engine.name=in_process"], "engine: url: of a server, which nothing asks"),
        *(
            (["engine.name=in_process", f"engine.{setting}"], f"engine: {setting.split('=')[0]}: of a server, which")
            for setting in ("model=x", "reload=sglang", "directory=d", "requests=8", "seconds=10")
        ),
        (["engine.url=http://host:1", "engine.reload=sglan"], r"engine\.reload': .*did you mean 'sglang'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rl_config(tmp_path, tmp_path, *settings)


def test_a_run_without_its_server_ends_in_one_line(tmp_path: Path, model_dir: Path) -> None:
    config = rl_config(tmp_path, model_dir, "engine.url=http://127.0.0.1:9", "algorithm.importance_cap=2")
    with pytest.raises(EngineError, match=r"^http://127\.0\.0\.1:9/v1/models: no answer"):
        run_rl(config)
