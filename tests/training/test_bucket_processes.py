"""Whole trainings whose run directory is in a bucket, as a user starts them on one machine after another."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from tests.processes import clusters, finish, finish_together, run_python
from tests.remote import BUCKET, cloud_storage, contents
from tests.xla_flags import xla_flags
from tl_jax.addresses import place_of
from tl_jax.bucket import Folder
from tl_jax.cli import main
from tl_jax.config import SftConfig, load_config, to_yaml
from tl_jax.manifest import DamagedError, check_manifest
from tl_jax.model.run_directory import checkpoints_in, checkpoints_of, fetched
from tl_jax.model.store import open_model
from tl_jax.run_files import LOCK_FILE as LOCK

pytestmark = pytest.mark.slow
STEPS = 16
ADDRESS = f"gs://{BUCKET}/runs/one"


@pytest.fixture(scope="module")
def server() -> Iterator[Mapping[str, str]]:
    with cloud_storage() as environment:
        yield environment


def start(config: SftConfig, file: Path, *overrides: str, **environment: str) -> Any:
    file.write_text(to_yaml(config))
    flags = xla_flags(1)
    return run_python("-m", "tl_jax.cli", "sft", "--config", str(file), *overrides, XLA_FLAGS=flags, **environment)


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
    while 4 not in checkpoints_in(checkpoints_of(there.run_dir)):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
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
