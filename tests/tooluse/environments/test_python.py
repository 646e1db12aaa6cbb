"""Functions as the tools of an episode: what they answer, and what they cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.growth import takes_less
from tests.tooluse.environments import example_tools
from tl_jax.errors import UserError
from tl_jax.tooluse.environments import privileges
from tl_jax.tooluse.environments.base import Environment
from tl_jax.tooluse.environments.python import PythonTools
from tl_jax.tooluse.environments.python_worker import MAX_RESULT
from tl_jax.tooluse.mae.apply import find_error
from tl_jax.tooluse.mae.phrases import Category
from tl_jax.tooluse.schema import Call, Case, Message, Tool

TOOLS = [
    getattr(example_tools, name)
    for name in (
        "add",
        "echo",
        "count",
        "process",
        "unserialisable",
        "long_text",
        "chatter",
        "fail",
        "leave",
        "loop",
        "sleep",
        "eat_memory",
        "forbidden",
        "change",
        "in_c",
        "read",
    )
]
LANDLOCK = privileges.landlock_version() if sys.platform == "linux" else 0
CASE = Case("1", (Tool("other"),), (Message("user", "?"),), ((Call("add", {"a": 1}),),))


@pytest.fixture(scope="module")
def tools() -> Iterator[PythonTools]:
    """Shared; `reset` gives whoever needs one a new worker."""
    with PythonTools(TOOLS, memory_mb=256) as environment:
        yield environment


def result(environment: Environment, name: str, **arguments: Any) -> str:
    text, done = environment.step(Call(name, arguments))
    assert done is False
    return text


def process_of(environment: Environment) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(result(environment, "process"))
    return seen


def exists(process_id: int) -> bool:
    """Whether there is such a process; a zombie is one."""
    return Path(f"/proc/{process_id}").exists()


def made_up(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function of a module that only this process has."""
    module = ModuleType(name)
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    return getattr(module, name)


def test_the_opening_offers_the_functions(tools: PythonTools) -> None:
    opening = tools.reset(CASE)
    assert [tool.name for tool in opening.tools] == [function.__name__ for function in TOOLS]
    assert opening.tools[0].required == ("a",)
    assert (opening.id, opening.messages, opening.gold) == (CASE.id, CASE.messages, CASE.gold)


def test_results(tools: PythonTools) -> None:
    assert result(tools, "add", a=2, b=3) == "5"
    assert result(tools, "echo", value={"value": 'a\n"text"\' ½'}) == 'a\n"text"\' ½'
    assert result(tools, "echo", value={"value": {"Zürich": [1, None, True]}}) == '{"Zürich": [1, null, true]}'
    assert result(tools, "unserialisable") == "{1, 2}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner | st.text(), max_size=4) | st.dictionaries(st.text(), inner | st.text(), max_size=4),
    max_leaves=20,
)


@settings(max_examples=100)
@given(VALUES, st.text())
def test_values_and_text_come_back_as_they_went(tools: PythonTools, value: Any, text: str) -> None:
    assert json.loads(result(tools, "echo", value={"value": value})) == value
    assert result(tools, "echo", value={"value": text}) == text


def test_a_long_result_is_cut_and_says_so(tools: PythonTools) -> None:
    assert result(tools, "long_text", length=MAX_RESULT) == "x" * MAX_RESULT
    kept, _, note = result(tools, "long_text", length=123_456).partition("\n")
    assert kept == "x" * MAX_RESULT
    assert "123456" in note


def test_long_arguments(tools: PythonTools) -> None:
    """More than a pipe holds, in both directions."""
    text = "ü" * 300_000
    assert result(tools, "echo", value={"value": text}).startswith(text[:MAX_RESULT])


def test_what_tools_print_goes_nowhere(tools: PythonTools) -> None:
    assert result(tools, "chatter", text='"not a result"\n') == "read ''"
    assert result(tools, "add", a=1) == "2"


