"""Which call a result answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tooluse.readers.helpers import lines
from tl_jax.tooluse.mae.apply import blocked_turns
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.pairing import answers, in_order, pairs
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.readers.fields import BY_POSITION
from tl_jax.tooluse.readers.messages import GIVEN_ID
from tl_jax.tooluse.schema import Call, DataError, Message, Trajectory

USER, SAID = Message("user", "Go."), Message("assistant", "Done.")


def calls(*ids: str | None) -> Message:
    return Message("assistant", "", tuple(Call("f", {"n": number}, id=name) for number, name in enumerate(ids)))


def called(*names: str, ids: str | None = None) -> Message:
    known_as = ids or [None] * len(names)
    return Message("assistant", "", tuple(Call(name, id=one) for name, one in zip(names, known_as, strict=True)))


def result(call_id: str | None = None, text: str = "", name: str | None = None) -> Message:
    return Message("tool", text, name=name, call_id=call_id)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([calls("a", "b"), result("b"), result("a")], {1: (0, 1), 2: (0, 0)}),
        ([calls("a"), calls("b"), result("b"), result("a")], {2: (1, 0), 3: (0, 0)}),
        ([calls("a"), USER, result("a")], {2: (0, 0)}),
        ([calls("a"), USER, calls("b"), result("a"), result("b")], {3: (0, 0), 4: (2, 0)}),  # late, once more called
        # by position
        ([calls(None, None), result(), result()], {1: (0, 0), 2: (0, 1)}),
        ([calls(None), calls(None), result(), result()], {2: (0, 0), 3: (1, 0)}),
        ([calls(None), USER, result()], {2: (0, 0)}),
        ([calls(None), SAID, result()], {2: (0, 0)}),
        ([calls(None, None), result(), USER, result()], {1: (0, 0)}),
        ([calls(None, "b"), result(), USER, result("b")], {1: (0, 0), 3: (0, 1)}),
        ([calls(None), USER, calls(None), result()], {3: (2, 0)}),  # the first call has no result
        ([calls(None), result(), result()], {1: (0, 0), 2: (0, 0)}),  # one more of the same call
        ([USER, result(), SAID], {}),
        ([calls(None), result(), SAID, result()], {1: (0, 0)}),
        ([calls("a", None), result(), result("a")], {1: (0, 0), 2: (0, 0)}),
        # an id again and again
        ([calls("a"), result("a"), calls("a"), result("a")], {1: (0, 0), 3: (2, 0)}),
        ([calls("a"), USER, calls("a"), result("a")], {3: (2, 0)}),
        ([calls("a", "a"), result("a"), result("a")], {1: (0, 0), 2: (0, 1)}),
        ([calls("a"), calls("a"), result("a"), result("a")], {2: (0, 0), 3: (1, 0)}),
        ([calls("a"), result("z")], {1: (0, 0)}),
        # by name, before the position
        ([called("f"), called("g"), result(name="g"), result(name="f")], {2: (1, 0), 3: (0, 0)}),
        ([called("f", "g"), result(name="g"), result(name="f")], {1: (0, 1), 2: (0, 0)}),
        ([called("f", "g", "f"), *[result(name=name) for name in "ffg"]], {1: (0, 0), 2: (0, 2), 3: (0, 1)}),
        ([called("f", "g"), result(name="h"), result(name="g")], {1: (0, 0), 2: (0, 1)}),  # another name for f
        ([called("f", "g"), result(name="g"), result()], {1: (0, 1), 2: (0, 0)}),
        ([called("f", "g"), result(name="g"), USER, result(name="f")], {1: (0, 1)}),
        ([called("f"), result(name="f"), called("f"), result(name="f")], {1: (0, 0), 3: (2, 0)}),
        ([called("f", "g", ids="ab"), result(name="g"), result(name="f")], {1: (0, 1), 2: (0, 0)}),
        ([called("f", "g", ids="ab"), result("a", name="g"), result("b", name="f")], {1: (0, 0), 2: (0, 1)}),
        ([called("f", "g", ids="aa"), result("a", name="g"), result("a", name="f")], {1: (0, 1), 2: (0, 0)}),
        ([called("f", "g", ids="aa"), result("a", name="h"), result("a", name="g")], {1: (0, 0), 2: (0, 1)}),
        ([called("f", ids="a"), called("g", ids="a"), result("a", name="g")], {2: (1, 0)}),
    ],
)
def test_pairs(messages: list[Message], expected: dict[int, tuple[int, int]]) -> None:
    assert pairs(messages).call_of == expected


def test_guesses_are_counted() -> None:
    assert pairs([calls("a"), result("a"), calls("a"), result("a")]).guessed == 0  # nearest: no guess
    assert pairs([calls("a", "a"), result("a"), result("a")]).guessed == 1  # the last one is no choice


@given(st.permutations(range(5)), st.integers(0, 4), st.booleans())
def test_ids_tell_whatever_the_order(order: list[int], after: int, in_one_turn: bool) -> None:
    """Five calls, in one message or in five, and their results in any order, with a user's words among them."""
    made = [calls(*"abcde")] if in_one_turn else [calls(name) for name in "abcde"]
    results = [result("abcde"[number], str(number)) for number in order]
    messages = [*made, *results[:after], USER, *results[after:]]
    found = pairs(messages)
    for index, (turn, number) in found.call_of.items():
        assert (number if in_one_turn else turn) == int(messages[index].content)
    assert found.guessed == 0
    assert len(found.call_of) == 5
    ordered = in_order([*made, *results], pairs([*made, *results]))
    assert [message.content for message in ordered[-5:]] == list("01234")


