"""Reading answers: against Python's own parser, against the renderers, and against hostile text."""

from __future__ import annotations

import ast
import json
import re
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.growth import takes_less
from tests.tooluse import strategies
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.parse import MAX_ARGUMENTS, MAX_LENGTH, TRIED, Answer, bind, first_call, parse_answer
from tl_jax.tooluse.text.render import PaperRenderer, ReleasedRenderer

F = Call("f", {"a": 1})
G = Call("g", {"b": "x"})
F_JSON = '{"name": "f", "arguments": {"a": 1}}'
G_JSON = '{"name": "g", "arguments": {"b": "x"}}'


def one(text: str) -> Call:
    """The only call of a text that is nothing else."""
    answer = parse_answer(text)
    assert answer.problem is None, answer
    (call,) = answer.calls
    return call


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("'love'", "love"),
        ('"it\'s"', "it's"),
        (r"'it\'s\n'", "it's\n"),
        ("'''two\nlines'''", "two\nlines"),
        (r"r'\d'", r"\d"),
        (r"'\d'", r"\d"),
        ("'a' 'b'", "ab"),
        (r'"\ud83d\ude00"', "😀"),
        ("'(, = # ] }'", "(, = # ] }"),
        ("-3", -3),
        ("+2.5e3", 2500.0),
        ("1_000", 1000),
        ("0x10", 16),
        ("True", True),
        ("null", None),
        ("[true, None, {'k': false}]", [True, None, {"k": False}]),
        ("(1, 'a')", [1, "a"]),
        ("{'x'}", ["x"]),
        ("()", []),
        ("{1: 2, None: 3}", {"1": 2, "null": 3}),
        ('{"k": [1, {"l": "m"}]}', {"k": [1, {"l": "m"}]}),
        ("\n  [\n 1,\n 2,\n]\n", [1, 2]),
    ],
)
def test_values(value: str, expected: object) -> None:
    call = one(f"f(a = {value}, b=0)")
    assert call == Call("f", {"a": expected, "b": 0})
    assert type(call.arguments["a"]) is type(expected)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("g(1)", "Call"),
        ("__import__('os')", "Call"),
        ("f'{x}'", "JoinedStr"),
        ("1 + 1", "BinOp"),
        ("'a' if 1 else 'b'", "IfExp"),
        ("[x for x in 'ab']", "ListComp"),
        ("lambda: 1", "Lambda"),
        ("a.b", "Attribute"),
        ("x", "the name 'x'"),
        ("[*x]", "Starred"),
        ("{**x}", r"\*\*"),
        ("--1", "UnaryOp"),
        ("-True", "sign"),
        ("not 1", "UnaryOp"),
        ("(a := 1)", "NamedExpr"),
        ("b'x'", "bytes"),
        ("1j", "complex"),
        ("...", "ellipsis"),
        ("NaN", "nan"),
        ("-Infinity", "inf"),
        ("inf", "the name 'inf'"),
        ("1e999", "inf"),
        ("9" * 5000, "value"),
        ("9" * 400, "too large"),
        ("0x" + "f" * 5000, "too large"),
        ("{'k': 1, 'k': 2}", "key twice"),
        ('{"k": 1, "k": 2}', "key twice"),
        ("{1: 1, '1': 2}", "key twice"),
        ("{(1, 2): 3}", "as key"),
        (r"'\ud83d'", "surrogate"),
        (r'["\ud83d"]', "surrogate"),
        ("[" * 40 + "]" * 40, "deeply"),
        ("", "no value"),
        ("[1", "not closed"),
        ("[1)]", "bracket"),
        ("'it's'", "not closed"),
        ("'two\nlines'", "not closed"),
        ("1 2", "not a value"),
        ("1 # one", "comment"),
        ("== 1", "not a value"),
    ],
)
def test_what_is_no_value(value: str, problem: str) -> None:
    answer = parse_answer(f"f(a={value})")
    assert answer.calls == ()
    assert re.search(problem, answer.problem or "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "f",
        "f a=1",
        "(a=1)",
        "f(a=1",
        "f(a=1))",
        "f(a=1, a=2)",
        "f(**{'a': 1})",
        "f(*[1])",
        "f(a=1, 2)",
        "f(,)",
        "f(a=1,,b=2)",
        "f('a'=1)",
        "f(a b=1)",
        "f(=1)",
        "f(a=1) g(b=2)",
        "f(a=1)\nDone.",
        "f(a=1) # why",
        "f(a=1) = 2",
        "f(a=1).x",
        "[]",
        "[f(a=1), g(b=2)",
        "[f(a=1)] x",
        "{}",
        "[{}]",
        '{"name": "f"}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "arguments": {}, "parameters": {}}',
        '{"name": 1, "arguments": {}}',
        '{"name": "", "arguments": {}}',
        '{"name": "f", "arguments": {"a": NaN}}',
        '{"name": "f", "arguments": {"a": 1, "a": 2}}',
        "f\n{'a': 1}",
        'f\n{"a": 1} x',
        '{"name": "f", "arguments": "{} x"}',
        '<tool_call>{"name": "f", "arguments": {}}',
        "<tool_call>[]</tool_call>",
        "<tool_call>f(a=1)</tool_call>",
    ],
)
def test_what_is_no_call(text: str) -> None:
    answer = parse_answer(text)
    assert answer.problem
    assert answer.calls == ()
    assert answer.text == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "f(a=1)\ng(b='x')",
        "f(a = 1) \n\ng(b = 'x') ",
        "f(a=1); g(b='x');",
        "[f(a=1), g(b='x')]",
        "[\n  f(a=1),\n  g(b='x')\n]",
        '[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "parameters": {"b": "x"}}]',
        '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {"b": "x"}}',
        f"<tool_call>\n{F_JSON}\n</tool_call>\n<tool_call>\n{G_JSON}\n</tool_call>",
        f"<tool_call>{F_JSON}</tool_call><tool_call>{G_JSON}</tool_call>",
        f'{{"type": "function", "function": {F_JSON}}}\n{{"function": {G_JSON}}}',
        f"{F_JSON}\n" + r'{"name": "g", "arguments": "{\"b\": \"x\"}"}',
        'f\n{"a": 1}\ng\n{"b": "x"}',
    ],
)
def test_several_calls_in_every_form(text: str) -> None:
    assert parse_answer(text) == Answer((F, G), positional=((), ()))
    with_prose = parse_answer(f"First (as told) f, then:\n{text}")
    assert with_prose.calls == (F, G)
    assert with_prose.text == "First (as told) f, then:"
    assert with_prose.problem == "there is text besides the calls"


