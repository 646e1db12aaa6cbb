"""Cases that are answered while supervised training goes on: the figures, the answers, and a run that is continued."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import write_recordings
from tl_jax.config import SftConfig
from tl_jax.data.codec import Codec
from tl_jax.errors import UserError
from tl_jax.evaluation.answering import Answering
from tl_jax.evaluation.comparison import compare_files
from tl_jax.evaluation.runner import evaluate
from tl_jax.inference.sampler import Sampler
from tl_jax.model.hf import read_config
from tl_jax.training.eval_cases import load_sample
from tl_jax.training.sft import run_sft

EVAL = ("eval_TS", "eval_PI", "eval_CF")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings") / "calls.jsonl")


def settings(recordings: Path, **others: Any) -> dict[str, Any]:
    """Twelve steps on what even a tiny model learns, evaluated every four."""
    return {
        "data__path": recordings,
        "eval_cases__path": recordings,
        "eval_cases__count": 5,
        "eval_cases__max_new_tokens": 12,
        "eval_cases__batch_size": 2,
        "eval_every": 4,
        "steps": 12,
        "data__batch_size": 8,
        "data__pack": "false",
        "data__max_length": 256,
        "log_every": 100,
        "optimizer__learning_rate": 3e-2,
        **others,
    }


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [{name: row[name] for name in row if name == "step" or name.startswith("eval_")} for row in rows]


@pytest.fixture(scope="module")
def whole(
    make_sft_config: Callable[..., SftConfig], recordings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    config = make_sft_config(tmp_path_factory.mktemp("whole") / "run", **settings(recordings))
    run_sft(config)
    return config.run_dir


def test_figures_are_those_of_eval(whole: Path, recordings: Path, tmp_path: Path) -> None:
    """Of the last state, against the command that opens it as a model and answers the same cases."""
    rows = metrics(whole)
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert all({*EVAL} < {*row} for row in rows)
    asked = [json.loads(line)["id"] for line in (whole / "eval_cases/predictions.jsonl").read_text().splitlines()]
    assert len(asked) == 5
    cases = tmp_path / "cases.jsonl"
    sampling = Answering.of(max_new_tokens=12, dtype="float32", batch_size=16)
    evaluate(whole, recordings, tmp_path / "eval", sampling)
    compared = compare_files(whole, tmp_path / "eval", recordings, common=True)
    assert [pair.case.id for pair in compared.pairs] == asked
    assert all(pair.a.prediction == pair.b.prediction for pair in compared.pairs)
    figures = {f"eval_{name}": one.b for name, one in compared.figures.items() if name != "reward"}
    assert {name: rows[-1][name] for name in EVAL} == pytest.approx(figures)
    outcomes = {name: share for name, share in rows[-1].items() if name.startswith("eval_outcome/")}
    assert sum(outcomes.values()) == pytest.approx(1)
    assert outcomes.get("eval_outcome/correct", 0) * 100 == pytest.approx(rows[-1]["eval_CF"])
    assert rows[-1]["eval_TS"] > rows[0]["eval_TS"] or rows[0]["eval_TS"] == 100
    assert not cases.exists()
