"""Common prefixes, against trying every length, and between all pairs."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse import prefixes
from tl_jax.tooluse.prefixes import common_prefix, shared_prefixes

texts = st.text(alphabet="ab_é", max_size=6)


def longest(one: str, other: str) -> int:
    return max(length for length in range(len(one) + 1) if other.startswith(one[:length]))


def test_the_examples() -> None:
    assert doctest.testmod(prefixes) == (0, 2)


@given(texts, texts)
def test_the_common_prefix_of_texts_lists_and_tuples(one: str, other: str) -> None:
    expected = longest(one, other)
    assert common_prefix(one, other) == expected
    assert common_prefix(list(one), list(other)) == expected
    assert common_prefix(tuple(one), tuple(other)) == expected


@given(st.lists(texts, unique=True, max_size=8).map(sorted))
def test_shared_prefixes_are_those_with_all_others(names: list[str]) -> None:
    expected = [max((longest(name, other) for other in names if other != name), default=0) for name in names]
    assert list(shared_prefixes(tuple(names))) == expected
    assert list(shared_prefixes(tuple(map(tuple, names)))) == expected
