"""``--suite bfcl_v4``: questions answered, scored and summed up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from tests.inference.speaking import Speaking
from tests.tooluse.readers.helpers import lines, tool
from tests.tooluse.readers.test_bfcl_v4 import EPISODE, IRRELEVANCE, PAINT, SIMPLE
from tests.training.conftest import data_file, model_dir
from tl_jax.cli import main
from tl_jax.config import SamplingConfig
from tl_jax.data.codec import Codec
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.errors import UserError
from tl_jax.evaluation.answering import Answering
from tl_jax.evaluation.bfcl import evaluate_bfcl, load_questions, score_bfcl
from tl_jax.inference.engine import Listener

__all__ = ["data_file", "model_dir"]

RIGHT = "paint.wall(colour='Dark red', area=10)"
EPISODES = {
    **{key: value for key, value in EPISODE.items() if key != "missed_function"},
    "id": "multi_turn_base_0",
    "question": EPISODE["question"][:2],
    "function": [PAINT],
    "initial_config": {},
    "involved_classes": ["MathAPI"],
    "ground_truth": [["add(a=1, b=2)", "add(3, 4)"], ["add(a=5, b=6)"]],
}
ADD = tool("add", "a", "b", a="float", b="float")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as the package has one, with three small categories."""
    folder = tmp_path / "data"
    (folder / "multi_turn_func_doc").mkdir(parents=True)
    lines(folder / "multi_turn_func_doc" / "math_api.json", ADD)
    lines(folder / "BFCL_v4_simple_python.json", SIMPLE, {**SIMPLE, "id": "simple_python_4"})
    lines(folder / "BFCL_v4_irrelevance.json", IRRELEVANCE)
    lines(folder / "BFCL_v4_multi_turn_base.json", EPISODES)
    return folder


def scored(data: Path, *rows: tuple[str, Any], categories: Sequence[str] = ("all",)) -> dict[str, Any]:
    predictions = lines(data / "p.jsonl", *({"id": name, "prediction": said} for name, said in rows))
    return score_bfcl(predictions, categories, data).to_json()


def test_scores(data: Path) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")
    found = scored(
        data,
        ("simple_python_3", RIGHT),
        ("simple_python_4", "I would say " + RIGHT),
        ("irrelevance_7", "There is no such function."),
        ("multi_turn_base_0", [["add(a=1, b=2)\nadd(a=3, b=4)", "3 and 7."], ["Easy:\nadd(5, 6)", "11"]]),
    )
    assert {name: part["accuracy"] for name, part in found["categories"].items()} == {
        "simple_python": 50.0,
        "irrelevance": 100.0,
        "multi_turn_base": 100.0,
    }
    assert found["categories"]["simple_python"]["faults"] == {"correct": 1, "parse_failure": 1}
    assert (found["overall"], found["points"], found["missing"]) == (None, 0, 0)
    assert found["absent"] == {"non_live": 10, "live": 10, "no_call": 10, "multi_turn": 30, "agentic": 40}


