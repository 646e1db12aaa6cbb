"""The JSON shapes of tools, calls, messages, trajectories and cases, and what is said about wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tooluse import strategies
from tl_jax.tooluse.schema import Call, Case, DataError, Message, Tool, Trajectory, decision_points

TOOL = {
    "name": "search",
    "description": "Searches.",
    "parameters": {"type": "object", "properties": {"limit": {}, "query": {"type": "string"}}, "required": ["query"]},
}
USER = {"role": "user", "content": "hi"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [{"name": "search", "arguments": {"query": "a"}}]}


def row(**changes: Any) -> dict[str, Any]:
    return {"id": "x", "tools": [TOOL], "messages": [USER, CALLING], **changes}


def test_reading_a_trajectory() -> None:
    trajectory = Trajectory.from_json(row(suite="demo", meta={"k": 1}))
    assert trajectory.messages == (Message("user", "hi"), Message("assistant", "", (Call("search", {"query": "a"}),)))
    assert list(trajectory.turns) == [(1, trajectory.messages[1])]
    (tool,) = trajectory.tools
    assert (tool.required, tool.signature, list(tool.properties)) == (
        ("query",),
        ("query", "limit"),
        ["limit", "query"],
    )
    assert Trajectory.from_json(row(tools=[{"type": "function", "function": TOOL}])).tools == trajectory.tools
    assert Trajectory.from_json(row(id=7)).id == "7"


def test_signature_lists_only_known_parameters_once() -> None:
    parameters = {"properties": {"a": {}, "b": {}, "c": {}}, "required": ["c", "nowhere", "c", "b"]}
    assert Tool("f", "", parameters).signature == ("c", "b", "a")


@settings(deadline=None)
@given(
    st.lists(strategies.tools(), max_size=2),
    strategies.messages(),
    st.lists(st.lists(strategies.calls, max_size=2), max_size=2),
    st.sampled_from([None, 0.0, 0.5]),
)
def test_json_round_trip(
    tools: list[Tool], messages: list[Message], gold: list[list[Call]], weight: float | None
) -> None:
    weighted = (*messages, Message("assistant", "", (Call("f", {"a": 1}, wild=("a",)),), weight=weight))
    trajectory = Trajectory("t", tuple(tools), weighted, "suite", {"k": [1]})
    assert Trajectory.from_json(json.loads(json.dumps(trajectory.to_json()))) == trajectory
    named = (*messages, Message("tool", "ok", name="f"))
    case = Case("c", tuple(tools), named, tuple(map(tuple, gold)), "parallel", "suite", "split", {"k": None})
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": None}, "id: is missing"),
        ({"messages": []}, "messages: must be a non-empty list"),
        ({"messages": "hi"}, "messages: must be a non-empty list"),
        ({"messages": [USER, "hi"]}, r"messages\[1\]: must be a JSON object, not str"),
        ({"messages": [{"content": "hi"}]}, r"messages\[0\].role: is missing"),
        ({"messages": [{"role": "bot"}]}, r"messages\[0\].role: unknown role 'bot'; expected one of system, user"),
        ({"messages": [{"role": "user", "content": 1}]}, r"messages\[0\].content: must be text, not int"),
        ({"messages": [USER | {"name": 1}]}, r"messages\[0\].name: must be text, not int"),
        ({"messages": [USER | {"weight": 1}]}, r"messages\[0\]: only an assistant message has tool_calls or weight"),
        ({"messages": [CALLING | {"tool_calls": "f()"}]}, r"messages\[0\].tool_calls: must be a list, not str"),
        ({"messages": [CALLING | {"tool_calls": [{"name": " "}]}]}, r"messages\[0\].tool_calls\[0\].name: is empty"),
        ({"messages": [CALLING | {"tool_calls": [{}]}]}, r"messages\[0\].tool_calls\[0\].name: is missing"),
        (
            {"messages": [CALLING | {"tool_calls": [{"name": "f", "arguments": "{}"}]}]},
            r"tool_calls\[0\].arguments: must be",
        ),
        ({"messages": [CALLING | {"weight": -1}]}, r"messages\[0\].weight: must be a finite number >= 0, not -1"),
        ({"messages": [CALLING | {"weight": float("nan")}]}, r"messages\[0\].weight: must be a finite number"),
        ({"messages": [CALLING | {"weight": True}]}, r"messages\[0\].weight: must be a finite number"),
        ({"tools": "search"}, "tools: must be a list of tools"),
        ({"tools": [{"name": ""}]}, r"tools\[0\].name: is empty"),
        ({"tools": [{}]}, r"tools\[0\].name: is missing"),
        ({"tools": [{"function": {"name": 1}}]}, r"tools\[0\].function.name: must be text, not int"),
        ({"tools": [TOOL | {"parameters": "none"}]}, r"tools\[0\].parameters: is not JSON: Expecting value"),
        ({"tools": [TOOL | {"parameters": '"none"'}]}, r"tools\[0\].parameters: must be a JSON object, not str"),
        (
            {"tools": [TOOL | {"parameters": {"properties": {"q": "str"}}}]},
            r"tools\[0\].parameters.properties.q: must be",
        ),
        ({"tools": [TOOL | {"parameters": {"required": "q"}}]}, r"tools\[0\].parameters.required: must be a list"),
        ({"suite": 1}, "suite: must be text, not int"),
        ({"meta": "x"}, "meta: must be a JSON object, not str"),
        ({"gold": [{"name": "f"}]}, "gold: must be a list of alternatives"),
        ({"gold": [[{"name": "f", "wild": [1]}]]}, r"gold\[0\]\[0\].wild: must be a list of argument names"),
        (
            {"gold_kind": "all"},
            "gold_kind: unknown kind 'all'; expected one of alternatives, sequence, parallel, open, none",
        ),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        Case.from_json(row(**changes))
    assert str(caught.value.at("data.jsonl", 3)) == f"data.jsonl:3: {caught.value}"


def test_null_and_empty_fields_count_as_absent() -> None:
    case = Case.from_json(row(tools=None, suite=None, gold=None, meta=None, messages=[CALLING | {"weight": None}]))
    assert (case.tools, case.suite, case.gold, case.meta, case.messages[0].weight) == ((), "", (), {}, None)
    assert Tool.from_json({"name": "f", "description": None, "parameters": None}) == Tool("f")


def test_places_of_errors() -> None:
    assert str(DataError("is odd")) == "is odd"
    assert str(DataError("is odd", path="a.json")) == "a.json: is odd"
    assert str(DataError("is odd", line=3, field="id")) == "line 3: id: is odd"


def test_decision_points_are_the_calls_that_are_targets() -> None:
    f, g = Call("f"), Call("g")
    messages = (
        Message("user", "go"),
        Message("assistant", "", (f,), weight=0),
        Message("tool", "error"),
        Message("assistant", "", (f, g)),
        Message("tool", "ok"),
        Message("assistant", "", (g,), weight=0.5),
        Message("assistant", "Done."),
    )
    both, single = decision_points(Trajectory("t", (), messages, "demo", {"k": 1}))
    assert (both.id, both.messages, both.gold, both.gold_kind) == ("t#3", messages[:3], ((f, g),), "parallel")
    assert (single.id, single.messages, single.gold) == ("t#5", messages[:5], ((g,),))
    assert (single.gold_kind, single.suite, single.meta) == ("alternatives", "demo", {"k": 1})


def test_real_files_survive_a_round_trip(shared_data: Path) -> None:
    files = [(shared_data / "train" / "permissive_1018.jsonl", Trajectory)]
    files += [(path, Case) for path in sorted((shared_data / "eval").glob("*.jsonl"))]
    for path, kind in files:
        for line in path.read_text().splitlines()[::5]:
            parsed = kind.from_json(json.loads(line))
            assert kind.from_json(parsed.to_json()) == parsed
            assert [len(m["content"]) for m in parsed.to_json()["messages"]] == [
                len(m["content"] or "") for m in json.loads(line)["messages"]
            ]


def test_parameters_of_which_a_schema_says_true_or_false() -> None:
    tool = Tool.from_json({"name": "f", "parameters": {"type": "object", "properties": {"a": True, "b": False}}})
    assert tool.properties == {"a": {}, "b": {"not": {}}}
