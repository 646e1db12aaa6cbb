from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from filelock import FileLock
from transformers import PreTrainedTokenizerFast

from tests import outside
from tests.data.helpers import byte_level, failing, weather
from tests.data.test_dataset import write
from tests.small_disk import small_disk
from tl_jax.cli import main, train
from tl_jax.config import DataConfig, MaeConfig, PktConfig, SftConfig
from tl_jax.config.data import AUTO
from tl_jax.config.pkt import PKT_MODES
from tl_jax.data import cache_key, dataset
from tl_jax.data.cache import EXAMPLES
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import Dataset, build_dataset
from tl_jax.data.loader import Loader, batches
from tl_jax.errors import UserError
from tl_jax.tooluse.readers import FORMATS
from tl_jax.tooluse.text.template_choice import TemplateChoice


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    rows = [replace(row, id=f"{row.id}-{i}") for i in range(3) for row in (weather(), failing())]
    return write(tmp_path / "data/some.jsonl", rows)


@pytest.fixture
def config(data: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(path=data, cache=tmp_path / "cache", max_length=2048)


@pytest.fixture
def codec(bpe: PreTrainedTokenizerFast) -> Codec:
    return Codec.open("paper", bpe)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trajectories that were encoded."""
    seen: list[str] = []
    real = dataset.parts

    def parts(*arguments: Any) -> Any:
        seen.append("encoded")
        return real(*arguments)

    monkeypatch.setattr(dataset, "parts", parts)
    return seen


def entries(directory: Path) -> list[Path]:
    return [entry for entry in directory.iterdir() if entry.is_dir() and entry.name != "files"]


def same(one: Dataset, other: Dataset) -> bool:
    """In batches and report, but for the line about the cache."""
    arrays = zip(batches(one.rows, 2), batches(other.rows, 2), strict=True)
    reports = [replace(it.report, notes=[n for n in it.report.notes if "encoded" not in n]) for it in (one, other)]
    equal = all(np.array_equal(a[name], b[name]) for a, b in arrays for name in a)
    return equal and reports[0] == reports[1] and one.largest_token == other.largest_token


def test_a_second_start_encodes_nothing(config: DataConfig, codec: Codec, encoded: list[str], tmp_path: Path) -> None:
    plain = build_dataset(config.model_copy(update={"cache": None}), codec)
    first, second = (build_dataset(config, codec) for _ in range(2))
    assert len(encoded) == 2  # in memory, and once for the cache
    assert same(plain, first)
    assert same(plain, second)
    (entry,) = entries(tmp_path / "cache")
    assert f"encoded before: {entry}" in second.report.lines()
    assert any(re.match(r"encoded in \d+ s and kept \(0 MB\): ", line) for line in first.report.lines())
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_run_goes_on_from_a_cache_where_it_was(config: DataConfig, codec: Codec) -> None:
    """Although it began with the data in memory."""
    config = config.model_copy(update={"pack": False})
    before = Loader(build_dataset(config.model_copy(update={"cache": None}), codec).rows, 4, seed=7)
    for _ in range(3):
        next(before)
    after = Loader(build_dataset(config, codec).rows, 4, seed=7)
    after.restore(json.loads(json.dumps(before.state())))
    for _ in range(4):
        one, other = next(before), next(after)
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_rows_are_made_of_the_same_examples(config: DataConfig, codec: Codec, encoded: list[str]) -> None:
    """Neither name nor rows are part of the key."""
    rows = [len(build_dataset(config, codec).rows)]
    copy = config.path.with_name("copy.jsonl")
    shutil.copy(config.path, copy)
    for change in ({"pack": False}, {"batch_size": 2}, {"path": copy}, {"eval_path": copy}):
        rows.append(len(build_dataset(config.model_copy(update=change), codec).rows))
    assert len(encoded) == 1
    assert rows[1] == 6 > rows[0] == rows[2]


CHANGES: dict[str, Callable[[DataConfig], DataConfig]] = {
    "length": lambda config: config.model_copy(update={"max_length": 300}),
    "mae": lambda config: config.model_copy(update={"mae": MaeConfig(factor=0.5)}),
    "pkt": lambda config: config.model_copy(update={"pkt": PktConfig(mode="none")}),
    "format": lambda config: config.model_copy(update={"format": "canonical"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_are_other_data(change: str, config: DataConfig, codec: Codec, encoded: list[str]) -> None:
    for settings in (config, CHANGES[change](config), config):
        build_dataset(settings, codec)
    assert len(encoded) == 2


def test_other_content_is_other_data(config: DataConfig, codec: Codec, encoded: list[str]) -> None:
    """Of the same size, and changed at once; and what is read beside a file is content, too."""
    build_dataset(config, codec)
    config.path.write_text(config.path.read_text().replace("Paris", "Sofia"))
    build_dataset(config, codec)
    config.path.with_name("some.tools.json").write_text("[]")
    build_dataset(config, codec)
    assert len(encoded) == 3


def test_a_name_counts_where_something_beside_goes_by_it(
    config: DataConfig, codec: Codec, encoded: list[str], tmp_path: Path
) -> None:
    """Two files of the same content have other tools where each has a list of its own."""
    other = config.path.with_name("other.jsonl")
    shutil.copy(config.path, other)
    config.path.with_name("some.tools.json").write_text("[]")
    other.with_name("other.tools.json").write_text('[{"name": "weather"}]')
    for path in (config.path, other, config.path):
        build_dataset(config.model_copy(update={"path": path}), codec)
    assert len(encoded) == 2
    assert len(entries(tmp_path / "cache")) == 2


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    kept: bool, config: DataConfig, codec: Codec, tmp_path: Path, monkeypatch: Any
) -> None:
    """Somebody copies the same file over it: afterwards its content is that of the key again, and what was read is
    half of it."""
    whole, real = config.path.read_text(), dataset.parts

    def parts(*arguments: Any) -> Any:
        config.path.write_text("".join(whole.splitlines(keepends=True)[:3]))
        yield from real(*arguments)
        config.path.write_text(whole)

    monkeypatch.setattr(dataset, "parts", parts)
    config = config.model_copy(update={"cache": tmp_path / "cache" if kept else None})
    with pytest.raises(UserError, match=r"some\.jsonl: was written to while it was read; start again once it is whole"):
        build_dataset(config, codec)
    monkeypatch.setattr(dataset, "parts", real)
    assert build_dataset(config, codec).report.trajectories == 6


def test_another_tokenizer_or_template_is_other_data(config: DataConfig, encoded: list[str]) -> None:
    one = byte_level([str(weather().to_json())], use_regex=True)
    other = byte_level([str(failing().to_json())], use_regex=True)
    two_templates = byte_level([str(weather().to_json())], use_regex=True)
    two_templates.chat_template = {"default": one.chat_template, "brief": "{# brief #}" + str(one.chat_template)}
    for codec in (
        *(Codec.open("paper", tokenizer) for tokenizer in (one, other, two_templates)),
        Codec.open("released", one),
        Codec.open("chat", one),
        *(Codec.open("chat", two_templates, TemplateChoice(name)) for name in (None, "brief")),
        Codec.open("chat", two_templates, TemplateChoice("brief", {"mood": "terse"})),
    ):
        build_dataset(config, codec)
        build_dataset(config, codec)
    assert len(encoded) == 7  # the template is of no interest to the paper's format


def test_a_template_that_tells_the_date_is_encoded_every_day(config: DataConfig, monkeypatch: Any) -> None:
    dated = byte_level([str(weather().to_json())], use_regex=True)
    dated.chat_template = "{{ strftime_now('%d') and '' }}" + dated.chat_template
    codec, memory = Codec.open("chat", dated), config.path.parent / "memory"
    today = cache_key.cache_key(config.path, config, codec, memory).name
    assert cache_key.cache_key(config.path, config, codec, memory).name == today
    monkeypatch.setattr(
        cache_key,
        "date",
        type("Tomorrow", (), {"today": staticmethod(lambda: __import__("datetime").date(2000, 1, 1))}),
    )
    assert cache_key.cache_key(config.path, config, codec, memory).name != today


def test_other_code_is_other_data(
    config: DataConfig, codec: Codec, encoded: list[str], tmp_path: Path, monkeypatch: Any
) -> None:
    """Ours, the file of a rule of one's own, and the libraries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    own = tmp_path / "my_rule_of_the_cache.py"
    own.write_text("def find(result):\n    return None\n")
    ruled = config.model_copy(update={"mae": MaeConfig(rule="my_rule_of_the_cache:find")})
    build_dataset(ruled, codec)
    build_dataset(ruled, codec)
    own.write_text(own.read_text() + "# another\n")
    build_dataset(ruled, codec)
    assert len(encoded) == 2
    monkeypatch.setattr(cache_key, "_own_code", lambda: "another")
    build_dataset(ruled, codec)
    assert len(encoded) == 3
    monkeypatch.setattr(cache_key, "version", lambda name: f"another {name}")
    build_dataset(ruled, codec)
    assert len(encoded) == 4


def test_what_a_table_was_given_is_encoded_here(config: DataConfig, codec: Codec, capsys: Any) -> None:
    """Another process does not know it; and what stands in no file has no key."""
    assert cache_key.is_findable(config.path, config, codec)
    rule = config.model_copy(update={"mae": MaeConfig(rule="json:loads")})
    assert cache_key.is_findable(config.path, rule, codec)
    with FORMATS.added(outside.FORMAT):
        assert not cache_key.is_findable(config.path, config.model_copy(update={"format": outside.FORMAT.name}), codec)
    scope: dict[str, Any] = {"__name__": "__typed_in__"}
    exec("from tl_jax.data.pkt import plain_weights\ndef typed_in(*a): return plain_weights(*a)", scope)
    mode = replace(PKT_MODES["none"], name="typed_in", compute=scope["typed_in"])
    with PKT_MODES.added(mode), pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "__typed_in__", type(os)("__typed_in__"))
        build_dataset(config.model_copy(update={"pkt": PktConfig(mode="typed_in")}), codec)
    assert "encoded data is not kept: __typed_in__: has no file" in capsys.readouterr().err