def test_two_models_are_compared_by_its_rules(data: Path) -> None:
    """As `score` counts them; questions of other categories are none of the comparison's business."""
    wrong, silent = "paint.wall(colour='Dark red', area=11)", "There is no such function."
    first = (("simple_python_3", wrong), ("simple_python_4", RIGHT), ("irrelevance_7", silent))
    second = (
        ("simple_python_3", RIGHT),
        ("simple_python_4", RIGHT),
        ("irrelevance_7", RIGHT),
        ("multi_turn_base_0", []),
    )
    files = [
        lines(data / f"{name}.jsonl", *({"id": name, "prediction": said} for name, said in rows))
        for name, rows in (("first", first), ("second", second))
    ]
    asked = ("--suite", "bfcl_v4", "--category", "simple_python", "--category", "irrelevance", "--cases", str(data))
    done = CliRunner().invoke(main, ["compare", *map(str, files), *asked, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    accuracy = found["differences"].pop("accuracy")
    assert found["differences"] == {}
    assert (accuracy["higher_a"], accuracy["higher_b"], found["cases"]) == (1, 1, 3)
    for side, rows in (("a", first), ("b", second[:3])):
        counted = scored(data, *rows, categories=["simple_python", "irrelevance"])["categories"].values()
        assert accuracy[side] == pytest.approx(sum(one["accuracy"] * one["cases"] for one in counted) / 3)
    assert {row["id"]: row["change"] for row in found["changed"]} == {
        "simple_python_3": "better",
        "irrelevance_7": "worse",
    }
    assert "wrong_tool" in found["errors"]
    done = CliRunner().invoke(main, ["compare", *map(str, files), *asked, "--strict"])
    assert "--strict does not go with --suite" in done.output


@pytest.mark.parametrize(
    ("prediction", "fault"),
    [
        ([["add(a=1, b=2)", "add(a=3, b=4)"], ["add(a=5, b=6)"]], "correct"),
        ([["add(a=1, b=2)", "3"], ["add(a=5, b=6)", "11"]], "result"),
        ([["3 and 7"], ["add(a=5, b=6)"]], "no call"),
        ([["add(a=1, b=2)", "add(a=3, b=4)"]], "turns"),
        ([], "turns"),
        ([["add(a=1, b=2)", "add(a=3, b=4)"], ["add(a=5, b=6)"], []], "turns"),
    ],
)
def test_episodes(data: Path, prediction: Any, fault: str) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")
    found = scored(data, ("multi_turn_base_0", prediction), categories=["multi_turn_base"])
    assert found["categories"]["multi_turn_base"]["faults"] == {fault: 1}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("I cannot paint.", "correct"),
        ("paint.wall(colour='red', area=1)", "wrong_tool"),
        ("<tool_call>{name: paint.wall}</tool_call>", "parse_failure"),
        ("", "parse_failure"),
    ],
)
def test_a_call_that_cannot_be_read_and_silence_are_no_abstention(data: Path, answer: str, fault: str) -> None:
    found = scored(data, ("irrelevance_7", answer), categories=["irrelevance"])
    assert found["categories"]["irrelevance"]["faults"] == {fault: 1}


def test_any_call_is_relevant(data: Path) -> None:
    lines(data / "BFCL_v4_live_relevance.json", {**IRRELEVANCE, "id": "live_relevance_0-0-0"})
    for answer, fault in (("paint.wall()", "correct"), ("fly(to='mars')", "correct"), ("No.", "parse_failure")):
        found = scored(data, ("live_relevance_0-0-0", answer), categories=["live_relevance"])
        assert found["categories"]["live_relevance"]["faults"] == {fault: 1}


def test_what_is_missing_or_of_another_category(data: Path) -> None:
    found = scored(data, ("simple_python_3", RIGHT), ("irrelevance_7", "x"), categories=["simple_python"])
    assert found["missing"] == 1
    assert found["categories"]["simple_python"]["faults"] == {"correct": 1, "missing": 1}
    with pytest.raises(UserError, match=r"1 predictions belong to no case of .*, for instance 'simple_python_9'"):
        scored(data, ("simple_python_9", RIGHT), categories=["simple_python"])
    with pytest.raises(UserError, match="the prediction for 'simple_python_3' must be a text"):
        scored(data, ("simple_python_3", [[RIGHT]]), categories=["simple_python"])
    with pytest.raises(UserError, match="the prediction for 'multi_turn_base_0' must be a list of turns"):
        scored(data, ("multi_turn_base_0", RIGHT), categories=["multi_turn_base"])
    with pytest.raises(UserError, match='must be an object with "id" and "prediction", a text, the assistant'):
        scored(data, ("multi_turn_base_0", [RIGHT]), categories=["multi_turn_base"])


def test_which_questions(data: Path) -> None:
    assert [case.id for case in load_questions(["all"], data)] == [
        "simple_python_3",
        "simple_python_4",
        "irrelevance_7",
        "multi_turn_base_0",
    ]
    assert [case.id for case in load_questions(["all"], data, limit=1)][:2] == ["simple_python_3", "irrelevance_7"]
    assert [case.id for case in load_questions([], data / "BFCL_v4_irrelevance.json")] == ["irrelevance_7"]
    with pytest.raises(UserError, match=r"BFCL_v4_multiple\.json: no such file"):
        load_questions(["non_live", "multiple"], data)
    with pytest.raises(UserError, match=r"BFCL_v4_live_simple\.json: no such file"):
        load_questions(["live"], data)


