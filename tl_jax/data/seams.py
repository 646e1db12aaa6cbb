"""Where a text can be cut so that the tokens of its parts are the tokens of the whole.

A tokenizer is a black box only until one looks at its parts. If they show that no token and no rule reaches across the
end of a line, a text is encoded line by line, and a line that comes again (tools are described in every trajectory) is
looked up. Where the parts do not show it, texts are encoded whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

LINE_END = re.compile(r"\n(?<=[!-~]\n)(?=[!-~])")
"""A line break between two visible ASCII characters: nothing there that a tokenizer could compose or count as one run
of white space, whatever its idea of white space is. What begins with a character is searched fastest."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PATTERNS = frozenset(
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2; ByteLevel's own
        _CONTRACTIONS + r"\p{N}{1,3}" + _REST,  # GPT-4, Llama 3
        _CONTRACTIONS + r"\p{N}" + _REST,  # Qwen
    ]
)
"""Regular expressions that end a match at every `LINE_END`, whatever follows it. (Not so GPT-4o's, in which punctuation
takes a line break and a slash after it along.)"""
_UNICODE_FORMS = frozenset(["NFC", "NFD", "NFKC", "NFKD"])


def lines(text: str) -> list[str]:
    """The text cut after each `LINE_END`."""
    cuts = [0, *(match.end() for match in LINE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def splits_at_line_ends(tokenizer: Mapping[str, Any], *, prefixed: bool) -> bool:
    """Whether every text may be cut at each `LINE_END`.

    Args:
        tokenizer: the parsed JSON of a `tokenizers.Tokenizer` without its control tokens.
        prefixed: whether it puts a blank before a text.
    """
    if not _normalizes_locally(tokenizer["normalizer"]) or tokenizer["model"].get("dropout"):
        return False
    added = tokenizer["added_tokens"]
    if any("\n" in token["content"] or token["lstrip"] for token in added):
        return False
    if _splits_by_pattern(tokenizer["pre_tokenizer"]):
        return not prefixed
    # An added token divides a text, and what follows it gets a blank of its own.
    return not (prefixed and added) and _has_no_pre_tokenizer(tokenizer) and _merges_within_lines(tokenizer["model"])


def _normalizes_locally(normalizer: Mapping[str, Any] | None) -> bool:
    """Whether what becomes of a character depends on none beyond a line break."""
    if normalizer is None or normalizer["type"] in _UNICODE_FORMS:
        return True
    if normalizer["type"] == "Sequence":
        return all(map(_normalizes_locally, normalizer["normalizers"]))
    if normalizer["type"] == "Replace":
        return bool(normalizer["pattern"].get("String") == " " and "\n" not in normalizer["content"])
    return bool(normalizer["type"] == "Prepend")  # before the first line only


def _splits_by_pattern(pre_tokenizer: Mapping[str, Any] | None) -> bool:
    """Whether a regular expression of `_PATTERNS` cuts the text before anything else does."""
    if pre_tokenizer is None:
        return False
    if pre_tokenizer["type"] == "ByteLevel":
        return bool(pre_tokenizer.get("use_regex", True))
    if pre_tokenizer["type"] != "Sequence" or len(pre_tokenizer["pretokenizers"]) != 2:
        return False
    split, bytes_only = pre_tokenizer["pretokenizers"]
    return (
        split["type"] == "Split"
        and split["pattern"].get("Regex") in _PATTERNS
        and split["behavior"] == "Isolated"
        and not split["invert"]
        and bytes_only["type"] == "ByteLevel"
        and not bytes_only.get("use_regex", True)
    )


def _has_no_pre_tokenizer(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a text reaches the model in one piece, or cut at blanks."""
    pre_tokenizer = tokenizer["pre_tokenizer"]
    return pre_tokenizer is None or pre_tokenizer["type"] == "Metaspace"


def _merges_within_lines(model: Mapping[str, Any]) -> bool:
    """Whether a BPE model has no token with a line break and anything else in it, and can write a line break."""
    if model["type"] != "BPE" or model.get("ignore_merges"):
        return False
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    vocabulary = model["vocab"]
    if any("\n" in token and token != "\n" for token in vocabulary):
        return False
    return "\n" in vocabulary or (model["byte_fallback"] and "<0x0A>" in vocabulary)
