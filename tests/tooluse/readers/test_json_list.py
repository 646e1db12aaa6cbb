"""Lists in pieces of any size are the lists that `json` reads at once, and everything else is an error."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.readers import json_list
from tl_jax.tooluse.readers.rows import parse

numbers = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def read(content: bytes, chunk: int) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_list, "CHUNK", chunk)
        return list(json_list.items(io.BytesIO(content)))


@given(
    rows=st.lists(values, max_size=5), chunk=st.integers(1, 40), indent=st.sampled_from([None, 2]), plain=st.booleans()
)
def test_a_list_is_read_in_pieces_of_any_size(rows: list[Any], chunk: int, indent: int | None, plain: bool) -> None:
    content = json.dumps(rows, indent=indent, ensure_ascii=plain).encode()
    assert read(b"\xef\xbb\xbf \r\n" + content + b"\n ", chunk) == rows


@given(rows=st.lists(values, min_size=1, max_size=3), chunk=st.integers(1, 40), data=st.data())
def test_what_is_no_list_is_an_error(rows: list[Any], chunk: int, data: st.DataObject) -> None:
    """Whatever is done to one character, both readers say the same."""
    content = bytearray(json.dumps(rows).encode())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b'[]{},:"\\ 1eN\xff\x00'))
    try:
        expected = parse(bytes(content))
    except ValueError:
        expected = None
    if isinstance(expected, list):
        assert read(bytes(content), chunk) == expected
    else:
        with pytest.raises(ValueError):  # noqa: PT011 (the reader of rows says what is wrong)
            read(bytes(content), chunk)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[1 2]",
        b"[1] 2",
        b"{}",
        b"[NaN]",
        b"[1e999]",
        b'[{"a": 1, "a": 2}]',
        b"[[" * 9999,
        rb'["\ud800"]',
    ],
)
@pytest.mark.parametrize("chunk", [1, 1000])
def test_broken_lists(content: bytes, chunk: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (as above)
        read(content, chunk)


def test_only_what_is_needed_is_in_memory() -> None:
    """A list of any length."""

    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size: int = -1) -> bytes:
            Endless.asked += 1
            return (b"[0" if Endless.asked == 1 else b"") + b", 1" * (size // 3)

    found = list(itertools.islice(json_list.items(Endless()), 400_000))
    assert sum(found) == 399_999
    assert Endless.asked == 2
