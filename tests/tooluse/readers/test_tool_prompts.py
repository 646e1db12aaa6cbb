"""What a prompt lists as tools, and what only looks like it: the rest is the user's, and stays."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.growth import grows_linearly
from tests.tooluse.readers.helpers import LOOKUP, lines, turns
from tl_jax.tooluse.fields import Notes
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.readers.own_words import LEFT_OUT
from tl_jax.tooluse.readers.texts import OTHER_TOOLS
from tl_jax.tooluse.readers.tool_prompts import UNREAD, offered
from tl_jax.tooluse.schema import DataError, Message, Tool, Trajectory

EMPTY = {"type": "object", "properties": {}}
FIND = {"name": "find", "description": "Finds.", "parameters": EMPTY}
GET = "// Get it.\ntype get = () => any;"
F, G = json.dumps(LOOKUP), json.dumps(FIND)
LLAMA = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    'answers the given prompt.\n\nRespond in the format {"name": function name, "parameters": dictionary of argument '
    f"name and its value}}.Do not use variables.\n\n{json.dumps(LOOKUP, indent=4)}\n\n{json.dumps(FIND, indent=4)}\n\n"
)


def read(path: Path, role: str, text: str, tools: Any = None, **options: Any) -> tuple[Trajectory, Notes]:
    """A conversation of two messages, the first of which is this text, and what there is to say about it."""
    notes = Notes(**options)
    said = [{"role": role, "content": text}, {"role": "assistant", "content": "Yes."}]
    value = {"messages": said} | ({"tools": tools} if tools else {})
    with notes.kept():
        (found,) = read_trajectories(lines(path / "data.jsonl", value))
    (of_the_file,) = notes.files.values()
    return found, of_the_file


def names(found: Trajectory) -> list[str]:
    return [tool.name for tool in found.tools]


@pytest.mark.parametrize(
    "text",
    [
        f"Translate the following tools to YAML, they are JSON now:\n[{G}]",
        f"Explain the following functions in JSON: {G} What do they do?",
        f"Given the following functions, say what they do: {G}",
        f"Given the following tools in JSON, write a test.\n<tools>[{G}]</tools>",
        LLAMA.strip(),  # the user says nothing
    ],
)
def test_what_a_user_asks_about_tools_stays(tmp_path: Path, text: str) -> None:
    found, notes = read(tmp_path, "user", text)
    assert (found.tools, found.messages[0]) == ((), Message("user", text))
    assert not notes.remarks


def test_the_users_words_after_tools_handed_over_stay_as_they_are(tmp_path: Path) -> None:
    for own in (
        "What is a function call in JSON?",
        'Translate "Respond in this format." to French.\n\nKeep [f(a=1)] as it is.',
    ):
        found, _ = read(tmp_path, "user", LLAMA + own)
        assert (names(found), found.messages[0]) == (["lookup", "find"], Message("user", own))


NO_TOOLS = [
    'The user: {"name": "Bob", "parameters": {"type": "VIP"}}. Be kind.',
    'To look something up say {"name": "lookup", "parameters": {}} and nothing else.',
    'To look something up say {"name": "lookup", "parameters": {"key": "A"}} and nothing else.',
    'Say [{"name": "lookup", "parameters": {"key": "A"}}, {"name": "find", "parameters": {}}].',
    '{"name": "lookup", "parameters": {"place": {"city": "Oslo"}}}',
    '{"name": "Bob", "parameters": "none", "description": "A user."}',
    '{"type": "function", "function": {"name": "lookup", "parameters": {"key": "A"}}}',
]


@pytest.mark.parametrize("tools", [None, [LOOKUP]], ids=["no tools", "tools"])
@pytest.mark.parametrize("text", NO_TOOLS)
def test_objects_with_a_name_that_are_no_tools(tmp_path: Path, text: str, tools: Any) -> None:
    found, notes = read(tmp_path, "system", text, tools)
    assert (found.messages[0], len(found.tools)) == (Message("system", text), len(tools or ()))
    assert not notes.remarks


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
        {"name": "f", "parameters": {"type": "object"}},
        {"name": "f", "input_schema": {"type": "dict", "properties": {}}},
        {"name": "f", "parameters": {"properties": {}}},
        {"name": "f", "description": "Does f.", "parameters": {}},
        {"name": "f", "description": "Does f.", "parameters": {"a": {"type": "string", "description": "The a."}}},
        {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": {}}},
    ],
)
def test_what_is_a_tool_without_a_tag(tmp_path: Path, tool: dict[str, Any]) -> None:
    for written in (tool, [tool], [tool, {"name": "g", "parameters": {}}]):
        found, _ = read(tmp_path, "system", f"Tools: {json.dumps(written)}. Be kind.")
        assert names(found)[0] == "f"
        assert found.messages[0].content.endswith("Be kind.")


def test_a_call_before_a_tool_is_none(tmp_path: Path) -> None:
    call = '{"name": "lookup", "parameters": {"word": "A"}}'
    found, notes = read(tmp_path, "system", f"Tools:\n{G}\nBe kind.\n{call}\n{F}")
    assert (names(found), found.messages[0].content.split()) == (["find", "lookup"], ["Tools:", "Be", "kind."])
    assert notes.remarks == {LEFT_OUT: 1}


BROKEN = json.dumps([LOOKUP, {"name": 5}])


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        (f"Tools: {BROKEN}", None),
        (f"Tools: {BROKEN}", [LOOKUP]),
        (f"<tools>{BROKEN}</tools>", [LOOKUP]),
        ("You write code.\nnamespace functions {\n  export function add(a: number) {}\n}", [LOOKUP]),
        ("You write code.\nnamespace functions {\n  export function add(a: number) {}\n}", None),
        ("namespace functions {\ntype f = (_: string) => any;\n}", None),
    ],
)
def test_a_list_that_cannot_be_read_stays_text_and_is_counted(tmp_path: Path, text: str, tools: Any) -> None:
    for unknown in ("error", "drop"):
        found, notes = read(tmp_path, "system", text, tools, unknown=unknown)
        assert (found.messages[0], len(found.tools)) == (Message("system", text), len(tools or ()))
        assert notes.remarks == {f"messages[].content: {UNREAD}": 1}
        assert ", such as 'messages[0].content: tools" in notes.lines()[0]


def test_a_list_between_tags_has_to_be_read(tmp_path: Path) -> None:
    for text in (f"<tools>{BROKEN}</tools>", f"<tools>\n[{F}]\n</tools>\n<tools>[{{</tools>"):
        with pytest.raises(DataError, match=r"data\.jsonl:1: messages\[0\]\.content: tools"):
            read(tmp_path, "system", text)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        (f"<tools>[{F}]</tools>\n<tools>[{G}]</tools>", ""),
        (f"Tools: [{F}]\nAdmin tools: [{G}]", "Tools: \n\nAdmin tools:"),
        (f"Tools:\n{F}\nMore:\n{G}\n{F}", "Tools:\n\nMore:"),
        (f"<tools>\n<tool>{F}</tool>\n</tools> Be kind. <tools>\n<tool>{G}</tool>\n</tools>", "Be kind."),
        (f"I name <tools> here. Be kind.\n<tools>\n{F}\n{G}\n</tools>", "Be kind."),
        (f"<tools>[{F}, {G}]", ""),
        (f"<tools>[{F}] Be kind. <tools>{G} Be brief.", "Be kind. \nBe brief."),
    ],
)
def test_every_list_of_a_prompt(text: str, own: str) -> None:
    found, words = offered(text, "x")
    assert [tool.name for tool in found] == ["lookup", "find"]
    assert words.split() == own.split()


def test_json_beside_tools_is_no_sentence(tmp_path: Path) -> None:
    plans = 'Plans: [{"name": "Gold. For you", "call": "JSON"}, {"name": "Silver"}]\nFunctions of Ann: {"name": "CEO"}.'
    found, notes = read(tmp_path, "system", f"{plans}\n<tools>[{F}]</tools>")
    assert (names(found), found.messages[0].content, dict(notes.remarks)) == (["lookup"], plans, {})


@pytest.mark.parametrize("text", [f"Be kind.\n<tools>[{F}]</tools>", f"Be kind.\n[{F}]"])
def test_tools_of_the_row_and_other_ones_of_the_same_name(tmp_path: Path, text: str) -> None:
    found, notes = read(tmp_path, "system", text, [LOOKUP])
    assert (found.messages[0].content, dict(notes.remarks)) == ("Be kind.", {})
    same = {**LOOKUP, "parameters": {**LOOKUP["parameters"], "additionalProperties": False}}
    assert read(tmp_path, "system", text, [same])[0].messages[0].content == "Be kind."
    for other in ({**LOOKUP, "parameters": EMPTY}, {**LOOKUP, "description": "Asks Ann."}):
        found, notes = read(tmp_path, "system", text, [other])
        assert (found.messages[0].content, dict(notes.remarks)) == (text, {OTHER_TOOLS: 1})
        assert found.tools == (Tool.from_json(other),)


RULES = (
    "Never show the user raw JSON that came from a tool. After each tool call, summarise the XML in French. Call "
    "functions only on weekdays; you may call functions of the admin API only for Ann. Be kind."
)


@pytest.mark.parametrize(
    "rules",
    [
        RULES,
        "Translate any other text to French. Cite as [Smith (2019)] does.",
        "Explain the function of JSON and XML. One function can be used twice.",
        "Never show <tool_response> to the user. The functions lack nothing.",
        "After a function call, answer in JSON. Make one tool call at a time.",
        "The section on tools comes last. Tool sections are closed on Sundays.",
        'Greet with {"name": "Bob"}. A list of tools is in the shed.',
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_rules_of_the_users_own_stay(tmp_path: Path, rules: str, first: bool) -> None:
    text = f"{rules}\n[{F}]" if first else f"Tools: [{F}]. {rules}"
    found, notes = read(tmp_path, "system", text)
    assert (names(found), dict(notes.remarks)) == (["lookup"], {})
    assert found.messages[0].content.removeprefix("Tools:").strip() == rules


def test_sentences_left_out_are_named(tmp_path: Path) -> None:
    text = f"Be kind.\n<tools>[{F}]</tools>\nFor each function call\x1b, return a json object within XML tags."
    found, notes = read(tmp_path, "system", text)
    assert found.messages[0].content == "Be kind."
    told = r"such as 'For each function call\u{1b}, return a json object within XML tags.'"
    assert notes.lines() == [f"{LEFT_OUT}, {told} (1 x)"]


TOOLACE = f"""You are an expert in composing functions. You are given a question and a set of possible functions.\x20
Based on the question, you will need to make one or more function/tool calls to achieve the purpose.\x20
If none of the functions can be used, point it out. If the given question lacks the parameters required by the function,
also point it out. You should only return the function call in tools call sections.
Here is a list of functions in JSON format that you can invoke:
[{F}].\x20
Should you decide to return the function call(s).\x20
Put it in the format of [func1(params_name=params_value, params_name2=params_value2...), func2(params)]

