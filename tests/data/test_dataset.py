from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import byte_level, failing, weather
from tl_jax.config import DataConfig, MaeConfig, PktConfig
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.inspection.inspect import inspect_trajectory
from tl_jax.data.loader import batches
from tl_jax.data.sources import trajectories
from tl_jax.tooluse.schema import DataError, Message, Trajectory


def write(path: Path, rows: list[Trajectory]) -> Path:
    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
    return path


def test_real_file(llama: PreTrainedTokenizerFast, shared_data: Path) -> None:
    path = shared_data / "train" / "permissive_1018.jsonl"
    before = time.process_time()
    dataset = build_dataset(DataConfig(path=path, max_length=8192), Codec.open("paper", llama))
    assert time.process_time() - before < 60  # 3 s on an idle core
    report = dataset.report
    assert (report.trajectories, report.turns) == (1018, 5593)
    assert report.targets + report.blocked.total() + report.weightless + report.skipped_turns == report.turns
    assert report.targets > 5400
    assert report.target_tokens == sum(int((e.weights > 0).sum()) for row in dataset.rows for e in row.examples)
    assert sum(e.turns for row in dataset.rows for e in row.examples) == report.targets
    assert report.padding < 0.05
    assert report.padding == pytest.approx(1 - sum(row.used for row in dataset.rows) / (8192 * report.rows))
    assert not any("beginnings" in line for line in report.lines())


@pytest.mark.parametrize("cached", [False, True])
def test_what_shared_prefixes_save_is_reported(bpe: PreTrainedTokenizerFast, tmp_path: Path, cached: bool) -> None:
    rows = [replace(weather(), id=f"w{index}") for index in range(4)] + [failing()]
    path, codec = write(tmp_path / "a.jsonl", rows), Codec.open("paper", bpe)
    config = DataConfig(path=path, max_length=4096, cache=tmp_path / "cache" if cached else None)
    before = build_dataset(config, codec)
    dataset = build_dataset(config.model_copy(update={"share_prefixes": 64}), codec)
    (saved,) = (line for line in dataset.report.lines() if "beginnings" in line)
    used = sum(row.used for row in dataset.rows)
    assert saved.endswith(f" {used} are read")
    assert dataset.report.shared == dataset.report.tokens - used >= 3 * 64
    assert dataset.report.padding == pytest.approx(1 - used / (4096 * len(dataset.rows)))
    whole, batch = next(batches(before.rows, 2)), next(batches(dataset.rows, 2))
    assert (batch.segment_ids > 0).sum() == used
    for name in ("weights", "turns"):
        assert batch[name].sum() == pytest.approx(whole[name].sum())
    nothing = build_dataset(config.model_copy(update={"share_prefixes": 4000}), codec).report
    assert any(line.startswith("0 tokens, 0.0 %, are beginnings") for line in nothing.lines())  # it was asked for


@pytest.mark.parametrize("overlong", ["drop_context", "skip"])
def test_nothing_is_lost_silently(bpe: PreTrainedTokenizerFast, some, tmp_path: Path, overlong: str) -> None:
    path = write(tmp_path / "some.jsonl", some)
    config = DataConfig(path=path, max_length=1500, overlong=overlong, pkt=PktConfig(mode="none"))
    report = build_dataset(config, Codec.open("paper", bpe)).report
    assert report.trajectories == len(some)
    assert report.targets + report.blocked.total() + report.weightless + report.skipped_turns == report.turns
    assert (report.skipped_long > 0) == (overlong == "skip")
    assert (report.divided > 0) == (overlong == "drop_context")
    assert any("longer than a row" in line for line in report.lines())