@pytest.mark.parametrize(
    ("name", "arguments", "text", "category"),
    [
        ("fail", {"message": "no such city"}, "Error: LookupError: no such city", Category.BAD_VALUE),
        ("add", {"a": 1, "c": 2}, "unexpected keyword argument 'c'", Category.PARAMETER_HALLUCINATION),
        ("add", {"a": 1, "*0": 2}, "unexpected keyword argument '*0'", Category.PARAMETER_HALLUCINATION),
        ("add", {"b": 1}, "missing 1 required positional argument: 'a'", Category.MISSING_PARAMETER),
        ("add", {"a": "1"}, "Error: TypeError: ", Category.BAD_VALUE),
        ("echo", {"value": {}}, "Error: KeyError: 'value'", Category.BAD_VALUE),
        ("leave", {"status": 3, "politely": True}, "Error: SystemExit: 3", Category.UNKNOWN_ERROR),
        ("subtract", {}, "unknown tool 'subtract'", Category.TOOL_HALLUCINATION),
        ("_COUNT", {}, "unknown tool '_COUNT'", Category.TOOL_HALLUCINATION),
        ("os.system", {"command": "true"}, "unknown tool 'os.system'", Category.TOOL_HALLUCINATION),
        ("__import__('os')", {}, "unknown tool", Category.TOOL_HALLUCINATION),
        ("x" * 5000, {}, "unknown tool", Category.TOOL_HALLUCINATION),
        ("forbidden", {"what": "connect"}, "Error: PermissionError: ", Category.ENVIRONMENT),
    ],
)
def test_errors(tools: PythonTools, name: str, arguments: dict[str, Any], text: str, category: Category) -> None:
    told, done = tools.step(Call(name, arguments))
    assert not done
    assert text in told
    assert len(told) < 200
    finding = find_error(told, "paper")
    assert finding
    assert finding.category == category


def test_state_lasts_for_an_episode(tools: PythonTools) -> None:
    tools.reset(CASE)
    assert [result(tools, "count") for _ in range(3)] == ["1", "2", "3"]
    tools.reset(CASE)
    assert result(tools, "count") == "1"


@pytest.mark.parametrize("what", ["connect", "listen", "program", "shell", "fork", "exec", "kill"])
def test_no_network_and_no_programs(tools: PythonTools, what: str) -> None:
    assert result(tools, "forbidden", what=what).startswith("Error: PermissionError: a tool may not do this: ")


@pytest.mark.parametrize("how", ["write", "append", "remove", "rename", "directory", "truncate", "database"])
def test_no_file_changes(tools: PythonTools, tmp_path: Path, how: str) -> None:
    """A database that its library opens by itself may be created, but stays empty."""
    path = tmp_path / "file"
    before = "" if how == "database" else "unchanged"
    path.write_text(before)
    told = result(tools, "change", path=str(path), how=how)
    assert told.startswith("Error: OperationalError" if how == "database" else "Error: PermissionError")
    assert path.read_text() == before
    assert result(tools, "read", path=str(path)) == before


@pytest.mark.skipif(LANDLOCK < 6, reason="the kernel does not protect from C")
@pytest.mark.parametrize("what", ["truncate", "open", "remove", "program", "signal"])
def test_c_changes_no_file_and_reaches_no_process(tools: PythonTools, tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("unchanged")
    assert result(tools, "in_c", what=what, path=str(tmp_path / "file")) not in ("0", "Error: ")
    assert (tmp_path / "file").read_text() == "unchanged"


@pytest.mark.skipif(not LANDLOCK, reason="the kernel does not protect from looks into processes")
def test_keys_in_the_environment_of_the_training_cannot_be_read(tools: PythonTools) -> None:
    """As root neither, which the tests may be run as."""
    assert Path("/proc/self/environ").read_bytes()
    told = result(tools, "read", path=f"/proc/{os.getpid()}/environ")
    assert told.startswith("Error: PermissionError: [Errno 13]")


def test_memory_is_limited(tools: PythonTools) -> None:
    tools.reset(CASE)
    result(tools, "count")
    assert result(tools, "eat_memory", megabytes=100) == str(100 * 2**20)
    assert result(tools, "eat_memory", megabytes=300) == "Error: MemoryError"
    assert result(tools, "count") == "2"


@pytest.mark.parametrize(("name", "arguments"), [("loop", {}), ("sleep", {"seconds": 60})])
def test_a_call_that_takes_too_long(name: str, arguments: dict[str, Any]) -> None:
    with PythonTools(TOOLS, seconds=0.5) as tools:
        first = process_of(tools)["id"]
        result(tools, "count")
        began = time.monotonic()
        told = result(tools, name, **arguments)
        assert 0.5 <= time.monotonic() - began < 5
        assert told == "Error: TimeoutError: no answer within 0.5 seconds"
        assert not exists(first)
        assert result(tools, "count") == "1"


def test_a_worker_that_dies() -> None:
    with PythonTools(TOOLS) as tools:
        tools.reset(CASE)
        told = result(tools, "leave", status=7)
        assert told.startswith("Error: ChildProcessError: ")
        assert told.endswith("exit status 7")
        assert find_error(told, "paper")
        assert result(tools, "add", a=1) == "2"


def test_a_worker_knows_nothing_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "secret")
    with PythonTools(TOOLS) as tools:
        seen = process_of(tools)
    assert "secret" not in seen["variables"].values()
    assert seen["variables"].keys() < {"LC_CTYPE", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "TZ"} | {
        name for name in seen["variables"] if name.startswith("PYTHON")
    }
    assert seen["session"] == seen["id"] != os.getpid()


