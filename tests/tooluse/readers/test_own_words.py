"""What of a prompt is the user's own, and which sentences are left out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.tooluse.readers.helpers import LOOKUP
from tests.tooluse.readers.prompts import names, read
from tl_jax.tooluse.readers.own_words import LEFT_OUT
from tl_jax.tooluse.readers.tool_prompts import offered

F = json.dumps(LOOKUP)
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
        'The user: {"name": "Bob", "parameters": {"type": "VIP"}}. Plans: [{"name": "Gold", "input": {"a": 1}}].',
        "Return the final answer as JSON with the names of tools. Format the results of tool calls as an XML table.",
        'If a tool call fails, respond with JSON: {"error": true}. If the price is wrong, also point it out.',
        "Call the function export_xml to return XML. Use the tool call budget wisely; XML files cost double.",
        "On Sundays you may call one or more tools. On Mondays you may call functions. Attach [file(s)] if any.",
        "Do not use variables in formulas. Respond in this format: Dear Ann, ... Show <tooltip> for <b>each</b>.",
        "Ask before you use the available tools. When Ann asks for JSON, use the export function.",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_rules_of_the_users_own_stay(tmp_path: Path, rules: str, first: bool) -> None:
    text = f"{rules}\n[{F}]" if first else f"Tools: [{F}]. {rules}"
    found, notes = read(tmp_path, "system", text)
    assert (names(found), dict(notes.remarks)) == (["lookup"], {})
    assert found.messages[0].content.removeprefix("Tools:").strip() == rules


def test_examples_of_calls_are_left_out(tmp_path: Path) -> None:
    for name in ("lookup", "func_name1", "example_tool"):
        for call in ({"name": name, "arguments": {"word": "A. B"}}, {"function": {"name": name, "arguments": "{}"}}):
            found, notes = read(tmp_path, "system", f"Be kind. Say {json.dumps([call])} for a dog.\n[{F}]")
            assert (found.messages[0].content, notes.remarks) == ("Be kind.", {LEFT_OUT: 1})


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
