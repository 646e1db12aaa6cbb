"""What surrounds the steps: stopping, refusing, telling."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from tl_jax.config import SftConfig, load_config
from tl_jax.model.sharding import make_mesh
from tl_jax.model.store import open_model
from tl_jax.training.loop import Averages, DivergedError, Run, StopSignal

State = dict[str, jax.Array]


def start(config: SftConfig, total: int = 9) -> Run:
    run = Run(config)
    run.open_model(make_mesh(config.mesh))
    return run.prepare(total)


def test_a_signal_saves_and_stops(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config(checkpoint__every=4)
    before = signal.getsignal(signal.SIGTERM)
    with start(config) as run:
        assert run.after_step(1, {"params": jnp.ones(2)}, lambda: {"at": 1})
        signal.raise_signal(signal.SIGTERM)
        assert not run.after_step(2, {"params": jnp.full(2, 7.0)}, lambda: {"at": 2})
        run.finish()
    assert run.stopped_by == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before
    text = (config.run_dir / "log.txt").read_text()
    assert (
        f"stopped by SIGTERM; the checkpoint is saved. Run the same command again to continue in {config.run_dir}"
        in text
    )

    with start(config) as again:
        assert again.start == 2
        restored = again.restore({"params": jax.ShapeDtypeStruct((2,), jnp.float32, sharding=jnp.ones(2).sharding)})
        assert restored
        np.testing.assert_array_equal(restored.state["params"], 7)
        assert restored.data == {"at": 2}
        assert [again.after_step(step, restored.state, dict) for step in (3, 4, 8, 9)] == [True, True, True, False]
    assert sorted(int(path.name) for path in (config.run_dir / "checkpoints").glob("[0-9]*")) == [8, 9]


def test_the_second_ctrl_c_interrupts() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may start without
    stop = StopSignal()
    stop.install()
    signal.raise_signal(signal.SIGINT)
    assert stop.received == "SIGINT"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_changed_settings_are_told_and_harmless_ones_not(sft_config: Callable[..., SftConfig]) -> None:
    with start(sft_config(seed=1)) as run:
        run.after_step(9, {"params": jnp.ones(2)}, dict)
    target = {"params": jax.ShapeDtypeStruct((2,), jnp.float32, sharding=jnp.ones(2).sharding)}
    for overrides, told in (
        ({"seed": 1, "log_every": 7, "mesh__data": 4, "mesh__fsdp": 2}, None),
        ({"seed": 2, "data__pkt__mode": "none"}, "other settings than before: seed, data.pkt.mode"),
    ):
        config = sft_config(**overrides)
        log = config.run_dir / "log.txt"
        log.write_text("")
        with start(config) as run:
            run.restore(target)
        assert ("warning" in log.read_text()) == bool(told)
        assert (told or "") in log.read_text()


def test_the_run_directory_explains_itself(sft_config: Callable[..., SftConfig], model_dir: Path) -> None:
    config = sft_config()
    for _ in range(2):
        with start(config, total=1) as run:
            run.after_step(1, {"params": open_model(model_dir).params}, dict)
    home = config.run_dir
    assert load_config(SftConfig, [home / "config.yaml"], []) == config
    starts = yaml.safe_load((home / "environment.json").read_text())["starts"]
    assert len(starts) == 2
    assert starts[0]["devices"]["count"] == jax.device_count()
    assert starts[0]["packages"]["jax"] == jax.__version__
    assert {"config.json", "tokenizer.json"} <= {path.name for path in (home / "model").iterdir()}
    described = {
        line.split()[0].split("/")[0] for line in (home / "README.txt").read_text().split("\n\n")[1].splitlines()
    }
    present = {path.name for path in home.iterdir()} - {"README.txt"}
    assert described - present == {"samples.jsonl"}  # a reinforcement run's
    assert present <= described
    jax.tree.map(np.testing.assert_array_equal, open_model(home).params, open_model(model_dir).params)


def test_nothing_is_written_before_the_run_begins(sft_config: Callable[..., SftConfig], tmp_path: Path) -> None:
    config = sft_config(model__path=tmp_path)
    with pytest.raises(ValueError, match="no model found"):
        start(config)
    assert not config.run_dir.exists()


class TestAverages:
    def test_mean_sum_and_last(self) -> None:
        averages = Averages(summed=("tokens",), last=("rate",))
        for step, loss in enumerate((1.0, 2.0, 6.0), 1):
            averages.push(step, {"loss": jnp.float32(loss), "tokens": jnp.float32(10), "rate": jnp.float32(step)})
        assert averages.read() == {"loss": 3.0, "tokens": 30.0, "rate": 3.0}
        averages.push(4, {"loss": jnp.float32(5), "tokens": jnp.float32(1), "rate": jnp.float32(9)})
        assert averages.read() == {"loss": 5.0, "tokens": 1.0, "rate": 9.0}

    def test_a_loss_that_is_no_number_ends_the_run(self) -> None:
        averages = Averages()
        averages.push(1, {"loss": jnp.float32(1), "grad_norm": jnp.float32(1)})
        averages.push(2, {"loss": jnp.float32(jnp.nan), "grad_norm": jnp.float32(jnp.inf)})
        with pytest.raises(DivergedError, match="step 2: grad_norm, loss not finite"):
            averages.settle()
