"""The table of syntaxes: every record is read, found out and read back, and no text costs more than its length."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.growth import takes_less
from tests.thoroughness import examples
from tests.tooluse import strategies
from tl_jax.tooluse.readers.schemas import from_value
from tl_jax.tooluse.schema import Call, Tool
from tl_jax.tooluse.text.parse import Answer, first_call, parse_answer
from tl_jax.tooluse.text.syntaxes import MAX_LENGTH, SYNTAXES, Parsed, Problem, Syntax, attempted
from tl_jax.tooluse.text.syntaxes.base import Offer

ALL = [pytest.param(syntax, id=syntax.name) for syntax in SYNTAXES.values()]
F = Call("f", {"a": 1})
OFFERED = (Tool("f", "", {"properties": {"a": {"type": "integer"}}}), Tool("g", "", {"properties": {"b": {}}}))
TAGGED = {
    **dict.fromkeys(("qwen_xml", "invoke", "function_name"), "parameter"),
    **dict.fromkeys(("glm", "hunyuan"), "arg_"),
    "longcat_keys": "longcat_arg_",
    "step_3": "steptml:",
    "element": "",
}
"""Syntaxes whose arguments stand in tags, and what a value in them may not hold besides brackets."""


def null_is_typed(value: Any) -> dict[str, Any]:
    return {"type": "null"} if value is None else from_value(value)


def tool_for(call: Call) -> Tool:
    """A tool that the call fits."""
    return Tool(call.name, "", {"properties": {key: null_is_typed(value) for key, value in call.arguments.items()}})


@pytest.mark.parametrize("syntax", ALL)
def test_every_example_is_read_and_found_out(syntax: Syntax) -> None:
    assert parse_answer(syntax.example, OFFERED) == Answer((F,), positional=((),))
    assert first_call(f"Let me see.\n{syntax.example}\nDone.", OFFERED) == F
    assert syntax.attempts(syntax.example, ["f"])
    assert attempted(f"Let me see.\n{syntax.example}", ["f"])
    after = parse_answer(f"Let me see.\n{syntax.example}", OFFERED)
    assert (after.calls, after.text, after.problem) == ((F,), "Let me see.", "there is text besides the calls")


@pytest.mark.parametrize("syntax", ALL)
def test_a_turn_may_end_after_a_call_and_nothing_else(syntax: Syntax) -> None:
    for end in ("<|im_end|>", "\n<|eot_id|>\n", "</s>", "<end_of_turn>\n", "<|im_end|>\n<|endoftext|>", "[e~["):
        assert parse_answer(syntax.example + end, OFFERED) == Answer((F,), positional=((),)), end
    for more in ("<|im_end|> Done.", "<|im_end|>\n<|im_start|>user\ngood", "<|done|>"):
        assert parse_answer(syntax.example + more, OFFERED).problem, more


@pytest.mark.parametrize("syntax", ALL)
def test_every_record_says_how_its_calls_begin(syntax: Syntax) -> None:
    opening = re.compile(syntax.opening)
    assert opening.groups == 0
    assert opening.match(syntax.example)
    assert syntax.example[0] in syntax.first or not syntax.first
    assert not any(opening.match(text) for text in ("", " ", "Well, f.", "1", "'f'"))
    first_of_all = next(one for one in SYNTAXES.values() if re.match(one.opening, syntax.example))
    assert first_of_all is syntax


@pytest.mark.parametrize("syntax", ALL)
@settings(deadline=None, max_examples=examples(60))
@given(made=st.lists(strategies.calls, min_size=1, max_size=3))
def test_what_is_written_is_read_back(syntax: Syntax, made: list[Call]) -> None:
    if syntax.name in TAGGED:
        texts = json.dumps([dict(call.arguments) for call in made])
        assume(not re.search(rf"</?{TAGGED[syntax.name]}", texts))
    if syntax.name == "element":
        assume(all(re.fullmatch(r"[A-Za-z_][\w.-]*", key) for call in made for key in (call.name, *call.arguments)))
    if syntax.name == "react":
        made = made[:1]
    made = [call for index, call in enumerate(made) if call.name not in {one.name for one in made[:index]}]
    if syntax.name == "kimi":
        assume(not any(":" in call.name or call.name.startswith("functions.") for call in made))
    text = syntax.write(made)
    assume(len(text) < MAX_LENGTH)
    answer = parse_answer(text, [tool_for(call) for call in made])
    assert answer.problem is None, text
    shown = [(call.name, dict(call.arguments)) for call in answer.calls]
    assert repr(shown) == repr([(call.name, dict(call.arguments)) for call in made]), text  # repr tells 1 from True
    assert attempted(text, [call.name for call in made]), text


ODD = ("Tide Table API", "lookup()", "f#g", "get [v2]", "who's there", "a, b", "x=y", "Get\tit", "list")
ODD_KEYS = ("my arg", "created[gte]", "a#b", "it's", "size (cm)", "{id}", 'say "x"', "*", "a,b", "plain")


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("key", ODD_KEYS)
def test_offered_names_that_are_no_plain_names(name: str, key: str) -> None:
    call, other = Call(name, {key: "x (1), y = 2", "n": 3}), Call("g", {key: [1]})
    tools = [Tool(one.name, "", {"properties": {argument: {} for argument in one.arguments}}) for one in (call, other)]
    for syntax in ("python", "python_list", "json", "hermes", "name_line", "functionary", "function_tag", "react"):
        for calls in ([call], [call, other], [other, call]):
            if syntax == "react" and len(calls) > 1:
                continue
            text = SYNTAXES[syntax].write(calls)
            assert parse_answer(text, tools) == Answer(tuple(calls), positional=((),) * len(calls)), text
            assert first_call(f"So:\n{text}", tools) == calls[0]


def test_an_odd_name_is_understood_only_where_it_is_offered() -> None:
    text = "Tide Table API(kind='high')"
    tide = Tool("Tide Table API", "", {"properties": {"kind": {}}})
    assert parse_answer(text, [tide]).calls == (Call("Tide Table API", {"kind": "high"}),)
    assert parse_answer(text).calls == ()
    assert parse_answer(text, OFFERED).calls == ()
    assert parse_answer("f(a=1)", [tide, *OFFERED]).calls == (F,)
    assert parse_answer("lookup()", [Tool("lookup()"), Tool("lookup")]).calls == (Call("lookup"),)
    prose = parse_answer(f"The tides:\n{text}", [tide])
    assert (prose.calls[0].name, prose.text) == ("Tide Table API", "The tides:")


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "5", "5"),
        ({"type": "string"}, " x ", " x "),
        ({"type": "string"}, '"x"', '"x"'),
        ({}, "5", "5"),
        ({"type": ["string", "integer"]}, "5", "5"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": "string", "nullable": True}, "None", None),
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "five", "five"),
        ({"type": "integer"}, "'five'", "five"),
        ({"type": "number"}, "-2.5e3", -2500.0),
        ({"type": "number"}, "NaN", "NaN"),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "array"}, "[1, 'a']", [1, "a"]),
        ({"type": "object"}, '{"a": {"b": null}}', {"a": {"b": None}}),
        ({"type": "object"}, '{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ({"type": "object"}, "open('x')", "open('x')"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5", "5"),
        ({"anyOf": [{"type": "integer"}, {}]}, "5", "5"),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"const": 2}, "2", 2),
        ({"type": "int"}, "2", 2),
        ({"type": "any"}, "2", "2"),
        ({"$ref": "#/$defs/Point"}, '{"x": 1}', {"x": 1}),
        ({"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]}, "null", None),
        ({"allOf": [{"$ref": "#/$defs/Name"}], "default": "2"}, "2", "2"),
        ({"type": "INTEGER"}, "2", 2),
        ({"type": "STRING", "nullable": True}, "null", None),
        ({"items": {"type": "string"}}, "[1]", [1]),
        ({"type": "Optional[List[int]]"}, "[1]", [1]),
        ({"allOf": [{"$ref": "#/$defs/Name"}], "nullable": True}, "null", None),
    ],
)
def test_arguments_in_tags_are_what_the_schema_wants(schema: dict[str, Any], text: str, value: Any) -> None:
    defs = {"Point": {"type": "object", "properties": {"x": {"type": "integer"}}}, "Name": {"type": "string"}}
    tool = Tool("f", "", {"properties": {"a": schema}, "$defs": defs})
    for answer in (
        f"<tool_call>\n<function=f>\n<parameter=a>\n{text}\n</parameter>\n</function>\n</tool_call>",
        f"<function=f><parameter=a>{text}</parameter></function>",
        f"<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>{text}</arg_value>\n</tool_call>",
        f"<tool_call>f<arg_key>a</arg_key><arg_value>{text}</arg_value></tool_call>",
        f"<tool_calls><tool_call>f<tool_sep><arg_key>a</arg_key><arg_value>{text}</arg_value></tool_call></tool_calls>",
        f'<function_calls><invoke name="f"><parameter name="a">{text}</parameter></invoke></function_calls>',
        f'<invoke name="f">\n<parameter name="a">{text}</parameter>\n</invoke>',
        f"<f>\n<a>{text}</a>\n</f>",
    ):
        (call,) = parse_answer(answer, [tool]).calls
        assert repr(call.arguments) == repr({"a": value})
        if not answer.startswith("<f>"):  # which needs the tool
            (call,) = parse_answer(answer).calls
            assert call.arguments == {"a": text}


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n{"name": "g", "parameters": {"b": "x"}}\n</tool_call>',
        '<tool_call>[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {"b": "x"}}]</tool_call>',
        "<tool_call>{'name': 'f', 'arguments': {'a': 1}}</tool_call> <tool_call>{'arguments': {'b': 'x'}, 'name': 'g'}"
        "</tool_call>",
        '{"name": "f", "parameters": {"a": 1}}{"name": "g", "parameters": {"b": "x"}}',
        '<|python_start|><|python_end|>{"name": "f", "parameters": {"a": 1}}{"name": "g", "parameters": {"b": "x"}}',
        '<|python_tag|>{"type": "function", "name": "f", "parameters": {"a": 1}}; '
        '{"name": "g", "parameters": {"b": "x"}}',
        '<|python_tag|>f.call(a=1)\n<|python_tag|>g.call(b="x")',
        '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}, "id": "abcdefghi"}, '
        '{"name": "g", "arguments": {"b": "x"}}]',
        '[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{"b": "x"}',
        '[TOOL_CALLS]f{"a": 1}[TOOL_CALLS]g[CALL_ID]abcdefghi{"b": "x"}',
        '✿FUNCTION✿: f\n✿ARGS✿: {"a": 1}\n✿FUNCTION✿: g ✿ARGS✿: {"b": "x"}',
        'f\n{"a": 1}>>>g\n{"b": "x"}',
        "<tool_call><function=f>\n<parameter=a>1</parameter></function>\n<function=g><parameter=b>x</parameter></function>"
        "</tool_call>",
        '<tool_calls>[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {"b": "x"}}]</tool_calls>',
        '<minimax:tool_call>\n<invoke name="f"><parameter name="a">1</parameter></invoke>\n'
        '<invoke name="g"><parameter name="b">x</parameter></invoke>\n</minimax:tool_call>',
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
        '{"a": 1}\n```<｜tool▁call▁end｜>\n'
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{"b": "x"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        '<function=f>{"a": 1}</function>\n<function=g>{"b": "x"}</function>',
        "<tool_calls:opensource><tool_call:opensource>f<arg_key:opensource>a</arg_key:opensource>"
        "<arg_value:opensource>1</arg_value:opensource></tool_call:opensource><tool_call:opensource>g<tool_sep:opensource>"
        "<arg_key:opensource>b</arg_key:opensource><arg_value:opensource>x</arg_value:opensource></tool_call:opensource>"
        "</tool_calls:opensource>",
        "<tool_call>f<tool_sep><arg_key>a</arg_key><arg_value>1</arg_value></tool_call>\n"
        "<tool_call>g<arg_key>b</arg_key><arg_value>x</arg_value></tool_call>",
        '<longcat_tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</longcat_tool_call><longcat_tool_call>g\n'
        "<longcat_arg_key>b</longcat_arg_key>\n<longcat_arg_value>x</longcat_arg_value>\n</longcat_tool_call>",
        '<｜tool_call_begin｜>function<｜tool_sep｜>\n<steptml:invoke name="f">\n<steptml:parameter name="a">1'
        "</steptml:parameter>\n</steptml:invoke>\n<｜tool_call_end｜><｜tool_call_begin｜>function<｜tool_sep｜>"
        '<steptml:invoke name="g"><steptml:parameter name="b">x</steptml:parameter></steptml:invoke>\n'
        "<｜tool_call_end｜>",
        'Action: ```json\n[{"tool_name": "f", "parameters": {"a": 1}}, '
        '{"tool_name": "g", "parameters": {"b": "x"}}]\n```',
        '<think>First f\nthen g.</think>\n\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\ng(b="x")',
        '[f(a=1), g(b="x")]',
        '[f(a=1), g(b="x"),\n]',
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="false">1'
        '</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name="g">\n<｜DSML｜parameter name="b">x'
        "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
        '<|tool_call>call:f{a:1}<tool_call|><|tool_call>call:g{b:<|"|>x<|"|>}<tool_call|>',
        "<start_function_call>call:f{a:1}<end_function_call><start_function_call>call:g{b:<escape>x<escape>}"
        "<end_function_call>",
        '<function_calls>\nf(a=1)\ng(b="x")\n</function_calls>',
        '<|tools_prefix|>[{"f": {"a": 1}}, {"g": {"b": "x"}}]<|tools_suffix|>',
        "<|channel|>analysis<|message|>First f.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
        '<|constrain|>json<|message|>{"a": 1}<|call|><|start|>assistant<|channel|>commentary to=functions.g '
        '<|constrain|>json<|message|>{"b": "x"}<|call|>',
        '<|channel>thought\nFirst f.<channel|><|tool_call>call:f{a:1}<tool_call|><|tool_call>call:g{b:"x"}<tool_call|>',
    ],
)
def test_several_calls(text: str) -> None:
    answer = parse_answer(text, OFFERED)
    assert (answer.problem, answer.calls, answer.text) == (None, (F, Call("g", {"b": "x"})), "")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('true">5', "5"),
        ('true"> x ', " x "),
        ('false">5', 5),
        ('false">["a", null]', ["a", None]),
        ('false">{"b": true}', {"b": True}),
    ],
)
def test_arguments_that_say_whether_they_are_text(written: str, value: Any) -> None:
    said = (
        f'<｜DSML｜invoke name="f"><｜DSML｜parameter name="a" string="{written}</｜DSML｜parameter></｜DSML｜invoke>'
    )
    for tools in ((), OFFERED):  # whatever the schema says
        (call,) = parse_answer(said, tools).calls
        assert repr(call.arguments) == repr({"a": value})
    for broken in ('false">five', 'false">1 2', 'maybe">5'):
        assert parse_answer(said.replace(written, broken)).problem, broken


def test_gemmas_arguments() -> None:
    said = """{a: {b:[1, -2.5, <|"|>x, "y" {z}<|"|>], <|"|>c d<|"|>: null}, e:false, "g":"h"}"""
    (call,) = parse_answer(f"<|tool_call>call:f{said}<tool_call|>").calls
    assert call.arguments == {"a": {"b": [1, -2.5, 'x, "y" {z}'], "c d": None}, "e": False, "g": "h"}
    for broken in (
        "{a:1,a:2}",
        "{a:1",
        "{a 1}",
        "{a:x}",
        '{a:<|"|>x}',
        "{a:1}}",
        "{:1}",
        "{a:" + "[" * 40 + "]" * 40 + "}",
    ):
        assert parse_answer(f"<|tool_call>call:f{broken}<tool_call|>").problem, broken


def test_ids_are_kept() -> None:
    (call,) = parse_answer('[TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "abcdefghi"}]').calls
    assert call.id == "abcdefghi"
    (call,) = parse_answer("[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{}").calls
    assert call.id == "abcdefghi"
    (call,) = parse_answer('{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}').calls
    assert call.id == "x"


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think>I need f.</think>\nf(a=1)", "I need f."),
        ("<think>\n\n</think>\n\nf(a=1)", ""),
        ("[THINK]I need f.[/THINK]f(a=1)", "I need f."),
        ("<thinking>I need f.</thinking>f(a=1)", "I need f."),
        ('Thought: I need f.\nSo be it.\nAction: f\nAction Input: {"a": 1}', "Thought: I need f.\nSo be it."),
        ("<think>f(a=2)</think>f(a=1)", "f(a=2)"),
        ("<longcat_think>I need f.</longcat_think>f(a=1)", "I need f."),
        ("<think:opensource>I need f.</think:opensource>f(a=1)", "I need f."),
    ],
)
def test_thoughts_are_no_text_beside_the_call(text: str, reasoning: str) -> None:
    assert parse_answer(text) == Answer((F,), positional=((),), reasoning=reasoning)
    assert first_call(text) == F


@pytest.mark.parametrize(
    "text",
    [
        "<think>I need f.\nf(a=1)",
        "<think>a</think>b<think>c</think>f(a=1)",
        "x<think>a</think>f(a=1)",
        'Thought: I need f.\nObservation: 1\nAction: f\nAction Input: {"a": 1}\nObservation: 2',
        "Thought: I need f.\nf(a=1)",
        "f(a=1)<think>Done.</think>",
    ],
)
def test_thoughts_elsewhere_are_text(text: str) -> None:
    assert parse_answer(text).problem


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "f", "arguments": {}, "reward": 1}',
        '{"function": {"name": "f", "arguments": {}}, "arguments": {}, "why": "x"}',
        "<tool_call></tool_call>",
        "<tool_call>a name</tool_call>",
        "<tool_call>f(a=1)</tool_call>",
        "<function=f></function>x",
        "<function_calls></function_calls>",
        "<g><c>1</c></g>",
        "<h><b>1</b></h>",
        "<|python_tag|>h(a=1)",
        "<|python_tag|>",
        "[TOOL_CALLS]",
        "[TOOL_CALLS] []",
        "[TOOL_CALLS]f {}",
        "functools[]",
        ">>>f {}",
        "Action: f\nAction Input: x",
        "Action: f\nAction Input: [1]",
        "Action: f",
        'Action: f\nAction Input: {"a": 1}\nObservation: 2',
        "{'name': 'f', 'arguments': {'a': g(1)}}",
        "{'name': 'f', 'arguments': {'a': 1}, 'name': 'g'}",
        "['f']",
        "<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>",
        "<|tool_call_start|>f(a=1)<|tool_call_end|>",
        '<|START_ACTION|>[{"name": "f", "parameters": {}}]<|END_ACTION|>',
        "<|tool_call>call: {a:1}<tool_call|>",
        '<|tools_prefix|>[{"": {}}]<|tools_suffix|>',
        '<｜DSML｜invoke name=" "></｜DSML｜invoke>',
        "<tool_calls></tool_calls>",
        "<tool_calls><tool_call>f<tool_sep>",
        "<tool_call>a name<tool_sep></tool_call>",
        "<longcat_tool_call>a name</longcat_tool_call>",
        "<longcat_tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></longcat_tool_call>",
        "<｜tool_calls_begin｜><｜tool_calls_end｜>",
        '<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="f"></steptml:invoke>',
        '<tool_call>{"name": " ", "arguments": {}}</tool_call>',
    ],
)
def test_what_is_no_call(text: str) -> None:
    answer = parse_answer(text, OFFERED)
    assert answer.problem
    assert answer.calls == ()


parts = st.sampled_from(
    sorted(
        {part for syntax in SYNTAXES.values() for part in re.findall(r"<[^<>]*>|\[\w+\]|\w+|\W", syntax.example)}
        | {
            "<think>",
            "</think>",
            "Thought:",
            "Observation:",
            "Tide Table API",
            "my arg",
            "'",
            "(",
            ")",
            "=",
            "; ",
            "\\",
        }
    )
)
ODDLY_OFFERED = (*OFFERED, Tool("Tide Table API", "", {"properties": {"my arg": {"type": "object"}}}))


@pytest.mark.fuzz
@settings(deadline=None, max_examples=examples(400))
@given(st.one_of(st.lists(parts, max_size=30).map("".join), st.text()))
def test_nothing_raises(text: str) -> None:
    answer = parse_answer(text, ODDLY_OFFERED)
    first_call(text, ODDLY_OFFERED)
    attempted(text, [tool.name for tool in ODDLY_OFFERED])
    assert (answer.problem is None) <= bool(answer.calls)


PIECES = (
    *("<tool_call>", "<tool_call>\n", "<tool_call>.\n", "<tool_call>a ", "`<tool_call>`", "<tool_call>f\n<arg_key>"),
    *("<tool_call>f<arg_key>a</arg_key><arg_value>", "<function=f>", "<function=f><parameter=a>", "<parameter=a>"),
    *(
        "<function=f> ",
        '<invoke name="f">',
        "<function_calls>",
        '<invoke name="f"><parameter name="a">',
        "<f>",
        "<f><a>",
        "<f a=",
        "<f ",
        '<function name="f">',
        '<function name="f"><parameter name="a">',
        '<functioncall> {"name": "f"',
        """<functioncall>{"name": "f", "arguments": '{'a': """,
    ),
    *(
        ">>>f\n{",
        ">>>",
        "[TOOL_CALLS]",
        "[TOOL_CALLS]f[ARGS]{",
        "[TOOL_CALLS]f{",
        "Action: f\nAction Input: {",
        "Action: ",
        "Action:\n",
    ),
    *("✿FUNCTION✿: f ", "✿FUNCTION✿:", "✿FUNCTION✿: f ✿ARGS✿: {", "to=functions.f ", "f: f\n", "x: f\nx: "),
    *("Thought: ", "Thought: x\n", "<think>", "</think>", "<|python_tag|>", "<|python_tag|>{", "<|python_start|>"),
    *("{'name': 'f', 'arguments': {'a': ", "{'a':\n", "{'name': 'f', 'arguments': {}}\n.", "['", "[{'", "functools["),
    *("Tide Table API(", "Tide Table API", "Tide Table API(my arg=1)\n", "f(my arg=", "my arg", "f(b='x' ", "[f(a="),
    *('{"name":"f","arguments":', '"name"', '"name" : ', '"name":"f', '{"f":{', '"arguments":', "f:", "f\n{", "f\n"),
    *("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<|tool_call_begin|>", "<|channel|>commentary to=functions.f"),
    *("<|channel|>", "Action: ```json\n[", '<|START_ACTION|>[{"tool_name":', "<", "[", "(", "{", "A", "\\", "'''", " "),
)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("end", ["", "((("])
def test_no_text_costs_more_than_its_length(piece: str, end: str) -> None:
    names = [tool.name for tool in ODDLY_OFFERED]
    text = piece * (MAX_LENGTH // len(piece) - 1) + end

    def read() -> None:
        parse_answer(text, ODDLY_OFFERED)
        first_call(text, ODDLY_OFFERED)
        attempted(text, names)

    assert takes_less(read, 0.1)


def test_a_syntax_of_ones_own_is_known_everywhere() -> None:
    def read(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
        found = re.compile(r"@(\w+)!").match(text, position)
        if not found:
            raise Problem("no shout")
        return [(Call(found[1]), ())], found.end()

    shout = Syntax(
        name="shout",
        description="a name between @ and !",
        example="@f!",
        opening="@",
        first="@",
        marked=True,
        read=read,
        attempts=lambda text, names: "@" in text,
        write=lambda calls: "".join(f"@{call.name}!" for call in calls),
    )
    with SYNTAXES.added(shout):
        assert parse_answer("@f!@g!").calls == (Call("f"), Call("g"))
        assert first_call("Now @f! for you") == Call("f")
        assert attempted("@f", []) is shout
        assert "`@f!`" in SYNTAXES.table()
    assert parse_answer("@f!").calls == ()
    assert first_call("Now @f!") is None
    assert attempted("@f!", []) is None
