"""Requests: tried again where that helps, refused in one line, ended by a deadline or from outside."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.inference.completions_server import CompletionsServer
from tl_jax.inference import json_server
from tl_jax.inference.json_server import EngineError, JsonServer


def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_server, "FIRST_PAUSE", 0.01)
    told = iter([(503, b"busy"), (429, b"slowly"), (200, {"fine": True})])
    with CompletionsServer(lambda path, reply: next(told)) as there, JsonServer(there.url) as server:
        assert server.post("/any", {"x": 1}, 5.0) == {"fine": True}
        assert len(there.paths) == 3


@pytest.mark.parametrize(
    ("status", "reply", "message"),
    [
        (400, b'{"error": "no\nsuch \x1b[31mmodel"}', r'HTTP 400: \{"error": "no such \\u\{1b\}\[31mmodel"\}$'),
        (404, b"", "HTTP 404: no reason given$"),
        (200, b"<html>", "no JSON: <html>$"),
        (200, b"[" * 100_000, "no JSON: "),
        (500, b"x" * 5000, r"HTTP 500: x{300}\.\.\.; given up after 0.05 s"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(status: int, reply: bytes, message: str) -> None:
    with CompletionsServer(lambda path, _: (status, reply)) as there, JsonServer(there.url) as server:
        with pytest.raises(EngineError, match=message) as caught:
            server.post("/any", None, 0.05)
        assert str(caught.value).startswith(f"{there.url}/any: ")
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)


def test_a_reply_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_server, "LARGEST_REPLY", 1000)
    talkative = CompletionsServer(lambda path, _: (200, b"1" * 2000))
    with talkative as there, JsonServer(there.url) as server, pytest.raises(EngineError, match="longer than"):
        server.post("/any", None, 5.0)


def test_no_server_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with JsonServer(url) as server, pytest.raises(EngineError, match=f"^{url}/v1/models: no answer .*refused"):
        server.get("/v1/models", 5.0)


@pytest.fixture
def silent() -> Any:
    """The address of a server that takes requests and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("ended_by", ["the deadline", "the end of the block"])
def test_nobody_waits_for_a_silent_server(silent: str, ended_by: str) -> None:
    def leave() -> None:
        time.sleep(0.2)
        server.__exit__(None, None, None)

    seconds = 0.3 if ended_by == "the deadline" else 60.0
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool, JsonServer(silent) as server:
        asked = pool.submit(server.post, "/any", {}, seconds)
        if ended_by != "the deadline":
            threading.Thread(target=leave).start()
        with pytest.raises(EngineError, match="no answer"):
            asked.result()
    assert time.monotonic() - began < 5
