"""The paper's and the released format against the published template and hand-written texts."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import jinja2
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.tooluse import strategies
from tl_jax.cli import main
from tl_jax.config import RlDataConfig
from tl_jax.errors import UserError
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory
from tl_jax.tooluse.text.render import (
    RENDERERS,
    NamedRenderer,
    PaperFullRenderer,
    PaperRenderer,
    ReleasedRenderer,
    RenderError,
    make_renderer,
)

PUBLISHED_TEMPLATE = jinja2.Template(
    "{% for message in messages %}{{message['role'] + ': ' + message['content']}}{% if loop.last %}"
    "{% if add_generation_prompt %}{{ '\\nAssistant:' }}{% else %}{{ '</s>'}}{% endif %}{% else %}{{ '\\n' }}"
    "{% endif %}{% endfor %}"
)

ADVICE = (
    Tool("random_advice", "Returns a random advice slip as a slip object."),
    Tool(
        "advice_by_id",
        "If an advice slip is found with the corresponding {slip_id}, a slip object is returned.",
        {
            "type": "object",
            "properties": {"slip_id": {"type": "string", "description": "The unique ID of this advice slip."}},
            "required": ["slip_id"],
        },
    ),
)
ADVICE_BLOCK = '''Function:
def random_advice():
    """
    Returns a random advice slip as a slip object.
    """

Function:
def advice_by_id(slip_id:str):
    """
    If an advice slip is found with the corresponding {slip_id}, a slip object is returned.

    Args:
        slip_id (string): The unique ID of this advice slip.
    """

'''
TYPED = Tool(
    "plan",
    "Plans.",
    {
        "properties": {
            "note": {"type": "string", "description": "A note."},
            "n": {"type": "integer", "description": "A number."},
            "x": {"type": "number"},
            "on": {"type": "boolean", "description": None},
            "items": {"type": "array", "description": "Items.", "items": {"type": "string"}},
            "more": {"type": "object", "description": "More."},
            "either": {"type": ["string", "null"], "description": "Either."},
            "untyped": {},
        },
        "required": ["items", "n", "nowhere"],
    },
)


def published(system: str | None, messages: list[Message], contents: list[str], add_generation_prompt: bool) -> str:
    roles = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Output"}
    rows = [
        {"role": roles[message.role], "content": content} for message, content in zip(messages, contents, strict=True)
    ]
    rows = ([{"role": "System", "content": system}] if system is not None else []) + rows
    return PUBLISHED_TEMPLATE.render(messages=rows, add_generation_prompt=add_generation_prompt)


def cut(text: str, span: tuple[int, int]) -> str:
    return text[span[0] : span[1]]


@pytest.mark.parametrize("add_generation_prompt", [False, True])
def test_paper_text_of_the_readme_example(add_generation_prompt: bool) -> None:
    messages = [
        Message("user", "Could you give me some advice about 'love'?"),
        Message("assistant", "", (Call("search_advice", {"query": "love"}),)),
        Message("tool", '{"slips": []}'),
    ]
    contents = ["Could you give me some advice about 'love'?", "search_advice(query = 'love') ", '{"slips": []}']
    expected = published(ADVICE_BLOCK, messages, contents, add_generation_prompt)
    assert PaperRenderer().text(ADVICE, messages, add_generation_prompt) == expected


@settings(deadline=None)
@given(st.data(), st.booleans())
def test_both_formats_use_the_published_template(data: st.DataObject, add_generation_prompt: bool) -> None:
    messages = data.draw(strategies.messages())
    for renderer in (PaperRenderer(), ReleasedRenderer()):
        contents = [renderer.answer(m.tool_calls, m.content) for m in messages]
        expected = published(None, messages, contents, add_generation_prompt)
        assert renderer.text((), messages, add_generation_prompt) == expected
        inner = renderer.prompt((), messages) if add_generation_prompt else renderer.render((), messages)
        assert inner.text + ("</s>" if inner.closed_by_eos else "") == expected
        assert inner.closed_by_eos is not add_generation_prompt


def test_paper_function_with_types_optional_and_missing_parts() -> None:
    text = PaperRenderer().text((TYPED,), [Message("user", "go")])
    assert text == (
        "System: Function:\n"
        "def plan(items:list, n:int, note:str = None, x:float = None, on:bool = None, more:dict = None, "
        "either:str | None = None, untyped:any = None):\n"
        '    """\n    Plans.\n\n    Args:\n        items (array): Items.\n        n (integer): A number.\n'
        "        note (string): A note.\n        x (number): \n        on (boolean): \n        more (object): More.\n"
        '        either (string | null): Either.\n        untyped (any): \n    """\n\n\nUser: go</s>'
    )