def test_which_results_belong_to_a_turn() -> None:
    """A tool message right after a turn without calls is its own: the call may be text."""
    messages = [calls("a"), calls("b"), result("b"), result("a"), SAID, result(), USER, result()]
    assert answers(messages) == {1: [2], 0: [3], 4: [5]}


def test_only_a_position_that_tells_is_a_guess() -> None:
    asked = called("f", "g", "g", ids="aaa")
    for name, guessed in (("f", 0), ("g", 1), (None, 1)):
        assert pairs([asked, result("a", name=name)]).guessed == guessed


def test_mae_blocks_the_turn_whose_result_failed() -> None:
    failed, fine = '{"error": "no such key"}', "2"
    for messages, blocked in [
        ((USER, calls("a"), calls("b"), result("a", failed), result("b", fine), SAID), [1]),
        ((USER, calls("a"), calls("b"), result("b", failed), result("a", fine), SAID), [2]),
        ((USER, calls("a"), USER, result("a", failed), SAID), [1]),
        ((USER, calls("a"), result("a", fine), SAID), []),
        ((USER, calls("a"), Message("tool", "7", call_id="a", error=True), SAID), [1]),
    ]:
        assert [item.message for item in blocked_turns(Trajectory("t", (), messages))] == blocked
    flagged = (USER, calls("a"), Message("tool", "7", call_id="a", error=True))
    (block,) = blocked_turns(Trajectory("t", (), flagged))
    assert (block.finding.rule, block.finding.category, block.finding.evidence) == ("error flag", "unknown_error", "7")
    assert blocked_turns(Trajectory("t", (), flagged), block="caller") == []
    told = Message("tool", "f() got an unexpected keyword argument 'x'", error=True)
    (block,) = blocked_turns(Trajectory("t", (), (USER, calls("a"), told)), block="caller")
    assert block.finding.category == "parameter_hallucination"  # the text says more than the flag
    for rule in ("none", "reference"):
        assert blocked_turns(Trajectory("t", (), flagged), rule) == []


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("format", ["openai", "langchain"])
def test_names_tell_where_ids_do_not(tmp_path: Path, format: str, apart: bool) -> None:
    """The result of the second call comes first, and says so by its name only; it is an error."""
    call = {"lookup": one_call("lookup", "c1"), "add": one_call("add", "c2")}
    turns = [[call["lookup"]], [call["add"]]] if apart else [[call["lookup"], call["add"]]]
    asked = [{"role": "assistant", "content": "", "tool_calls": made} for made in turns]
    failed = {"role": "tool", "name": "add", "content": '{"error": "no such key"}'}
    said = [*asked, failed, {"role": "tool", "name": "lookup", "content": "10"}]
    (found,) = read_trajectories(lines(tmp_path / "a.jsonl", row(*said)), format)
    assert [(one.name, one.content) for one in found.messages[-2:]] == [("lookup", "10"), ("add", failed["content"])]
    blocked = [found.messages[item.message].tool_calls for item in blocked_turns(found)]
    assert [[call.name for call in calls] for calls in blocked] == ([["add"]] if apart else [["lookup", "add"]])


