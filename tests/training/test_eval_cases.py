"""Cases that are answered while supervised training goes on: the figures, the answers, and a run that is continued."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.devices import few_devices
from tests.tiny import write_recordings
from tl_jax.config import SftConfig
from tl_jax.data.codec import Codec
from tl_jax.errors import UserError
from tl_jax.evaluation.answering import Answering
from tl_jax.evaluation.comparison_files import compare_files
from tl_jax.evaluation.runner import evaluate
from tl_jax.inference import generate
from tl_jax.model.hf import read_config
from tl_jax.training import eval_cases
from tl_jax.training.eval_cases import load_sample
from tl_jax.training.sft import run_sft

EVAL = ("eval_TS", "eval_PI", "eval_CF")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings") / "calls.jsonl")


@pytest.fixture(scope="module")
def make(make_sft_config: Callable[..., SftConfig], recordings: Path) -> Callable[..., SftConfig]:
    """Four steps on what even a tiny model learns, evaluated every two."""
    settings = {
        "data__path": recordings,
        "data__batch_size": 8,
        "data__pack": "false",
        "data__max_length": 256,
        "eval_cases__path": recordings,
        "eval_cases__count": 12,
        "eval_cases__max_new_tokens": 12,
        "eval_cases__batch_size": 3,
        "eval_every": 2,
        "steps": 4,
        "log_every": 100,
        "optimizer__learning_rate": 3e-2,
    }
    return lambda run_dir, **others: make_sft_config(run_dir, **settings | others)


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [{name: row[name] for name in row if name.startswith("eval_")} for row in rows]


@pytest.fixture(scope="module")
def whole(make: Callable[..., SftConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = make(tmp_path_factory.mktemp("whole") / "run")
    with few_devices(2):
        run_sft(config)
    return config.run_dir


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_figures_are_those_of_eval(whole: Path, recordings: Path, tmp_path: Path) -> None:
    """Of the last state, against the command that opens it as a model and answers all cases."""
    rows = metrics(whole)
    assert len(rows) == 2
    asked = [json.loads(line)["id"] for line in (whole / "eval_cases/predictions.jsonl").read_text().splitlines()]
    assert len(asked) == 12
    evaluate(whole, recordings, tmp_path / "eval", Answering.of(max_new_tokens=12, dtype="float32", batch_size=8))
    compared = compare_files(whole, tmp_path / "eval", common=True)
    assert [pair.case.id for pair in compared.pairs] == asked
    assert [pair.a.prediction for pair in compared.pairs] == [pair.b.prediction for pair in compared.pairs]
    figures = [compared.figures[name].b for name in ("TS", "PI", "CF")]
    assert [rows[-1][name] for name in EVAL] == pytest.approx(figures)
    assert figures[0] > 0
    outcomes = {name: share for name, share in rows[-1].items() if name.startswith("eval_outcome/")}
    assert sum(outcomes.values()) == pytest.approx(1)
    assert 100 * outcomes.get("eval_outcome/correct", 0) == pytest.approx(figures[2])
    assert "12 cases, answered greedily" in (whole / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_an_evaluation_that_a_signal_ends_is_made_up_for(
    whole: Path, make: Callable[..., SftConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two batches of the first evaluation; what follows is that of a run that was left alone."""
    config, calls = make(tmp_path / "run"), []

    def told(ask: Callable[[], Any]) -> Any:
        calls.append(ask)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return ask()

    monkeypatch.setattr(eval_cases, "agreed", told)
    monkeypatch.setattr(generate, "row_count", lambda asked, spread: spread)  # one for each device: six batches
    assert run_sft(config)["stopped_by"] == "SIGTERM"
    assert metrics(config.run_dir) == [{}]
    assert run_sft(config)["stopped_by"] is None
    assert [row for row in metrics(config.run_dir) if row] == metrics(whole)
    ours, theirs = ((one / "eval_cases/predictions.jsonl").read_text() for one in (config.run_dir, whole))
    assert ours == theirs


def test_the_sample_is_spread_and_what_cannot_be_answered_is_counted(
    make: Callable[..., SftConfig], recordings: Path, model_dir: Path, tmp_path: Path
) -> None:
    config = make(tmp_path / "run", eval_cases__count=3)
    codec, model = Codec.open("paper", model_dir), read_config(model_dir)
    sample, told = load_sample(config, codec, model)
    assert [prompt.case.id for prompt in sample][::2] == ["t0#1", "t7#3"]
    assert told.startswith(f"eval_cases: 3 of the 16 cases of {recordings} that can be answered; 0 more have a prompt")
    lengths = sorted(
        len(prompt.tokens) for prompt in load_sample(make(tmp_path, eval_cases__count=99), codec, model)[0]
    )
    few = make(tmp_path / "run", eval_cases__max_prompt_length=lengths[3])
    assert all(len(prompt.tokens) <= lengths[3] for prompt in load_sample(few, codec, model)[0])
    with pytest.raises(UserError, match=r"no case is left: eval_cases: 0 of the 0 cases .*; 16 more have a prompt of"):
        load_sample(make(tmp_path / "run", eval_cases__max_prompt_length=8), codec, model)
    assert load_sample(make(tmp_path / "run", eval_cases__path="null"), codec, model) == ([], "")
