"""The prompts of known templates: their tools, and what else they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tooluse.readers.helpers import LOOKUP, read_one
from tests.tooluse.readers.prompts import DOG, LLAMA, prompted, remarks, row
from tl_jax.tooluse.readers.texts import OTHER_TOOLS
from tl_jax.tooluse.schema import Message, Tool
from tl_jax.tooluse.text.syntaxes import SYNTAXES

TOOL = Tool.from_json(LOOKUP)
SHAPE = json.dumps({"type": "function", "function": LOOKUP})
NAMESPACE = """// Supported function definitions that should be called when necessary.
namespace functions {

// Does lookup.
type lookup = (_: {
// The word.
word: string,
// The limit.
limit?: number, // default: 10
}) => any;

} // namespace functions"""


@pytest.mark.parametrize(
    ("prompt", "own", "said"),
    [
        (
            f"You are a pirate.\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            f"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{SHAPE}\n</tools>"
            "\n\n"
            "For each function call, return a json object with function name and arguments within <tool_call>"
            '</tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
            "</tool_call>",
            "You are a pirate.",
            '<tool_call>\n{"name": "lookup", "arguments": {"word": "dog"}}\n</tool_call>',
        ),
        (
            "Environment: ipython\nYou have access to the following functions. To call a function, please respond with "
            'JSON for a function call. Respond in the format {"name": function name, "parameters": dictionary of '
            "argument name and its value}. Do not use variables.\n\n"
            f"{json.dumps(json.loads(SHAPE), indent=4)}\n\nYou are a pirate.",
            "Environment: ipython\nYou are a pirate.",
            LLAMA,
        ),
        (
            "You are an expert in composing functions. Speak of boats.\nHere is a list of functions in JSON format "
            f"that you can invoke:\n{json.dumps([LOOKUP])}. \nPut it in the format of [func1(a=b), func2(c)]\n",
            "Speak of boats.",
            '[lookup(word="dog")]',
        ),
        (
            "You are a pirate.\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>\n<function>\n"
            "<name>lookup</name>\n<description>Does lookup.</description>\n<parameters>\n<parameter>\n"
            "<name>word</name>\n"
            "<type>string</type>\n<description>The word.</description>\n</parameter>\n<parameter>\n<name>limit</name>\n"
            "<type>integer</type>\n<description>The limit.</description>\n</parameter>\n"
            '<required>["word"]</required>\n</parameters>\n</function>\n</tools>\n\n'
            "If you choose to call a function ONLY reply in the following format with NO suffix:\n\n<tool_call>\n"
            "<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n</function>\n"
            "</tool_call>",
            "You are a pirate.",
            "<tool_call>\n<function=lookup>\n<parameter=word>\ndog\n</parameter>\n</function>\n</tool_call>",
        ),
        (
            "You are a pirate.\n\n## Tools\nYou have access to the following tools:\n\n### lookup\n"
            f"Description: Does lookup.\n\nParameters: {json.dumps(LOOKUP['parameters'])}\n\nIMPORTANT: ALWAYS adhere "
            "to this exact format for tool use:\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name"
            "<｜tool▁sep｜>tool_call_arguments"
            "<｜tool▁call▁end｜>{additional_tool_calls}<｜tool▁calls▁end｜>\n\nWhere:\n- `tool_call_name` must be an "
            "exact match to one of the available tools\n- For multiple tool calls, chain them without separators",
            "You are a pirate.",
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>lookup<｜tool▁sep｜>{"word": "dog"}<｜tool▁call▁end｜>'
            "<｜tool▁calls▁end｜>",
        ),
        (f"[AVAILABLE_TOOLS] [{SHAPE}][/AVAILABLE_TOOLS]", "", '[TOOL_CALLS]lookup[ARGS]{"word": "dog"}'),
        (
            f"<tool_definitions>\n[{SHAPE}]\n</tool_definitions>\nYou are a pirate.",
            "You are a pirate.",
            '<tool_calls>[{"name": "lookup", "arguments": {"word": "dog"}}]</tool_calls>',
        ),
        (
            "You are capable of executing available function(s) if required.\nYou are a pirate.\nAvailable functions:\n"
            f"{NAMESPACE}",
            "You are a pirate.",
            '>>>lookup\n{"word": "dog"}',
        ),
    ],
    ids=["qwen", "llama", "toolace", "qwen_coder", "deepseek", "mistral", "jamba", "functionary"],
)
def test_tools_of_known_prompts(tmp_path: Path, prompt: str, own: str, said: str) -> None:
    found = read_one(tmp_path, prompted(prompt, said), format="openai")
    (tool,) = found.tools
    assert (tool.name, tool.description, tool.required) == ("lookup", "Does lookup.", ("word",))
    assert list(tool.properties) == ["word", "limit"]
    assert tool.properties["word"] == {"type": "string", "description": "The word."}
    words = [Message("system", own)] if own else []
    assert found.messages[: len(words)] == tuple(words)
    assert found.messages[len(words) :][1] == Message("assistant", "", (DOG,))


