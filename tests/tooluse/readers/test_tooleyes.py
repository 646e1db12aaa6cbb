"""ToolEyes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tooluse.readers.helpers import (
    ASK,
    FINISH,
    LOOKUP,
    as_canonical,
    document,
    prompt,
    turns,
    without_source,
)
from tl_jax.tooluse.readers import detect_format, read_cases
from tl_jax.tooluse.schema import DataError

TOOLEYES = {
    "id": "Turn 1: What does it mean?",
    "conversations": turns(("system", prompt([LOOKUP, ASK, FINISH])), ("user", "What does it mean?\nBegin!\n")),
    "scenario": "TG",
    "path": "ToolEyes/Tool_Library/Words/Words",
}


EXAMPLES = [TOOLEYES]


def test_tooleyes(tmp_path: Path) -> None:
    path = document(tmp_path / "scenario_data_five_processed.json", [TOOLEYES])
    assert detect_format(path) == "tooleyes"
    (case,) = read_cases(path)
    assert (case.id, case.gold, case.gold_kind) == ("tooleyes/five_shot/0000", (), "none")
    assert case.meta["library"] == "Words/Words"
    path = document(tmp_path / "bad.json", [{**TOOLEYES, "path": 3}])
    with pytest.raises(DataError, match=r"bad\.json: \[0\]\.path: must be text, not int"):
        list(read_cases(path, "tooleyes"))


def test_real_files_give_the_canonical_rows(shared_data: Path) -> None:
    found = list(read_cases(shared_data / "raw/tooleyes/scenario_data_zero_processed.json"))
    expected = as_canonical(shared_data / "eval/tooleyes.jsonl")
    assert list(map(without_source, found)) == list(map(without_source, expected))
