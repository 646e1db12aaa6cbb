"""Evaluation from a model directory to a summary, cut off and continued."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest
from click.testing import CliRunner
from transformers import LlamaForCausalLM

from tests.devices import few_devices
from tests.tiny import write_model
from tl_jax.cli import main
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import load_cases
from tl_jax.errors import UserError
from tl_jax.evaluation.answering import Answering
from tl_jax.evaluation.answers import open_directory, settings_of
from tl_jax.evaluation.generate import generate_file, read_lines
from tl_jax.evaluation.runner import evaluate
from tl_jax.files import write_json
from tl_jax.inference.engine import SILENT
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.tooluse.metrics import Scoring, score_prediction, summarise

TOOLS = [{"name": name, "description": "Goes there."} for name in ("go", "go_slowly")]


@pytest.fixture(scope="module", autouse=True)
def two_devices() -> Iterator[None]:
    with few_devices(2):
        yield


@pytest.fixture(scope="module")
def cases_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven cases with prompts of different lengths; the fifth is too long for the model."""
    file = tmp_path_factory.mktemp("cases") / "cases.jsonl"
    with file.open("w") as lines:
        for index in range(7):
            asked = {"role": "user", "content": "go " * (400 if index == 4 else 1 + 7 * index)}
            gold = [[{"name": "go", "arguments": {}}]]
            row = {"id": f"c{index}", "suite": f"s{index % 2}", "tools": TOOLS, "messages": [asked], "gold": gold}
            lines.write(json.dumps(row) + "\n")
    return file


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory, cases_file: Path) -> Path:
    """A tiny random model with a context of 256."""
    texts = cases_file.read_text().splitlines()
    return write_model(tmp_path_factory.mktemp("model"), texts, context=256)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, cases_file: Path) -> Path:
    out = tmp_path_factory.mktemp("out")
    run(model_dir, cases_file, out)
    return out


def run(model: Path, cases: Path, out: Path, **options: Any) -> str:
    """What is printed."""
    which = {name: options.pop(name) for name in ("scoring", "limit", "overwrite") if name in options}
    answering = Answering.of(**{"batch_size": 4, "max_new_tokens": 8, "dtype": "float32", **options})
    with redirect_stderr(io.StringIO()) as printed:
        evaluate(model, cases, out, answering, **which)
    return printed.getvalue()


def predictions(out: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, (out / "predictions.jsonl").read_text().splitlines())}


def test_answers_are_those_of_transformers(evaluated: Path, model_dir: Path, cases_file: Path) -> None:
    """Greedy, prompt by prompt, in another implementation."""
    import torch

    reference = LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    codec, rows = Codec.open("paper", model_dir), predictions(evaluated)
    for case in load_cases(cases_file):
        prompt = codec.prompt(case.tools, case.messages)
        if case.id == "c4":
            assert rows[case.id]["prediction"] == ""
            assert rows[case.id]["problem"] == f"prompt of {len(prompt)} tokens"
            continue
        out = reference.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, pad_token_id=0)
        new = out[0, len(prompt) :]
        text = codec.tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert rows[case.id]["prediction"] == text.removeprefix(" ")


