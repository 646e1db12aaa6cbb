"""The loop: what is logged, evaluated, saved and shown when, and how it ends."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tl_jax.config import SftConfig
from tl_jax.model.sharding import make_mesh
from tl_jax.training.averages import Averages, DivergedError
from tl_jax.training.checkpoint import Checkpoints
from tl_jax.training.loop import fit
from tl_jax.training.run import Run
from tl_jax.training.state import TrainState, init_state, without_frozen
from tl_jax.training.stop import Interrupted


class Numbers:
    """A source whose batch of step ``n`` is eight times ``n``; it keeps what it is asked."""

    def __init__(self, at: Mapping[int, Callable[[], Any]] | None = None) -> None:
        self.at = at or {}
        self.batches: list[int] = []
        self.observed: list[float] = []
        self.shown: list[int] = []
        self.reads = 0

    def batch(self, step: int, state: TrainState) -> np.ndarray:
        assert state.step == step - 1
        self.batches.append(step)
        self.at.get(step, int)()
        return np.full(8, step, np.float32)

    def observe(self, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        self.observed.append(float(metrics["loss"]))
        return {**metrics, "host": 2.0}

    def read(self) -> dict[str, float]:
        self.reads += 1
        return {"reads": self.reads}

    def show(self, step: int) -> None:
        self.shown.append(step)

    def position(self, step: int) -> dict[str, int]:
        return {"after": step}


def step(state: TrainState, batch: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
    """Adds the batch to the norm; the loss is the sum of the batch, not finite where the norm is not."""
    norm = state.trainable["norm"] + jnp.sum(batch)
    trainable = state.trainable | {"norm": norm}
    return replace(state, step=state.step + 1, trainable=trainable), {"loss": jnp.sum(batch) + 0 * norm[0]}


def start(config: SftConfig, total: int = 7) -> tuple[Run, TrainState]:
    run = Run(config, make_mesh(config.mesh))
    run.open_model()
    state, _ = run.begin(partial(init_state, optimizer=optax.sgd(0.1), seed=0))
    return run.prepare(total), state


def logged(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "time"} for line in lines]


def saved(run: Run) -> list[int]:
    return sorted(int(path.name) for path in (run.directory / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize("wait", [False, True])
def test_what_happens_when(sft_config: Callable[..., SftConfig], wait: bool) -> None:
    config = sft_config(log_every=3, checkpoint__every=4, checkpoint__keep=9)
    run, state = start(config)
    before = jax.device_get(state.trainable["norm"])
    source = Numbers()
    evaluated = []

    def evaluate(step: int, state: TrainState) -> dict[str, float]:
        evaluated.append((step, int(state.step)))
        return {"eval": 0.5}

    with run:
        summary = fit(run, state, jax.jit(step), source, Averages(last=("host",), wait=wait), evaluate, eval_every=5)
        run.finish(summary["stopped_by"])
    assert source.batches == [1, 2, 3, 4, 5, 6, 7]
    assert source.observed == [8 * number for number in source.batches]
    assert source.shown == [3, 5, 6, 7]
    assert evaluated == [(5, 5), (7, 7)]
    assert logged(config.run_dir) == [
        {"step": 3, "loss": 16.0, "host": 2.0, "reads": 1},
        {"step": 5, "loss": 36.0, "host": 2.0, "reads": 2, "eval": 0.5},
        {"step": 6, "loss": 48.0, "host": 2.0, "reads": 3},
        {"step": 7, "loss": 56.0, "host": 2.0, "reads": 4, "eval": 0.5},
    ]
    assert summary == {"step": 7, "stopped_by": None, "loss": 56.0, "host": 2.0, "reads": 4, "eval": 0.5}
    assert saved(run) == [4, 7]
    restored = Checkpoints(run.directory / "checkpoints", keep=9).restore(4, without_frozen(start(config)[1]))
    np.testing.assert_array_equal(restored.state.trainable["norm"], before + 8 * (1 + 2 + 3 + 4))
    assert restored.record.data == {"after": 4}


def test_without_an_evaluation_nothing_is_evaluated(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config(log_every=100, checkpoint__every=100)
    run, state = start(config)
    with run:
        fit(run, state, jax.jit(step), source := Numbers(), Averages(), eval_every=2)
    assert [row["step"] for row in logged(config.run_dir)] == source.shown == [7]
    assert saved(run) == [7]


def test_a_signal_ends_it_after_the_step_and_the_rest_follows(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config(log_every=1, checkpoint__every=100)
    whole, state = start(config.model_copy(update={"run_dir": config.run_dir.with_name("whole")}))
    with whole:
        fit(whole, state, jax.jit(step), Numbers(), Averages())
    run, state = start(config)
    before = signal.getsignal(signal.SIGTERM)
    source = Numbers({3: lambda: signal.raise_signal(signal.SIGTERM)})
    with run:
        summary = fit(run, state, jax.jit(step), source, Averages())
        run.finish(summary["stopped_by"])
    assert (summary["step"], summary["stopped_by"], saved(run)) == (3, "SIGTERM", [3])
    assert signal.getsignal(signal.SIGTERM) is before
    said = f"stopped by SIGTERM; the checkpoint is saved. Run the same command again to continue in {config.run_dir}"
    assert said in (config.run_dir / "log.txt").read_text()
    run, state = start(config)
    with run:
        summary = fit(run, state, jax.jit(step), source := Numbers(), Averages())
    assert source.batches == [4, 5, 6, 7]
    assert (summary["step"], summary["stopped_by"], saved(run)) == (7, None, [3, 7])
    jax.tree.map(np.testing.assert_array_equal, start(config)[1], start(whole.config)[1])  # type: ignore[arg-type]
    assert [row["loss"] for row in logged(config.run_dir)] == [row["loss"] for row in logged(whole.directory)]


@pytest.mark.parametrize("ending", ["a checkpoint is due", "a signal"])
def test_a_state_that_is_not_finite_is_not_saved(sft_config: Callable[..., SftConfig], ending: str) -> None:
    config = sft_config(log_every=100, checkpoint__every=2)
    run, state = start(config)
    at = 4 if ending == "a checkpoint is due" else 3

    def diverging(state: TrainState, batch: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        return step(state, jnp.where(batch == at, jnp.nan, batch))

    source = Numbers({3: lambda: signal.raise_signal(signal.SIGTERM)} if ending == "a signal" else {})
    with pytest.raises(DivergedError, match=f"step {at}: loss not finite"), run:
        fit(run, state, jax.jit(diverging), source, Averages())
    assert saved(run) == [2]
    assert f"ended by DivergedError: step {at}" in (config.run_dir / "log.txt").read_text()


def fails() -> None:
    raise ZeroDivisionError("a reward of the user's")


@pytest.mark.parametrize("where", ["the next batch", "an evaluation"])
@pytest.mark.parametrize("wait", [False, True])
def test_the_last_whole_step_is_saved_before_an_error_ends_the_run(
    sft_config: Callable[..., SftConfig], wait: bool, where: str
) -> None:
    """Nothing is lost: the run goes on from there, with the batch that failed."""
    config = sft_config(log_every=1, checkpoint__every=100)
    run, state = start(config)
    source = Numbers({4: fails} if where == "the next batch" else {})

    def evaluate(step: int, state: TrainState) -> dict[str, float]:
        return fails() or {}

    evaluation = evaluate if where == "an evaluation" else None
    with pytest.raises(ZeroDivisionError), run:
        fit(run, state, jax.jit(step, donate_argnums=0), source, Averages(wait=wait), evaluation, eval_every=3)
    assert saved(run) == [3]
    log = (config.run_dir / "log.txt").read_text()
    assert "the state after step 3 is saved" in log
    assert "ended by ZeroDivisionError" in log
    run, state = start(config)
    with run:
        fit(run, state, jax.jit(step, donate_argnums=0), source := Numbers(), Averages())
    assert source.batches == [4, 5, 6, 7]


@pytest.mark.parametrize("loss", [jnp.nan, jnp.inf])
def test_an_error_after_a_step_that_was_not_finite_saves_nothing(
    sft_config: Callable[..., SftConfig], loss: float
) -> None:
    """The step's loss was not looked at yet when the next batch failed."""
    config = sft_config(log_every=100, checkpoint__every=2)
    run, state = start(config)

    def diverging(state: TrainState, batch: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        return step(state, jnp.where(batch == 3, loss, batch))

    with pytest.raises(ZeroDivisionError), run:
        fit(run, state, jax.jit(diverging, donate_argnums=0), Numbers({4: fails}), Averages())
    assert saved(run) == [2]


def test_an_error_before_the_first_step_or_in_a_step_saves_nothing(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config(log_every=100, checkpoint__every=100)
    run, state = start(config)
    with pytest.raises(ZeroDivisionError), run:
        fit(run, state, jax.jit(step), Numbers({1: fails}), Averages())

    def breaks(state: TrainState, batch: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        new = jax.jit(step, donate_argnums=0)(state, batch)
        if int(new[0].step) == 3:
            fails()
        return new

    run, state = start(config)
    with pytest.raises(ZeroDivisionError), run:
        fit(run, state, breaks, Numbers(), Averages(wait=True))
    assert saved(run) == []


def test_a_signal_saves_before_anything_else(sft_config: Callable[..., SftConfig]) -> None:
    """Whoever sent it may kill the run while it evaluates."""
    config = sft_config(log_every=1, checkpoint__every=100)
    run, state = start(config)
    seen = []

    def evaluate(step: int, state: TrainState) -> dict[str, float]:
        seen.append((step, saved(run)))
        return {}

    with run:
        at = {3: lambda: signal.raise_signal(signal.SIGTERM)}
        fit(run, state, jax.jit(step), Numbers(at), Averages(), evaluate, eval_every=1)
    assert seen == [(1, []), (2, []), (3, [3])]


def interrupted() -> None:
    signal.raise_signal(signal.SIGTERM)
    raise Interrupted


def test_work_on_a_batch_that_a_signal_interrupts_is_done_again(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config(log_every=1, checkpoint__every=100)
    run, state = start(config)
    with run:
        summary = fit(run, state, jax.jit(step, donate_argnums=0), Numbers({4: interrupted}), Averages())
        run.finish(summary["stopped_by"])
    assert (summary["step"], summary["stopped_by"], saved(run)) == (3, "SIGTERM", [3])
    assert "stopped by SIGTERM; the checkpoint is saved" in (config.run_dir / "log.txt").read_text()
    run, state = start(config)
    with run:
        fit(run, state, jax.jit(step, donate_argnums=0), source := Numbers(), Averages())
    assert source.batches == [4, 5, 6, 7]


def test_what_was_measured_is_told_where_a_signal_interrupts_the_evaluation(
    sft_config: Callable[..., SftConfig],
) -> None:
    config = sft_config(log_every=2, checkpoint__every=9)
    run, state = start(config)
    source = Numbers()
    with run:
        summary = fit(run, state, jax.jit(step), source, Averages(), lambda *_: interrupted(), eval_every=4)
        run.finish(summary["stopped_by"])
    assert summary["step"] == 4
    assert summary["stopped_by"]
    assert [row["step"] for row in logged(config.run_dir)] == [2, 4]
    assert source.shown == [2, 4]
    assert saved(run) == [4]


def test_an_evaluation_of_the_end_that_a_signal_interrupts_is_made_up_for(
    sft_config: Callable[..., SftConfig],
) -> None:
    config, evaluated = sft_config(log_every=2, checkpoint__every=9), []

    def evaluate(step: int, state: TrainState) -> dict[str, float]:
        evaluated.append(step)
        if len(evaluated) == 1:
            interrupted()
        return {"eval_x": 3.0}

    def once_more() -> dict[str, Any]:
        run, state = start(config)
        with run:
            summary = fit(run, state, jax.jit(step), Numbers(), Averages(), evaluate)
            run.finish(summary["stopped_by"])
        return summary

    assert once_more()["stopped_by"] == "SIGTERM"
    assert "eval_x" not in logged(config.run_dir)[-1]
    assert once_more() == {"step": 7, "stopped_by": None, "eval_x": 3.0}
    assert logged(config.run_dir)[-1]["eval_x"] == 3.0
    assert "eval_x" not in once_more()
    assert evaluated == [7, 7]


def test_a_signal_in_the_first_batch_leaves_nothing_to_save(sft_config: Callable[..., SftConfig]) -> None:
    run, state = start(sft_config())
    with run:
        summary = fit(run, state, jax.jit(step), Numbers({1: interrupted}), Averages())
        run.finish(summary["stopped_by"])
    assert (summary["step"], summary["stopped_by"], saved(run)) == (0, "SIGTERM", [])
    assert "stopped by SIGTERM; nothing was to be saved" in (run.directory / "log.txt").read_text()
