"""Inputs on which users of other tools lost data, kept outside the repository: each is read, or clearly refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tl_jax.tooluse.metrics import score_prediction
from tl_jax.tooluse.readers import detect_format, read_cases, read_predictions, read_trajectories
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import DataError, Trajectory
from tl_jax.tooluse.text.syntaxes import MAX_LENGTH

KEY_A = {"key": "A"}


def calls(found: Trajectory) -> list[Any]:
    return [call.arguments for message in found.messages for call in message.tool_calls]


def results(found: Trajectory) -> list[str]:
    return [message.content for message in found.messages if message.role == "tool"]


READ: dict[str, Any] = {
    "langchain_args": ("canonical", lambda t: calls(t) == [KEY_A]),
    "call_parameters_key": ("openai", lambda t: calls(t) == [KEY_A]),
    "mcp_tools": ("openai", lambda t: [[*tool.properties] for tool in t.tools] == [["state"], ["lat"]]),
    "swift_loss": ("openai", lambda t: [m.weight for m in t.messages] == [None, 0, None, 1]),
    "sharegpt_weight": ("sharegpt", lambda t: [m.weight for m in t.messages] == [None, 0, None, 1]),
    "parallel_order": ("openai", lambda t: results(t) == ["10", "20"]),
    "swift_tool_call_role": ("swift", lambda t: (calls(t), results(t)) == ([KEY_A], ["10"])),
    "anthropic": ("anthropic", lambda t: (calls(t), results(t)) == ([KEY_A], ["10"])),
    "lf_v1_parts": ("llamafactory", lambda t: (calls(t), t.messages[1].reasoning) == ([KEY_A], "hm")),
    "tau2_flat": ("tau2", lambda t: (calls(t), t.messages[3].error, len(t.messages)) == ([KEY_A], True, 5)),
    "gemini": ("gemini", lambda t: calls(t) == [KEY_A]),
    "openai_responses": ("responses", lambda t: (calls(t), results(t)) == ([{}], ["1"])),
    "conversations_role_content": ("openai", lambda t: [tool.name for tool in t.tools] == ["lookup"]),
    "hermes_in_messages": ("hermes", lambda t: (calls(t), len(t.tools), t.messages[0].role) == ([KEY_A], 1, "user")),
    "toolace": (
        "toolace",
        lambda t: (calls(t), results(t)) == ([{"kind": "high", "country": "us"}], ['{"tides": []}']),
    ),
    "reasoning_content": ("openai", lambda t: t.messages[1].reasoning == "I must look A up."),
    "system_key": ("openai", lambda t: t.messages[0].content == "ALWAYS ANSWER IN FRENCH"),
    "tools_in_system": ("openai", lambda t: [tool.name for tool in t.tools] == ["lookup"]),
    "tools_json_text": ("openai", lambda t: [tool.name for tool in t.tools] == ["lookup"]),
    "datasets_nulls": ("openai", lambda t: calls(t) == [KEY_A]),
    "developer_parts": ("openai", lambda t: t.messages[0].content == "Be brief."),
    "standalone_tool": ("openai", lambda t: results(t) == ["env: Error: no network"]),
}
SCORED = {
    ("irrelevance_cases", "irrelevance_predictions"): lambda reward, score: reward < 0 and not score.cf,
    ("unwritable_cases", "unwritable_predictions"): lambda reward, score: reward == 1 and score.cf,
    ("toolrl_case", "toolrl_prediction"): lambda reward, score: reward == 1 and score.cf,
}
REFUSED = {
    "dpo_sharegpt": "chosen: is preference data",
    "image_part": r"messages\[0\]\.content\[1\]: only parts of text can be read",
    "canonical_unknown_fields": r"messages\[1\]\.\w+: unknown field",
}


@pytest.fixture
def cases(shared_data: Path) -> Path:
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


@pytest.mark.parametrize("name", READ)
def test_what_is_read(cases: Path, name: str) -> None:
    path = cases / f"{name}.jsonl"
    format, holds = READ[name]
    assert detect_format(path) == format
    (found,) = read_trajectories(path)
    assert holds(found), found


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(cases: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}\.jsonl:1: {REFUSED[name]}"):
        list(read_trajectories(cases / f"{name}.jsonl"))


@pytest.mark.parametrize("names", SCORED, ids=lambda names: names[0])
def test_what_is_scored(cases: Path, names: tuple[str, str]) -> None:
    """Of the unwritable ones the fifth is too long for any answer, and left out by the commands."""
    answers = read_predictions(cases / f"{names[1]}.jsonl")
    for case in read_cases(cases / f"{names[0]}.jsonl"):
        if len(answers[case.id]) <= MAX_LENGTH:
            found = score(answers[case.id], case).value, score_prediction(answers[case.id], case)
            assert SCORED[names](*found), (case.id, found)


def test_tables(cases: Path) -> None:
    """Arrow's and packed files hold what the others do."""
    pytest.importorskip("pyarrow")
    for name in ("tools_text.parquet", "good.parquet"):
        (found, *_) = read_trajectories(cases / name)
        assert (calls(found), [tool.name for tool in found.tools]) == ([KEY_A], ["lookup"])
    assert [turn.role for turn in next(read_trajectories(cases / "rows.jsonl.gz")).messages] == ["user", "assistant"]
