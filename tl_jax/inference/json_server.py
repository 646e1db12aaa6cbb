"""Requests to a server that takes and gives JSON: with a deadline, tried again, broken off at once."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tl_jax.errors import UserError
from tl_jax.visible import in_one_line

LARGEST_REPLY = 1 << 22
"""Bytes, where nobody says how long a reply can be."""
CONNECT_SECONDS = 3.0
"""For a connection, before it is tried again: nobody can break off that wait."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0
"""Seconds before a request is tried again; twice as many each time."""
TOLD = 300
"""Characters of what a server says that are passed on."""


class EngineError(UserError):
    """A server is not there, or does not do what is asked of it."""


class _Again(Exception):
    """What may go better the next time."""


class JsonServer:
    """A server, until the end of the block; then whatever is still under way is broken off.

    Safe for threads.

    Args:
        url: of the server, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._parts = urlsplit(url)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._over = threading.Event()

    def __enter__(self) -> JsonServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        with self._lock:
            for sock in self._open:
                _break_off(sock)

    def get(self, path: str, seconds: float) -> Any:
        """What the server has at ``path``; one try.

        Raises:
            EngineError: it has not, or is not there.
        """
        try:
            return self._once("GET", path, None, seconds)
        except _Again as error:
            raise self._error(path, str(error)) from None

    def post(self, path: str, body: Any, seconds: float, largest: int = LARGEST_REPLY) -> Any:
        """The reply to ``body``, None where it is empty. Tried again while the server is busy or away.

        Args:
            path: where it goes.
            body: as JSON.
            seconds: all tries together.
            largest: bytes of the reply.

        Raises:
            EngineError: it refuses, has not answered in as many seconds, or says more than that.
        """
        until, pause = time.monotonic() + seconds, FIRST_PAUSE
        while True:
            try:
                return self._once("POST", path, body, until - time.monotonic(), largest)
            except _Again as error:
                if time.monotonic() + pause >= until or self._over.wait(pause):
                    raise self._error(path, f"{error}; given up after {seconds:g} s (engine.seconds)") from None
                pause = min(2 * pause, LONGEST_PAUSE)

    def _once(self, method: str, path: str, body: Any, seconds: float, largest: int = LARGEST_REPLY) -> Any:
        until = time.monotonic() + max(seconds, FIRST_PAUSE)
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        patience = min(until - time.monotonic(), CONNECT_SECONDS)
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=patience)
        try:
            with self._breakable(connection, until):
                content = None if body is None else json.dumps(body).encode()
                headers = {"Content-Type": "application/json"} if content else {}
                connection.request(method, self._parts.path + path, content, headers)
                reply = connection.getresponse()
                data = reply.read(largest + 1)
        except (OSError, HTTPException, UnicodeError) as error:  # of an address that is no name of a server
            raise _Again(f"no answer ({str(error) or type(error).__name__})") from None
        finally:
            connection.close()
        if len(data) > largest:
            raise self._error(path, f"the reply is longer than {largest >> 10} KiB")
        if reply.length:
            raise _Again(f"the reply broke off after {len(data)} bytes")
        if reply.status == 429 or reply.status >= 500:
            raise _Again(f"HTTP {reply.status}: {_words(data)}")
        if reply.status != 200:
            raise self._error(path, f"HTTP {reply.status}: {_words(data)}")
        if not data.strip():
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise self._error(path, f"the reply is no JSON: {_words(data)}") from None

    @contextmanager
    def _breakable(self, connection: HTTPConnection, until: float) -> Iterator[None]:
        """Connected, and broken off at this time or when the server's block ends: a timeout is that of each wait, and a
        server that says a little now and then would never meet one.

        Raises:
            OSError: it was broken off, or there is no connection.
        """
        connection.connect()
        sock: socket.socket = connection.sock  # a connection forgets it when the reply's end is that of the connection
        sock.settimeout(max(until - time.monotonic(), FIRST_PAUSE))
        clock = threading.Timer(until - time.monotonic(), _break_off, [sock])
        clock.daemon = True
        with self._lock:
            if self._over.is_set():
                raise OSError("given up")
            self._open.add(sock)
        clock.start()
        try:
            yield
        finally:
            clock.cancel()
            with self._lock:
                self._open.discard(sock)
        if self._over.is_set():
            raise OSError("given up")
        if time.monotonic() >= until:
            raise TimeoutError("timed out")

    def _error(self, path: str, problem: str) -> EngineError:
        return EngineError(in_one_line(f"{self.url}{path}: {problem}"))


def _break_off(sock: socket.socket) -> None:
    """Whoever waits for a reply there waits no longer."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not the encrypted one's: another thread is using that


def _words(data: bytes) -> str:
    """What a server says of an error, shortened."""
    text = in_one_line(data[: 4 * TOLD].decode(errors="replace")).strip()
    return text[:TOLD] + ("..." if len(text) > TOLD else "") or "no reason given"
