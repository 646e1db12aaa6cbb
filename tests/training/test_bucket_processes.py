"""Whole trainings whose run directory is in a bucket, as a user starts them on one machine after another."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from tests.processes import TL_JAX, clusters, finish, finish_together, run_python
from tests.remote import BUCKET, contents
from tests.runs import metrics
from tests.xla_flags import xla_flags
from tl_jax.addresses import place_of
from tl_jax.bucket import Folder
from tl_jax.cli import main
from tl_jax.config import RlConfig, SftConfig, load_config, to_yaml
from tl_jax.manifest import DamagedError, check_manifest
from tl_jax.model.run_directory import checkpoints_in, checkpoints_of, fetched
from tl_jax.model.store import open_model
from tl_jax.run_files import LOCK_FILE as LOCK

pytestmark = pytest.mark.slow
STEPS = 16
ADDRESS = f"gs://{BUCKET}/runs/one"


def start(config: SftConfig | RlConfig, file: Path, *overrides: str, **environment: str) -> Any:
    file.write_text(to_yaml(config))
    flags, command = xla_flags(1), "sft" if isinstance(config, SftConfig) else "rl"
    return run_python(*TL_JAX, command, "--config", str(file), *overrides, XLA_FLAGS=flags, **environment)


def wait_for_checkpoint(process: Any, run: Path, step: int) -> None:
    """Until the process has saved this step or a later one."""
    while max(checkpoints_in(checkpoints_of(run)), default=0) < step:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def rows(metrics: bytes) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in map(json.loads, metrics.splitlines()) if "loss" in row]


def test_a_run_goes_on_elsewhere_and_is_read_from_there(
    server: Mapping[str, str],
    make_sft_config: Callable[..., SftConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed on a machine that is gone then, it ends on another as one that was never stopped; damage is noticed."""
    here = make_sft_config(tmp_path / "run", steps=STEPS, log_every=1, checkpoint__every=2, checkpoint__keep=3)
    finish(start(here, tmp_path / "here.yaml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    there = load_config(SftConfig, [tmp_path / "here.yaml"], [f"run_dir={ADDRESS}"])
    assert f"run_dir: {ADDRESS}\n" in to_yaml(there)

    killed = start(there, tmp_path / "there.yaml")
    wait_for_checkpoint(killed, there.run_dir, 4)
    killed.kill()
    killed.communicate()
    saved = max(checkpoints_in(checkpoints_of(there.run_dir)))
    assert 4 <= saved < STEPS
    at_most = rows(contents(ADDRESS)["metrics.jsonl"])[-1][0]
    assert at_most >= saved  # a checkpoint that counts has its log with it
    folder = Folder(ADDRESS)
    assert folder.read(LOCK)
    folder.write(LOCK, b"")  # instead of a minute's waiting

    shutil.rmtree(tmp_path / "first")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    there = load_config(SftConfig, [tmp_path / "there.yaml"], [])
    shown = finish(start(there, tmp_path / "there.yaml"))
    assert f"continuing {ADDRESS} from step {saved} of {STEPS}" in shown
    assert f"tl-jax export --from {ADDRESS}" in shown
    objects = contents(ADDRESS)
    assert rows(objects["metrics.jsonl"]) == rows((here.run_dir / "metrics.jsonl").read_bytes())
    assert len(json.loads(objects["environment.json"])["starts"]) == 2
    assert objects[LOCK] == b""
    place = place_of(ADDRESS, "models")
    checkpoints = checkpoints_of(place)
    last = checkpoints_in(checkpoints)[16]
    assert list(checkpoints_in(checkpoints)) == [16, 14, 12]
    assert check_manifest(last)
    same(open_model(fetched(place)).params, open_model(here.run_dir).params)

    export(ADDRESS, tmp_path / "a")
    export(str(here.run_dir), tmp_path / "b")
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()

    victim = next(name for name in objects if name.startswith(f"checkpoints/{last.name}/state/d/"))
    folder.write(victim, objects[victim][:-1])
    with pytest.raises(DamagedError, match=r"/state/d/.* bytes, and had"):
        check_manifest(last)
    refused = export(ADDRESS, tmp_path / "c", code=2)
    assert refused.startswith(f"tl-jax: {last}/state/d/")
    assert refused.count("\n") == 1
    shown = finish(start(there, tmp_path / "there.yaml"))
    assert f"the checkpoint of step 16 is damaged and now in {ADDRESS}/damaged" in shown
    assert f"continuing {ADDRESS} from step 14 of 16" in shown
    assert rows(contents(ADDRESS)["metrics.jsonl"]) == rows((here.run_dir / "metrics.jsonl").read_bytes())
    assert f"damaged/16/{victim.removeprefix(f'checkpoints/{last.name}/')}" in folder.objects()
    same(open_model(fetched(place)).params, open_model(here.run_dir).params)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [SftConfig, RlConfig])
def test_a_run_that_was_told_to_stop_and_then_killed_is_as_one_that_was_not(
    kind: type[SftConfig | RlConfig],
    server: Mapping[str, str],
    model_dir: Path,
    data_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On three machines one after another, which have nothing but the bucket in common: the model and the data, too."""
    steps, own = (16, SFT_SETTINGS) if kind is SftConfig else (9, RL_SETTINGS)
    settings = ["model.dtype=float32", "mesh.fsdp=1", "log_every=1", f"steps={steps}", *own]
    paths = [f"model.path={model_dir}", f"data.path={data_file}", f"run_dir={tmp_path / 'run'}"]
    here = load_config(kind, [], [*settings, *paths])
    finish(start(here, tmp_path / "here.yaml"))

    home = Folder(f"gs://{BUCKET}/{kind.__name__}")
    home.upload(data_file, "train.jsonl")
    for file in model_dir.iterdir():
        home.upload(file, f"hf/{file.name}")
    address = f"{home.address}/run"
    paths = [f"model.path={home.address}/hf", f"data.path={home.address}/train.jsonl", f"run_dir={address}"]

    def elsewhere(machine: str) -> tuple[Any, Any]:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        there = load_config(kind, [], [*settings, *paths])
        return there, start(there, tmp_path / f"{machine}.yaml")

    there, told = elsewhere("first")
    wait_for_checkpoint(told, there.run_dir, 2)
    told.send_signal(signal.SIGTERM)
    assert "the checkpoint is saved" in finish(told, code=143)
    stopped = max(checkpoints_in(checkpoints_of(there.run_dir)))
    run = Folder(address)
    assert stopped < steps
    assert "the checkpoint is saved" in run.read("log.txt").decode().splitlines()[-1]
    assert run.read(LOCK) == b""

    there, killed = elsewhere("second")
    wait_for_checkpoint(killed, there.run_dir, stopped + 1)
    killed.kill()
    killed.communicate()
    saved = max(checkpoints_in(checkpoints_of(there.run_dir)))
    assert saved < steps
    run.write(LOCK, b"")  # instead of a minute's waiting

    there, last = elsewhere("third")
    assert f"continuing {address} from step {saved} of {steps}" in finish(last)
    ours, theirs = (tmp_path / name for name in ("ours", "run"))
    run.fetch({name: one for name, one in run.objects().items() if not name.startswith("checkpoints/")}, ours)
    assert metrics(ours) == metrics(theirs)
    assert metrics(ours)[-1]["step"] == steps
    same(open_model(fetched(place_of(address, "models"))).params, open_model(theirs).params)


SFT_SETTINGS = ["checkpoint.every=2", "data.max_length=512", "data.batch_size=4"]
RL_SETTINGS = [
    "checkpoint.every=3",
    *("batch_size=8", "sampling.max_new_tokens=8", "eval_prompts=0", "reward=tests.training.deadly:length"),
    *("actor.learning_rate=1e-3", "critic.learning_rate=1e-3", "algorithm.minibatches=2", "data.max_prompt_length=512"),
]


@pytest.mark.thorough
def test_two_machines_train_one_run(
    server: Mapping[str, str],
    make_sft_config: Callable[..., SftConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has a cache of its own; the second start finds both of them empty."""
    address = f"gs://{BUCKET}/runs/two"
    here = make_sft_config(tmp_path / "run", steps=4, checkpoint__every=2, mesh__data=1, mesh__fsdp=2)
    for life, steps in (("first", 2), ("second", 4)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / life))
        file = tmp_path / "two.yaml"
        file.write_text(to_yaml(here.model_copy(update={"run_dir": place_of(address, "runs")})))
        config = load_config(SftConfig, [file], [])
        processes = [
            start(config, file, f"steps={steps}", XDG_CACHE_HOME=str(tmp_path / life / rank), NPROC="1", **cluster)
            for rank, cluster in zip("01", clusters(2), strict=True)
        ]
        shown = finish_together(processes)
    assert f"continuing {address} from step 2 of 4" in shown[0]
    assert "step" not in shown[1]
    assert {row[0] for row in rows(contents(address)["metrics.jsonl"])} == {2, 4}
    assert not (tmp_path / "second/1/tl_jax/gs/runs").exists()  # the first process writes
    assert list(checkpoints_in(checkpoints_of(place_of(address, "runs")))) == [4, 2]


def export(source: str, target: Path, code: int = 0) -> str:
    """What the command says on stderr."""
    result = CliRunner().invoke(main, ["export", "--from", source, "--to", str(target)])
    assert result.exit_code == code, result.output
    return result.stderr


def same(left: Any, right: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(left), jax.device_get(right))
