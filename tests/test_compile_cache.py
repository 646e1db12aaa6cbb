"""What is compiled once is read by the next start; nothing that lies in the cache's place breaks a run."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.processes import run_python
from tl_jax.cli import demo as demo_command
from tl_jax.cli import evaluate, main, train
from tl_jax.compile_cache import cache_directory
from tl_jax.errors import UserError

SCRIPT = """
import os
del os.environ["JAX_COMPILATION_CACHE_DIR"]  # of the tests
import jax
from tl_jax.compile_cache import keep_programs
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name.rpartition("/")[2]))
keep_programs(WANTED)
print(float(jax.jit(lambda x: (x * 3).sum())(jax.numpy.arange(4.0))), "cache_hits" in found, "cache_misses" in found)
"""
ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
"""Otherwise only what takes longer than a second is kept."""


def start(home: Path, wanted: bool = True, **environment: str) -> tuple[str, str]:
    """What a start with this cache prints: the result, whether something was found, whether something was not; and what
    it says on stderr."""
    settings = {"XLA_FLAGS": "", "XDG_CACHE_HOME": str(home), "JAX_COMPILATION_CACHE_DIR": "", **ALL, **environment}
    process = run_python("-c", SCRIPT.replace("WANTED", str(wanted)), **settings)
    out, shown = process.communicate(timeout=120)
    assert process.returncode == 0, shown
    return out.strip(), shown


@pytest.mark.jax
@pytest.mark.slow
def test_a_second_start_reads_what_the_first_has_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert start(tmp_path) == ("18.0 False True", "")
    assert stat.S_IMODE(cache_directory().stat().st_mode) == 0o700
    programs = {file: file.read_bytes() for file in cache_directory().glob("*-cache")}
    assert programs
    assert start(tmp_path) == ("18.0 True False", "")
    for file, content in programs.items():  # a process was killed while it wrote: not even a warning, and it is mended
        file.write_bytes(content[:100])
        file.with_name(file.name.removesuffix("-cache") + "-atime").unlink()
    assert start(tmp_path) == ("18.0 False True", "")
    for file in programs:  # the disk is damaged
        file.write_bytes(b"no program")
    result, shown = start(tmp_path)
    assert result.startswith("18.0")
    assert "Error reading persistent compilation cache entry" in shown
    assert "Traceback" not in shown


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "environment"),
    [
        (False, {}),
        pytest.param(True, {"JAX_ENABLE_COMPILATION_CACHE": "false"}, marks=pytest.mark.thorough),
        pytest.param(True, {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, marks=pytest.mark.thorough),
    ],
)
def test_it_can_be_off(tmp_path: Path, wanted: bool, environment: dict[str, str]) -> None:
    assert start(tmp_path, wanted, **environment) == ("18.0 False False", "")
    assert not [*tmp_path.iterdir()]


@pytest.mark.jax
@pytest.mark.slow
def test_a_place_that_cannot_be_written_to_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "tl_jax").write_text("")
    result, shown = start(tmp_path)
    assert result == "18.0 False False"
    assert shown.startswith(f"tl-jax: compiled programs are not kept: {tmp_path}")
    assert shown.count("\n") == 1


def test_the_place_is_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache_directory().parent == tmp_path / ".cache/tl_jax/xla"
    assert re.fullmatch("[0-9a-f]{8}", cache_directory().name)


@pytest.mark.parametrize("command", ["sft", "rl", "generate", "eval", "demo"])
def test_the_option_is_listened_to(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(wanted: bool) -> None:
        raise UserError(f"kept: {wanted}")

    for module in (train, evaluate, demo_command):
        monkeypatch.setattr(module, "keep_programs", told)
    file = tmp_path / "file"
    file.write_text(f"{{run_dir: {tmp_path}, model: {{path: m}}, data: {{path: d}}}}")
    arguments = {
        "generate": ["--model", tmp_path, "--input", file],
        "eval": ["--model", tmp_path, "--cases", file, "--out", tmp_path],
        "demo": [],
    }.get(command, ["--config", file])
    for option, wanted in (("--no-compile-cache", False), ("--compile-cache", True)):
        result = CliRunner().invoke(main, [command, *map(str, arguments), option])
        assert (result.exit_code, result.output) == (2, f"tl-jax: kept: {wanted}\n")
