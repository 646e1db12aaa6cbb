"""Trajectories in the formats of others: nothing is lost in silence on the way there and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.thoroughness import examples
from tests.tooluse import strategies
from tests.tooluse.readers.helpers import LOOKUP, lines
from tl_jax.cli import main
from tl_jax.errors import UserError
from tl_jax.tooluse.convert import convert
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.pairing import pairs
from tl_jax.tooluse.readers import FORMATS, Place, canonical, detect_format, read_trajectories
from tl_jax.tooluse.readers.dialogue import named
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory
from tl_jax.tooluse.writing import WITHOUT_IDS, writable, written

FOREIGN = [name for name in writable() if name != "canonical"]
CALLS = (Call("lookup", {"word": "dog", "limit": None}, id="c1"), Call("lookup", {"word": "cat"}, id="c2"))
PLAIN = Trajectory(
    "t1",
    (Tool.from_json(LOOKUP),),
    (
        Message("system", "Be brief."),
        Message("user", "Dogs and cats?"),
        Message("assistant", "I look.", CALLS, weight=0.0),
        Message("tool", '{"is": "a pet"}', name="lookup", call_id="c1"),
        Message("tool", "a pet, too", name="lookup", call_id="c2"),
        Message("assistant", "Pets."),
    ),
    "pets",
    {"source": {"page": 3}},
)
WHAT = {
    "weight": (2, {"weight": 0.25}),
    "reasoning": (2, {"reasoning": "Look them up."}),
    "refusal": (5, {"refusal": "No."}),
    "error": (3, {"error": True}),
    "name": (1, {"name": "Ada"}),
}
CANNOT = {
    "openai": {"error"},
    "sharegpt": {"reasoning", "refusal", "error", "name"},
    "hermes": {"refusal", "error"},
    "swift": {"weight", "reasoning", "refusal", "error", "name"},
    "llamafactory": {"refusal", "error", "name"},
    "anthropic": {"refusal", "name"},
}
"""Format -> what it has no place for."""


def back(name: str, row: Any) -> Trajectory:
    """What the format's own reader makes of a row."""
    write = FORMATS[name].write
    assert write
    (found,) = write.read(json.loads(json.dumps(row)), Place(Path("x.jsonl"), line=1))
    return found


def normal(trajectory: Trajectory) -> Trajectory:
    """The trajectory without what the rest of it tells: ids that say what the order says, names of results."""
    messages = named(
        replace(message, call_id=None, name=None if message.role == "tool" else message.name)
        for message in trajectory.messages
    )
    return replace(trajectory, messages=tuple(messages))


def test_at_least_five_formats_are_written() -> None:
    assert set(FOREIGN) == CANNOT.keys()
    assert len(writable()) >= 6


@pytest.mark.parametrize("name", writable())
def test_there_and_back(tmp_path: Path, name: str) -> None:
    notes = Notes()
    trajectory = PLAIN if name != "swift" else replace(PLAIN, messages=(*PLAIN.messages[:2], *PLAIN.messages[2:]))
    with notes.kept():
        row = written(trajectory, FORMATS[name])
    assert normal(back(name, row)) == normal(trajectory)
    ids = name in ("canonical", "openai", "anthropic")
    assert notes.remarks == ({} if ids else {WITHOUT_IDS: 2})
    if ids:
        assert back(name, row).messages == trajectory.messages
    path = lines(tmp_path / "data.jsonl", row)
    (found,) = read_trajectories(path)  # whatever it is taken for, it says the same
    assert normal(found) == normal(trajectory)
    assert detect_format(path) in (name, "openai")


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("what", WHAT)
def test_what_a_format_cannot_say_is_an_error_or_counted(name: str, what: str) -> None:
    index, change = WHAT[what]
    messages = [*PLAIN.messages]
    messages[index] = replace(messages[index], **change)  # type: ignore[arg-type]
    trajectory = replace(PLAIN, messages=tuple(messages))
    if what not in CANNOT[name]:
        assert normal(back(name, written(trajectory, FORMATS[name]))) == normal(trajectory)
        return
    with pytest.raises(DataError, match=rf"messages\[{index}\]\.{what}: .*{name}"):
        written(trajectory, FORMATS[name])
    notes = Notes("drop")
    if what == "weight":  # it would be another weight
        return
    with notes.kept():
        again = back(name, written(trajectory, FORMATS[name]))
    assert notes.dropped == {f"messages[].{what}": 1}
    assert normal(again) == normal(PLAIN)


def test_tools_and_gold_calls() -> None:
    tool = replace(PLAIN.tools[0], extra={"strict": True})
    for name in FOREIGN:
        assert back(name, written(replace(PLAIN, tools=(tool,)), FORMATS[name])).tools == (tool,)
        wild = replace(PLAIN, messages=(*PLAIN.messages[:2], Message("assistant", "", (Call("f", {}, ("a",)),))))
        with pytest.raises(DataError, match=r"messages\[2\]\.tool_calls\[0\]\.wild: .* has no field"):
            written(wild, FORMATS[name])