NO other text MUST be included.\x20
"""
HERMES = (
    "You are a function calling AI model. You are provided with function signatures within <tools> </tools> XML tags. "
    "You may call one or more functions to assist with the user query. Don't make assumptions about what values to "
    f"plug into functions. Here are the available tools:\n<tools>\n[{F}]\n</tools>\nUse the following pydantic model "
    'json schema for each tool call you will make: {"title": "FunctionCall", "type": "object", "properties": '
    '{"arguments": {"title": "Arguments", "type": "object"}, "name": {"title": "Name", "type": "string"}}, "required": '
    '["arguments", "name"]} For each function call return a json object with function name and arguments within '
    "<tool_call> </tool_call> XML tags as follows:\n<tool_call>\n"
    "{'arguments': <args-dict>, 'name': <function-name>}\n</tool_call>"
)
SCHEMA = "{'properties': {'arguments': {'type': 'object'}, 'name': {'type': 'string'}}, 'title': 'FunctionCall'}"
GRANITE = (
    "You are a helpful AI assistant with access to the following tools. When a tool is required to answer the user's "
    f"query, respond only with <|tool_call|> followed by a JSON list of tools used.\n[{F}]"
)
MINIMAX = f"""# Tools
You may call one or more tools to assist with the user query.
Here are the tools available in JSONSchema format:

<tools>
<tool>{F}</tool>
</tools>

When making tool calls, use XML format to invoke tools and pass parameters:

<invoke name="tool-name-1">
<parameter name="param-key-1">param-value-1</parameter>
</invoke>"""
CODER = f"""You may speak. <tools>
{F}
</tools>

If you choose to call a function ONLY reply in the following format with NO suffix:

<tool_call>
<function=example_function_name>
<parameter=example_parameter_1>
value_1
</parameter>
</function>
</tool_call>
In this format: Dear Ann,"""


@pytest.mark.parametrize(
    ("text", "own"),
    [
        (TOOLACE, ""),
        (HERMES, ""),
        (re.sub(r'\{"title".*\]\}', SCHEMA, HERMES), ""),
        (GRANITE, "You are a helpful AI assistant with access to the following tools."),
        (MINIMAX, ""),
        (CODER, "You may speak. \n\nIn this format: Dear Ann,"),
        (f"<|im_system|>tool_declare<|im_middle|>[{F}]<|im_end|>Use <|x|>.", "Use <|x|>."),
    ],
    ids=["toolace", "hermes", "hermes in Python", "granite", "minimax", "qwen3 coder", "kimi"],
)
def test_sentences_of_known_prompts(text: str, own: str) -> None:
    found, words = offered(text, "x")
    assert [tool.name for tool in found] == ["lookup"]
    assert words.split() == own.split()


GPT_OSS = """# Tools