@pytest.mark.parametrize(
    ("schema", "signature", "line"),
    [
        ({"type": "STRING"}, "a:str", "a (STRING): "),
        ({"type": ["INTEGER", "null"]}, "a:int | None", "a (INTEGER | null): "),
        ({"type": "List[int]"}, "a:list", "a (List[int]): "),
        ({"allOf": [{"$ref": "#/$defs/C"}]}, "a:str", "a (string): "),
        ({"anyOf": [{"$ref": "#/$defs/C"}, {"type": "null"}]}, "a:str | None", "a (string | null): "),
        ({"type": "date"}, "a:any", "a (date): "),
        ({"type": ["date", "time"]}, "a:any | any", "a (date | time): "),
        ({}, "a:any", "a (any): "),
    ],
)
def test_types_that_are_not_named_in_jsons_words(schema: dict[str, Any], signature: str, line: str) -> None:
    definitions = {"C": {"enum": ["red", "blue"]}}
    own = {"properties": {"a": schema}, "required": ["a"]}
    for parameters in (own, {"allOf": [own]}):
        tool = Tool("f", "", {**parameters, "$defs": definitions})
        text = PaperRenderer().text([tool], [])
        assert f"def f({signature}):\n" in text
        assert f"    Args:\n        {line}\n" in text


def test_released_functions_and_calls() -> None:
    call = Call("plan", {"items": ["a", "é"], "n": 1, "note": 'say "hi"', "on": True, "either": None})
    messages = [Message("user", "go"), Message("assistant", "", (call,)), Message("tool", "ok")]
    assert ReleasedRenderer().text((ADVICE[0], TYPED), messages, add_generation_prompt=True) == (
        'System: Function:\ndef random_advice():\n    """\n    Returns a random advice slip as a slip object.\n\n'
        '    Args:\n    """\n\n'
        "Function:\n"
        "def plan(items: array, n: integer, note: string = None, x: number = None, on: boolean = None, "
        "more: object = None, either: string | null = None, untyped: any = None):\n"
        '    """\n    Plans.\n\n    Args:\n    items (array): Items.\n    n (integer): A number.\n'
        "    note (string): A note.\n    x (number): \n    on (boolean): \n    more (object): More.\n"
        '    either (string | null): Either.\n    untyped (any): \n    """\n'
        "User: go\n"
        'Assistant: plan(items=["a", "é"], n=1, note="say \\"hi\\"", on=true, either=null)\n'
        "Output: ok\nAssistant:"
    )


def test_system_text_follows_the_tools_and_nothing_is_invented_without_either() -> None:
    messages = [Message("system", "Be brief."), Message("user", "go")]
    assert PaperRenderer().text(ADVICE, messages) == f"System: {ADVICE_BLOCK}Be brief.\nUser: go</s>"
    block = ReleasedRenderer().text(ADVICE, messages[1:]).removesuffix("\nUser: go</s>")
    assert ReleasedRenderer().text(ADVICE, messages) == f"{block}\n\nBe brief.\nUser: go</s>"
    for renderer in (PaperRenderer(), ReleasedRenderer()):
        assert renderer.text((), messages) == "System: Be brief.\nUser: go</s>"
        assert renderer.text((), messages[1:]) == "User: go</s>"