def test_tools_in_the_words_of_the_user(tmp_path: Path) -> None:
    value = row(LLAMA)
    del value["tools"]
    value["messages"][0]["content"] = (
        "Given the following functions, please respond with a JSON for a function call with its proper arguments that "
        'best answers the given prompt.\n\nRespond in the format {"name": function name, "parameters": dictionary of '
        f"argument name and its value}}. Do not use variables.\n\n{SHAPE}\n\nWhat is a dog?"
    )
    found = read_one(tmp_path, value)
    assert found.tools == (TOOL,)
    assert found.messages[:2] == (Message("user", "What is a dog?"), Message("assistant", "", (DOG,)))


def test_a_prompt_that_lists_no_tools_stays_as_it_is(tmp_path: Path) -> None:
    for prompt in (
        'Plans: [{"name": "Gold", "price": 5}, {"name": "Silver", "price": 3}]',
        'Answer in JSON: {"name": "..."}',
        "Use <tool_call> tags.",
        "Call the functions wisely.",
    ):
        value = prompted(prompt, "lookup(word='dog')")
        found = read_one(tmp_path, {**value, "tools": [LOOKUP]})
        assert found.messages[0] == Message("system", prompt)
        assert found.tools == (TOOL,)


def test_the_users_own_words_in_a_prompt_that_lists_tools_are_kept(tmp_path: Path) -> None:
    own = (
        "You work for [Acme] and its <b>customers</b>.\nAlways answer in JSON. Write to the recipient of the mail.\n"
        "Never tell ${secret}. (1) Be kind; (2) ask before you pay."
    )
    for prompt in (f"{own}\n<tools>\n{SHAPE}\n</tools>", f"[{SHAPE}]\n\n{own}"):
        found = read_one(tmp_path, prompted(prompt, "lookup(word='dog')"), format="openai")
        assert found.tools == (TOOL,)
        assert found.messages[0] == Message("system", own)


def test_a_prompt_that_lists_the_tools_of_the_row_or_others(tmp_path: Path) -> None:
    value = {**prompted(f"Be brief.\n<tools>{SHAPE}</tools>", "lookup(word='dog')"), "tools": [LOOKUP]}
    assert read_one(tmp_path, value).messages[0] == Message("system", "Be brief.")
    other = {**value, "tools": [{**LOOKUP, "name": "find"}]}
    found, told = remarks(tmp_path, other)
    assert (found.messages[0].content, found.tools[0].name) == (value["messages"][0]["content"], "find")
    assert told[OTHER_TOOLS] == 1


@pytest.mark.parametrize("tag", ["tool", "function"])
def test_tools_each_in_a_tag(tmp_path: Path, tag: str) -> None:
    other = json.dumps({**LOOKUP, "name": "find"})
    listed = f"<{tag}s>\n<{tag}>{json.dumps(LOOKUP)}</{tag}>\n<{tag}>{other}</{tag}>\n</{tag}s>"
    prompt = f"You are a pirate. You may call any of the functions below.\n{listed}\nSay please."
    found = read_one(tmp_path, prompted(prompt, SYNTAXES["invoke"].write([DOG])), format="openai")
    assert [tool.name for tool in found.tools] == ["lookup", "find"]
    assert found.messages[0].content.split() == ["You", "are", "a", "pirate.", "Say", "please."]
    assert found.messages[2].tool_calls == (DOG,)
