"""Large and hostile rows cost what their length says, in time and memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.growth import grows_linearly, peak
from tl_jax.tooluse import strict_json
from tl_jax.tooluse.mae.apply import blocked_turns, find_error
from tl_jax.tooluse.pairing import answers, in_order, named, pairs
from tl_jax.tooluse.readers import FORMATS, Place, pydantic_ai, read_trajectories
from tl_jax.tooluse.rewards.live import live_reward
from tl_jax.tooluse.schema import Call, Case, Message, Tool, Trajectory
from tl_jax.tooluse.text import literals
from tl_jax.tooluse.text.structure import structure_calls
from tl_jax.tooluse.text.syntaxes import attempted
from tl_jax.tooluse.writing import writable, written

MANY = 100


def turn(count: int, ids: str = "one each") -> Trajectory:
    """A conversation of one turn with many calls, and their results; in the other order where the ids tell."""
    known_as: list[str | None] = [f"c{number}" for number in range(count)]
    if ids != "one each":
        known_as = ["c" if ids == "the same" else None] * count
    calls = tuple(Call("f", {"x": f"v{number}"}, id=name) for number, name in enumerate(known_as))
    results = [Message("tool", f"'w{number}'", call_id=name) for number, name in enumerate(known_as)]
    results = results[::-1] if ids == "one each" else results
    messages = (Message("user", "Go."), Message("assistant", "", calls), *results, Message("assistant", "So."))
    tool = Tool("f", "", {"type": "object", "properties": {"x": {"type": "string"}}})
    return Trajectory("a", (tool,), messages)


@pytest.mark.parametrize("ids", ["one each", "the same", "none"])
@pytest.mark.parametrize("do", [pairs, answers, named])
def test_pairing_many_calls(do: Any, ids: str) -> None:
    assert grows_linearly(do, lambda count: turn(count, ids).messages, 3 * MANY)


def ordered(messages: Sequence[Message]) -> Sequence[Message]:
    return in_order(messages, pairs(messages))


def test_results_after_results_of_one_call() -> None:
    asked = (Message("user", "Go."), Message("assistant", "", (Call("f"),)))
    assert grows_linearly(pairs, lambda count: (*asked, *[Message("tool", "1")] * count), 3 * MANY)
    assert grows_linearly(ordered, lambda count: (*asked, *[Message("tool", "1")] * count), 3 * MANY)


def test_white_space_in_an_answer() -> None:
    assert grows_linearly(lambda text: structure_calls(text, ()), lambda count: "(x)" + "\n" * count + "b", 2000)


def test_results_by_name() -> None:
    def messages(calls: int, results: int) -> list[Message]:
        made = tuple(Call(f"f{number}") for number in range(calls))
        said = [Message("tool", name=f"f{number}") for number in reversed(range(results))]
        return [Message("assistant", "", made), *said]

    assert grows_linearly(ordered, lambda count: messages(count, count), 3 * MANY)
    assert grows_linearly(ordered, lambda count: messages(2, count), 3 * MANY)


def test_a_field_given_twice() -> None:
    def read(text: str) -> None:
        with pytest.raises(ValueError, match="twice"):
            strict_json.loads(text)

    def text(count: int) -> str:
        return "{" + "".join(f'"{number}": 0, ' for number in range(count)) + f'"{count - 1}": 1}}'

    assert grows_linearly(read, text, 1000)


def test_a_live_reward_of_many_calls() -> None:
    def answered(count: int) -> SimpleNamespace:
        messages = turn(count).messages
        before, calls = Case("c", (), messages), [Call("f", {"x": f"w{number}"}) for number in range(count)]
        return SimpleNamespace(case=before, text="", finished=True, calls=calls, results=["1"] * count)

    assert grows_linearly(live_reward, answered, MANY)


@pytest.mark.parametrize("rule", ["paper", "reference"])
def test_mae_of_many_calls(rule: str) -> None:
    assert grows_linearly(lambda row: blocked_turns(row, rule), turn, MANY)


@pytest.mark.long
@pytest.mark.parametrize("name", writable())
def test_reading_and_writing_many_calls(tmp_path: Path, name: str) -> None:
    def file(count: int) -> Path:
        path = tmp_path / f"{count}.jsonl"
        path.write_text(json.dumps(written(turn(count, "none"), FORMATS[name])))
        return path

    assert grows_linearly(lambda path: list(read_trajectories(path, name)), file, MANY)
    assert grows_linearly(lambda row: written(row, FORMATS[name]), lambda count: turn(count, "none"), MANY)


def test_instructions_that_are_others_in_every_request() -> None:
    said, answer = [{"part_kind": "user-prompt", "content": "?"}], [{"part_kind": "text", "content": "Yes."}]

    def row(count: int) -> dict[str, Any]:
        asked = ({"kind": "request", "instructions": f"{number}", "parts": said} for number in range(count))
        return {"messages": [message for one in asked for message in (one, {"kind": "response", "parts": answer})]}

    assert grows_linearly(lambda row: pydantic_ai.trajectories(row, Place(Path("x"))), row, MANY)


@pytest.mark.parametrize(
    ("words", "count"), [("a [TOOL_CALLS], ", 10_000), ("a <tool_call>b ", 10_000), ("<tool_call>b c\n", 1_000)]
)
def test_a_long_text_that_speaks_of_tokens(words: str, count: int) -> None:
    assert grows_linearly(lambda text: attempted(text, ["f"]), lambda count: words * count, count)


ITEM = "{'error': 'not found', 'n': 1}, "
CUT_OFF = {
    "JSON": ("[", ITEM.replace("'", '"')),
    "Python": ("[", ITEM),
    "a list inside of JSON": ('{"response": "', "[1, 2], "),
    "brackets": ("", "["),
    "a text": ("", '["Error: '),
    "broken": ("[", "}] {['"),
}


SHORT = 10_000
"""`literals.LONGEST` in these tests."""


@pytest.fixture(autouse=True)
def short_texts_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(literals, "LONGEST", SHORT)


def cut_off(begin: str, item: str, length: int) -> str:
    return begin + item * (length // len(item))


@pytest.mark.parametrize(("begin", "item"), CUT_OFF.values(), ids=CUT_OFF)
def test_a_long_result_that_is_cut_off(begin: str, item: str) -> None:
    """Python takes 480 bytes for each character that it is given: beyond a length it is given no more."""
    long = cut_off(begin, item, 20 * SHORT)
    assert peak(lambda: find_error(long)) < 600 * SHORT + 12 * len(long)


def test_of_a_long_result_the_beginning_tells() -> None:
    for name in ("JSON", "Python"):
        errors = cut_off(*CUT_OFF[name], 2 * SHORT)
        assert find_error(errors) is not None
        assert find_error("[{}, " + errors[1:]) is None