@dataclass(frozen=True)
class Spoken(Speaking):
    """A sampler that answers a prompt by what the user said last."""

    says: dict[str, str] = field(default_factory=dict)

    def said(self, prompts: Sequence[Sequence[int]], listener: Listener) -> Sequence[str]:
        texts = map(self.codec.tokenizer.decode, prompts)
        return [self.says[max(self.says, key=text.rfind)] for text in texts]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, model_dir: Path) -> Path:
    """A model that gets everything right, with a context for all prompts."""
    codec = Codec.open("paper", load_tokenizer(model_dir))
    says = {
        "Paint 10 m2 dark red.": RIGHT,
        "Paint it.": "add(1, 2)\nadd(3, 4)",
        "And again.": "add(a=5, b=6)",
        "Output: ": "Done.",
    }
    engine: Any = SimpleNamespace(
        model=SimpleNamespace(max_position_embeddings=10_000),
        conversations=nullcontext,  # as of an engine that keeps nothing between turns
    )
    sampler = Spoken(engine, codec, SamplingConfig(max_new_tokens=100), codec.stop_ids, says=says)
    monkeypatch.setattr(Answering, "open", lambda self, model: sampler)
    return model_dir


def test_a_model_is_asked(data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")
    answering = Answering.of(max_new_tokens=100)
    evaluate_bfcl(model, tmp_path / "out", ["simple_python"], answering, data)
    scores = evaluate_bfcl(model, tmp_path / "out", ["simple_python", "multi_turn_base"], answering, data)
    rows = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["simple_python_3", "simple_python_4", "multi_turn_base_0"]
    assert rows[-1]["prediction"] == [["add(1, 2)\nadd(3, 4)", "Done."], ["add(a=5, b=6)", "Done."]]
    assert {name: tally.share.accuracy for name, tally in scores.categories.items()} == {
        "simple_python": 100.0,
        "multi_turn_base": 100.0,
    }
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary == {"suite": "bfcl_v4", **scores.to_json(), "unwritable_cases": {}}
    assert "multi_turn_base" in capsys.readouterr().err
    with pytest.raises(UserError, match="was made with other settings"):
        evaluate_bfcl(model, tmp_path / "out", ["irrelevance"], Answering.of(max_new_tokens=90), data)


def test_the_commands(data: Path, tmp_path: Path) -> None:
    predictions = lines(tmp_path / "p.jsonl", {"id": "irrelevance_7", "prediction": "No."})
    base = ["score", "--predictions", str(predictions)]
    suite = ["--suite", "bfcl_v4", "--category", "irrelevance", "--cases", str(data)]
    done = CliRunner().invoke(main, [*base, *suite])
    assert done.exit_code == 0, done.output
    assert "overall" not in done.output
    assert "100.00" in done.output
    found = json.loads(CliRunner().invoke(main, [*base, *suite, "--json"]).stdout)
    assert (found["suite"], found["categories"]["irrelevance"]["accuracy"]) == ("bfcl_v4", 100.0)
    for arguments, problem in (
        ([*base], "Missing option '--cases' or '--suite'"),
        ([*base, "--category", "all"], "--category goes with --suite"),
        ([*base, *suite, "--strict"], "--strict does not go with --suite"),
        ([*base, *suite, "--format", "bfcl"], "--format does not go with --suite"),
        ([*base, *suite, "--category", "irelevance"], "unknown category 'irelevance'; did you mean 'irrelevance'?"),
        (["eval", "--model", str(tmp_path), "--out", str(tmp_path / "o")], "Missing option '--cases' or '--suite'"),
    ):
        failed = CliRunner().invoke(main, arguments)
        assert failed.exit_code == 2, failed.output
        assert problem in failed.output
