"""xLAM / APIGen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import (
    lines,
    read_one,
)
from tl_jax.tooluse.readers import read_cases, read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message

XLAM = {
    "id": 7,
    "query": "What are a dog and a cat?",
    "tools": json.dumps(
        [
            {
                "name": "lookup",
                "description": "Finds.",
                "parameters": {
                    "word": {"description": "It.", "type": "str"},
                    "limit": {"description": "How many.", "type": "int, optional"},
                    "kinds": {"description": "Which.", "type": "List[str]", "default": "noun"},
                },
            }
        ]
    ),
    "answers": json.dumps([{"name": "lookup", "arguments": {"word": word}} for word in ("dog", "cat")]),
}


EXAMPLES = [XLAM]


def test_a_type_that_is_optional_many_times(tmp_path: Path) -> None:
    for times, known in ((3, {"type": "integer"}), (3000, {})):
        written = "Optional[" * times + "int" + "]" * times
        tools = json.loads(XLAM["tools"])
        tools[0]["parameters"]["limit"]["type"] = written
        found = read_one(tmp_path, {**XLAM, "tools": json.dumps(tools)}).tools[0].properties["limit"]
        assert found == {"description": "How many.", **known, "x-type": written}


def test_xlam(tmp_path: Path) -> None:
    found = read_one(tmp_path, XLAM)
    calls = tuple(Call("lookup", {"word": word}) for word in ("dog", "cat"))
    assert found.messages == (Message("user", "What are a dog and a cat?"), Message("assistant", tool_calls=calls))
    (offered,) = found.tools
    assert offered.required == ("word",)
    assert offered.properties == {
        "word": {"type": "string", "x-type": "str", "description": "It."},
        "limit": {"type": "integer", "x-type": "int, optional", "description": "How many."},
        "kinds": {
            "type": "array",
            "items": {"type": "string"},
            "x-type": "List[str]",
            "description": "Which.",
            "default": "noun",
        },
    }
    (case,) = read_cases(lines(tmp_path / "data.jsonl", XLAM))
    assert (case.id, case.gold, case.gold_kind) == ("xlam/7", (calls,), "parallel")


def test_xlam_where_no_tool_helps(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", {**XLAM, "answers": "[]"})
    (case,) = read_cases(path)
    assert case.gold == ((),)
    nameless = [{**XLAM, "id": identity} for identity in ("", None)]
    assert [one.id for one in read_cases(lines(tmp_path / "more.jsonl", *nameless))] == ["more:1", "more:2"]
    with pytest.raises(DataError, match=r"data\.jsonl:1: answers: is empty"):
        list(read_trajectories(path))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({**XLAM, "tools": "[3]"}, r"tools\[0\]: must be a JSON object, not int"),
        ({**XLAM, "answers": "{}"}, "answers: must be a list as JSON text, not dict"),
        ({**XLAM, "answers": '[{"arguments": {}}]'}, r"answers\[0\]\.name: is missing"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, problem: str) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:2: " + problem):
        list(read_trajectories(lines(tmp_path / "data.jsonl", XLAM, row)))