@pytest.mark.parametrize("format", ["openai", "langchain"])
@pytest.mark.parametrize("names", [("add", "lookup"), (None, None)])
def test_one_id_of_two_calls(tmp_path: Path, format: str, names: Sequence[str | None]) -> None:
    """Their results say which is whose, or else stand in the order of the calls, which is told."""
    asked = {"role": "assistant", "content": "", "tool_calls": [one_call(name, "c") for name in ("lookup", "add")]}
    results = [{"role": "tool", "tool_call_id": "c", "content": name or "?"} for name in names]
    said = [item | ({"name": name} if name else {}) for item, name in zip(results, names, strict=True)]
    notes = Notes()
    (found,) = read_trajectories(lines(tmp_path / "a.jsonl", row(asked, *said)), format, notes=notes)
    contents = ["lookup", "add"] if names[0] else ["?", "?"]
    assert [(one.name, one.content) for one in found.messages[-2:]] == [("lookup", contents[0]), ("add", contents[1])]
    assert list(notes.remarks) == ([] if names[0] else [BY_POSITION])


def test_a_result_is_named_after_the_call_that_it_answers(tmp_path: Path) -> None:
    """And not after the latest call."""
    chat = "USER: Go.\n" + "".join(
        f'ASSISTANT: <functioncall> {{"name": "{name}", "arguments": \'{{}}\'}} <|endoftext|>\n' for name in "fg"
    )
    chat += "FUNCTION RESPONSE: 1\nFUNCTION RESPONSE: 2\nASSISTANT: So. <|endoftext|>"
    said = ["Go.", "f\n{}", "g\n{}", "1", "2", "So."]
    roles = ["user", "assistant", "assistant", "function", "function", "assistant"]
    tools = {"role": "system", "content": json.dumps([{"name": "f"}, {"name": "g"}])}
    turns = [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]
    for format, value in (
        ("glaive", {"system": "", "chat": chat}),
        ("tl", {"id": "a", "conversations": [tools, *turns]}),
    ):
        (found,) = read_trajectories(lines(tmp_path / f"{format}.jsonl", value), format)
        results = [one for one in found.messages if one.role == "tool"]
        assert [(one.name, one.content) for one in results] == [("f", "1"), ("g", "2")], format


