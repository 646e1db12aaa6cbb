"""A small ablation: its file, its data, and answers as if models had given them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tl_jax.ablation.plan import AblationPlan, Stage, make_plan
from tl_jax.config import load_config
from tl_jax.config.ablation import AblationConfig

TOOLS = [{"name": "go", "parameters": {"type": "object", "properties": {"where": {"type": "string"}}}}]
RIGHT, VALUE, TOOL = "go(where='home')", "go(where='away')", "stay(where='home')"
"""Answers that are right in TS, PI and CF, in TS and PI, and in nothing."""


def write_file(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_ablation(home: Path, cases: int = 4, **settings: Any) -> Path:
    """The file of an ablation in ``home``, which also has its data."""
    gold = [[{"name": "go", "arguments": {"where": "home"}}]]
    asked = {"tools": TOOLS, "messages": [{"role": "user", "content": "go home"}], "gold": gold}
    answered = write_file(home / "cases.jsonl", [{"id": f"c{n}", "suite": f"s{n % 2}", **asked} for n in range(cases)])
    call = {"role": "assistant", "tool_calls": [{"name": "go", "arguments": {"where": "home"}}]}
    learnt = write_file(home / "train.jsonl", [{"id": "t", "tools": TOOLS, "messages": [*asked["messages"], call]}])
    (home / "sft.yaml").write_text("data: {max_length: 64}\nsteps: 3\n")
    (home / "rl.yaml").write_text("steps: 2\n")
    tree = {
        "out": str(home / "out"),
        "model": str(home / "model"),
        "data": {"path": str(learnt), "cases": str(answered)},
        "sft": {"files": str(home / "sft.yaml")},
        "rl": {"files": str(home / "rl.yaml")},
        **settings,
    }
    (home / "ablation.yaml").write_text(yaml.safe_dump(tree))
    return home / "ablation.yaml"


def plan_of(file: Path, *overrides: str) -> AblationPlan:
    return make_plan(load_config(AblationConfig, [file], overrides))


def answered(stage: Stage, predictions: Sequence[str], seconds: float = 1.0) -> None:
    """An evaluation that is done."""
    stage.directory.mkdir(parents=True)
    write_file(
        stage.directory / "predictions.jsonl", [{"id": f"c{n}", "prediction": it} for n, it in enumerate(predictions)]
    )
    done(stage, seconds)


def trained(stage: Stage, rows: Sequence[Mapping[str, Any]]) -> None:
    """A training that is done, with its metrics."""
    stage.directory.mkdir(parents=True)
    (stage.directory / "config.yaml").write_text(stage.settings)
    write_file(stage.directory / "metrics.jsonl", rows)
    done(stage)


def done(stage: Stage, seconds: float = 1.0) -> None:
    stage.record.parent.mkdir(parents=True, exist_ok=True)
    stage.record.write_text(json.dumps({"seconds": seconds, "starts": 1, "done": True}))
