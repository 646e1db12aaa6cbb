"""Objects as calls: of whom they are calls without arguments, what APIs call these, and what is no call."""

from __future__ import annotations

import pytest

from tl_jax.tooluse.schema import Call, Tool
from tl_jax.tooluse.text.parse import Answer, parse_answer
from tl_jax.tooluse.text.structure import structure_calls

F = Call("f", {"a": 1})
OFFERED = (Tool("f", "", {"properties": {"a": {"type": "integer"}}}), Tool("g", "", {"properties": {"b": {}}}))
PING = Call("ping")
OBJECTS_WITHOUT_ARGUMENTS = [
    '{"name": "ping"}',
    "{'name': 'ping'}",
    '[{"name": "ping"}]',
    '{"name": "ping", "arguments": null}',
    '{"name": "ping", "arguments": ""}',
    '{"type": "function", "function": {"name": "ping"}}',
    '{"id": "call_1", "name": "ping", "parameters": {}}',
    'call_1:{"name": "ping"}',
    '{"tool_calls": [{"name": "ping"}]}',
]


@pytest.mark.parametrize("text", OBJECTS_WITHOUT_ARGUMENTS)
def test_an_object_without_arguments_calls_a_tool_on_offer(text: str) -> None:
    """It may be anything else where the tool is not offered; an answer and a recorded message are read alike."""
    ping = [Tool("ping")]
    assert parse_answer(text, ping) == Answer((PING,), positional=((),))
    recorded = structure_calls(text, ping)
    assert recorded is not None
    assert recorded.calls == (PING,)
    if "arguments" not in text and "parameters" not in text and "tool_calls" not in text:
        assert parse_answer(text, [Tool("pong")]).calls == ()


@pytest.mark.parametrize("tags", [("<tool_call>", "</tool_call>"), ("[TOOL_CALLS]", ""), ("functools", "")])
@pytest.mark.parametrize("text", ['[{"name": "ping"}]', '[{"name": "ping", "arguments": null}]'])
def test_a_mark_says_that_an_object_without_arguments_is_a_call(tags: tuple[str, str], text: str) -> None:
    assert parse_answer(text.join(tags)).calls == (PING,)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "f", "args": {"a": 1}}',
        '{"name": "f", "input": {"a": 1}}',
        '{"tool_calls": [{"name": "f", "arguments": {"a": 1}}]}',
        '{"role": "assistant", "content": null, "tool_calls": [{"id": "x", "type": "function", "function": '
        '{"name": "f", "arguments": "{\\"a\\": 1}"}}]}',
    ],
)
def test_objects_as_apis_write_them(text: str) -> None:
    assert parse_answer(text, OFFERED) == Answer((F,), positional=((),))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "f", "args": {"a": 1}, "input": {}}', "not an object with"),
        ('{"name": "f", "a": 1}', "'a' stands beside"),
        ('{"name": "Bob", "input": {"a": 1}}', "not an object with"),
        ('{"name": "Bob", "age": 42}', "not an object with"),
        (
            '{"role": "assistant", "content": "Look:", "tool_calls": [{"name": "f", "arguments": {}}]}',
            "'content' stands",
        ),
        ('{"tool_calls": []}', "no call"),
    ],
)
def test_objects_that_are_no_calls(text: str, problem: str) -> None:
    answer = parse_answer(text, OFFERED)
    assert answer.calls == ()
    assert problem in str(answer.problem)


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "search"}, {"name": "list"}]',
        '{"name": "search", "id": 3}',
        '{"name": "search", "type": "function"}',
        '{"name": "find"}',
    ],
)
def test_a_list_of_tools_calls_none(text: str) -> None:
    find = Tool("find", parameters={"properties": {"q": {"type": "string"}}, "required": ["q"]})
    assert parse_answer(text, [Tool("search"), Tool("list"), find]).calls == ()