def test_names_that_python_would_not_allow() -> None:
    assert one("preferred-routes_get(code: = 'x', 名='y', $filter=1)") == Call(
        "preferred-routes_get", {"code:": "x", "名": "y", "$filter": 1}
    )
    assert one("weather.api.now()") == Call("weather.api.now")


def test_positional_arguments_are_bound_in_the_order_of_the_signature() -> None:
    tool = Tool("f", "", {"properties": {"c": {}, "a": {}, "b": {}}, "required": ["a", "b"]})
    answer = parse_answer("f(1, 'x', c=2)")
    assert (answer.problem, answer.calls, answer.positional) == (None, (Call("f", {"c": 2}),), ((1, "x"),))
    assert bind(answer.calls[0], answer.positional[0], tool) == Call("f", {"a": 1, "b": "x", "c": 2})
    assert bind(Call("f", {"a": 0}), (1, 2, 3, 4), tool) == Call("f", {"*0": 1, "b": 2, "c": 3, "*3": 4, "a": 0})
    assert bind(F, (), tool) is F


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f(a=1)", F),
        ("f(a = 1) \nOutput: 3\nf(a=2)", F),
        ("I will look (first).\n  f(a=1) # because", F),
        ("```python\nf(a=1)\n```", F),
        ("The call is f(a=1), I think.", F),
        ("Inline h(1) is not\nf(a=1)", F),
        ("f(a=g(1))\nf(a=1)", F),
        ("f(a=g(b='x'))", None),
        ('Sure. <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call> Done', F),
        ('Sure.\n{"name": "f", "parameters": {"a": 1}}\nDone', F),
        ('Sure.\nf\n{"a": 1}\nDone', F),
        ("<tool_call>[]</tool_call>", None),
        ("no call at all (none)", None),
        ("", None),
    ],
)
def test_first_call(text: str, expected: Call | None) -> None:
    assert first_call(text) == expected


@settings(deadline=None)
@given(strategies.calls)
def test_every_renderer_is_read_back(call: Call) -> None:
    as_json = json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)
    python = PaperRenderer().answer([call])
    forms = [
        python,
        f"[{python}]",
        ReleasedRenderer().answer([call]),
        as_json,
        f"<tool_call>\n{as_json}\n</tool_call>",
        f"{call.name}\n{json.dumps(call.arguments)}",
    ]
    for text in forms:
        assert repr(one(text)) == repr(call)  # repr tells 1 from 1.0 and True
        assert repr(first_call(text)) == repr(call)


@settings(deadline=None)
@given(st.lists(strategies.calls, min_size=1, max_size=3))
def test_several_calls_are_read_back(calls: list[Call]) -> None:
    for renderer in (PaperRenderer(), ReleasedRenderer()):
        assert parse_answer(renderer.answer(calls)) == Answer(tuple(calls), positional=((),) * len(calls))