def one_call(name: str, id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def row(*messages: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Go."}, *messages]}


def made(*ids: str) -> dict[str, Any]:
    functions = [{"name": "f", "arguments": json.dumps({"n": number})} for number in range(len(ids))]
    calls = [{"id": name, "type": "function", "function": item} for name, item in zip(ids, functions, strict=True)]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def test_ids_of_files(tmp_path: Path) -> None:
    """Kept as they are; results that follow one another stand in the order of their calls afterwards."""
    answered = [{"role": "tool", "tool_call_id": name, "content": name} for name in "ba"]
    notes = Notes()
    (found,) = read_trajectories(lines(tmp_path / "a.jsonl", row(made("a", "b"), *answered)), notes=notes)
    assert [call.id for call in found.messages[1].tool_calls] == ["a", "b"]
    assert [(message.content, message.call_id, message.name) for message in found.messages[2:]] == [
        ("a", "a", "f"),
        ("b", "b", "f"),
    ]
    assert notes.lines() == []
    again = lines(tmp_path / "again.jsonl", found.to_json())
    assert [item.to_json() for item in read_trajectories(again)] == [found.to_json()]


def test_ids_that_tell_nothing_are_said_once(tmp_path: Path) -> None:
    empty = row(made("", ""), *({"role": "tool", "tool_call_id": "", "content": text} for text in "xy"))
    same = row(made("c", "c"), *({"role": "tool", "tool_call_id": "c", "content": text} for text in "xy"))
    notes = Notes()
    found = list(read_trajectories(lines(tmp_path / "a.jsonl", empty, same), notes=notes))
    assert [pairs(item.messages).call_of for item in found] == [{2: (1, 0), 3: (1, 1)}] * 2
    assert list(notes.remarks) == [BY_POSITION]
    with pytest.raises(DataError, match=r"messages\[1\]\.tool_call_id: 'c' is the id of no earlier call"):
        list(read_trajectories(lines(tmp_path / "b.jsonl", row({"role": "tool", "tool_call_id": "c", "content": ""}))))


TEXT_CALLS = [
    ('<tool_call>{"id": "c", "name": "f", "arguments": {}}</tool_call>', "c"),
    ('[TOOL_CALLS][{"name": "f", "arguments": {}, "id": "abcdefghi"}]', "abcdefghi"),
    ("<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>", "functions.f:0"),
    ('[{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]', "c"),
]


@pytest.mark.parametrize(("text", "id"), TEXT_CALLS)
def test_ids_of_calls_that_are_text(tmp_path: Path, text: str, id: str) -> None:
    result = {"role": "tool", "tool_call_id": id, "content": "1"}
    messages = row({"role": "assistant", "content": text}, result)["messages"]
    notes = Notes()
    file = lines(tmp_path / "a.jsonl", {"tools": [{"name": "f"}], "messages": messages})
    (found,) = read_trajectories(file, notes=notes)
    assert found.messages[1].tool_calls[0].id == found.messages[2].call_id == id
    assert notes.lines() == []
    other = lines(
        tmp_path / "b.jsonl", {"tools": [{"name": "f"}], "messages": [*messages[:2], {**result, "tool_call_id": "z"}]}
    )
    with pytest.raises(DataError, match=r"messages\[2\]\.tool_call_id: 'z' is the id of no earlier call"):
        list(read_trajectories(other))


TEXT = {"role": "assistant", "content": '<tool_call>{"name": "f", "arguments": {}}</tool_call>'}
SWIFT = {"role": "tool_call", "content": '{"name": "f", "arguments": {}}'}


def calling(*names: str) -> dict[str, Any]:
    made = [{"type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    return {"role": "assistant", "content": None, "tool_calls": made}


def answer(id: str, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": id, **more}


@pytest.mark.parametrize(
    ("messages", "ids"),
    [
        ([calling("f"), answer("a")], ["a"]),
        ([TEXT, answer("a")], ["a"]),
        ([SWIFT, {**answer("a"), "role": "tool_response"}], ["a"]),
        ([calling("f", "f"), answer("a"), answer("b")], ["a", "b"]),
        ([calling("f", "g"), answer("a", name="g"), answer("b", name="f")], ["b", "a"]),
        ([calling("f", "g"), answer("a", name="g")], [None, "a"]),
        ([calling("f"), answer("a"), answer("a")], ["a"]),
    ],
)
def test_calls_without_ids_have_those_of_their_results(
    tmp_path: Path, messages: list[dict[str, Any]], ids: list[str | None]
) -> None:
    notes = Notes()
    (found,) = read_trajectories(lines(tmp_path / "a.jsonl", row(*messages)), notes=notes)
    assert [call.id for call in found.messages[1].tool_calls] == ids
    assert notes.remarks[GIVEN_ID] == 1
    again = lines(tmp_path / "again.jsonl", found.to_json())
    assert [item.to_json() for item in read_trajectories(again)] == [found.to_json()]


@pytest.mark.parametrize(
    "messages",
    [
        [calling("f", "f"), answer("z")],
        [made("a"), answer("z")],
        [made("a"), answer("a"), answer("z")],
        [calling("f"), answer("a"), answer("z")],
        [{"role": "assistant", "content": "No."}, answer("z")],
    ],
)
def test_an_id_of_no_call_is_refused(tmp_path: Path, messages: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match=r"messages\[\d\]\.tool_call_id: 'z' is the id of no earlier call"):
        list(read_trajectories(lines(tmp_path / "a.jsonl", row(*messages))))
