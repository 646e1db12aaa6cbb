"""RoTBench."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import (
    ASK,
    FINISH,
    LOOKUP,
    action,
    as_canonical,
    document,
    prompt,
    tool,
    turns,
    without_source,
)
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.schema import Call, Case, DataError, Message

ROTBENCH = {
    "id": "Turn 1: What does it mean?",
    "conversations": turns(
        ("system", prompt([LOOKUP, ASK, FINISH])),
        ("user", "What does it mean?\nBegin!\n"),
        (
            "assistant",
            [action("lookup", {"word": "it", "limit": "None"}), action("ask_to_user", {"question": "What?"})],
        ),
    ),
    "scenario": "TG",
}


EXAMPLES = [ROTBENCH]


def row(conversation: list[dict[str, Any]], identity: str = "Turn 1: q") -> dict[str, Any]:
    return {"id": identity, "conversations": conversation, "scenario": "TG"}


def read(tmp_path: Path, *rows: Any, name: str = "clean") -> list[Case]:
    return list(read_cases(document(tmp_path / f"{name}.json", list(rows)), "rotbench"))


def test_first_turn(tmp_path: Path) -> None:
    (case,) = read(tmp_path, ROTBENCH, name="First_Turn_clean")
    assert [item.name for item in case.tools] == ["lookup", "ask_to_user", "finish"]
    assert case.messages == (Message("user", "What does it mean?"),)
    assert case.gold == (
        (Call("lookup", {"word": "it", "limit": "None"}, ("limit",)),),
        (Call("ask_to_user", {"question": "What?"}, ("question",)),),
    )
    assert (case.id, case.split, case.gold_kind) == ("rotbench/clean/0000", "clean", "alternatives")
    assert case.meta["scenario"] == "TG"


def test_third_turn(tmp_path: Path) -> None:
    conversation = [
        *ROTBENCH["conversations"][:2],  # type: ignore[index]
        *turns(
            ("assistant", action("lookup", {"word": "it"}, " I look it up.")),
            ("function", "limit is missing"),
            ("assistant", action("ask_to_user", {"question": "How many?"})),
            ("user", "Two."),
            ("assistant", action("lookup", {"word": "it", "limit": 2})),
        ),
    ]
    (case,) = read(tmp_path, row(conversation, "Turn 3: q"), name="union")
    assert case.messages[1:] == (
        Message("assistant", "I look it up.", (Call("lookup", {"word": "it"}),)),
        Message("tool", "limit is missing", name="lookup"),
        Message("assistant", "", (Call("ask_to_user", {"question": "How many?"}),)),
        Message("user", "Two."),
    )
    assert case.gold == ((Call("lookup", {"word": "it", "limit": 2}),),)
    assert (case.id, case.meta["noise_kind"]) == ("rotbench/third_turn_union/0000", "union")


def test_special_tools_are_known_by_their_place(tmp_path: Path) -> None:
    tools = [tool("finish", "word", word="string"), {**ASK, "name": "Gsk"}, {**FINISH, "name": "lookup"}]
    gold = [action("finish", {"word": "a"}), action("lookup", {"answer": "b"}), action("Gsk", {"question": "c"})]
    (case,) = read(tmp_path, row(turns(("system", prompt(tools)), ("user", "q"), ("assistant", gold))), name="heavy")
    assert [call.wild for (call,) in case.gold] == [(), ("answer",), ("question",)]
    assert (case.meta["finish"], case.meta["ask_to_user"]) == ("lookup", "Gsk")


@pytest.mark.parametrize(("level", "third"), [("slight", False), ("medium", False), ("heavy", True)])
def test_noise_of_names_comes_before_noise_of_parameters(tmp_path: Path, level: str, third: bool) -> None:
    count = 70 if third else 105
    conversation = copy.deepcopy(ROTBENCH["conversations"])
    if third:
        conversation[2:2] = turns(("assistant", action("lookup", {})), ("function", "no"))  # type: ignore[index]
    cases = read(tmp_path, *[row(conversation)] * (2 * count), name=level)  # type: ignore[arg-type]
    assert [case.meta["noise_kind"] for case in cases] == ["tool_name"] * count + ["parameter"] * count
    assert [case.meta["clean_index"] for case in cases] == [*range(count)] * 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"conversations": turns(("system", "x"), ("user", "q"))}, "conversations: must be a system prompt"),
        (
            {"conversations": turns(("system", "no"), ("user", "q"), ("assistant", ["x"]))},
            r"conversations\[0\]\.value: has no list of tools after",
        ),
        (
            {"conversations": turns(("system", prompt([FINISH])), ("user", "q"), ("assistant", ["x"]))},
            r"conversations\[0\]\.value: lists fewer than two tools",
        ),
        (
            {"conversations": turns(("system", prompt([LOOKUP, {}])), ("user", "q"), ("assistant", ["x"]))},
            r"conversations\[0\]\.value: tools\[1\]\.name: is missing",
        ),
        (
            {"conversations": [*ROTBENCH["conversations"][:2], *turns(("assistant", ["Action: f()"]))]},  # type: ignore[index]
            r"conversations\[2\]\.value\[0\]: has no line 'Action:'",
        ),
        (
            {"conversations": [*ROTBENCH["conversations"][:2], *turns(("assistant", ["Action: f\nAction Input: {a"]))]},  # type: ignore[index]
            r"conversations\[2\]\.value\[0\]: Action Input: is neither JSON nor a Python literal",
        ),
        ({"id": None}, "id: is missing"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=r"clean\.json: \[1\]\." + problem):
        read(tmp_path, ROTBENCH, {**ROTBENCH, **change})


def test_the_name_must_tell_the_level(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file's name must say the noise"):
        read(tmp_path, ROTBENCH, name="First_Turn")


def test_real_files_give_the_canonical_rows(shared_data: Path) -> None:
    found = list(read_cases(shared_data / "raw/rotbench/First_Turn_clean.json"))
    expected = as_canonical(shared_data / "eval/rotbench_clean.jsonl")
    assert list(map(without_source, found)) == list(map(without_source, expected))


def test_noised_rows_written_in_the_raw_form_come_back(tmp_path: Path, shared_data: Path) -> None:
    expected = as_canonical(shared_data / "eval" / "rotbench_slight.jsonl")
    rows = []
    for case in expected:
        gold = [action(call.name, dict(call.arguments)) for (call,) in case.gold]
        tools = [item.to_json() for item in case.tools]
        question = case.messages[0].content + "\nBegin!\n"
        conversation = turns(("system", prompt(tools)), ("user", question), ("assistant", gold))
        rows.append({"id": case.meta["source_id"], "conversations": conversation, "scenario": case.meta["scenario"]})
    assert list(map(without_source, read(tmp_path, *rows, name="slight"))) == list(map(without_source, expected))


def test_real_third_turn(shared_data: Path) -> None:
    cases = list(read_cases(shared_data / "raw" / "rotbench" / "Third_Turn_clean.json"))
    assert len(cases) == 70
    assert all(
        [turn.role for turn in case.messages][0::2] == ["user", "tool", "tool"]
        or "user" in [turn.role for turn in case.messages[1:]]
        for case in cases
    )
    finishing = [call for case in cases for (call,) in case.gold if call.name == "finish"]
    assert len(finishing) == 36
    assert all(call.wild == ("answer",) for call in finishing)
