"""A run in a bucket: who may work on it, and what of it is where."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
import pytest

from tests.remote import BUCKET, contents
from tl_jax.addresses import files_here, place_of
from tl_jax.bucket import BucketError, Folder
from tl_jax.manifest import write_manifest
from tl_jax.model.adapted import adapters_down
from tl_jax.model.run_directory import checkpoints_in, checkpoints_of, fetched
from tl_jax.run_files import LOCK_FILE as LOCK
from tl_jax.training import bucket_run, checkpoint
from tl_jax.training.bucket_lock import BucketLock
from tl_jax.training.bucket_run import BucketRun, run_lock
from tl_jax.training.checkpoint import Checkpoints, Record, ResumeError, WriteError, restart_step
from tl_jax.training.damaged import newest_whole


def on(machine: str, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BucketRun:
    """The run as another machine has it, whose cache is another directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
    lock = run_lock(place_of(folder.address, "runs"))
    assert isinstance(lock, BucketRun)
    lock._lock_there._beat, lock._lock_there._patience = 0.05, 0.3
    return lock


def home(lock: BucketRun) -> Path:
    return lock._home


class TestLock:
    @staticmethod
    def lock(folder: Folder, machine: Path) -> BucketLock:
        return BucketLock(folder, machine / "generation", beat=0.1, patience=0.8)

    def test_one_at_a_time(self, folder: Folder, tmp_path: Path) -> None:
        first, second = self.lock(folder, tmp_path / "a"), self.lock(folder, tmp_path / "b")
        first.take()
        with pytest.raises(ResumeError, match=f"^{folder.address}: another training is running there .process [0-9]+"):
            second.take()
        first.renew()
        first.release()
        second.take()
        second.renew()
        second.release()

    def test_a_dead_holder_is_waited_for_unless_it_was_here(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(time, "strftime", lambda _: "the same second")  # in which all three begin
        first = self.lock(folder, tmp_path / "a")
        first.take()
        assert first._end
        first._end()  # nobody counts on, as after kill -9
        time.sleep(0.2)
        began = time.monotonic()
        same = self.lock(folder, tmp_path / "a")
        same.take()
        assert time.monotonic() - began < 0.7
        assert same._end
        same._end()
        began = time.monotonic()
        other = self.lock(folder, tmp_path / "b")
        other.take()
        assert time.monotonic() - began >= 0.8
        for late in (first, same):
            with pytest.raises(ResumeError, match=r"has taken the run over .process"):
                late.renew()
        other.renew()  # what was thought dead has changed nothing
        other.release()

    def test_of_two_that_wait_for_the_same_one_gets_it(self, folder: Folder, tmp_path: Path) -> None:
        folder.write(LOCK, b"{broken")
        generation = folder.generation(LOCK)
        assert folder.write(LOCK, b"a", replacing=generation)
        assert folder.write(LOCK, b"b", replacing=generation) is None
        assert folder.read(LOCK) == b"a"

    def test_a_holder_that_writes_while_somebody_looks_is_named(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        first = self.lock(folder, tmp_path / "a")
        first.take()
        seen = folder.generation(LOCK)
        first.renew()
        generations = iter([seen])  # the first look is older than what is read then
        real = folder.generation
        second = self.lock(Folder(folder.address), tmp_path / "b")
        monkeypatch.setattr(second._folder, "generation", lambda name: next(generations, None) or real(name))
        with pytest.raises(ResumeError, match=r"another training is running there .process [0-9]+"):
            second.take()
        first.release()

    def test_an_answer_that_got_lost_is_no_loss_of_the_lock(self, folder: Folder, tmp_path: Path) -> None:
        lock = self.lock(folder, tmp_path / "a")
        lock.take()
        assert lock._holder
        folder.write(LOCK, lock._holder)
        lock.renew()
        lock.release()

    def test_nor_when_it_is_taken(self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        lock, real = self.lock(folder, tmp_path / "a"), folder.write
        monkeypatch.setattr(folder, "write", lambda *given, **how: real(*given, **how) and None)
        lock.take()
        monkeypatch.undo()
        lock.renew()
        lock.release()
        assert folder.read(LOCK) == b""


class TestFiles:
    def test_go_there_and_come_back_elsewhere(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        first = on("first", folder, monkeypatch, tmp_path)
        first.take()
        (home(first) / "model").mkdir()
        (home(first) / "model" / "config.json").write_text("{}")
        (home(first) / "log.txt").write_text("one\n")
        (home(first) / "best.json").write_text("1")
        (home(first) / "new.json.partial").write_text("half")
        first.publish()
        (home(first) / "best.json").unlink()
        with (home(first) / "log.txt").open("a") as log:
            log.write("two\n")
        first.publish()
        first.release()
        wanted = {"model/config.json": b"{}", "log.txt": b"one\ntwo\n"}
        assert contents(folder.address) == {**wanted, LOCK: b""}
        second = on("second", folder, monkeypatch, tmp_path)
        (home(second)).mkdir(parents=True)
        (home(second) / "best.json").write_text("of an earlier life")
        second.check()
        found = {file.relative_to(home(second)).as_posix() for file in home(second).rglob("*") if file.is_file()}
        assert found - {".copied.json", ".lock-generation"} == {*wanted}
        assert (home(second) / "log.txt").read_bytes() == wanted["log.txt"]

    def test_newer_ones_here_stay_and_newer_ones_there_come(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        first = on("first", folder, monkeypatch, tmp_path)
        first.take()
        (home(first) / "log.txt").write_text("copied")
        first.publish()
        (home(first) / "log.txt").write_text("not copied")  # and then it dies
        first.release()
        first = on("first", folder, monkeypatch, tmp_path)
        first.check()
        assert (home(first) / "log.txt").read_text() == "not copied"
        second = on("second", folder, monkeypatch, tmp_path)
        second.take()
        (home(second) / "log.txt").write_text("of the second")
        second.publish()
        second.release()
        first = on("first", folder, monkeypatch, tmp_path)
        first.take()
        assert (home(first) / "log.txt").read_text() == "of the second"
        first.release()

    def test_go_there_by_themselves(self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(bucket_run, "EVERY", 0.05)
        lock = on("first", folder, monkeypatch, tmp_path)
        lock.take()
        (home(lock) / "log.txt").write_text("told")
        until = time.monotonic() + 5
        while "log.txt" not in folder.objects():
            assert time.monotonic() < until
            time.sleep(0.02)
        lock.release()

    def test_nothing_is_copied_once_another_training_has_the_run(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        first = on("first", folder, monkeypatch, tmp_path)
        first.take()
        (home(first) / "log.txt").write_text("late")
        folder.write(LOCK, b'{"host": "other", "pid": 7, "since": "now"}')
        with pytest.raises(ResumeError, match=r"taken the run over .process 7 on 'other'"):
            first.publish()
        assert "log.txt" not in folder.objects()
        first.release()
        assert folder.read(LOCK).startswith(b'{"host": "other"')

    def test_a_holder_that_stood_still_while_it_copied_changes_nothing_of_the_next_one(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        first = on("first", folder, monkeypatch, tmp_path)
        first.take()
        for name in ("best.json", "log.txt"):
            (home(first) / name).write_text("first")
        first.publish()
        (home(first) / "log.txt").write_text("late")
        (home(first) / "best.json").unlink()
        real = first._lock_there.renew

        def then_another_takes_it() -> None:
            monkeypatch.setattr(first._lock_there, "renew", real)
            real()
            for name in (LOCK, "best.json", "log.txt"):
                folder.write(name, b"second")

        monkeypatch.setattr(first._lock_there, "renew", then_another_takes_it)
        with pytest.raises(ResumeError, match="has taken the run over"):
            first.publish()
        assert contents(folder.address) == dict.fromkeys((LOCK, "best.json", "log.txt"), b"second")
        first.release()

    def test_a_copy_that_was_not_noted_is_made_again(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        lock = on("first", folder, monkeypatch, tmp_path)
        lock.take()
        folder.write("log.txt", b"one")  # and the disk was full then
        (home(lock) / "log.txt").write_text("two")
        lock.publish()
        assert folder.read("log.txt") == b"two"
        lock.release()

    def test_what_goes_while_it_is_copied_is_gone(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        lock = on("first", folder, monkeypatch, tmp_path)
        lock.take()
        (home(lock) / "best.json").write_text("1")
        lock.publish()
        monkeypatch.setattr(bucket_run, "files_here", lambda _: ["best.json"])
        (home(lock) / "best.json").unlink()
        lock.publish()
        assert set(folder.objects()) == {LOCK}
        lock.release()

    def test_nothing_is_copied_once_the_lock_is_given_back(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        lock = on("first", folder, monkeypatch, tmp_path)
        lock.take()
        lock.release()
        (home(lock) / "log.txt").write_text("late")
        lock.publish()
        assert set(folder.objects()) == {LOCK}

    def test_a_name_that_leads_elsewhere_is_refused(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        lock = on("first", folder, monkeypatch, tmp_path)
        name = f"{folder.address.removeprefix(f'gs://{BUCKET}/')}/model/../../../escaped"
        there = [SimpleNamespace(name=name, size=1, crc32c="", generation=1)]  # the server would make another of it
        monkeypatch.setattr(lock._folder._bucket, "list_blobs", lambda **_: there)
        with pytest.raises(BucketError, match="cannot be the name of a file here"):
            lock.check()


def test_an_object_that_is_not_there_is_a_file_that_is_not_there(folder: Folder) -> None:
    older = folder.write("a", b"1")
    folder.write("a", b"2")
    for name, generation in (("none", None), ("a", older)):
        with pytest.raises(FileNotFoundError, match=f"{folder.address}/{name}"):
            folder.read(name, generation)


class TestConnectionLost:
    """No damage, no other model: nothing is moved away, and the message says what it is."""

    @pytest.fixture
    def checkpoints(self, folder: Folder) -> Checkpoints:
        checkpoints = Checkpoints(checkpoints_of(place_of(folder.address, "runs")), keep=2)
        checkpoints.save(1, {"a": np.arange(4.0)}, Record({}, {}))
        checkpoints.wait()
        return checkpoints

    def test_while_a_state_is_read(self, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
        def lost(*_: object, **__: object) -> None:
            raise ValueError("UNAVAILABLE: Error reading it")

        monkeypatch.setattr(checkpoints._manager, "restore", lost)
        with pytest.raises(BucketError, match=rf"^{checkpoints.directory}/1: Cloud Storage cannot be reached"):
            checkpoints.restore(1, {"a": np.arange(4.0)})

    def test_while_checksums_are_read(self, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
        def lost(folder: Folder, name: str, generation: int | None = None) -> bytes:
            raise BucketError(f"{folder.address}/{name}: lost")

        assert newest_whole(checkpoints.directory) == (1, {})
        monkeypatch.setattr(Folder, "read", lost)
        with pytest.raises(BucketError, match=r"manifest.json: lost"):
            newest_whole(checkpoints.directory)

    def test_while_names_are_looked_up(self, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
        aiohttp = pytest.importorskip("aiohttp")

        def lost(*_: object) -> None:
            raise aiohttp.ClientConnectionError("lost")

        monkeypatch.setattr(type(checkpoints.directory), "exists", lost)
        for use in (
            lambda: restart_step(checkpoints.directory, "auto"),
            lambda: Checkpoints(checkpoints.directory, keep=1),
        ):
            with pytest.raises(BucketError, match=rf"^{checkpoints.directory}: Cloud Storage cannot be reached .lost"):
                use()


@pytest.mark.parametrize("when", ["before", "after"])
def test_arrays_of_a_holder_that_wakes_up_are_in_no_checkpoint(
    when: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still while it saved the step that the next one saves now; before or after that one has a manifest."""
    directory = checkpoints_of(place_of(folder.address, "runs"))
    late: dict[str, bytes] = {}

    def stands_still() -> None:
        late.update(contents(str(directory)))
        raise ResumeError("another training has taken the run over")

    def wakes_up() -> None:
        for name, content in late.items():
            Folder(str(directory)).write(name, content)

    def then_manifest(directory: Path, without: Collection[str]) -> None:
        wakes_up()
        write_manifest(directory, without)

    def save(values: np.ndarray, before_named: Callable[[], None] | None, holder: str) -> Checkpoints:
        checkpoints = Checkpoints(directory, keep=2, before_named=before_named, holder=holder)
        checkpoints.save(2, {"a": values}, Record({}, {}))
        checkpoints.wait()
        return checkpoints

    with pytest.raises(WriteError, match="taken the run over"):
        save(np.ones(4), stands_still, "aa")
    assert late
    if when == "before":
        monkeypatch.setattr(checkpoint, "write_manifest", then_manifest)
    save(np.zeros(4), wakes_up if when == "after" else None, "bb")
    monkeypatch.setattr(checkpoint, "write_manifest", write_manifest)
    assert newest_whole(directory) == (2, {})
    last = Checkpoints(directory, keep=2, holder="cc")
    np.testing.assert_array_equal(last.restore(2, {"a": np.empty(4)}).state["a"], np.zeros(4))
    last.save(4, {"a": np.zeros(4)}, Record({}, {}))
    last.wait()
    assert [place.name for place in checkpoints_in(directory).values()] == ["4.cc", "2.bb"]
    assert not [name for name in contents(str(directory)) if name.startswith("2.aa/")]


def test_a_checkpoint_that_was_copied_out_of_a_bucket_is_found(folder: Folder, tmp_path: Path) -> None:
    directory = checkpoints_of(place_of(folder.address, "runs"))
    checkpoints = Checkpoints(directory, keep=2, holder="aa")
    checkpoints.save(2, {"a": np.ones(4)}, Record({}, {}))
    checkpoints.wait()
    Folder(str(directory)).fetch(Folder(str(directory)).objects(), tmp_path / "c")
    assert newest_whole(tmp_path / "c") == (2, {})
    here = Checkpoints(tmp_path / "c", keep=1)
    np.testing.assert_array_equal(here.restore(2, {"a": np.empty(4)}).state["a"], np.ones(4))
    here.save(3, {"a": np.ones(4)}, Record({}, {}))
    here.close()
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"3"}
    (tmp_path / "c/5.bb").mkdir()  # not whole in the bucket either
    assert list(checkpoints_in(tmp_path / "c")) == [3]


def test_a_checkpoint_that_was_copied_into_a_bucket_is_found(folder: Folder, tmp_path: Path) -> None:
    here = Checkpoints(tmp_path / "c", keep=1)
    here.save(2, {"a": np.ones(4)}, Record({}, {}))
    here.close()
    directory = checkpoints_of(place_of(folder.address, "runs"))
    there = Folder(str(directory))
    copied = [file for file in (tmp_path / "c").rglob("*") if file.is_file()]
    for file in copied:
        assert newest_whole(directory)[0] is None  # as long as one is missing
        there.upload(file, file.relative_to(tmp_path / "c").as_posix())
    assert newest_whole(directory) == (2, {})
    checkpoints = Checkpoints(directory, keep=1, holder="aa")
    np.testing.assert_array_equal(checkpoints.restore(2, {"a": np.empty(4)}).state["a"], np.ones(4))
    checkpoints.save(3, {"a": np.ones(4)}, Record({}, {}))
    checkpoints.close()
    assert list(checkpoints_in(directory)) == [3]


class TestReading:
    def test_an_adapter_finds_the_run_below_it(self, folder: Folder, tmp_path: Path) -> None:
        settings = {"base_model_name_or_path": folder.address, "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
        with pytest.raises(BucketError, match=f"^{folder.address}: holds no model"):
            list(adapters_down(tmp_path))
        folder.write("model/config.json", b"{}")
        (adapter,) = adapters_down(tmp_path)
        assert adapter.base == place_of(folder.address, "models")
        assert (adapter.base / "model/config.json").read_bytes() == b"{}"

    def test_only_what_has_changed_is_read_again(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        read, real = [], Folder._read_into

        def noted(folder: Folder, target: BinaryIO, name: str, *more: int | None) -> bool:
            read.append(name)
            return real(folder, target, name, *more)

        monkeypatch.setattr(Folder, "_read_into", noted)
        place = place_of(folder.address, "models")
        for content in (b"{}", b"[]"):
            folder.write("model/config.json", content)
            folder.write("model/tokenizer.json", b"{}")
            fetched(place)
            fetched(place)
            assert (place / "model/config.json").read_bytes() == content
        read = [name for name in read if name != LOCK]  # which threads of other tests may look at
        assert sorted(read) == ["model/config.json"] * 2 + ["model/tokenizer.json"]

    def test_what_goes_meanwhile_is_not_there(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        place = place_of(folder.address, "models")
        folder.write("best.json", b"{}")
        folder.write("model/config.json", b"{}")
        fetched(place)
        there = folder.objects()
        monkeypatch.setattr(
            Folder, "objects", lambda _: {**there, "best.json": there["best.json"]._replace(crc32c="another")}
        )
        folder.delete("best.json")
        fetched(place)
        assert [path.name for path in place.iterdir()] == ["model"]
        run = on("first", folder, monkeypatch, tmp_path)
        run.check()
        assert files_here(home(run)) == ["model/config.json"]


@pytest.mark.usefixtures("server")
def test_a_bucket_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lock = run_lock(place_of("gs://no-such-bucket/x", "runs"))
    for use in (lock.check, lambda: read_model("no-such-bucket")):
        with pytest.raises(BucketError, match=r"^gs://no-such-bucket/x: Cloud Storage has no such bucket"):
            use()
    with pytest.raises(BucketError, match=rf"^gs://{BUCKET}/x: holds no model: neither"):
        read_model(BUCKET)


def read_model(bucket: str) -> Path:
    return fetched(place_of(f"gs://{bucket}/x", "models"))
