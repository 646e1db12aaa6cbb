"""BFCL's classes as tools: gold calls, faults, turns of the user, and what ends an episode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.tooluse.bfcl.checker import accepts_episode, other_episodes, questions
from tl_jax.errors import UserError
from tl_jax.tooluse.bfcl.categories import CATEGORIES
from tl_jax.tooluse.bfcl.package import question_files
from tl_jax.tooluse.bfcl.score import fault
from tl_jax.tooluse.environments import bfcl
from tl_jax.tooluse.environments.base import SpeakingEnvironment
from tl_jax.tooluse.environments.bfcl import BfclTools
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.tooluse.text.render import PaperRenderer

pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")

FILES = {"w": {"type": "directory", "contents": {"a.txt": {"type": "file", "content": "one"}}}}
MV = Tool("mv", parameters={"properties": {"source": {}, "destination": {}}, "required": ["source", "destination"]})
CASE = Case(
    "multi_turn_base_0",
    (MV,),
    (Message("user", "Rename a.txt to c.txt."),),
    meta={
        "involved_classes": ["GorillaFileSystem", "MathAPI"],
        "initial_config": {"GorillaFileSystem": {"root": FILES}},
        "turns": [
            {"messages": [{"role": "user", "content": "Show it."}], "tools": []},
            {"messages": [{"role": "user", "content": "Thanks."}], "tools": []},
        ],
        "gold_source": [["mv('a.txt', 'c.txt')"], ["cat(file_name='c.txt')"], []],
    },
)
MOVE, SHOW = Call("mv", {"source": "a.txt", "destination": "c.txt"}), Call("cat", {"file_name": "c.txt"})


@pytest.fixture(scope="module")
def tools() -> Iterator[BfclTools]:
    with BfclTools() as made:
        yield made


def played(tools: BfclTools, *turns: list[Call]) -> Any:
    tools.reset(CASE)
    for calls in turns:
        for call in calls:
            tools.step(call)
        tools.user_says("Done.")
    return tools.outcome


def test_an_episode(tools: BfclTools) -> None:
    assert isinstance(tools, SpeakingEnvironment)
    assert tools.reset(CASE) is CASE
    assert [call.name for call in tools.expected] == ["mv"]
    assert tools.step(MOVE) == ("{\"result\": \"'a.txt' moved to 'c.txt'\"}", False)
    assert tools.expected == ()
    says = tools.user_says("Renamed.")
    assert says is not None
    assert [message.content for message in says.messages] == ["Show it."]
    assert tools.step(SHOW) == ('{"file_content": "one"}', False)
    assert tools.user_says("one") is not None
    assert tools.user_says("You are welcome.") is None
    assert tools.outcome == {"turns": 3, "passed": 3, "fault": ""}


@pytest.mark.parametrize(
    ("turns", "passed", "fault"),
    [
        ([[], [MOVE, SHOW], []], 0, "no call"),
        ([[Call("mv", {"source": "a.txt", "destination": "d.txt"})], [SHOW], []], 0, "state: GorillaFileSystem.root"),
        ([[MOVE], [Call("cat", {"file_name": "a.txt"})], []], 1, 'result: {"file_content": "one"}'),
        ([[MOVE], [Call("ls"), SHOW], []], 3, ""),
        ([[MOVE, SHOW], [Call("ls")], []], 3, ""),
        ([[MOVE], [SHOW], [Call("touch", {"file_name": "x"})]], 3, ""),
        ([[MOVE], [SHOW]], 2, ""),
    ],
)
def test_how_far_it_is_right(tools: BfclTools, turns: list[list[Call]], passed: int, fault: str) -> None:
    """A result that was seen earlier counts, and what is done in a turn without gold calls does not, as in BFCL."""
    assert played(tools, *turns) == {"turns": 3, "passed": passed, "fault": fault}


def test_calls_that_fail_are_answered_as_in_bfcl(tools: BfclTools) -> None:
    tools.reset(CASE)
    assert tools.step(Call("fly")) == ("Error during execution: name 'fly' is not defined", False)
    error = "Error during execution: GorillaFileSystem.cat() got an unexpected keyword argument 'name'"
    assert tools.step(Call("cat", {"name": "x"})) == (error, False)
    assert tools.step(Call("_load_scenario"))[0] == "Error during execution: name '_load_scenario' is not defined"
    assert tools.step(Call("begin"))[0] == "Error during execution: name 'begin' is not defined"


def test_too_many_calls_end_it(tools: BfclTools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfcl, "MAX_CALLS", 2)
    tools.reset(CASE)
    assert [tools.step(Call("ls"))[1] for _ in range(2)] == [False, True]
    assert tools.outcome["fault"] == "too many calls"


@pytest.mark.long
def test_a_call_that_takes_too_long_ends_it_and_the_next_episode_begins_anew() -> None:
    with BfclTools(seconds=1.0) as tools:
        tools.reset(CASE)
        endless = Call("power", {"base": 10**300, "exponent": 10**7})
        result, done = tools.step(endless)
        assert result.startswith("Error: "), result
        assert done
        assert tools.user_says("?") is not None
        assert tools.outcome["passed"] == 0
        assert played(tools, [MOVE], [SHOW], []) == {"turns": 3, "passed": 3, "fault": ""}


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({}, "case 'multi_turn_base_0': is no multi-turn question of BFCL"),
        (
            {**CASE.meta, "involved_classes": ["FileSystem"]},
            "unknown class 'FileSystem'; known: GorillaF",
        ),
        ({**CASE.meta, "gold_source": [[]]}, "needs the gold calls of each of its 3 turns"),
        ({**CASE.meta, "gold_source": [["mv("], [], []]}, r"the gold call 'mv\(' cannot be read"),
        ({**CASE.meta, "gold_source": [["ls('a')"], [], []]}, "is of no function on offer"),
        ({**CASE.meta, "initial_config": {"GorillaFileSystem": {"root": 1}}}, "BFCL's classes could not be run"),
    ],
)
def test_cases_that_are_none(tools: BfclTools, meta: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        tools.reset(replace(CASE, meta=meta))


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, category in CATEGORIES.items() if category.rule == "episode"])
def test_bfcl_judges_the_same(tools: BfclTools, name: str) -> None:
    """Gold and other episodes of every 40th question; benchmarks/bfcl_parity.py asks about all."""
    category, renderer = CATEGORIES[name], PaperRenderer()
    rows = questions(category)
    for case in [*read_cases(question_files([category])[0])][::40]:
        for number, (done, turns) in enumerate(other_episodes(case, seed=1)):
            written = [[renderer.answer([call]).strip() for call in turn] for turn in turns]
            theirs = accepts_episode([[[text] for text in turn] for turn in written], rows[case.id], f"t{number}")
            assert (fault(written, case, tools) == "correct") is theirs, (case.id, done, tools.outcome)
            assert theirs or done != "gold"


@pytest.mark.parametrize("name", [name for name, category in CATEGORIES.items() if category.rule == "episode"])
def test_the_gold_calls_of_every_question_are_right(tools: BfclTools, name: str) -> None:
    for case in read_cases(question_files([CATEGORIES[name]])[0]):
        tools.reset(case)
        says: object = case
        while says is not None:
            while tools.expected:
                tools.step(tools.expected[0])
            says = tools.user_says("")
        assert tools.outcome["passed"] == tools.outcome["turns"], (case.id, tools.outcome)
