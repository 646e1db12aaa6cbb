"""The best checkpoint of a run is kept and opened, patience ends the run, and a run that is continued knows both."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.training.test_loop import Numbers, saved, start, step
from tl_jax.config import CheckpointConfig, ConfigError, SftConfig
from tl_jax.model.store import open_model
from tl_jax.training.averages import Averages
from tl_jax.training.best import Best, evaluations
from tl_jax.training.loop import fit
from tl_jax.training.stop import Interrupted

CF = (10.0, 30.0, 20.0, 30.0, 25.0, 5.0, 40.0)


def test_the_first_of_the_best_counts() -> None:
    best = Best(CheckpointConfig(best="eval_CF", patience=3), {})
    assert (best.step, best.gives_up) == (None, False)
    seen = [best.see(number, {"eval_CF": value, "eval_loss": -value}) for number, value in enumerate(CF, 1)]
    assert seen == [True, True, False, False, False, False, True]
    assert (best.step, best.value, best.gives_up) == (7, 40.0, False)


def test_less_loss_is_better_and_what_is_no_number_is_no_evaluation() -> None:
    best = Best(CheckpointConfig(best="eval_loss", patience=1), {2: 1.0})
    assert not best.see(4, {"eval_loss": float("nan")})
    assert not best.see(6, {"eval_CF": 3.0})
    assert not best.gives_up
    assert best.see(8, {"eval_loss": 0.5})
    assert not best.see(10, {"eval_loss": 0.5})
    assert best.gives_up


def test_without_a_metric_nothing_is_the_best() -> None:
    best = Best(CheckpointConfig(), {})
    assert not best.see(1, {"eval_loss": 1.0})
    assert (best.step, best.gives_up) == (None, False)


def test_what_is_known_does_not_depend_on_the_order_it_is_told_in() -> None:
    settings = CheckpointConfig(best="eval_CF", patience=2)
    told = Best(settings, {3: 20.0, 1: 10.0, 2: 30.0})
    assert (told.step, told.gives_up) == (2, False)
    told.see(4, {"eval_CF": 30.0})
    assert told.gives_up


def test_evaluations_on_record(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert evaluations(file, "eval_CF") == {}
    file.write_text('{"step": 1, "eval_CF": 2}\n{"step": 2}\n{"step": 3, "eval_CF": null}\n[]\n{"step": 4, "eval_')
    assert evaluations(file, "eval_CF") == {"1": 2.0}
    assert evaluations(file, None) == {}


def scores(values: tuple[float, ...] = CF) -> Callable[[int, Any], Mapping[str, float]]:
    return lambda number, state: {"eval_CF": values[number - 1]}


@pytest.fixture
def config(sft_config: Callable[..., SftConfig], data_file: Path) -> Callable[..., SftConfig]:
    """A run that is evaluated at every step and saves nothing of itself before the end."""

    def make(**others: Any) -> SftConfig:
        best = {"checkpoint__best": "eval_CF", "eval_cases__path": data_file, "eval_every": 1}
        rest = {"checkpoint__every": 100, "checkpoint__keep": 1, "log_every": 100}
        return sft_config(**best | rest | others)

    return make


def trained(config: SftConfig, at: Mapping[int, Callable[[], Any]] | None = None, values: Any = CF) -> Numbers:
    run, state = start(config)
    with run:
        evaluate = scores(values) if isinstance(values, tuple) else values
        summary = fit(run, state, jax.jit(step), source := Numbers(at), Averages(), evaluate, eval_every=1)
        run.finish(summary["stopped_by"])
    return source


def norm_of(path: Path) -> np.ndarray:
    return np.asarray(open_model(path).params["norm"])


def test_the_best_checkpoint_is_kept_beside_the_newest_and_opened(config: Callable[..., SftConfig]) -> None:
    values = (10.0, 30.0, 20.0, 30.0, 25.0, 5.0, 0.0)
    settings = config()
    before = norm_of(settings.model.path)
    trained(settings, values=values)
    assert saved(start(settings)[0]) == [2, 7]
    assert json.loads((settings.run_dir / "best.json").read_text()) == {"step": 2, "metric": "eval_CF", "value": 30.0}
    np.testing.assert_array_equal(norm_of(settings.run_dir), before + 8 * (1 + 2))
    log = (settings.run_dir / "log.txt").read_text()
    assert f"eval_CF was best, 30, after step 2: {settings.run_dir} opens as the model of that step" in log
    (settings.run_dir / "best.json").unlink()
    np.testing.assert_array_equal(norm_of(settings.run_dir), before + 8 * sum(range(8)))


def test_patience_ends_the_run_and_it_stays_ended(config: Callable[..., SftConfig]) -> None:
    settings = config(checkpoint__patience=3)
    assert trained(settings).batches == [1, 2, 3, 4, 5]
    assert saved(start(settings)[0]) == [2, 5]
    assert (
        "done: 5 of 7 steps, the last 3 evaluations of which were no better"
        in (settings.run_dir / "log.txt").read_text()
    )
    assert trained(settings).batches == []
    assert trained(config(checkpoint__patience=4)).batches == [6]


@pytest.mark.parametrize("at", [2, 4])
def test_a_run_that_is_continued_finds_the_same(config: Callable[..., SftConfig], at: int) -> None:
    """Stopped at the best step or later, also within the evaluation, which is then made up for."""
    whole = config(checkpoint__patience=4, run_dir=config().run_dir.with_name("whole"))
    trained(whole)
    settings = config(checkpoint__patience=4)
    seen: list[int] = []

    def evaluate(number: int, state: Any) -> Mapping[str, float]:
        seen.append(number)
        if number == at and seen.count(at) == 1:
            raise Interrupted
        return {"eval_CF": CF[number - 1]}

    trained(settings, {at: lambda: signal.raise_signal(signal.SIGTERM)}, evaluate)
    trained(settings, values=evaluate)
    assert seen.count(at) == 2
    assert saved(start(settings)[0]) == saved(start(whole)[0]) == [2, 6]
    best = [json.loads((one.run_dir / "best.json").read_text()) for one in (settings, whole)]
    assert best[0] == best[1]
    found = [evaluations(one.run_dir / "metrics.jsonl", "eval_CF") for one in (settings, whole)]
    assert found[0] == found[1]


def test_a_best_one_that_is_gone_is_told(config: Callable[..., SftConfig]) -> None:
    """The run was begun without `checkpoint.best`, so nothing of step 2 is there. What is the best then stays it."""
    settings = config(checkpoint__best="null")
    trained(settings, {4: lambda: signal.raise_signal(signal.SIGTERM)}, values=(10.0, 30.0, 20.0, 2.0))
    assert not (settings.run_dir / "best.json").exists()
    trained(config(), values=(0.0,) * 4 + (1.0, 3.0, 2.0))
    log = (settings.run_dir / "log.txt").read_text()
    assert "warning: eval_CF was best, 30, after step 2, whose checkpoint is not kept; a best one is looked for" in log
    for _ in range(2):
        assert json.loads((settings.run_dir / "best.json").read_text())["step"] == 6
        assert saved(start(settings)[0]) == [6, 7]
        trained(config())


def test_the_state_that_a_run_goes_on_from_may_be_the_best(config: Callable[..., SftConfig]) -> None:
    """Nothing of step 2, which was better, is there; and what was answered at other cases is told to be that."""
    settings = config(checkpoint__best="null")
    trained(settings, {4: lambda: signal.raise_signal(signal.SIGTERM)}, values=(10.0, 30.0, 20.0, 20.0))
    trained(config(eval_cases__count=3), values=(0.0,) * 7)
    assert json.loads((settings.run_dir / "best.json").read_text()) == {"step": 4, "metric": "eval_CF", "value": 20.0}
    assert saved(start(settings)[0]) == [4, 7]
    log = (settings.run_dir / "log.txt").read_text()
    assert "warning: continuing with other settings than before: eval_cases.count\n" in log


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"checkpoint__best": "eval_reward"}, "checkpoint.best=eval_reward: the evaluations of this run have eval_TS"),
        ({"checkpoint__best": "eval_loss"}, "the evaluations of this run have eval_TS, eval_PI, eval_CF; docs/config"),
        ({"eval_cases__path": "null"}, "checkpoint.best=eval_CF: the evaluations of this run have nothing"),
        ({"eval_every": "null"}, "checkpoint.best goes by evaluations during the run; set eval_every"),
        ({"checkpoint__best": "null", "checkpoint__patience": 2}, "checkpoint.patience waits for a better checkpoint"),
        ({"checkpoint__best": "eval_FC"}, "key 'checkpoint.best': Input should be 'eval_loss'"),
    ],
)
def test_settings_that_do_not_go_together(
    config: Callable[..., SftConfig], overrides: Mapping[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        config(**overrides)
