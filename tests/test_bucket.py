"""Names of what lies in a bucket, and why it cannot be had."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tl_jax import bucket
from tl_jax.addresses import address_of, files_here, place_of, shown, travels, with_addresses
from tl_jax.bucket import BucketError, Folder, failure
from tl_jax.bucket_files import Output, brought
from tl_jax.errors import UserError


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("address", ["gs://a-b/c", "gs://a.b_c/runs/x y/%2F", "gs://bucket/ünï/..a"])
def test_a_place_stands_for_one_address(address: str, tmp_path: Path) -> None:
    places = {place_of(address, "runs"), place_of(address, "models")}
    assert len(places) == 2
    assert {address_of(place) for place in places} == {address} == {shown(place) for place in places}
    assert all(place.is_relative_to(tmp_path) for place in places)
    assert place_of(address + "/", "runs") in places
    assert all(place.name == address.rpartition("/")[2] for place in places)
    for other in (address + "/below", address.rpartition("/")[0] + "/another"):
        assert not place_of(other, "runs").is_relative_to(place_of(address, "runs").parent)  # not in the other's copy


@pytest.mark.parametrize("path", ["runs/x", "/data/runs/x", "/tl_jax/gs/runs/b%2Fx/x", "gs:/b/x", "."])
def test_another_path_stands_for_none(path: str) -> None:
    assert address_of(Path(path)) is None
    assert shown(Path(path)) == path


@pytest.mark.parametrize("bucket", ["", "bucket", "bucket/", "Bucket/x", "-/x", "b-1/" + "x" * 300])
def test_an_address_without_bucket_and_folder_is_refused(bucket: str) -> None:
    with pytest.raises(ValueError, match=r"gs://BUCKET/FOLDER is needed|too long"):
        place_of(f"gs://{bucket}", "runs")


@pytest.mark.parametrize("folder", ["a//b", "../x", "a/.", "a\nb", "a\\b", "\x1b[2J"])
def test_what_is_no_folder_is_refused(folder: str) -> None:
    with pytest.raises(ValueError, match="names no folder of the bucket"):
        place_of(f"gs://b-1/{folder}", "runs")


def test_what_lies_beside_a_copy_is_called_by_its_address() -> None:
    place = place_of("gs://b-1/a b/x.jsonl", "files")
    assert shown(place.with_name("x.tools.json")) == "gs://b-1/a b/x.tools.json"
    assert address_of(place.with_name("x.tools.json")) is None


def test_what_is_half_written_is_called_by_its_path() -> None:
    told = f"{place_of('gs://b-1/x', 'files').with_name('.1f.new')}: cannot be written: No space left on device"
    assert with_addresses(told) == told


@pytest.mark.parametrize("folder", ["a*", "a?", "a[1]", "a#1"])
def test_patterns_are_refused(folder: str) -> None:
    with pytest.raises(ValueError, match="no part of a plain name"):
        place_of(f"gs://b-1/{folder}", "runs")


def test_what_travels(tmp_path: Path) -> None:
    stay = ("lock.json", ".copied.json", "a/.b.new", "x.partial", "checkpoints/1/a", "engine/w")
    for name in ("log.txt", "model/config.json", *stay):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_here(tmp_path) == ["log.txt", "model/config.json"]
    assert not travels("damaged/4/state")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    bucket._client.cache_clear()
    with pytest.raises(BucketError, match=r"^gs://b-1/x: a bucket needs the extra gcs: pip install 'tl-jax\[gcs\]'$"):
        Folder("gs://b-1/x")


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gcsfs")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(bucket, "RETRY_SECONDS", 0.1)
    with pytest.raises(BucketError, match=r"^gs://b-1/x: Cloud Storage cannot be reached \(Timeout of 0.1s") as caught:
        Folder("gs://b-1/x").objects()
    assert "\n" not in str(caught.value)


def test_what_is_raised_is_not_logged_with_a_traceback_as_well(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("gcsfs")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    bucket._client.cache_clear()
    Folder("gs://b-1/x")
    logging.getLogger("gcsfs").error("out of retries")
    assert not caplog.records


class _Refusing(BaseHTTPRequestHandler):
    """What a bucket may answer besides what is asked of it, by the address's first part."""

    def do_GET(self) -> None:
        kind = self.path.split("/b/")[1].split("-")[0]
        if kind == "torn" and "alt=media" in self.path:
            self._answer(200, b"half", length=9)
        elif kind == "torn":
            self._answer(200, b'{"name": "x", "size": "9", "crc32c": "AAAAAA==", "generation": "1"}')
        elif kind == "portal":
            self._answer(200, b"<html>Sign in to the hotel's network</html>")
        else:
            self._answer(int(kind), b'{"error": {"message": "you may not\\nreally"}}')

    do_POST = do_GET

    def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("gcsfs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(bucket, "RETRY_SECONDS", 0.1)
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("403", "refuses it"),
        ("429", "cannot be reached"),
        ("503", "cannot be reached"),
        ("torn", "cannot be reached"),
        ("portal", "cannot be reached"),
    ],
)
def test_whatever_it_answers_is_one_line(kind: str, told: str, tmp_path: Path) -> None:
    address = f"gs://{kind}-bucket/x"
    folder, file = Folder(address), tmp_path / "file"
    file.write_text("content")
    reading = (lambda: brought(place_of(address, "files")), lambda: Output(place_of(address, "out")))
    writing = (lambda: folder.write("x", b""), lambda: folder.upload(file, "x"), lambda: folder.move("x", "y"))
    for use in reading if kind == "torn" else (*reading, *writing):
        with pytest.raises(BucketError, match=rf"^{address}[/xy]*: Cloud Storage {told} \(") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]  # nothing half