def test_mae_blocks_what_an_error_answers(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    path = write(tmp_path / "two.jsonl", [weather(), failing()])
    with_mae = build_dataset(DataConfig(path=path), Codec.open("paper", bpe)).report
    without = build_dataset(DataConfig(path=path, mae=MaeConfig(rule="none")), Codec.open("paper", bpe)).report
    assert (without.targets, without.blocked.total()) == (6, 0)
    assert (with_mae.targets, with_mae.blocked.total()) == (5, 1)
    assert [category for _, category in with_mae.blocked] == ["parameter_hallucination"]
    assert any("parameter_hallucination" in line for line in with_mae.lines())


def test_mae_may_only_reduce_the_weight(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    path = write(tmp_path / "two.jsonl", [weather(), failing()])
    dataset = build_dataset(DataConfig(path=path, mae=MaeConfig(factor=0.25), pack=False), Codec.open("paper", bpe))
    assert (dataset.report.targets, dataset.report.blocked.total(), dataset.report.reduced) == (6, 0, 1)
    assert sorted(example.weights.sum() for row in dataset.rows for example in row.examples) == pytest.approx(
        [2.25, 3.0]
    )


def test_trajectories_without_target_are_counted(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    silent = Trajectory("silent", (), (Message("user", "hello"),))
    muted = Trajectory("muted", (), (Message("user", "hello"), Message("assistant", "hi", weight=0.0)))
    dataset = build_dataset(
        DataConfig(path=write(tmp_path / "a.jsonl", [silent, weather(), muted])), Codec.open("paper", bpe)
    )
    assert (dataset.report.without_target, dataset.report.weightless, dataset.report.examples) == (2, 1, 1)
    with pytest.raises(DataError, match=r"nothing to train on.*2 trajectories without a target"):
        build_dataset(DataConfig(path=write(tmp_path / "b.jsonl", [silent, muted])), Codec.open("paper", bpe))


def test_calls_of_tools_that_nobody_offers_are_counted(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    words = Trajectory("words", (), (Message("user", "hello"), Message("assistant", "hi")))
    rows = [words, weather(), replace(weather(), id="bare", tools=())]
    built = build_dataset(DataConfig(path=write(tmp_path / "a.jsonl", rows)), Codec.open("paper", bpe))
    assert built.report.without_tools == 1
    assert sum("offer none" in line for line in built.report.lines()) == 1


def test_too_long_for_any_row_is_an_error(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [weather()])
    with pytest.raises(DataError, match=r"nothing to train on.*3 too long"):
        build_dataset(DataConfig(path=path, max_length=16), Codec.open("paper", bpe))


def test_errors_name_file_and_trajectory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [weather()])
    forgetful = byte_level(["hi"], use_regex=True, size=300)
    forgetful.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    with pytest.raises(DataError, match=r"a\.jsonl: trajectory 'weather': the chat template"):
        build_dataset(DataConfig(path=path, renderer="chat"), Codec.open("chat", forgetful))


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_turns_that_say_nothing_are_no_targets(
    tmp_path: Path, bpe: PreTrainedTokenizerFast, content: str | None
) -> None:
    """And thoughts are no part of the answer unless somebody says so; both are told."""
    silent, thought = {"role": "assistant", "content": content}, {"reasoning_content": "hm"}
    row = {"messages": [{"role": "user", "content": "hi"}, silent, {"role": "user", "content": "hello?"}]}
    row["messages"].append({"role": "assistant", "content": "Hi!", **thought})
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    codec, config = Codec.open("paper", bpe), DataConfig(path=tmp_path / "a.jsonl", max_length=64)
    report = build_dataset(config, codec).report
    assert (report.turns, report.targets, report.weightless, report.silent) == (2, 1, 1, 1)
    assert "1 turns have neither text nor calls; they are no targets" in report.lines()
    assert "1 turns have reasoning, which is left out; data.include: [reasoning] writes it" in report.lines()
    included = build_dataset(config.model_copy(update={"include": ("reasoning",)}), codec).report
    assert included.target_tokens > report.target_tokens
    assert not any("left out" in line for line in included.lines())
    view = inspect_trajectory(next(trajectories(tmp_path / "a.jsonl")), codec)
    assert [(turn.target, turn.why) for turn in view.turns] == [(False, "has neither text nor calls"), (True, "")]


def test_unknown_fields_are_told_by_the_report(tmp_path: Path, bpe: PreTrainedTokenizerFast) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hi!", "foo": 1}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    config = DataConfig(path=tmp_path / "a.jsonl", max_length=64)
    with pytest.raises(DataError, match=r"a\.jsonl:1: messages\[1\]\.foo: unknown field"):
        build_dataset(config, Codec.open("paper", bpe))
    dropped = build_dataset(config.model_copy(update={"unknown": "drop"}), Codec.open("paper", bpe))
    assert dropped.report.lines()[-1] == "unknown field dropped: messages[].foo (1 x)"