def test_a_file_that_has_not_changed_is_not_read_again(config: DataConfig, tmp_path: Path, monkeypatch: Any) -> None:
    reads: list[Path] = []
    digest = cache_key.hashlib.file_digest
    monkeypatch.setattr(
        cache_key.hashlib, "file_digest", lambda file, kind: reads.append(file.name) or digest(file, kind)
    )
    found = [cache_key._content(config.path, tmp_path / "files") for _ in range(2)]
    assert len(reads) == 2  # it is too new for its times to say anything
    monkeypatch.setattr(cache_key, "_SETTLED", -1.0)
    found += [cache_key._content(config.path, tmp_path / "files") for _ in range(3)]
    assert len(reads) == 3
    assert found == found[:1] * 5
    for note in (tmp_path / "files").iterdir():
        note.write_text("[broken")
    assert cache_key._content(config.path, tmp_path / "files") == found[0]
    config.path.write_text(config.path.read_text().replace("Paris", "Sofia"))
    assert cache_key._content(config.path, tmp_path / "files") != found[0]
    assert len(reads) == 5


def cut(entry: Path) -> None:
    os.truncate(entry / EXAMPLES, (entry / EXAMPLES).stat().st_size // 2)


def swapped(entry: Path) -> None:
    facts = json.loads((entry / "facts.json").read_text())
    (entry / "facts.json").write_text(json.dumps(facts | {"largest_token": 1}))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": cut,
    "zeros": lambda entry: (entry / EXAMPLES).write_bytes(bytes((entry / EXAMPLES).stat().st_size)),
    "gone": lambda entry: (entry / EXAMPLES).unlink(),
    "no facts": lambda entry: (entry / "facts.json").unlink(),
    "other facts": swapped,
    "no list": lambda entry: (entry / "manifest.json").unlink(),
    "lengths": lambda entry: (entry / "lengths.npy").write_bytes(b"\x93NUMPY"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_made_anew(
    damage: str, config: DataConfig, codec: Codec, tmp_path: Path, capsys: Any
) -> None:
    whole = build_dataset(config.model_copy(update={"cache": None}), codec)
    build_dataset(config, codec)
    (entry,) = entries(tmp_path / "cache")
    DAMAGE[damage](entry)
    again = build_dataset(config, codec)
    assert capsys.readouterr().err.count("encoded data is damaged and made anew: ") == 1
    assert same(whole, again)
    build_dataset(config, codec)
    assert capsys.readouterr().err == ""


def test_one_wrong_byte_is_found_when_it_is_read(
    config: DataConfig, codec: Codec, tmp_path: Path, encoded: list[str]
) -> None:
    config = config.model_copy(update={"pack": False})
    whole = build_dataset(config.model_copy(update={"cache": None}), codec)
    build_dataset(config, codec)
    file = entries(tmp_path / "cache")[0] / EXAMPLES
    content = bytearray(file.read_bytes())
    content[len(content[: 1 << 16].rstrip(b"\0")) // 2] ^= 1  # the examples stand in the first block
    file.write_bytes(content)
    damaged, problems = build_dataset(config, codec), []
    for row, expected in zip(damaged.rows, whole.rows, strict=True):
        try:
            assert row.examples[0].id == expected.examples[0].id
        except UserError as error:
            problems.append(str(error))
    assert len(problems) == 1
    assert re.search(r"is damaged .*the next start encodes the data anew: run the same command again", problems[0])
    assert same(build_dataset(config, codec), whole)
    assert len(encoded) == 3


def test_nothing_half_made_is_left(config: DataConfig, codec: Codec, tmp_path: Path, encoded: list[str]) -> None:
    """By an error in the data, by a full disk; and what a killed process left goes."""
    good = config.path.read_text()
    config.path.write_text(good + '{"messages": 1}\n')
    with pytest.raises(UserError, match=r"some\.jsonl:7: "):
        build_dataset(config, codec)
    assert entries(tmp_path / "cache") == []
    config.path.write_text(good)
    with small_disk(2000), pytest.raises(UserError, match=r"cannot be written: .*data\.cache=DIR"):
        build_dataset(config, codec)
    assert entries(tmp_path / "cache") == []
    name = cache_key.cache_key(config.path, config, codec, tmp_path / "cache/files").name
    (tmp_path / "cache" / f"{name}.x1.partial").mkdir()
    build_dataset(config, codec)
    assert [entry.name for entry in entries(tmp_path / "cache")] == [name]
    assert len(encoded) == 3


def test_one_process_encodes_and_others_wait(
    config: DataConfig, codec: Codec, tmp_path: Path, encoded: list[str], capsys: Any
) -> None:
    name = cache_key.cache_key(config.path, config, codec, tmp_path / "cache/files").name
    (tmp_path / "cache").mkdir(exist_ok=True)
    found: list[Dataset] = []
    waiting = [Thread(target=lambda: found.append(build_dataset(config, codec))) for _ in range(2)]
    with FileLock(tmp_path / "cache" / f"{name}.lock"):
        for thread in waiting:
            thread.start()
            thread.join(0.5)
        assert all(thread.is_alive() for thread in waiting)
        assert encoded == []
    for thread in waiting:
        thread.join(60)
    assert encoded == ["encoded"]
    assert same(*found)
    assert capsys.readouterr().err.count("another process is encoding it; waiting") == 2


def test_much_data_is_kept_by_itself(
    config: DataConfig, codec: Codec, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """And little is not; a home that cannot be written to costs a line."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    auto = config.model_copy(update={"cache": AUTO})
    small = build_dataset(auto, codec)
    assert not (tmp_path / "home").exists()
    monkeypatch.setattr(dataset, "LARGE", 1)
    monkeypatch.setattr(dataset, "processors", lambda: 1)
    assert same(build_dataset(auto, codec), small)
    assert len(entries(tmp_path / "home/tl_jax/data")) == 1
    assert build_dataset(config.model_copy(update={"cache": None}), codec).report.notes == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(config.path))
    assert same(build_dataset(auto, codec), small)
    assert "encoded data is not kept: " in capsys.readouterr().err


def test_the_command_says_whether_data_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    """The option counts more than the file; and a path of digits is a path."""

    def told(config: SftConfig) -> None:
        raise UserError(f"kept: {config.data.cache!r}")

    monkeypatch.setattr(train, "keep_programs", lambda wanted: None)
    monkeypatch.setattr("tl_jax.training.sft.run_sft", told)
    (tmp_path / "f.yaml").write_text(f"{{run_dir: {tmp_path}, model: {{path: m}}, data: {{path: d, cache: 2026}}}}")
    for words, kept in (([], Path("2026")), (["--no-cache"], None), (["--cache", "data.cache=auto"], AUTO)):
        result = CliRunner().invoke(main, ["sft", "--config", str(tmp_path / "f.yaml"), *words])
        assert (result.exit_code, result.output) == (2, f"tl-jax: kept: {kept!r}\n")
