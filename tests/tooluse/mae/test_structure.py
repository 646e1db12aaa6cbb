"""Exit codes, gateways and tags: what is an error, and the look-alikes that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tl_jax.tooluse.mae.apply import Category, blocked_turns, find_error
from tl_jax.tooluse.mae.tags import elements
from tl_jax.tooluse.schema import Call, Message, Trajectory

ERRORS: list[Any] = [
    {"exit_code": 2, "stdout": "", "stderr": "sh: 1: foo: not found"},
    {"exitCode": 1, "output": "1 failed"},
    {"returncode": "127", "stdout": ""},
    {"stdout": "", "stderr": "Traceback (most recent call last):\n  File 'a'\nValueError: bad"},
    {"stdout": "", "stderr": "curl: (6) Could not resolve host: nowhere.invalid"},
    {"ret": -1, "msg": "something"},
    {"ret": -1},
    {"code": -32601, "message": "Method not found"},
    {"content": [{"type": "text", "text": "x"}], "isError": True},
    {"status": "error", "content": "the file is locked"},
    {"status": "timeout", "message": "30 s"},
    {"오류": "도시를 찾을 수 없습니다"},
    "Exit code: 3\nboom",
    "partial output\nProcess exited with code 137",
    "make: *** [all] Error 2\n[The command completed with exit code 2.]",
    "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    "504 Gateway Time-out",
    "<html><head><title>504 Gateway Time-out</title></head><body><hr>nginx</body></html>",
    "<html><head><title>example.org | 522: Connection timed out</title></head></html>",
    "Sorry, an error occurred",
    "Err: unknown city",
    "ERR unknown command 'FOO'",
    "❌ Error: bad date",
    "<error>nope</error>",
    "<error code='3'/>\n<error>nope</error>",
    '<tool_response>{"error": "nope"}</tool_response>',
    '<tool_result is_error="true">7</tool_result>',
    "<tool_response>\nError: nope\n</tool_response>",
    "<response><status>503</status></response>",
    '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
]
RESULTS: list[Any] = [
    {"exit_code": 0, "stdout": "Error: this is what the file says", "stderr": "warning: deprecated"},
    {"exit_code": 0, "stderr": "Traceback (most recent call last): is the title"},
    {"returncode": 0, "output": "Error: printed by grep"},
    {"stdout": "42", "stderr": "warning: LF will be replaced by CRLF"},
    {"stdout": "Error: a line of the log", "stderr": ""},
    {"exit_code": None, "stdout": "x"},
    {"ret": 0, "msg": "ok"},
    {"ret": -0.03, "ticker": "ABC"},
    {"ret": -1, "ticker": "ABC", "day": 3},
    {"code": -3, "city": "Oslo"},
    {"content": [{"type": "text", "text": "x"}], "isError": False},
    {"errors": [], "error": None, "rows": 3},
    {"status": "error", "id": 3, "job": "nightly"},
    "exit code 1 means that nothing was found, exit code 2 that something went wrong.",
    "Exit code: 0\nOutput: failed",
    "[The command completed with exit code 0.]",
    "500 Days of Summer",
    "<html><head><title>500 Days of Summer</title></head><body>A film.</body></html>",
    "502 rooms",
    "Sorry, there are no seats left.",
    "Errata: page 3",
    "error rate 3 %",
    '<tool_response>{"error": null}</tool_response>',
    '<tool_result is_error="false">7</tool_result>',
    '<testsuite errors="2"><case>failed</case></testsuite>',
    "<result><status>200</status><error></error></result>",
    "<p>How to handle an Error: read the manual</p>",
    "a < b and <error> is a tag",
    "def f():\n    raise ValueError('Error: x')\n",
]


def text(result: Any) -> str:
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


@pytest.mark.parametrize("result", ERRORS, ids=str)
def test_errors(result: Any) -> None:
    assert find_error(text(result)) is not None


@pytest.mark.parametrize("result", RESULTS, ids=str)
def test_results(result: Any) -> None:
    assert find_error(text(result)) is None


def test_what_a_program_said_tells_whose_fault_it_is() -> None:
    finding = find_error(text({"exit_code": 7, "stdout": "", "stderr": "Connection refused"}))
    assert finding is not None
    assert finding.category == Category.ENVIRONMENT
    assert "Connection refused" in finding.evidence


@pytest.mark.parametrize(
    ("said", "category"),
    [("7", Category.UNKNOWN_ERROR), ("city Oslo2 is unknown", Category.BAD_VALUE)],
)
def test_the_flag_of_the_environment_is_an_error_whatever_the_text_says(said: str, category: Category) -> None:
    asked, called = Message("user", "?"), Message("assistant", "", (Call("f", {}),))
    row = Trajectory("a", (), (asked, called, Message("tool", said, error=True)))
    assert [block.finding.category for block in blocked_turns(row)] == [category]


@pytest.mark.parametrize("hostile", ["<a>" * 50_000, "<a></a>" * 50_000, "<a b='" * 20_000, "<" * 100_000])
def test_hostile_tags_cost_little(hostile: str) -> None:
    assert elements(hostile) is None
    assert find_error(hostile) is None
