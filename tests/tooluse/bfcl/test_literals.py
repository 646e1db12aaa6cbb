"""Values written in Java and JavaScript."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from tests.growth import grows_linearly
from tl_jax.tooluse.bfcl import literals
from tl_jax.tooluse.bfcl.literals import Language, natural, read, write

FORMS: list[tuple[Language, str, str | None, str, Any]] = [
    ("java", "integer", None, "-5", -5),
    ("java", "integer", None, "5L", "5L"),
    ("java", "long", None, "5L", 5),
    ("java", "float", None, "1.5e2F", 150.0),
    ("java", "float", None, "1.5", "1.5"),
    ("java", "double", None, "-1.5e-1", -0.15),
    ("java", "boolean", None, "false", False),
    ("java", "boolean", None, "True", "True"),
    ("java", "char", None, "'a'", "'a'"),
    ("java", "String", None, '"a"', '"a"'),
    ("java", "any", None, "5", "5"),
    ("java", "Array", "integer", "new int[]{1, 2}", [1, 2]),
    ("java", "Array", "integer", "new int[] { }", []),
    ("java", "Array", None, 'new Object[]{1, "a", true, 2L, 1.5f, x}', [1, "a", True, 2, 1.5, "x"]),
    ("java", "Array", "String", 'new String[]{"a"}', ['"a"']),
    ("java", "Array", "integer", "{1, 2}", "{1, 2}"),
    ("java", "ArrayList", "String", 'new ArrayList<>(Arrays.asList("a", "b"))', ["a", "b"]),
    ("java", "ArrayList", "long", "new ArrayList<Long>() {{ add(1L); add(2L); }}", [1, 2]),
    ("java", "ArrayList", "long", "new ArrayList<Long>()", []),
    ("java", "ArrayList", "long", "List.of(1L)", "List.of(1L)"),
    ("java", "HashMap", None, 'new HashMap<String, Object>() {{ put("a", 1); put("b", "c"); }}', {"a": 1, "b": "c"}),
    ("java", "HashMap", None, "new HashMap<>()", {}),
    ("java", "HashMap", None, "Map.of()", "Map.of()"),
    ("java", "HashMap", None, 'new HashMap<String, Object>() { put("a", "}")', {}),
    ("java", "HashMap", None, 'new HashMap<>() {{ put("a", 1) }', {"a": 1}),
    ("java", "ArrayList", "long", "new ArrayList<Long>() {{ }} add(1L); }}", [1]),
    ("javascript", "array", None, "[[1, 2], ['a'] ,[true]]", [[1, 2], ["a"], [True]]),
    ("javascript", "array", None, "[[1], [2]x]", ["[1"]),
    ("javascript", "array", None, "[[1]x, [2]]", [[1], [2]]),
    ("javascript", "array", None, "new Array([1], [2])", [[1], [2]]),
    ("javascript", "integer", None, "12", 12),
    ("javascript", "float", None, "-1.5", -1.5),
    ("javascript", "float", None, "1e3", "1e3"),
    ("javascript", "Bigint", None, "12n", 12),
    ("javascript", "Boolean", None, "true", True),
    ("javascript", "String", None, "'a'", "a"),
    ("javascript", "String", None, "a'", "a'"),
    ("javascript", "any", None, "x => x", "x => x"),
    ("javascript", "array", "float", "[1, 2.5]", [1.0, 2.5]),
    ("javascript", "array", None, "new Array(1, 'a', false)", [1, "a", False]),
    ("javascript", "array", "array", "[[1, 2], [3]]", [[1, 2], [3]]),
    ("javascript", "array", "String", "[]", []),
    ("javascript", "array", "String", "list", "list"),
    ("javascript", "dict", None, "{}", {}),
    ("javascript", "dict", None, "{'a': 1, b: [1, 2], \"c\": true}", {"a": 1, "b": [1, 2], "c": True}),
    ("javascript", "dict", None, "{a: {b: true}}", {"a": "{b: true"}),
    ("javascript", "dict", None, "options", "options"),
]


def test_the_examples() -> None:
    assert doctest.testmod(literals).failed == 0


@pytest.mark.parametrize(("language", "kind", "items", "text", "value"), FORMS)
def test_what_is_read(language: Language, kind: str, items: str | None, text: str, value: Any) -> None:
    found = read(text, language, kind, items)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("language", "kind", "items", "value"),
    [
        ("java", "long", None, 5),
        ("java", "float", None, 1.5),
        ("java", "double", None, 2.0),
        ("java", "boolean", None, True),
        ("java", "Array", "integer", [1, 2]),
        ("java", "Array", "long", [1, 2]),
        ("java", "Array", "String", ["a", "b"]),
        ("java", "ArrayList", "String", ["a", "b"]),
        ("java", "ArrayList", "boolean", [True, False]),
        ("java", "ArrayList", "integer", []),
        ("java", "HashMap", None, {"limit": 50, "filter": "public", "on": True}),
        ("java", "HashMap", None, {}),
        ("javascript", "Bigint", None, 7),
        ("javascript", "array", "String", ["a", "b"]),
        ("javascript", "array", "float", [1.0, 2.5]),
        ("javascript", "dict", None, {"method": "GET", "list": ["a", 1], "on": True}),
    ],
)
def test_what_is_written_is_read_again(language: Language, kind: str, items: str | None, value: Any) -> None:
    assert read(write(value, language, kind, items), language, kind, items) == value


def test_lists_of_text_in_java_are_written_without_quotes_because_bfcl_compares_them_so() -> None:
    assert write(["a"], "java", "Array", "String") == "new String[]{a}"
    assert natural(["a"], "java", "Array", "String") == 'new String[]{"a"}'
    assert natural(["a"], "java", "ArrayList", "String") == write(["a"], "java", "ArrayList", "String")


@pytest.mark.parametrize(("language", "kind", "items", "text", "value"), FORMS)
def test_bfcl_reads_the_same(language: Language, kind: str, items: str | None, text: str, value: Any) -> None:
    name = {"java": "java", "javascript": "js"}[language]
    package = "bfcl_eval.eval_checker.ast_eval.type_convertor"
    module = pytest.importorskip(f"{package}.{name}_type_converter", reason="bfcl-eval is not installed")
    assert getattr(module, f"{name}_type_converter")(text, kind, items) == value


@pytest.mark.parametrize(
    ("language", "kind", "begin", "piece"),
    [
        ("javascript", "array", "[", "[1],"),
        ("javascript", "array", "", "[[1], "),
        ("javascript", "dict", "{:", "a"),
        ("java", "HashMap", "new HashMap<String, Object>() {", " "),
        ("java", "HashMap", "", "new HashMap<>() {{"),
        ("java", "HashMap", "new HashMap<>() {", 'put("a", '),
        ("java", "HashMap", "", "new HashMap<"),
        ("java", "ArrayList", "new ArrayList<String>() {{", " "),
        ("java", "ArrayList", "new ArrayList<String>() {{", "add("),
        ("java", "Array", "", "new int[]{"),
    ],
)
def test_no_value_costs_more_than_its_length(language: Language, kind: str, begin: str, piece: str) -> None:
    """A model's answer may say anything; trying in turn what might belong together took for ever."""
    end = "}" if kind != "array" else ""
    assert grows_linearly(lambda text: read(text, language, kind), lambda count: begin + piece * count + end, 250)


@pytest.mark.parametrize(("language", "kind"), [("java", "Set"), ("java", "Thread"), ("javascript", "set")])
def test_types_that_bfcl_does_not_read(language: Language, kind: str) -> None:
    with pytest.raises(KeyError):
        read("x", language, kind)