def test_what_would_be_read_as_something_else_is_refused() -> None:
    call = '<tool_call>{"name": "lookup", "arguments": {}}</tool_call>'
    for name in ("sharegpt", "hermes"):
        trajectory = replace(PLAIN, messages=(Message("user", "Hi."), Message("assistant", call)))
        with pytest.raises(DataError, match=r"messages\[1\]\.\w+: cannot be written as"):
            written(trajectory, FORMATS[name])
    two = (Message("user", "Hi."), Message("assistant", "I look."), Message("assistant", "", CALLS[:1]))
    for name in ("sharegpt", "swift"):
        with pytest.raises(DataError, match=r"messages\[1\]\.tool_calls: cannot be written as"):
            written(replace(PLAIN, messages=two), FORMATS[name])
    late = replace(PLAIN.messages[4], call_id="c1")  # two results of the first call
    with pytest.raises(DataError, match=r"messages\[4\]\.call_id: cannot be written as swift"):
        written(replace(PLAIN, messages=(*PLAIN.messages[:4], late)), FORMATS["swift"])


ids = st.sampled_from([None, "a", "b", "call_0", "toolu_0"])


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    """Any trajectory, as the canonical reader has it."""
    tools = draw(st.lists(strategies.tools(), max_size=2, unique_by=lambda tool: tool.name))
    made: list[Message] = []
    for message in draw(strategies.messages()):
        calls = tuple(replace(call, id=draw(ids)) for call in message.tool_calls)
        if message.role == "assistant":
            said = {"weight": draw(st.sampled_from([None, 0.0, 1.0, 0.5])), "tool_calls": calls}
            said |= {
                "reasoning": draw(st.sampled_from([None, "hm"])),
                "refusal": draw(st.sampled_from([None, None, "No."])),
            }
            message = replace(message, **said)  # type: ignore[arg-type]
        elif message.role == "tool":
            known = [call.id for turn in made for call in turn.tool_calls if call.id]
            known_as = draw(st.sampled_from([None, *known]))
            message = replace(message, call_id=known_as, error=draw(st.booleans()))
        made.append(message)
    meta = draw(st.dictionaries(strategies.names, strategies.values, max_size=2))
    drawn = Trajectory(draw(strategies.names), tuple(tools), tuple(made), draw(strategies.names), meta)
    (found,) = canonical.trajectories(json.loads(json.dumps(drawn.to_json())), Place(Path("x.jsonl"), line=1))
    return found


def attempt(trajectory: Trajectory, name: str) -> tuple[dict[str, Any] | None, DataError | None]:
    """The row, or why there is none."""
    try:
        return written(trajectory, FORMATS[name]), None
    except DataError as error:
        return None, error


@pytest.mark.fuzz
@pytest.mark.long
@pytest.mark.parametrize("name", writable())
@settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
@given(trajectory=trajectories())
def test_nothing_is_lost_in_silence(name: str, trajectory: Trajectory) -> None:
    """A row says all of a trajectory; or an error names what it cannot say; or that was dropped and counted."""
    row, problem = attempt(trajectory, name)
    if row is not None:
        again = back(name, row)
        assert normal(again) == normal(trajectory)
    else:
        assert problem
        assert problem.field
        assert name != "canonical"
        notes = Notes("drop")
        with notes.kept():
            row, _ = attempt(trajectory, name)
        if row is None:  # it would be read as something else
            return
        assert notes.dropped
        again = back(name, row)
        plain = [(m.role, m.content, m.tool_calls) for m in trajectory.messages]
        assert [(m.role, m.content, m.tool_calls) for m in again.messages] == plain
    assert pairs(again.messages).call_of == pairs(trajectory.messages).call_of


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, ["data", "convert", *map(str, arguments)])


def test_the_command_writes_what_it_reads(tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", PLAIN.to_json())
    for name in FOREIGN:
        middle, out = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.back.jsonl"
        assert run("--in", source, "--out", middle, "--to", name).exit_code == 0
        assert run("--in", middle, "--out", out).exit_code == 0
        (again,) = read_trajectories(out)
        assert normal(again) == normal(PLAIN)


def test_the_command_says_what_it_cannot_write(tmp_path: Path) -> None:
    row = PLAIN.to_json()
    row["messages"][3]["error"] = True
    source, out = lines(tmp_path / "in.jsonl", PLAIN.to_json() | {"id": "t0"}, row), tmp_path / "out.jsonl"
    result = run("--in", source, "--out", out, "--to", "openai")
    assert (result.exit_code, out.exists()) == (2, False)
    assert "in.jsonl: messages[3].error: row 't1': openai has no field for it" in result.output
    result = run("--in", source, "--out", out, "--to", "openai", "--unknown", "drop")
    assert result.exit_code == 0
    assert "messages[].error" in result.output
    assert len(out.read_text().splitlines()) == 2


def test_what_is_not_written(tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", PLAIN.to_json())
    assert "'glaive' is not one of 'canonical', 'openai'" in run("--in", source, "--out", "x", "--to", "glaive").output
    with pytest.raises(UserError, match="glaive is not written; known: canonical, openai"):
        convert([source], tmp_path / "x", to="glaive")
    with pytest.raises(DataError, match="holds cases, and openai has none"):
        convert([source], tmp_path / "x", kind="cases", to="openai")
