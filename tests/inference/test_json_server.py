"""Requests: tried again where that helps, refused in one line, ended by a deadline or from outside."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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


def test_a_reply_without_end_is_refused() -> None:
    talkative = CompletionsServer(lambda path, _: (200, b"1" * 2000))
    with talkative as there, JsonServer(there.url) as server, pytest.raises(EngineError, match="longer than 1 KiB"):
        server.post("/any", None, 5.0, largest=1024)


def test_no_server_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with JsonServer(url) as server, pytest.raises(EngineError, match=f"^{url}/v1/models: no answer .*refused"):
        server.get("/v1/models", 5.0)


def test_a_name_that_no_server_can_have_is_told() -> None:
    with JsonServer("http://a..b:80") as server, pytest.raises(EngineError, match=r"^http://a\.\.b:80/x: no answer"):
        server.get("/x", 5.0)


def test_a_reply_that_breaks_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_server, "FIRST_PAUSE", 0.01)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"
    with speaking([head + b"[1, ", head + b"[1, 2.5]"]) as url, JsonServer(url) as server:
        assert server.post("/any", None, 5.0) == [1, 2.5]


@contextmanager
def speaking(replies: Iterable[bytes], pause: float = 0.0) -> Iterator[str]:
    """The address of a server that sends these bytes, one reply a connection; with a pause, byte by byte for ever."""

    def speak() -> None:
        for reply in replies:
            connection, _ = listening.accept()
            with connection, suppress(ConnectionError):
                connection.recv(1 << 16)
                connection.sendall(reply)
                while pause:
                    time.sleep(pause)
                    connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(5)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 9999", b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK"])
@pytest.mark.parametrize("ended_by", ["the deadline", "the end of the block"])
def test_nobody_waits_for_a_server_that_speaks_on_and_on(head: bytes, ended_by: str) -> None:
    seconds = 0.3 if ended_by == "the deadline" else 60.0
    began = time.monotonic()
    with speaking([head + b"\r\n\r\n"], 0.02) as url, ThreadPoolExecutor(1) as pool, JsonServer(url) as server:
        asked = pool.submit(server.get, "/any", seconds)
        if ended_by != "the deadline":
            time.sleep(0.2)
            server.__exit__(None, None, None)
        with pytest.raises(EngineError, match="no answer"):
            asked.result(3)
    assert time.monotonic() - began < 5


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