def test_all_prompts_share_the_slots_and_answers_are_written_when_they_end(
    evaluated: Path, model_dir: Path, cases_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few are answered at once: a slot whose answer has ended waits for no other."""
    asked, there = list[tuple[int, Any]](), list[int]()
    generate = InProcessEngine.generate

    def noted(*args: Any) -> Any:
        engine, prompts, sampling, key, ends, listener, numbers = args
        asked.append((len(prompts), sampling.batch_size))

        def before_batch() -> None:
            there.append(len(predictions(tmp_path)))

        return generate(engine, prompts, sampling, key, ends, replace(listener, before_batch=before_batch), numbers)

    monkeypatch.setattr(InProcessEngine, "generate", noted)
    run(model_dir, cases_file, tmp_path, batch_size=2)
    assert asked == [(6, 2)]
    assert there[0] == 1  # the one without room
    assert there[-1] > 1
    assert predictions(tmp_path) == predictions(evaluated)


def test_answers_that_an_engine_does_not_tell_of_are_kept(
    evaluated: Path, model_dir: Path, cases_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = InProcessEngine.generate
    monkeypatch.setattr(InProcessEngine, "generate", lambda *args: generate(*args[:5], SILENT, args[6]))
    run(model_dir, cases_file, tmp_path)
    assert predictions(tmp_path) == predictions(evaluated)


def test_summary_is_that_of_the_predictions(evaluated: Path, cases_file: Path) -> None:
    rows = predictions(evaluated)
    expected = summarise(score_prediction(rows[case.id]["prediction"], case) for case in load_cases(cases_file))
    saved = json.loads((evaluated / "summary.json").read_text())
    assert (saved["cases"], saved["TS"], saved["errors"]) == (7, expected.ts, expected.errors)
    assert saved["suites"]["s0"]["cases"] == 4


def test_a_run_that_was_cut_off_continues(evaluated: Path, model_dir: Path, cases_file: Path, tmp_path: Path) -> None:
    """Known answers are kept as they are, a half-written line is asked again."""
    lines = (evaluated / "predictions.jsonl").read_text().splitlines(keepends=True)
    marked = json.loads(lines[1]) | {"prediction": "go() "}
    (tmp_path / "settings.json").write_text((evaluated / "settings.json").read_text())
    (tmp_path / "predictions.jsonl").write_text(lines[0] + json.dumps(marked) + "\n" + lines[2][:-9])
    run(model_dir, cases_file, tmp_path)
    rows, complete = predictions(tmp_path), predictions(evaluated)
    assert rows[marked["id"]]["prediction"] == "go() "
    assert {k: v for k, v in rows.items() if k != marked["id"]} == {
        k: v for k, v in complete.items() if k != marked["id"]
    }
    assert json.loads((tmp_path / "summary.json").read_text())["CF"] > 0


def test_a_finished_run_needs_no_model(evaluated: Path, model_dir: Path, cases_file: Path) -> None:
    before = (evaluated / "predictions.jsonl").read_bytes()
    weights = model_dir / "model.safetensors"
    weights.rename(model_dir / "away")
    try:
        assert "s0" in run(model_dir, cases_file, evaluated)
    finally:
        (model_dir / "away").rename(weights)
    assert (evaluated / "predictions.jsonl").read_bytes() == before


def test_the_same_answers_are_scored_anew(evaluated: Path, model_dir: Path, cases_file: Path, tmp_path: Path) -> None:
    for name in ("predictions.jsonl", "settings.json"):
        (tmp_path / name).write_text((evaluated / name).read_text())
    scoring = Scoring("all", strict=True)
    run(model_dir, cases_file, tmp_path, scoring=scoring)
    rows, cases = predictions(evaluated), load_cases(cases_file)
    expected = summarise(score_prediction(rows[case.id]["prediction"], case, scoring) for case in cases)
    saved = json.loads((tmp_path / "summary.json").read_text())
    assert (saved["policy"], saved["strict"], saved["rotbench"]) == ("all", True, False)
    assert saved["errors"] == expected.errors
    assert (tmp_path / "predictions.jsonl").read_bytes() == (evaluated / "predictions.jsonl").read_bytes()


def test_answers_made_otherwise_are_not_mixed_in(evaluated: Path, model_dir: Path, cases_file: Path) -> None:
    with pytest.raises(UserError, match=r"other settings \(temperature\).*--overwrite"):
        run(model_dir, cases_file, evaluated, temperature=0.5)


@pytest.mark.parametrize("made", [{"kv_cache_dtype": "int8"}, {"include": ("reasoning",)}])
def test_nor_are_answers_with_a_setting_that_is_left_out_now(tmp_path: Path, made: dict[str, Any]) -> None:
    open_directory(tmp_path, settings_of(tmp_path, "cases", Answering.of(**made)), overwrite=False)
    (tmp_path / "predictions.jsonl").touch()
    with pytest.raises(UserError, match=rf"other settings \({next(iter(made))}\).*--overwrite"):
        open_directory(tmp_path, settings_of(tmp_path, "cases", Answering()), overwrite=False)


def test_keys_and_values_are_kept_as_it_is_said(model_dir: Path) -> None:
    sampler = Answering.of(dtype="float32", kv_cache_dtype="int8").open(model_dir)
    assert isinstance(sampler.engine, InProcessEngine)
    assert sampler.engine._served is not None
    assert sampler.engine._served.layout.dtype == "int8"


@pytest.mark.parametrize("broken", ["", '{"model": "a', "[" * 100_000])
def test_answers_whose_settings_are_broken_are_not_added_to(tmp_path: Path, broken: str) -> None:
    (tmp_path / "settings.json").write_text(broken)
    (tmp_path / "predictions.jsonl").write_text('{"id": "a", "prediction": ""}\n{"id": "b", "pred')
    with pytest.raises(UserError, match=r"settings\.json: is broken.*--overwrite"):
        open_directory(tmp_path, {"model": "m"}, overwrite=False)
    write_json(tmp_path / "settings.json", {"model": "m"})
    assert open_directory(tmp_path, {"model": "m"}, overwrite=False) == {"a": ""}
    assert (tmp_path / "predictions.jsonl").read_text() == '{"id": "a", "prediction": ""}\n'


def test_predictions_of_somebody_else_are_not_erased(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"predictions\.jsonl: not written by tl-jax eval"):
        open_directory(tmp_path, {"model": "m"}, overwrite=True)
    assert (tmp_path / "predictions.jsonl").read_text() == "mine"


def test_what_the_format_cannot_say_is_not_asked(model_dir: Path, cases_file: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in cases_file.read_text().splitlines()[:2]]
    rows[0]["gold"] = [[{"name": "go", "arguments": {"where": "x" * 20_001}}]]
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = run(model_dir, path, tmp_path / "out")
    assert "1 case has a gold answer that the format 'paper' cannot say, and is left out: c0 (longer than" in printed
    assert set(predictions(tmp_path / "out")) == {"c1"}
    saved = json.loads((tmp_path / "out/summary.json").read_text())
    assert (saved["cases"], list(saved["unwritable_cases"])) == (1, ["c0"])
    run(model_dir, path, tmp_path / "out", scoring=Scoring(unwritable="keep"))  # the one that is missing is asked
    assert set(predictions(tmp_path / "out")) == {"c0", "c1"}
    with pytest.raises(UserError, match=r"c0 \(longer than 20000 characters\); leave them out with unwritable=skip"):
        run(model_dir, path, tmp_path / "out", scoring=Scoring(unwritable="error"))


def test_overwrite_answers_anew(model_dir: Path, cases_file: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text('{"id": "c0", "prediction": "old"}\n')
    write_json(tmp_path / "settings.json", {"model": "another"})
    printed = run(model_dir, cases_file, tmp_path, overwrite=True, limit=2, temperature=1.0)
    assert set(predictions(tmp_path)) == {"c0", "c1"}
    assert predictions(tmp_path)["c0"]["prediction"] != "old"
    assert "TS %" in printed


def test_the_commands_answer_alike(evaluated: Path, model_dir: Path, cases_file: Path, tmp_path: Path) -> None:
    """``eval`` as `evaluate`; ``generate`` the same for the same messages and tools."""
    options = ("--model", str(model_dir), "--batch-size", "4", "--max-new-tokens", "8", "--dtype", "float32")
    out, source = tmp_path / "out", tmp_path / "conversations.jsonl"
    done = CliRunner().invoke(main, ["eval", *options, "--cases", str(cases_file), "--out", str(out), "--strict"])
    assert done.exit_code == 0, done.output
    assert (out / "predictions.jsonl").read_bytes() == (evaluated / "predictions.jsonl").read_bytes()
    assert json.loads((out / "settings.json").read_text()) == json.loads((evaluated / "settings.json").read_text())
    assert json.loads((out / "summary.json").read_text())["strict"] is True
    asked = [row for row in map(json.loads, cases_file.read_text().splitlines()) if row["id"] != "c4"]  # too long
    source.write_text("".join(json.dumps(row) + "\n" for row in asked))
    done = CliRunner().invoke(main, ["generate", *options, "--input", str(source)])
    assert done.exit_code == 0, done.output
    said = {row["id"]: row["prediction"] for row in map(json.loads, done.stdout.splitlines())}
    assert said == {row["id"]: predictions(evaluated)[row["id"]]["prediction"] for row in asked}


def test_generate_samples_alike_however_few_are_answered_at_once(
    model_dir: Path, cases_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the model says to all at once, by the seed and the conversation's place in the file."""
    rows = [json.loads(line) for line in cases_file.read_text().splitlines()]
    asked = [{"tools": row["tools"], "messages": row["messages"]} for row in rows if row["id"] != "c4"]  # too long
    source, lines = tmp_path / "asked.jsonl", list[str]()
    source.write_text("".join(json.dumps(row) + "\n" for row in asked))
    answering = Answering.of(max_new_tokens=8, temperature=1.0, dtype="float32", seed=3, batch_size=2)
    generate_file(model_dir, source, lines.append, answering, bar=True)
    sampler = answering.open(model_dir)
    prompts = [sampler.codec.prompt(one.tools, one.messages) for one in read_lines(source)]
    said = sampler.texts(sampler.generate(prompts, jax.random.key(3)))
    expected = [{"id": str(number), "prediction": text} for number, text in enumerate(said, 1)]
    assert [json.loads(line) for line in lines] == expected
    printed = capsys.readouterr()
    assert "6/6" in printed.err
    assert printed.out == ""
