"""Lines that are encoded one by one give the whole text's tokens, wherever a tokenizer is said to allow it."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import byte_level as bpe_with
from tests.data.vocabularies import REGEXES, byte_level, sentencepiece
from tl_jax.data.codec import Codec
from tl_jax.data.seams import LINE_END, splits_at_line_ends
from tl_jax.data.segment_tokenizer import SegmentTokenizer

GPT_4O = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
KINDS = ["llama", "sentencepiece", "llama3", "qwen", "gpt2"]
LINES = st.sampled_from(
    ["", " ", "a", "}", "/x", "'s", "1", "    b: 2", "x ", "\t", "\r", "é", "\u0301", "ﬁ", "😀", "\n", "get(", "\u2028"]
)
TEXTS = st.lists(st.one_of(LINES, st.text(st.characters(codec="utf-8"), max_size=4)), max_size=12).map("\n".join)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    made: dict[str, PreTrainedTokenizerFast] = {
        "sentencepiece": sentencepiece(tmp_path_factory.mktemp("sentencepiece")),
        "llama3": byte_level("llama3"),
        "qwen": byte_level("qwen"),
        "gpt2": bpe_with(["a\n\n}\n b: 2\n"], use_regex=True),
    }
    return lambda kind: request.getfixturevalue("llama") if kind == "llama" else made[kind]


@pytest.fixture(scope="module")
def segment_tokenizers(tokenizers):
    return cache(lambda kind: SegmentTokenizer(tokenizers(kind)))  # to read a vocabulary anew takes half a second


def whole(tokenizer: SegmentTokenizer, text: str, opens: bool) -> tuple[list[int], list[list[int]]]:
    encoding = (tokenizer.first if opens else tokenizer.rest).encode(text, add_special_tokens=False)
    return encoding.ids, [list(offset) for offset in encoding.offsets]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, opens=st.booleans())
@pytest.mark.parametrize("kind", KINDS)
def test_lines_give_the_tokens_of_the_text(segment_tokenizers, kind: str, text: str, opens: bool) -> None:
    tokenizer = segment_tokenizers(kind)
    assert tokenizer.by_line
    ids, offsets = tokenizer.encode(text, opens)
    assert (ids.tolist(), offsets.tolist()) == whole(tokenizer, text, opens)
    again = tokenizer.encode(text, opens)
    assert (again.ids.tolist(), again.offsets.tolist()) == (ids.tolist(), offsets.tolist())


def test_real_texts_are_cut_and_encoded_as_a_whole(llama: PreTrainedTokenizerFast, some) -> None:
    tokenizer, renderer = SegmentTokenizer(llama), Codec.open("paper", llama).renderer
    texts = [renderer.render(t.tools, t.messages).text for t in some]
    assert sum(len(LINE_END.findall(text)) for text in texts) > len(texts)
    for text in texts:
        ids, offsets = tokenizer.encode(text, opens=True)
        assert (ids.tolist(), offsets.tolist()) == whole(tokenizer, text, opens=True)


def test_a_vocabulary_that_joins_lines_is_not_cut(merging: PreTrainedTokenizerFast) -> None:
    text = "ok\nUser: go\nAssistant: get_weather"
    tokenizer = SegmentTokenizer(merging)
    assert not tokenizer.by_line
    parts = [token for line in LINE_END.split(text) for token in whole(tokenizer, line, opens=False)[0]]
    assert tokenizer.encode(text, opens=False).ids.tolist() == whole(tokenizer, text, opens=False)[0] != parts


def spec_of(tokenizer: PreTrainedTokenizerFast, **changes: Any) -> dict[str, Any]:
    """The JSON of a tokenizer without its control tokens, with parts replaced."""
    spec: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return copy.deepcopy(spec) | {"added_tokens": []} | changes


def test_what_keeps_a_text_whole(tokenizers, llama: PreTrainedTokenizerFast) -> None:
    """Each change below makes a token or a rule possible that reaches across a line's end."""
    plain, token = spec_of(tokenizers("qwen")), {"content": "<x>", "lstrip": False}
    assert splits_at_line_ends(plain, prefixed=False)
    assert splits_at_line_ends(plain | {"added_tokens": [token]}, prefixed=False)
    assert not splits_at_line_ends(plain, prefixed=True)  # ByteLevel puts a blank before every piece
    assert not splits_at_line_ends(plain | {"added_tokens": [token | {"lstrip": True}]}, prefixed=False)
    assert not splits_at_line_ends(plain | {"added_tokens": [token | {"content": "a\nb"}]}, prefixed=False)
    assert not splits_at_line_ends(plain | {"normalizer": {"type": "Strip"}}, prefixed=False)
    assert not splits_at_line_ends(plain | {"model": plain["model"] | {"dropout": 0.1}}, prefixed=False)

    merges, token = spec_of(llama), {"content": "<x>", "lstrip": False}
    assert splits_at_line_ends(merges, prefixed=True)
    assert not splits_at_line_ends(merges | {"added_tokens": [token]}, prefixed=True)
    for change in (
        {"vocab": merges["model"]["vocab"] | {"\n▁": 40000}},
        {"byte_fallback": False},  # a line break is unknown then, and joins unknown neighbours
        {"ignore_merges": True},
        {"type": "Unigram"},
        {"end_of_word_suffix": "</w>"},
    ):
        assert not splits_at_line_ends(merges | {"model": merges["model"] | change}, prefixed=True)


def test_a_pattern_that_takes_a_slash_along(tokenizers) -> None:
    """GPT-4o's: punctuation, a line break and a slash are one piece."""
    backend = Tokenizer.from_str(tokenizers("qwen").backend_tokenizer.to_str())

    def with_pattern(pattern: str) -> dict[str, Any]:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        return spec_of(PreTrainedTokenizerFast(tokenizer_object=backend))

    assert splits_at_line_ends(with_pattern(REGEXES["qwen"]), prefixed=False)
    assert not splits_at_line_ends(with_pattern(GPT_4O), prefixed=False)
    assert [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str("}\n/x")] == ["}Ċ/", "x"]
