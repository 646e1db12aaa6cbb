"""Keys are masked; what only looks a little like one is not."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tooluse.secret_samples import look_alikes, secrets
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
        ({"auth_token": [HEX, "x"]}, {"auth_token": [MASK, "x"]}),
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
        {"token": MIXED},
        {"token": [HEX, "x"]},
        {"token": "0x" + "aB3" * 13 + "c"},
        {"private_key": "/home/a/.ssh/key_2024/id_rsa_1.pem"},
        {"session_token": MIXED},
        {"password": "S3cr3t!pass-" + "word"},
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


def test_what_is_found_once_is_gone_everywhere_in_the_row() -> None:
    """A gold call still says what a perfect answer to the masked text says."""
    row = {
        "messages": [{"content": f"My API key is {HEX}."}, {"content": f"log in with {HEX}!"}],
        "gold": [{"arguments": {"key": HEX, "other": f"{HEX}x"}}],
    }
    masked, count = mask(row)
    assert masked == {
        "messages": [{"content": f"My API key is {MASK}."}, {"content": f"log in with {MASK}!"}],
        "gold": [{"arguments": {"key": MASK, "other": f"{HEX}x"}}],
    }
    assert count == 3


def test_two_hundred_made_up_strings() -> None:
    """Before the kinds were told by their form: 38 of 100 secrets missed, 24 of 100 other values masked."""
    samples, others = secrets(), look_alikes()
    assert len(samples) == len(others) == 100
    missed = Counter(sample.kind for sample in samples if sample.secret in text_of(mask(sample.value)[0]))
    masked = Counter(sample.kind for sample in others if mask(sample.value) != (sample.value, 0))
    print(f"secrets missed: {missed.total()} of 100; other values masked: {masked.total()} of 100")
    assert all(sample.secret in text_of(sample.value) for sample in samples)
    assert (missed, masked) == (Counter(), Counter())


@pytest.mark.parametrize("seed", range(10, 20))
def test_other_draws_of_the_same_kinds(seed: int) -> None:
    missed = [sample for sample in secrets(seed) if sample.secret in text_of(mask(sample.value)[0])]
    masked = [sample for sample in look_alikes(seed) if mask(sample.value) != (sample.value, 0)]
    assert len(missed) <= 1, missed
    assert len(masked) <= 1, masked


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(map(text_of, value.values()))


@pytest.mark.parametrize(
    "part",
    [
        "-----BEGIN PRIVATE" + " KEY-----",
        "a://b:",
        "api_key=",
        "a_",
        "eyJ" + "a" * 12 + ".",
        "sk-proj-",
        "password=a1",
        "a",
        "Bearer ",
        "api_key=" + HEX + "{at} ",
        "xoxb-",
        "?token=",
    ],
)
def test_time_is_linear(part: str) -> None:
    def seconds(times: int) -> float:
        text = "".join(part.replace("{at}", str(at)) for at in range(times))
        start = time.process_time()
        mask_text(text)
        return time.process_time() - start

    seconds(100)
    assert seconds(8_000) < 10 * seconds(2_000) + 0.05  # four times the text; squared would be sixteen times the time


@pytest.mark.long
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
texts |= st.sampled_from([str(sample.value) for sample in secrets()])
texts |= st.lists(
    st.sampled_from(
        ["api_key=", "Bearer ", "a://b:", "@c", "?token=", "password=", "***", " ", ".", HEX, MIXED, *KEYS]
    ),
    max_size=8,
).map("".join)
names = st.sampled_from(["a", "token", "api_key"])
json_values = st.recursive(texts | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(names, x))


def test_what_is_left_beside_a_masked_secret_is_masked_too() -> None:
    """A key that goes from the middle leaves the start and the end of others, with the ``@`` of an address."""
    value = f"password={KEYS[1]}{KEYS[2]}{KEYS[8]}@c{KEYS[0]}"
    masked, _ = mask(value)
    assert mask(masked) == (masked, 0)
    assert not any(piece in masked for piece in ("aB3", "aaaa"))


@pytest.mark.fuzz
@given(json_values)
def test_masking_twice_changes_nothing_more(value: Any) -> None:
    masked, _ = mask(value)
    assert mask(masked) == (masked, 0)
