"""Generation against transformers' `generate`, its samplers, and a forward pass without a cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import PreTrainedModel
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

from tests.model.tiny import forward, hf_model, load, unpacked
from tl_jax.config import MeshConfig, SamplingConfig
from tl_jax.inference import reading, slots
from tl_jax.inference.buckets import bucket, bucket_within
from tl_jax.inference.choice import filter_logits
from tl_jax.inference.engine import Ends, Generation, Listener
from tl_jax.inference.generate import _Writer, generate
from tl_jax.inference.room import GenerationError
from tl_jax.inference.serving import for_generation
from tl_jax.model.llama import make_graphdef
from tl_jax.model.sharding import make_mesh, shard_tree

PAD = 0
NEW = 16
LENGTHS = (1, 3, 17, 12, 15, 16, 7, 20, 24, 5, 9, 2, 23, 11, 8, 19, 4, 6, 13, 22)
PROMPTS = [np.random.default_rng(n).integers(1, 96, length).tolist() for n, length in enumerate(LENGTHS)]
GREEDY = SamplingConfig(max_new_tokens=NEW, temperature=0)


class Loaded:
    """One model in both worlds, and what it says greedily."""

    def __init__(self, variant: str, directory: Path) -> None:
        self.theirs = hf_model(variant)
        self.config, self.params = load(self.theirs, directory)
        self.graphdef = make_graphdef(self.config, dtype=jnp.float32)

    def generate(self, prompts: list[list[int]], sampling: SamplingConfig, seed: int = 0, **options: Any) -> Generation:
        options = {"eos_ids": (), "pad_id": PAD, "params": self.params, **options}
        served = for_generation(self.graphdef, options.pop("params"), options.pop("mesh", None))
        ends = Ends(options.pop("eos_ids"), options.pop("pad_id"))
        return generate(served, prompts, sampling, jax.random.key(seed), ends, **options)


@pytest.fixture(scope="module", params=["llama", "qwen2-tied", "qwen3", "qwen3-tied"])
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return Loaded(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return Loaded("llama", tmp_path_factory.mktemp("one"))


def hf_generate(model: PreTrainedModel, prompts: list[list[int]], eos: list[int]) -> np.ndarray:
    longest = max(map(len, prompts))
    tokens = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = model.generate(
        tokens, attention_mask=mask, do_sample=False, max_new_tokens=NEW, eos_token_id=eos or None, pad_token_id=PAD
    )[:, longest:]
    return np.pad(out.numpy(), ((0, 0), (0, NEW - out.shape[1])), constant_values=PAD)


def frequent_tokens(tokens: np.ndarray, count: int) -> tuple[int, ...]:
    """Tokens that many rows say, so that as ends they end some rows early and some not."""
    return tuple(int(token) for token in np.argsort(-np.bincount(tokens[:, 2:].ravel()))[:count])


def test_greedy_is_transformers_token_for_token(each: Loaded) -> None:
    eos = frequent_tokens(hf_generate(each.theirs, PROMPTS, []), 2)
    batch = each.generate(PROMPTS, GREEDY, eos_ids=eos)
    np.testing.assert_array_equal(batch.tokens, hf_generate(each.theirs, PROMPTS, list(eos)))
    assert 0 < batch.finished.sum() < len(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        single = each.generate([prompt], GREEDY, eos_ids=eos)
        np.testing.assert_array_equal(single.tokens[0], hf_generate(each.theirs, [prompt], list(eos))[0])
        np.testing.assert_array_equal(single.tokens[0], batch.tokens[row])


def test_lengths_and_ends(one: Loaded) -> None:
    free = one.generate(PROMPTS, GREEDY)
    np.testing.assert_array_equal(free.tokens, hf_generate(one.theirs, PROMPTS, []))
    assert (free.lengths == NEW).all()
    assert not free.finished.any()
    eos = frequent_tokens(free.tokens, 2)
    for pad in (PAD, eos[0], 10_000):  # a pad that is an end, or unknown to the model, changes nothing
        result = one.generate(PROMPTS, GREEDY, eos_ids=eos, pad_id=pad)
        for row in range(len(PROMPTS)):
            said = free.tokens[row].tolist()
            ends = [index for index, token in enumerate(said) if token in eos]
            length = ends[0] + 1 if ends else NEW
            assert result.tokens[row].tolist() == said[:length] + [pad] * (NEW - length)
            assert result.lengths[row] == length
            assert result.finished[row] == bool(ends)
            assert (result.logprobs[row, :length] < 0).all()
            assert not result.logprobs[row, length:].any()


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        SamplingConfig(max_new_tokens=NEW, temperature=0.7, top_k=20, top_p=0.9),
        SamplingConfig(max_new_tokens=NEW, temperature=1.3),
    ],
)
def test_logprobs_are_those_of_a_pass_without_cache(one: Loaded, sampling: SamplingConfig) -> None:
    result = one.generate(PROMPTS, sampling)
    rows = np.zeros((len(PROMPTS), max(LENGTHS) + NEW), np.int64)
    for row, prompt in enumerate(PROMPTS):
        rows[row, : len(prompt) + NEW] = prompt + result.tokens[row].tolist()
    logits = forward(one.graphdef, one.params, *unpacked(rows)) / (sampling.temperature or 1.0)
    for row, prompt in enumerate(PROMPTS):
        logprobs = jax.nn.log_softmax(logits[row, len(prompt) - 1 :][:NEW])
        np.testing.assert_allclose(result.logprobs[row], logprobs[np.arange(NEW), result.tokens[row]], atol=1e-4)


def test_what_tokens_were_drawn_from_is_told_where_some_are_filtered(one: Loaded) -> None:
    """With top_k 1 a token is drawn with probability 1, whatever it has in the whole distribution."""
    only = one.generate(PROMPTS[:3], SamplingConfig(max_new_tokens=2, temperature=1.0, top_k=1))
    assert only.drawn_logprobs is not None
    np.testing.assert_allclose(only.drawn_logprobs, 0, atol=1e-6)
    assert only.logprobs.max() < -0.1
    some = one.generate(PROMPTS[:3], SamplingConfig(max_new_tokens=1, temperature=1.0, top_k=5))
    assert some.drawn_logprobs is not None
    for row, prompt in enumerate(PROMPTS[:3]):
        logits = forward(one.graphdef, one.params, *unpacked(np.array([prompt])))[0, -1]
        kept = np.sort(np.asarray(jax.nn.softmax(logits)))[-5:]
        expected = some.logprobs[row, 0] - np.log(kept.sum())
        assert some.drawn_logprobs[row, 0] == pytest.approx(expected, abs=1e-4)
    for top_p in (None, 1.0):  # all of the probability is no filter, and needs no vocabulary sorted
        whole = one.generate(PROMPTS[:3], SamplingConfig(max_new_tokens=2, temperature=1.3, top_p=top_p))
        assert whole.drawn_logprobs is None


def test_samples_do_not_depend_on_padding_company_or_chunks(one: Loaded) -> None:
    sampling = SamplingConfig(max_new_tokens=NEW, temperature=1.3)
    together = one.generate(PROMPTS, sampling)
    chunked = one.generate(PROMPTS[:8], sampling.model_copy(update={"batch_size": 3}))  # of 24, 16 and 16 tokens
    for name in ("tokens", "lengths", "finished"):
        np.testing.assert_array_equal(getattr(chunked, name), getattr(together, name)[:8])
    np.testing.assert_allclose(chunked.logprobs, together.logprobs[:8], atol=1e-5)
    assert not np.array_equal(one.generate(PROMPTS, sampling, seed=1).tokens, together.tokens)


def test_rows_with_the_same_prompt_differ_and_follow_the_distribution(one: Loaded) -> None:
    """First tokens of many rows against softmax(logits / temperature), by a chi-squared statistic."""
    rows, temperature = 1500, 2.0
    prompt = PROMPTS[3]
    drawn = one.generate([prompt] * rows, SamplingConfig(max_new_tokens=1, temperature=temperature)).tokens[:, 0]
    logits = forward(one.graphdef, one.params, *unpacked(np.asarray([prompt])))[0, -1]
    expected = rows * np.asarray(jax.nn.softmax(logits / temperature), np.float64)
    counts = np.bincount(drawn, minlength=96)
    big = expected >= 5
    counts, expected = (np.append(x[big], x[~big].sum()) for x in (counts, expected))
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(counts) - 1
    assert freedom > 10
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 40) | st.none(), st.floats(0.01, 1.0) | st.none())
def test_filters_are_those_of_transformers(seed: int, top_k: int | None, top_p: float | None) -> None:
    logits = np.random.default_rng(seed).normal(scale=3, size=(3, 32)).astype(np.float32)
    expected = torch.from_numpy(logits)
    if top_k is not None:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p is not None:
        expected = TopPLogitsWarper(top_p)(None, expected)
    np.testing.assert_array_equal(filter_logits(jnp.asarray(logits), top_k, top_p), expected.numpy())


def test_filtered_tokens_are_never_drawn(one: Loaded) -> None:
    first = one.generate([PROMPTS[0]] * 60, SamplingConfig(max_new_tokens=1, temperature=50.0, top_k=3)).tokens
    assert len(np.unique(first)) == 3
    narrow = one.generate(PROMPTS, SamplingConfig(max_new_tokens=NEW, temperature=1.0, top_k=20, top_p=1e-6))
    np.testing.assert_array_equal(narrow.tokens, one.generate(PROMPTS, GREEDY).tokens)


def compiled() -> list[int]:
    return [program._cache_size() for program in (slots.empty, reading.read_stack, slots.put, slots.advance)]


def test_new_values_and_near_lengths_compile_nothing(one: Loaded) -> None:
    one.generate(PROMPTS[:3], SamplingConfig(max_new_tokens=NEW, temperature=0.5, top_p=0.5))
    before = compiled()
    one.generate(
        PROMPTS[1:4], SamplingConfig(max_new_tokens=NEW, temperature=0.9, top_p=0.7), seed=5, pad_id=3, eos_ids=(7,)
    )
    one.generate([PROMPTS[n] for n in (7, 18, 1)], SamplingConfig(max_new_tokens=NEW, temperature=1.1, top_p=0.9))
    assert compiled() == before


def test_prompts_of_similar_lengths_run_together(one: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, read = [], reading.read

    def noted(*args: Any) -> Any:
        shapes.append(args[3].tokens.shape)
        return read(*args)

    monkeypatch.setattr(reading, "read", noted)
    in_twos = GREEDY.model_copy(update={"batch_size": 2})
    one.generate([PROMPTS[n] for n in (1, 7, 4, 8, 12, 11)], in_twos)  # of 3, 20, 15, 24, 23 and 2 tokens
    assert shapes == [(2, 24), (2, 24), (2, 16)]


def test_the_queue_is_not_walked_through_at_each_wave(one: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four times as many prompts, each is looked at as often."""

    class Looked(list[np.ndarray]):
        count = 0

        def __getitem__(self, index: Any) -> Any:
            self.count += 1
            return super().__getitem__(index)

    class Watched(_Writer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._prompts = Looked(self._prompts)
            looked.append(self._prompts)

    looked: list[Looked] = []
    monkeypatch.setattr("tl_jax.inference.generate._Writer", Watched)
    in_twos = SamplingConfig(max_new_tokens=2, temperature=0, batch_size=2)
    for count in (16, 64):
        one.generate([[1 + row, *PROMPTS[row % 2]] for row in range(count)], in_twos)
    few, many = (prompts.count for prompts in looked)
    assert few > 16
    assert many < 1.2 * 4 * few


def test_it_can_be_given_up_before_each_batch(one: Loaded) -> None:
    asked = []

    def before_batch() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise InterruptedError

    in_twos = GREEDY.model_copy(update={"batch_size": 2})
    one.generate(PROMPTS[:4], in_twos, listener=Listener(before_batch))
    with pytest.raises(InterruptedError):
        one.generate(PROMPTS[:4], in_twos, listener=Listener(before_batch))
    assert len(asked) == 3


@pytest.mark.parametrize("at_once", [2, None])
def test_it_tells_of_answers_as_they_end(one: Loaded, at_once: int | None) -> None:
    """Each once, as it is in the end; where slots are few, of some before others begin."""
    told: dict[int, bytes] = {}
    begun: list[int] = []

    def ended(indices: Sequence[int], answers: Generation) -> None:
        for row, index in enumerate(indices):
            assert index not in told
            told[index] = content(answers, row)

    def content(answers: Generation, row: int) -> bytes:
        parts = (answers.tokens, answers.logprobs, answers.lengths, answers.finished)
        return b"".join(part[row].tobytes() for part in parts)

    sampling = GREEDY.model_copy(update={"batch_size": at_once})
    stops = {"eos_ids": (one.generate(PROMPTS, GREEDY).tokens[0, 2].item(),)}  # so that some are shorter
    listener = Listener(lambda: begun.append(len(told)), ended)
    whole = one.generate(PROMPTS, sampling, listener=listener, **stops)
    assert told == {row: content(whole, row) for row in range(len(PROMPTS))}
    assert len(set(whole.lengths)) > 1
    assert begun[0] == 0
    assert (begun[-1] > 0) == (at_once is not None)


def test_buckets() -> None:
    assert [bucket(n) for n in (1, 2, 3, 4, 5, 6, 7, 9, 13, 17, 25, 33, 100)] == [
        1,
        2,
        3,
        4,
        6,
        6,
        8,
        12,
        16,
        24,
        32,
        48,
        128,
    ]
    assert bucket(3, smallest=16) == 16
    assert all(n <= bucket(n) <= 1.5 * n for n in range(2, 3000))
    assert all(bucket_within(n) <= n < bucket(bucket_within(n) + 1) for n in range(1, 3000))


@pytest.mark.parametrize(
    ("sizes", "sampling"),
    [
        ({"data": 2, "fsdp": 2, "tensor": 2}, GREEDY),
        ({"data": 2, "fsdp": 2, "tensor": 2}, SamplingConfig(max_new_tokens=NEW, temperature=1.3)),
        ({"data": 1, "fsdp": 8}, GREEDY),
    ],
)
def test_on_a_mesh(one: Loaded, sizes: dict[str, int], sampling: SamplingConfig) -> None:
    mesh = make_mesh(MeshConfig(**sizes))
    ours = one.generate(PROMPTS, sampling, params=shard_tree(one.params, mesh), mesh=mesh)
    expected = one.generate(PROMPTS, sampling)
    np.testing.assert_array_equal(ours.tokens, expected.tokens)
    np.testing.assert_allclose(ours.logprobs, expected.logprobs, atol=1e-4)


def test_bfloat16(one: Loaded) -> None:
    graphdef = make_graphdef(one.config, dtype=jnp.bfloat16)
    result = generate(for_generation(graphdef, one.params), PROMPTS[:4], GREEDY, jax.random.key(0), Ends(pad_id=PAD))
    assert result.logprobs.dtype == np.float32
    exact = one.generate(PROMPTS[:4], GREEDY)
    assert np.mean(result.tokens[:, 0] == exact.tokens[:, 0]) >= 0.75


@pytest.mark.parametrize(
    ("prompts", "sampling", "named"),
    [
        ([], GREEDY, "no prompts"),
        ([[1], []], GREEDY, "prompt 1 has no tokens"),
        ([[1], [1, 96]], GREEDY, "prompt 1 .* vocabulary of 96"),
        ([[-1]], GREEDY, "prompt 0 .* vocabulary"),
        ([[1], [5] * 500], GREEDY, "prompt 1 has 500 tokens.*max_position_embeddings=512"),
    ],
)
def test_what_cannot_be_generated_says_so(
    one: Loaded, prompts: list[list[int]], sampling: SamplingConfig, named: str
) -> None:
    with pytest.raises(GenerationError, match=named):
        one.generate(prompts, sampling)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": 1e-46},
        {"temperature": 1e-40},
        {"batch_size": 0},
    ],
    ids=str,
)
def test_settings_out_of_range_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SamplingConfig(**wrong)