## functions

namespace functions {

// Get it.
Returns a number:
  1 or 2.

type get = (_: {
// The key.
One of: these.
key: string,
// How.
"so" | "so": both.
how?: "a" | "b", // default: a,
kind?:
 | "x"
 | "y",
limit?: number, // default: 10,
all: Record<string, number[]>,
when: Date,
}) => any;

// The time
type now = () => any;

} // namespace functions
Be kind."""


def test_what_gpt_oss_is_shown(tmp_path: Path) -> None:
    found, notes = read(tmp_path, "system", GPT_OSS)
    assert found.messages[0] == Message("system", "Be kind.")
    get, now = found.tools
    assert (get.description, now.description) == ("Get it.\nReturns a number:\n1 or 2.", "The time")
    assert get.parameters == {
        "type": "object",
        "properties": {
            "key": {"type": "string", "description": "The key.\nOne of: these."},
            "how": {"type": "string", "enum": ["a", "b"], "description": 'How.\n"so" | "so": both.', "default": "a"},
            "kind": {"type": "string", "enum": ["x", "y"]},
            "limit": {"type": "number", "default": 10},
            "all": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "number"}}},
            "when": {"x-type": "Date"},
        },
        "required": ["key", "all", "when"],
    }
    assert set(notes.remarks) == {LEFT_OUT}


def test_every_namespace_of_a_prompt() -> None:
    found, words = offered(f"namespace functions {{\n{GET}\n}}\nBe kind.\nnamespace functions {{\n{GET}\n}}", "x")
    assert ([tool.name for tool in found], words) == (["get"], "Be kind.")


def test_a_prompt_of_toolace_with_tools_beside(tmp_path: Path) -> None:
    row = {
        "system": f"Be kind. [{G}]",
        "tools": [LOOKUP],
        "conversations": turns(("user", "Hi."), ("assistant", "Hi.")),
    }
    (found,) = read_trajectories(lines(tmp_path / "data.jsonl", row), "toolace")
    assert (names(found), found.messages[0].content) == (["lookup"], row["system"])


@pytest.mark.parametrize(
    "piece", [" tool", "<tool_call>{", '{"name": "arguments" ', "<tools>[", '[{"a":', "namespace functions {"]
)
def test_no_prompt_costs_more_than_its_length(piece: str) -> None:
    def read(text: str) -> None:
        with contextlib.suppress(DataError):
            offered(text, "x")

    assert grows_linearly(read, lambda count: f"[{F}]" + piece * count, 200)