def test_limits_of_the_system(tools: PythonTools) -> None:
    """CPU time is bounded anew for every call, so that a worker nobody watches does not go on for ever."""
    seen = process_of(tools)
    assert seen["file_size"] == seen["core"] == 0
    assert 0 < seen["cpu"] <= 6 * (os.cpu_count() or 1) + 60


def test_a_network_of_its_own(tools: PythonTools) -> None:
    if subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets no user make a network namespace")
    assert process_of(tools)["network"] != os.readlink("/proc/self/ns/net")


def test_no_process_is_left() -> None:
    tools = PythonTools(TOOLS)
    tools.reset(CASE)
    ids = [process_of(tools)["id"]]
    tools.reset(CASE)
    ids.append(process_of(tools)["id"])
    tools.close()
    tools.close()
    assert list(map(exists, ids)) == [False, False]
    ids.append(process_of(tools)["id"])  # a closed environment may be used again
    assert exists(ids[-1])
    del tools
    assert not exists(ids[-1])


def test_a_worker_ends_with_its_parent() -> None:
    setup = {"functions": {"add": ("tests.tooluse.environments.example_tools", "add")}, "seconds": 1, "memory_mb": 256}
    call = {"name": "add", "arguments": {"a": 1}}
    worker = subprocess.run(
        [sys.executable, "-m", "tl_jax.tooluse.environments.python_worker"],
        input=f"{json.dumps(setup)}\n{json.dumps(call)}\n".encode(),
        capture_output=True,
        cwd=Path(__file__).parents[3],
        timeout=30,
        check=True,
    )
    assert worker.stdout == b'""\n"2"\n'


def interrupt() -> float:
    raise KeyboardInterrupt


def test_an_interrupted_call_is_not_answered_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with PythonTools(TOOLS) as tools:
        assert result(tools, "add", a=1) == "2"
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", interrupt)  # asked between sending and receiving
            with pytest.raises(KeyboardInterrupt):
                tools.step(Call("add", {"a": 10}))
        assert result(tools, "add", a=2) == "3"


def test_functions_by_their_paths() -> None:
    with PythonTools(["tests.tooluse.environments.example_tools:add"]) as tools:
        assert result(tools, "add", a=4) == "5"


def test_what_a_worker_cannot_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def nested() -> None: ...

    def script() -> None: ...

    script.__module__, script.__qualname__ = "__main__", "script"
    monkeypatch.setattr(sys.modules["__main__"], "script", script, raising=False)
    functions: list[Any] = [nested, lambda: None, script, partial(example_tools.add, 1), {}.get]
    for function in functions:
        with pytest.raises(UserError, match="put it into a module"):
            PythonTools([function])


def test_what_is_no_set_of_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="same name: add, add"):
        PythonTools([example_tools.add, "tests.tooluse.environments.example_tools:add"])
    with pytest.raises(UserError, match="'nothing'"):
        PythonTools(["tests.tooluse.environments.example_tools:nothing"])
    with pytest.raises(UserError, match=r"untyped\(\): parameter 'path'"):
        PythonTools([made_up("untyped", "def untyped(path): ...", monkeypatch)])


def test_tools_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    here_only = made_up("here_only", "def here_only(): ...", monkeypatch)
    with PythonTools([here_only]) as tools:
        for _ in range(2):
            with pytest.raises(UserError, match=r"cannot be loaded.*ModuleNotFoundError: No module named 'here_only'"):
                tools.step(Call("here_only"))
    with PythonTools(TOOLS, memory_mb=1) as tools, pytest.raises(UserError, match="cannot be loaded"):
        tools.step(Call("add", {"a": 1}))


def test_a_system_without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    with pytest.raises(UserError, match="use Linux"):
        PythonTools(TOOLS)


def test_the_worker_imports_nothing_heavy() -> None:
    program = (
        "import sys; before = set(sys.modules); import tl_jax.tooluse.environments.python_worker; "
        "print(*(set(sys.modules) - before))"
    )
    names = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    name = "tl_jax.tooluse.environments.python_worker"
    ours = {name, *(name.rsplit(".", up)[0] for up in (1, 2, 3))}  # and the packages it lies in
    assert {name for name in names if name.startswith("tl_jax")} == ours
    assert not {"asyncio", "ctypes", "inspect", "numpy", "jax", "subprocess"} & set(names)


def test_thousands_of_calls_are_no_burden(tools: PythonTools) -> None:
    tools.reset(CASE)
    count = 0

    def many() -> None:
        nonlocal count
        for _ in range(1000):
            count += 1
            tools.step(Call("count"))

    assert takes_less(many, 3, time.perf_counter)  # 0.1 where nobody else uses the machine
    assert result(tools, "count") == str(count + 1)
