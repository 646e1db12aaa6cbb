"""YAML as people write it, and as they do not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.yaml_text import read_yaml, yaml_or_text


@pytest.fixture
def pythons_own_limit() -> Iterator[None]:
    """Other tests raise it, and what is nested takes time with the square of its depth until the limit is reached."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a: \xff", "is not UTF-8: invalid start byte at byte 3"),
        ("[" * 20_000, "nested too deeply"),
        ("a: [1", "is not YAML: while parsing a flow sequence at line 1"),
        ("!!int x", "a value is not what it is said to be"),
        ("!!timestamp x", "a value is not what it is said to be"),
        ("!!bool x", "a value is not what it is said to be"),
        ("2026-99-99", "a value is not what it is said to be: month must be in 1..12"),
        ("9" * 5000, "a value is not what it is said to be"),
        ("? [a]\n: b", "is not YAML"),
        ("a: 1\nb:\n  c: 1\n  'c': 2", "is not YAML: 'c' is given twice, at line 4"),
        ("{a: 1, a: 1}", "'a' is given twice"),
        ("!!python/object/apply:os.system [ls]", "is not YAML: could not determine a constructor"),
        ("a: \x1b[2J", "is not YAML"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text: str | bytes, told: str, pythons_own_limit: None) -> None:
    with pytest.raises(ValueError, match=r"^is not ") as error:
        read_yaml(text)
    assert told in str(error.value)
    assert str(error.value).isprintable()
    if isinstance(text, str):
        assert yaml_or_text(text) == text


def test_a_key_may_take_the_place_of_one_that_is_merged() -> None:
    text = "x: &x {a: 1, b: 1}\ny: {<<: *x, a: 2}"
    assert read_yaml(text) == {"x": {"a": 1, "b": 1}, "y": {"a": 2, "b": 1}}


def test_a_value_is_read() -> None:
    assert read_yaml("\ufeffa: [1, 1.5, x]".encode()) == {"a": [1, 1.5, "x"]}
    assert yaml_or_text("1e3") == "1e3"  # as YAML 1.1 has it
    assert yaml_or_text("true") is True


@pytest.mark.fuzz
@given(st.text(st.sampled_from("!&*[]{},:?-|>%@`'\"# \nabint0123456789~._\\\x07é")))
def test_any_text_is_a_value_or_told(text: str) -> None:
    with suppress(ValueError):
        read_yaml(text)
