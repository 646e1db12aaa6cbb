"""What surrounds the steps: starting, continuing, stopping, refusing, telling."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import yaml

from tl_jax.config import MeshConfig, SftConfig, load_config
from tl_jax.errors import UserError
from tl_jax.model.directory import CheckpointError
from tl_jax.model.hf import export_hf, read_config
from tl_jax.model.parameters import Params, init_params
from tl_jax.model.sharding import make_mesh
from tl_jax.model.store import open_model, save_model
from tl_jax.tooluse.text.template_choice import TemplateChoice
from tl_jax.training.checkpoint import ResumeError
from tl_jax.training.run import Run
from tl_jax.training.sft import run_sft
from tl_jax.training.state import TrainState, init_state

INIT = partial(init_state, optimizer=optax.sgd(0.1), seed=0)


def open_run(config: SftConfig, total: int = 9) -> Run:
    run = Run(config, make_mesh(config.mesh))
    run.open_model()
    return run.prepare(total)


def norm_frozen(params: Params) -> TrainState:
    """A state in which all is trained but the last norm."""
    trainable = {name: value for name, value in params.items() if name != "norm"}
    return replace(INIT(trainable), frozen={"norm": params["norm"]})


def same(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def saved_run(config: SftConfig, init: Any = INIT) -> TrainState:
    """A run that ends after its first step, which is its last one; its state."""
    run = open_run(config)
    state, position = run.begin(init)
    assert position is None
    with run:
        run.save(9, state, {"at": 9})
    return state


def test_a_run_goes_on_where_it_was_saved(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config(checkpoint__every=4)
    run = open_run(config)
    state, _ = run.begin(INIT)
    moved = jax.device_get(replace(state, trainable=jax.tree.map(lambda x: x + 7, state.trainable)))
    with run:
        run.save(2, moved, {"at": 2})
        assert [step for step in range(1, 10) if run.orders(step, meet=True).saves] == [4, 8, 9]
        signal.raise_signal(signal.SIGTERM)
        assert run.orders(3, meet=True) == ("SIGTERM", True)
        assert run.orders(9, meet=True) == (None, True)  # it is over anyway
    again = open_run(config)
    restored, position = again.begin(INIT)
    assert again.start == 2
    same(restored, moved)
    assert position == {"at": 2}


@pytest.mark.parametrize("minutes", [10.0, "null"])
def test_a_checkpoint_is_due_after_some_minutes_too(
    sft_config: Callable[..., SftConfig], monkeypatch: pytest.MonkeyPatch, minutes: float | str
) -> None:
    now = [1000.0]
    monkeypatch.setattr("tl_jax.training.run.time.monotonic", lambda: now[0])
    run = open_run(sft_config(checkpoint__every=100, checkpoint__minutes=minutes))
    state, _ = run.begin(INIT)
    with run:
        due = []
        for step, after in enumerate((599, 602, 1200, 1202), 1):
            now[0] = 1000.0 + after
            due.append(run.orders(step, meet=True).saves)
            if due[-1]:
                run.save(step, state, {})
    assert due == ([False, True, False, True] if minutes == 10 else [False] * 4)


@pytest.mark.parametrize(("grace", "told"), [(1e-3, True), (600.0, False)])
def test_a_checkpoint_that_takes_longer_than_a_signal_leaves_is_told(
    sft_config: Callable[..., SftConfig], grace: float, told: bool
) -> None:
    config = sft_config(checkpoint__grace_seconds=grace)
    run = open_run(config)
    state, _ = run.begin(INIT)
    with run:
        run.orders(1, meet=True)
        run.save(1, state, {})
        run.wait()
        run.orders(2, meet=True)
        run.orders(3, meet=True)
    assert (config.run_dir / "log.txt").read_text().count("a signal leaves checkpoint.grace_seconds=0.001") == told


def test_changed_settings_are_told_and_harmless_ones_not(sft_config: Callable[..., SftConfig]) -> None:
    saved_run(sft_config(seed=1))
    for overrides, told in (
        ({"seed": 1, "log_every": 7, "mesh__data": 4, "mesh__fsdp": 2}, None),
        ({"seed": 2, "data__pkt__mode": "none"}, "other settings than before: seed, data.pkt.mode"),
    ):
        config = sft_config(**overrides)
        log = config.run_dir / "log.txt"
        log.write_text("")
        run = open_run(config)
        run.begin(INIT)
        with run:
            pass
        assert ("warning" in log.read_text()) == bool(told)
        assert (told or "") in log.read_text()
        assert f"continuing {config.run_dir} from step 9 of 9" in log.read_text()


def test_the_run_directory_explains_itself(sft_config: Callable[..., SftConfig], model_dir: Path) -> None:
    config = sft_config()
    for _ in range(2):
        run = open_run(config, total=1)
        state, _ = run.begin(INIT)
        with run:
            run.log.metrics(1, {"loss": 1.0})
            run.save(1, state, {})
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
    others = {"samples.jsonl", "held_out.json", "before.json"}  # of reinforcement
    others |= {"eval_cases", "best.json"}  # where asked for
    assert described - present == {*others, "damaged"}  # a mishap's
    assert present <= described
    same(open_model(home).params, open_model(model_dir).params)


def test_the_run_directory_keeps_what_the_chat_template_is_told(sft_config: Callable[..., SftConfig]) -> None:
    """Also for whoever uses the model afterwards, and under what they tell it themselves."""
    config = sft_config(
        data__chat_template_kwargs__enable_thinking="false", data__chat_template_kwargs__date="2026-01-31"
    )
    for _ in range(2):
        run = open_run(config, total=1)
        state, _ = run.begin(INIT)
        with run:
            run.save(1, state, {})
    kept = TemplateChoice.beside(open_model(config.run_dir).tokenizer_dir)
    assert kept == config.template == TemplateChoice(None, {"enable_thinking": False, "date": "2026-01-31"})
    assert TemplateChoice("x", {"date": "now"}).over(kept) == TemplateChoice(
        "x", {"enable_thinking": False, "date": "now"}
    )


def test_nothing_is_written_before_the_run_begins(sft_config: Callable[..., SftConfig], tmp_path: Path) -> None:
    config = sft_config(model__path=tmp_path)
    with pytest.raises(ValueError, match="no model found"):
        open_run(config)
    assert not config.run_dir.exists()


class TestFrozen:
    """What is not trained is in no checkpoint, and made again from the model that the run started from."""

    @pytest.fixture
    def model(self, model_dir: Path, tmp_path: Path) -> Path:
        shutil.copytree(model_dir, tmp_path / "model")
        return tmp_path / "model"

    @pytest.fixture
    def config(self, sft_config: Callable[..., SftConfig], model: Path) -> SftConfig:
        """A run with a checkpoint, whose model was ``model``."""
        config = sft_config(model__path=model)
        saved_run(config, norm_frozen)
        return config

    def test_is_the_same_after_a_restart(self, config: SftConfig, model: Path) -> None:
        saved = ocp.StandardCheckpointer().restore((config.run_dir / "checkpoints/9/state").resolve())
        assert "norm" not in saved["trainable"]
        assert not saved["frozen"]
        more = config.model_copy(update={"mesh": MeshConfig(data=2, fsdp=2, tensor=2)})
        state, _ = open_run(more).begin(norm_frozen)
        same(state.params, open_model(model).params)

    def test_a_run_that_trains_all_does_not_need_the_model(
        self, sft_config: Callable[..., SftConfig], model: Path
    ) -> None:
        state = saved_run(config := sft_config(model__path=model))
        shutil.rmtree(model)
        same(open_run(config).begin(INIT)[0].trainable, state.trainable)

    def test_a_model_that_is_gone_is_one_clear_line(self, config: SftConfig, model: Path) -> None:
        shutil.rmtree(model)
        with pytest.raises(ResumeError, match=rf"{config.run_dir}: .* are needed again .*: {model}: no model found"):
            open_run(config).begin(norm_frozen)

    def test_a_run_that_has_had_none_is_one_clear_line(self, sft_config: Callable[..., SftConfig], model: Path) -> None:
        saved_run(config := sft_config(model__path=model), lambda params: replace(norm_frozen(params), frozen={}))
        with pytest.raises(ResumeError, match=f"{config.run_dir}: it has trained without a reference policy so far"):
            open_run(config).begin(norm_frozen)

    @pytest.mark.parametrize("change", ["one bit", "another shape", "another dtype"])
    def test_another_model_is_refused(self, config: SftConfig, model: Path, change: str) -> None:
        now, dtype = open_model(model), "float32"
        params, llama = now.params, now.config
        if change == "one bit":
            params["norm"] = params["norm"].at[3].set(jnp.nextafter(params["norm"][3], 2.0))
        elif change == "another shape":
            llama = replace(llama, num_layers=1)
            params["layers"] = jax.tree.map(lambda x: x[:1], params["layers"])
        else:
            dtype = "bfloat16"
        save_model(model.with_name("changed"), llama, params, now.tokenizer_dir)
        shutil.rmtree(model)
        model.with_name("changed").rename(model)
        config = config.model_copy(update={"model": config.model.model_copy(update={"param_dtype": dtype})})
        before = (config.run_dir / "config.yaml").read_text()
        with pytest.raises(ResumeError, match=f"model.path={model} has others; name the model as it was then"):
            open_run(config).begin(norm_frozen)
        assert (config.run_dir / "config.yaml").read_text() == before  # nothing was written


@pytest.mark.parametrize("kind", ["supervised", "reinforcement"])
def test_a_checkpoint_of_an_older_version_is_one_clear_line(
    sft_config: Callable[..., SftConfig], model_dir: Path, kind: str
) -> None:
    """Before there was ``trainable``, states had ``params``, and data and configuration were items of their own."""
    config = sft_config()
    run = open_run(config)
    run.begin(INIT)
    with run:
        pass
    params = open_model(model_dir).params
    state: dict[str, Any] = {"step": jnp.int32(4), "params": params, "opt_state": [{"mu": params}], "key": jnp.ones(2)}
    if kind == "reinforcement":
        state |= {"critic": {}, "critic_opt_state": [], "reference": params, "kl_coef": jnp.float32(0.1)}
    manager = ocp.CheckpointManager((config.run_dir / "checkpoints").resolve())
    items = {"state": ocp.args.StandardSave(state), "data": ocp.args.JsonSave({}), "config": ocp.args.JsonSave({})}
    manager.save(4, args=ocp.args.Composite(**items))
    manager.close()
    with pytest.raises(ResumeError, match=r"checkpoints/4: written by an older version .* choose another run_dir"):
        open_run(config)
    with pytest.raises(CheckpointError, match=r"checkpoints/4: written by an older version .* tl-jax export --from"):
        open_model(config.run_dir)
    assert json.loads((config.run_dir / "environment.json").read_text())["starts"]  # which the message names


@pytest.mark.parametrize("broken", ['{"starts": [{"sta', "[]", '{"starts": 1}', "\udcff"])
def test_a_broken_record_of_earlier_starts_is_told_and_begins_anew(
    sft_config: Callable[..., SftConfig], broken: str
) -> None:
    """What a full disk leaves of it, for instance."""
    config = sft_config()
    record = config.run_dir / "environment.json"
    config.run_dir.mkdir()
    record.write_text(broken, errors="surrogateescape")
    saved_run(config)
    assert len(json.loads(record.read_text())["starts"]) == 1
    assert f"warning: {record} could not be read and begins anew" in (config.run_dir / "log.txt").read_text()


def test_a_second_start_is_refused_and_changes_nothing(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config()
    run, early = open_run(config), open_run(config)
    state, _ = run.begin(INIT)
    early.begin(INIT)
    with run:
        before = {file: file.read_bytes() for file in config.run_dir.rglob("*") if file.is_file()}
        with pytest.raises(ResumeError, match="another training is running there"):
            open_run(config)
        with pytest.raises(ResumeError, match="another training is running there"), early:
            pass
        assert {file: file.read_bytes() for file in config.run_dir.rglob("*") if file.is_file()} == before
        run.save(9, state, {})
    with pytest.raises(ResumeError, match="another run has saved a checkpoint there meanwhile"), early:
        pass
    assert open_run(config).start == 9


def test_tokens_without_an_embedding_are_refused_before_the_first_step(
    sft_config: Callable[..., SftConfig], model_dir: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    config = replace(read_config(model_dir), vocab_size=300)
    export_hf(init_params(config, jax.random.key(0)), config, model_dir, small)
    settings = sft_config(model__path=small, data__batch_size=8)
    with pytest.raises(UserError, match=rf"the token '.*' has the id 3\d\d, and {small} has embeddings for 300 tokens"):
        run_sft(settings)
    assert not settings.run_dir.exists()
