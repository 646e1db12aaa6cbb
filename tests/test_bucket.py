"""Names of what lies in a bucket, and why it cannot be had."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from tl_jax import bucket
from tl_jax.addresses import address_of, files_here, place_of, shown, travels, with_addresses
from tl_jax.bucket import BucketError, Folder, failure


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