pieces = st.sampled_from(
    [
        *strategies.HOSTILE,
        "f(",
        "g",
        "a=",
        "=",
        ",",
        ")",
        "(",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "'''",
        "1",
        "-",
        "**",
        "*",
        ":",
        ".",
        "#",
        ";",
        "True",
        "null",
        "'x'",
        "0x",
        "1e5",
        "\\",
        "\\N{DASH}",
        "\0",
        "\ud800",
        "<tool_call>",
        "</tool_call>",
        '"name":',
    ]
)


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(pieces, max_size=25).map("".join)))
@example("f(a='\\N{X}')")
@example("f(a=\0)")
@example("f(a=\ud800)")
def test_never_raises_and_agrees_with_python_on_what_is_a_literal_call(text: str) -> None:
    answer = parse_answer(text)
    first_call(text)
    assert (answer.problem is None) <= bool(answer.calls)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node = ast.parse(text.strip(), mode="eval").body
            assert isinstance(node, ast.Call)
            assert isinstance(node.func, ast.Name)
            arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
            positional = [ast.literal_eval(value) for value in node.args]
            as_json = json.dumps([arguments, positional], allow_nan=False, ensure_ascii=False)
            arguments, positional = json.loads(as_json.encode())  # lists for tuples, text for keys
    except (AssertionError, SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return
    if answer.problem is None:
        (call,) = answer.calls
        assert call.name == node.func.id
        assert repr((call.arguments, answer.positional)) == repr((arguments, (tuple(positional),)))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**6,
        "f(" * 500_000,
        "f(a='" * 200_000,
        "f(a=" + "9" * 10**6 + ")",
        "x" * 10**6,
        "f(a='" + "x" * 10**6,
        "f(a=" + "[1," * 6_000,
        "{" * MAX_LENGTH,
        '{"a":' * 3_900,
        "f(a=" + "-" * 19_000 + "1)",
        "f(a=" + "1+" * 9_900 + "1)",
        "f(a=" + "(" * 30 + "1" + ",)" * 30 + ")",
        "f(a='" + "\\" * 19_000,
        "f(\n" * 6_500,
        "f('''\n" * 3_300,
        "f(a=" + "lambda:" * 2_800 + "1)",
        "a " * 9_900,
        "a" * MAX_LENGTH,
        " " * MAX_LENGTH,
        "<tool_call>" * 1_800,
        "f(x)\n" * 3_900,
        "f(a=f'" + "{b}" * 6_500 + "')",
        "f(a=(0x1,\n" * 4 + "0x1," * 4_900 + "))))",
        "f(a=('''" * 3 + "0x1," * 4_900 + "))))",
        "f(" + "1," * 9_900 + ")",
        "f(a=(" + "'b' " * 4_900 + "))",
        "f(a=" + "b''" * 6_500,
        "f(a=b" + " " * 9_900 + "(" + " " * 9_900,
    ],
    ids=lambda text: f"{text[:8]}...",
)
def test_hostile_texts_are_refused_quickly(text: str) -> None:
    assert takes_less(lambda: (parse_answer(text), first_call(text)), 0.1)  # at most 0.03 s on an idle core
    if len(text) > MAX_LENGTH:
        assert parse_answer(text).problem == f"longer than {MAX_LENGTH} characters"


def test_limits() -> None:
    many = ", ".join(f"a{n}=1" for n in range(MAX_ARGUMENTS))
    assert len(one(f"f({many})").arguments) == MAX_ARGUMENTS
    assert parse_answer(f"f({many}, b=1)").problem == f"more than {MAX_ARGUMENTS} arguments"
    # Where a call may begin is tried in order, until what follows these places adds up to TRIED times its length.
    prose, call = "x(y)\n", "f(a=1)"
    assert parse_answer(prose * 50 + call).calls == (Call("f", {"a": 1}),)
    assert parse_answer(prose * (TRIED + 1) + " " * (MAX_LENGTH - 100) + call).calls == ()


@pytest.mark.parametrize("value", ["g(1)", "[g (1)]", "{'k': open('x')}", "x\n(1)", "[1](0)", "not (1)"])
def test_a_call_is_no_value(value: str) -> None:
    assert "not a value" in (parse_answer(f"f(a={value})").problem or "")


def test_escapes_python_warns_about_do_not_warn_here() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one(r"f(a='\d+\.', b=['\w'])").arguments == {"a": r"\d+\.", "b": [r"\w"]}


def test_golden_calls_of_real_cases_are_read_back(shared_data: Path) -> None:
    seen = 0
    for path in sorted((shared_data / "eval").glob("*.jsonl")):
        for row in path.read_text().splitlines():
            for alternative in Case.from_json(json.loads(row)).gold:
                plain = [Call(call.name, call.arguments) for call in alternative]
                for renderer in (PaperRenderer(), ReleasedRenderer()):
                    assert parse_answer(renderer.answer(plain)).calls == tuple(plain)
                    seen += len(plain)
    assert seen > 1000


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", " \u00a0\n", "\f"])
def test_blanks_of_any_kind_may_stand_around_calls(blank: str) -> None:
    assert parse_answer(f"{blank}f(a=1){blank}") == Answer((Call("f", {"a": 1}),), positional=((),))
