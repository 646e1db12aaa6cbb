"""Keys are masked; what only looks a little like one is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.secrets import MASK, mask, mask_text, replace_all

HEX = "0123456789abcdef" * 2
MIXED = "Ab1" * 9


def key(prefix: str, length: int) -> str:
    """Put together here, so that no scanner takes this file for a leak."""
    return prefix + ("aB3" * length)[:length]


KEYS = [
    key("sk-", 48),
    key("sk-" + "proj-", 40),
    key("sk-" + "ant-", 40),
    "AKIA" + "A1B2" * 4,
    key("ghp" + "_", 36),
    key("github" + "_pat_", 40),
    key("hf" + "_", 0) + "aB" * 17,
    key("AI" + "za", 35),
    "xoxb" + "-12345-" + "a" * 20,
    "eyJ" + "hbGciOiJIUzI1" + ".eyJ" + "zdWIiOiIxMjM0" + "." + "s" * 20,
]


@pytest.mark.parametrize("secret", KEYS)
def test_forms_that_services_give_their_keys(secret: str) -> None:
    assert mask_text(f"Use {secret}, please.") == (f"Use {MASK}, please.", 1)
    assert mask_text(f"https://x.org/?q={secret}&b=1") == (f"https://x.org/?q={MASK}&b=1", 1)
    assert mask({"a": [{"b": secret}]}) == ({"a": [{"b": MASK}]}, 1)


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({"api_key": HEX}, {"api_key": MASK}),
        ({"X-RapidAPI-Key": "a1" * 25}, {"X-RapidAPI-Key": MASK}),
        ({"clientSecret": HEX, "q": "x"}, {"clientSecret": MASK, "q": "x"}),
        ({"access_token": MIXED}, {"access_token": MASK}),
        ({"token": [HEX, "x"]}, {"token": [MASK, "x"]}),
        (f"search(q='x', apikey='{HEX}')", f"search(q='x', apikey='{MASK}')"),
        (f'{{\\"appid\\": \\"{HEX}\\"}}', f'{{\\"appid\\": \\"{MASK}\\"}}'),
        (f"?units=m&access_key={HEX}&q=x", f"?units=m&access_key={MASK}&q=x"),
        (f"Authorization: Bearer {MIXED}", f"Authorization: Bearer {MASK}"),
    ],
)
def test_random_values_after_a_telling_name(value: Any, masked: Any) -> None:
    assert mask(value) == (masked, 1)


@pytest.mark.parametrize(
    "value",
    [
        {"token": "z9x8c7v6b5n4m3q2w1"},  # a session of a simulated tool, which later calls are about
        {"token": "o21h1snglvh8zvugvxm10gktcm4tqb6h"},
        {"nextPageToken": MIXED},
        {"api_key": "YOUR_API_KEY"},
        {"api_key": "<your key>"},
        {"api_key": "***"},
        {"api_key": "the key that was sent to you by mail"},
        {"id": HEX},
        {"query": "sk-learn-contrib-imbalanced-learning-examples"},
        {"secret": "the treasure is under the old oak"},
        {"api_key": {"type": "string", "description": "The key: see the documentation, chapter 12."}},
        {"max_tokens": 123456789012345678901234567890},
        f"The commit {HEX} mentions api keys.",
        "tokens: abcdefghijklmnopqrstuvwxyz012345",
        "task-1234567890abcdefghijklmnop",
        "eyJhbGciOiJIUzI1NiJ9",
    ],
)
def test_other_values_stay(value: Any) -> None:
    assert mask(value) == (value, 0)


def test_nothing_in_real_data_is_touched(shared_data: Path) -> None:
    for path in (*shared_data.glob("*/*.jsonl"), *shared_data.glob("raw/*/*.json")):
        text = path.read_text(encoding="utf-8")
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        assert mask(rows) == (rows, 0), path


def test_known_secrets_are_replaced_everywhere() -> None:
    value = {"a": "key=abc123!", "b": ["abc123", "abc", 3, None]}
    assert replace_all(value, ["abc", "abc123"]) == ({"a": f"key={MASK}!", "b": [MASK, MASK, 3, None]}, 3)
    assert replace_all(value, []) == (value, 0)


texts = st.text(alphabet="aZ09_-=:'\" .{}[]\\skgtoen", max_size=60) | st.sampled_from(KEYS)
names = st.sampled_from(["a", "token", "api_key"])
json_values = st.recursive(texts | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(names, x))


@given(json_values)
def test_masking_twice_changes_nothing_more(value: Any) -> None:
    masked, _ = mask(value)
    assert mask(masked) == (masked, 0)
