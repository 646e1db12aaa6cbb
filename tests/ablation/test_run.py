"""Stages at work: order, what is not repeated, failures, signals; with a program that only writes down its words."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tl_jax.ablation import run
from tl_jax.ablation.plan import Stage
from tl_jax.ablation.run import OTHERWISE, SHARE, Failure, run_stages, seconds_left, spent
from tl_jax.cli.ablation import _tell
from tl_jax.errors import UserError

PROGRAM = """
import os, pathlib, sys, time
home, name, *how = sys.argv[1:]
home = pathlib.Path(home)
(home / "sft" / name).mkdir(parents=True, exist_ok=True)
with open(home / "said", "a") as file:
    file.write(name + "\\n")
for it in how:
    if it == "fails" and not (home / "mended").exists():
        print("working"); print("boom: no such thing"); sys.exit(3)
    if it.startswith("meets="):
        (home / name).touch()
        until = time.monotonic() + 20
        while not (home / it[6:]).exists():
            assert time.monotonic() < until
            time.sleep(0.01)
    if it == "dies":
        print("so far", flush=True); os.kill(os.getpid(), 9)
    if it == "sleeps":
        (home / "sleeper").write_text(str(os.getpid()))
        time.sleep(60)
"""


@pytest.fixture(autouse=True)
def writes_down_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROGRAM", (sys.executable, "-S", "-c", PROGRAM))
    monkeypatch.setattr(run, "LOOK", 0.01)


def stage(home: Path, name: str, *how: str, needs: tuple[Stage, ...] = ()) -> Stage:
    return Stage("sft", name, name, home / "sft" / name, (str(home), name, *how), "a: 1\n", needs)


def said(home: Path) -> list[str]:
    return (home / "said").read_text().split()


def test_each_runs_once_after_what_it_needs(tmp_path: Path) -> None:
    first = stage(tmp_path, "first")
    stages = [first, stage(tmp_path, "second", needs=(first,)), stage(tmp_path, "third")]
    told: list[str] = []
    assert run_stages(stages, tmp_path, tell=told.append) == []
    assert said(tmp_path) == ["first", "second", "third"]
    assert [spent(one).done for one in stages] == [True] * 3
    assert [line.split(":")[0] for line in told] == ["[1/3] first", "[2/3] second", "[3/3] third"]
    assert stages[0].settings_file.read_text() == "a: 1\n"
    more = [*stages, stage(tmp_path, "fourth")]
    assert run_stages(more, tmp_path, tell=told.append) == []
    assert said(tmp_path)[3:] == ["fourth"]
    assert "3 of 4 stages are done already" in told


def test_two_jobs_run_at_the_same_time(tmp_path: Path) -> None:
    """Each of the two waits for the other."""
    stages = [stage(tmp_path, "one", "meets=two"), stage(tmp_path, "two", "meets=one")]
    assert run_stages(stages, tmp_path, jobs=2) == []


def test_a_failure_keeps_only_what_needs_it_and_is_tried_again(tmp_path: Path) -> None:
    bad = stage(tmp_path, "bad", "fails")
    after = stage(tmp_path, "after", needs=(bad,))
    last = stage(tmp_path, "last", needs=(after,))
    stages = [bad, after, last, stage(tmp_path, "good")]
    told: list[str] = []
    failures = run_stages(stages, tmp_path, tell=told.append)
    assert failures[0] == Failure(bad, "boom: no such thing")
    assert [(one.stage.title, one.why) for one in failures[1:]] == [
        ("after", "needs bad, which failed"),
        ("last", "needs after, which failed"),
    ]
    assert said(tmp_path) == ["bad", "good"]
    assert str(bad.log) in told[0]
    assert bad.log.read_text() == "working\nboom: no such thing\n"
    (tmp_path / "mended").touch()
    assert run_stages(stages, tmp_path, tell=told.append) == []
    assert said(tmp_path) == ["bad", "good", "bad", "after", "last"]
    assert (spent(bad).starts, spent(bad).done) == (2, True)


def test_whose_fault_it_is_is_known_whatever_was_printed(tmp_path: Path) -> None:
    bad = stage(tmp_path, "bad")
    failures = [Failure(bad, "needs 9 GiB"), Failure(stage(tmp_path, "after", needs=(bad,)), "needs bad, which failed")]
    with pytest.raises(
        UserError, match=r"^2 of 3 stages failed or need one that did: bad: needs 9 GiB \([^;]*; started"
    ):
        _tell(failures, 3)


class Interrupted:
    """A process that does not end; the first time that it is waited for, one more signal comes."""

    returncode = -9

    def __init__(self, signalled: BaseException) -> None:
        self.signalled, self.asked = signalled, list[str]()

    def terminate(self) -> None:
        self.asked.append("terminate")

    def kill(self) -> None:
        self.asked.append("kill")

    def wait(self, timeout: float | None = None) -> None:
        if timeout is not None:
            if "kill" not in self.asked:
                raise self.signalled
            assert timeout == 0, "nobody is to wait any more"
            raise subprocess.TimeoutExpired("it", timeout)


@pytest.mark.parametrize("signalled", [KeyboardInterrupt(), SystemExit(128 + signal.SIGTERM)])
def test_a_second_ctrl_c_or_sigterm_ends_all_at_once(signalled: BaseException, tmp_path: Path) -> None:
    process = Interrupted(signalled)
    queue = run._Queue([], 2, (), 0, print)
    queue.running = [run._Job(stage(tmp_path, name), process, run.Spent()) for name in "ab"]  # type: ignore[arg-type]
    queue._end()
    assert process.asked == ["terminate"] * 2 + ["kill"] * 2
    assert [spent(job.stage).starts for job in queue.running] == [1, 1]


def test_a_process_that_was_killed_is_told_as_such(tmp_path: Path) -> None:
    (failure,) = run_stages([stage(tmp_path, "one", "dies")], tmp_path)
    assert failure.why == "killed by SIGKILL after: so far"


def test_each_process_imports_the_modules_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROGRAM", (sys.executable, "-S", "-c", "import sys; print(sys.argv[1:5:2], sys.argv[2])"))
    one = stage(tmp_path, "one")
    run_stages([one], tmp_path, modules=["mine", "other"])
    assert one.log.read_text() == "['--import', '--import'] mine\n"


@pytest.mark.parametrize(
    ("jobs", "given", "share"),
    [
        (1, {}, None),
        (1, {SHARE: "0.95"}, "0.95"),
        (4, {}, "0.2"),
        (4, {SHARE: "0.92"}, "0.2"),  # of launch/gpu.env, which is meant for one process
        (4, {SHARE: "0.1"}, "0.1"),
        (4, {"XLA_CLIENT_MEM_FRACTION": "0.2"}, None),  # JAX refuses to hear both
        (4, {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}, None),
    ],
)
def test_processes_share_the_memory_of_a_gpu(
    jobs: int, given: dict[str, str], share: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (SHARE, *OTHERWISE):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run, "PROGRAM", (sys.executable, "-S", "-c", f"import os; print(os.environ.get('{SHARE}'))"))
    one = stage(tmp_path, "one")
    run_stages([one], tmp_path, jobs)
    assert one.log.read_text() == f"{share}\n"


def test_what_was_erased_is_run_again(tmp_path: Path) -> None:
    one = stage(tmp_path, "one")
    run_stages([one], tmp_path)
    one.directory.rmdir()
    run_stages([one], tmp_path)
    assert said(tmp_path) == ["one", "one"]


def test_a_record_that_was_cut_off_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/cut.json").write_text('{"seconds": 4')
    cut = stage(tmp_path, "cut")
    assert run_stages([cut], tmp_path) == []
    assert spent(cut).starts == 1


def test_two_ablations_do_not_share_a_directory(tmp_path: Path) -> None:
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="still at work here"):
        run_stages([stage(tmp_path, "one")], tmp_path)
    os.close(held)
    assert run_stages([stage(tmp_path, "one")], tmp_path) == []


def test_how_long_it_takes_is_known_once_one_of_each_kind_has_run(tmp_path: Path) -> None:
    stages = [stage(tmp_path, name) for name in "abc"]
    assert seconds_left(stages, {one.key: spent(one) for one in stages}) is None
    costs = {one.key: run.Spent(10.0 * n, 1, n < 3) for n, one in enumerate(stages, 1)}
    assert seconds_left(stages, costs) == 15.0


STARTER = """
import signal, sys
from pathlib import Path
from tests.ablation import test_run
from tl_jax.ablation import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
run.PROGRAM = (sys.executable, "-S", "-c", test_run.PROGRAM)
home = Path(sys.argv[1])
run.run_stages([test_run.stage(home, "quick"), test_run.stage(home, "slow", *sys.argv[2:])], home)
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_goes_on_where_it_was_ended(number: signal.Signals, tmp_path: Path) -> None:
    """Inside the second stage; what the first has done is not repeated."""
    process = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path), "sleeps"])
    until = time.monotonic() + 60
    while not (tmp_path / "sleeper").exists():
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(30)
    slow, quick = stage(tmp_path, "slow"), stage(tmp_path, "quick")
    if number == signal.SIGKILL:  # its stage lives on, and keeps others away
        with pytest.raises(UserError, match="a stage that it left behind"):
            run_stages([quick, slow], tmp_path)
        os.kill(int((tmp_path / "sleeper").read_text()), signal.SIGKILL)
        time.sleep(0.2)
    else:
        assert (spent(slow).starts, spent(slow).done) == (1, False)
    assert run_stages([quick, slow], tmp_path) == []
    assert said(tmp_path) == ["quick", "slow", "slow"]