class TestFolder:
    def test_a_list_of_many_pages_is_whole_or_an_error(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        names = {f"{number}.txt" for number in range(7)}
        for name in names:
            folder.write(name, b"")
        of_a_page = partial(folder._bucket.list_blobs, page_size=3)
        monkeypatch.setattr(folder._bucket, "list_blobs", of_a_page)
        assert folder.objects().keys() == names

        def lost(**how: Any) -> Iterator[Any]:
            yield from of_a_page(**how, max_results=3)
            raise pytest.importorskip("requests").ConnectionError("lost")

        monkeypatch.setattr(folder._bucket, "list_blobs", lost)
        with pytest.raises(BucketError, match=r"cannot be reached \(lost\)$"):
            folder.objects()

    def test_names_are_those_of_files_here(self, folder: Folder, tmp_path: Path) -> None:
        names = {
            "a b/c d.txt",
            "ünï/日本.jsonl",
            "%2F",
            "per cent %20",
            "..a",
            "a/...",
            "100 % 'sure' \"so\"",
            "#1?*[x]",
        }
        for name in names:
            folder.write(name, name.encode())
        folder.fetch(folder.objects(), tmp_path / "copy")
        found = [file for file in (tmp_path / "copy").rglob("*") if file.is_file()]
        assert {file.relative_to(tmp_path / "copy").as_posix(): file.read_text() for file in found} == {
            name: name for name in names
        }

    def test_other_names_are_one_line(self, folder: Folder) -> None:
        for name in ("a/../../x", "../x", "a//b", "./a", "a\\b", "a\nb", "\x1b[2Jx", "/etc/x"):
            folder.write(name, b"")
            with pytest.raises(BucketError) as caught:
                folder.objects()
            told = f"{folder.address}: holds {name!r}, which cannot be the name of a file here"
            assert str(caught.value) == told
            folder.delete(name)

    def test_a_folder_takes_the_place_of_a_file_and_a_file_that_of_a_folder(
        self, folder: Folder, tmp_path: Path
    ) -> None:
        for names in (["a", "b/c/d", "b/c/e"], ["a/x/y", "b"], ["a", "b/c/d"]):
            for name in folder.objects():
                folder.delete(name)
            for name in names:
                folder.write(name, name.encode())
            folder.fetch(folder.objects(), tmp_path / "copy")
            assert {name: (tmp_path / "copy" / name).read_text() for name in names} == {name: name for name in names}

    def test_a_file_and_a_folder_of_one_name_are_one_line(self, folder: Folder, tmp_path: Path) -> None:
        for name in ("a", "a/b"):
            folder.write(name, b"")
        with pytest.raises(UserError, match=f"^{tmp_path}/copy/a: cannot be written: a file is there, where"):
            folder.fetch(folder.objects(), tmp_path / "copy")

    def test_a_name_too_long_for_a_file_is_one_line(self, folder: Folder, tmp_path: Path) -> None:
        folder.write("x" * 300, b"")
        with pytest.raises(UserError, match="File name too long"):
            folder.fetch(folder.objects(), tmp_path / "copy")


def test_errors_of_the_libraries_are_told_apart() -> None:
    exceptions = pytest.importorskip("google.api_core.exceptions")
    credentials = pytest.importorskip("google.auth.exceptions").DefaultCredentialsError("none")
    wrapped = ValueError("of Orbax")
    wrapped.__cause__ = exceptions.Forbidden("you may not")
    for error, words in (
        (credentials, "no credentials for Google Cloud were found: gcloud auth"),
        (exceptions.NotFound("bucket"), "no such bucket or object (404 bucket)"),
        (wrapped, "refuses it (403 you may not)"),
        (ValueError("UNAVAILABLE: Error reading gs://b/x"), "cannot be reached (UNAVAILABLE: "),
    ):
        assert words in (failure(error) or "")
    for error in (ValueError("a bug"), FileNotFoundError("x"), KeyError("UNAVAILABLE")):
        assert failure(error) is None