def test_text_and_several_calls_stand_on_lines_of_their_own() -> None:
    calls = [Call("f", {"a": "it's", "b": [1, None]}), Call("g-h.i", {})]
    assert PaperRenderer().answer(calls, "I think") == 'I think\nf(a = "it\'s", b = [1, None]) \ng-h.i() '
    assert ReleasedRenderer().answer(calls, "I think") == 'I think\nf(a="it\'s", b=[1, null])\ng-h.i()'


@settings(deadline=None)
@given(st.lists(strategies.tools(), max_size=2), strategies.messages())
def test_spans_recover_every_part_whatever_it_says(tools: list[Tool], messages: list[Message]) -> None:
    for renderer in (PaperRenderer(), PaperFullRenderer(), ReleasedRenderer()):
        for rendered in (renderer.render(tools, messages), renderer.prompt(tools, messages)):
            text, turns = rendered.text, iter(rendered.turns)
            assert len(rendered.messages) == len(messages)
            for index, (message, span) in enumerate(zip(messages, rendered.messages, strict=True)):
                if message.role != "assistant":
                    assert cut(text, span).endswith(message.content)
                    assert any(
                        cut(text, part).endswith(message.content) for part in rendered.untrusted if part[1] == span[1]
                    )
                    continue
                turn = next(turns)
                assert (turn.message, turn.stop, turn.answer[1]) == (index, None, span[1])
                assert text[: turn.answer[0]] == renderer.prompt(tools, messages[:index]).text
                assert cut(text, turn.answer) == " " + renderer.answer(message.tool_calls, message.content)
                assert (turn.answer[0] + 1, span[1]) in rendered.untrusted
                for call, where in zip(message.tool_calls, turn.calls, strict=True):
                    assert cut(text, where.name) == call.name
                    assert text.startswith(renderer.answer([call]).rstrip(" "), where.name[0])
                    read = json.loads if renderer.name == "released" else ast.literal_eval
                    assert {key: read(cut(text, span)) for key, span in where.arguments.items()} == call.arguments
            assert next(turns, None) is None
            covered = "".join(cut(text, span) for span in rendered.messages)
            assert text[rendered.messages[0][0] :].removesuffix("\nAssistant:") == covered.removesuffix("\nAssistant:")


def test_real_trajectories_are_spanned_exactly(shared_data: Path) -> None:
    rows = (shared_data / "train" / "permissive_1018.jsonl").read_text().splitlines()
    for trajectory in map(Trajectory.from_json, map(json.loads, rows[::10])):
        for renderer in (PaperRenderer(), PaperFullRenderer(), ReleasedRenderer()):
            rendered = renderer.render(trajectory.tools, trajectory.messages)
            for turn, (index, message) in zip(rendered.turns, trajectory.turns, strict=True):
                assert (
                    rendered.text[: turn.answer[0]]
                    == renderer.prompt(trajectory.tools, trajectory.messages[:index]).text
                )
                assert [cut(rendered.text, call.name) for call in turn.calls] == [
                    call.name for call in message.tool_calls
                ]


def test_make_renderer_names_the_formats_and_asks_for_a_template() -> None:
    assert make_renderer("paper").name == "paper"
    assert make_renderer("released").name == "released"
    assert make_renderer("chat", lambda messages, tools, prompt: "").name == "chat"
    with pytest.raises(RenderError, match=r"chat template.* no tokenizer that has one.* another format"):
        make_renderer("chat")
    with pytest.raises(UserError, match="unknown text format 'papr'; did you mean 'paper'"):
        make_renderer("papr")


def test_a_format_from_outside_is_offered_everywhere() -> None:
    class Mine(PaperRenderer):
        name = "mine"

    with RENDERERS.added(NamedRenderer("mine", "my own", lambda apply: Mine())):
        assert make_renderer("mine").name == "mine"
        assert RlDataConfig(path="d", renderer="mine").renderer == "mine"
        assert "mine" in CliRunner().invoke(main, ["inspect", "--help"]).output
    with pytest.raises(ValidationError, match=r"unknown 'mine'"):
        RlDataConfig(path="d", renderer="mine")
