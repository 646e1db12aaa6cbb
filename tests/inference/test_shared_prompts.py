"""Answers to one prompt read one copy of its keys and values, and are what they are with a copy each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.thoroughness import THOROUGH
from tl_jax.config import MeshConfig, SamplingConfig
from tl_jax.config.engine import KvCacheDtype
from tl_jax.config.model import Loops
from tl_jax.inference import capacity, slots
from tl_jax.inference import generate as module
from tl_jax.inference.engine import Ends, Generation
from tl_jax.inference.generate import generate
from tl_jax.inference.serving import ServedModel, for_generation
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import init_params
from tl_jax.model.sharding import make_mesh, shard_tree

MODEL = LlamaConfig(
    vocab_size=24,
    hidden_size=32,
    intermediate_size=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
)
GRAPHDEF = make_graphdef(MODEL, dtype=jnp.float32)
PARAMS = init_params(MODEL, jax.random.key(0))
GROUP, NEW = 4, 12
PROMPTS = [[row + 3, *range(4, 15 + row)] for row in range(6) for _ in range(GROUP)]
"""of 12 to 17 tokens"""
ENDS = Ends(eos_ids=tuple(range(6)), pad_id=0)
SAMPLING = SamplingConfig(max_new_tokens=NEW, temperature=2.0)


def answers(model: ServedModel, at_once: int | None = None, prompts: list[list[int]] = PROMPTS) -> Generation:
    sampling = SAMPLING.model_copy(update={"batch_size": at_once})
    return generate(model, prompts, sampling, jax.random.key(7), ENDS)


class Seen:
    """Slots, tokens for which each has room, prompts, and tokens for which each of these has room, as `advance` got
    them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, ...]] = []
        advance = slots.advance

        def noted(*args: Any) -> Any:
            cache = args[3].cache
            shared = () if cache.shared is None else (cache.groups, cache.shared.places)
            self.shapes.append((cache.rows, cache.places, *shared))
            return advance(*args)

        monkeypatch.setattr(slots, "advance", noted)


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that slots become longer while they are written."""
    monkeypatch.setattr(module, "BLOCK", 4)
    monkeypatch.setattr(module, "FEWEST", 4)


def apart(model: ServedModel, prompts: list[list[int]] = PROMPTS) -> Generation:
    """With a copy for each answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity, "answers_of_group", lambda *_: 1)
        seen = Seen(patch)
        found = answers(model, None, prompts)
    assert {len(shape) for shape in seen.shapes} == {2}
    return found


def same(found: Generation, expected: Generation) -> None:
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    np.testing.assert_array_equal(found.read, expected.read)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-5)


@pytest.mark.parametrize(
    ("at_once", "first"),
    [
        pytest.param(None, (24, 16, 6, 24), id="all"),
        pytest.param(6, (6, 16, 3, 24), id="half of a prompt's answers"),
        pytest.param(8, (8, 16, 2, 24), id="two prompts", marks=THOROUGH),
        pytest.param(1, (1, 32), id="one", marks=THOROUGH),
    ],
)
def test_the_same_answers(at_once: int | None, first: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are written at once have their prompts once, beside room for what is written; in the end they are
    fewer."""
    model = for_generation(GRAPHDEF, PARAMS)
    expected = apart(model)
    assert len(set(expected.lengths.tolist())) > 3
    seen = Seen(monkeypatch)
    same(answers(model, at_once), expected)
    assert seen.shapes[0] == first
    if at_once is None:
        assert {shape[0] // shape[2] for shape in seen.shapes} == {GROUP}
        assert seen.shapes[-1][0] < 24


def test_groups_of_several_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4, 8 and 2 answers two share a prompt at a time; prompts as long as others do not come between them."""
    model = for_generation(GRAPHDEF, PARAMS)
    long, other, short = [[first, *range(5, 5 + length)] for first, length in ((3, 13), (4, 13), (5, 12))]
    prompts = [long] * 4 + [short] * 2 + [other] * 8 + [long] * 2
    expected = apart(model, prompts)
    seen = Seen(monkeypatch)
    same(answers(model, 6, prompts), expected)
    assert seen.shapes[0] == (6, 16, 3, 16)


def test_what_is_shorter_than_answers_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    answers(for_generation(GRAPHDEF, PARAMS), None, [[5] * (NEW - 1)] * 4)
    assert {len(shape) for shape in seen.shapes} == {2}


@pytest.mark.parametrize(
    ("loop", "dtype"),
    [
        (2, "auto"),
        pytest.param(1, "int8", marks=pytest.mark.slow),
        pytest.param(2, "int8", marks=THOROUGH),
        pytest.param(1, "auto", marks=THOROUGH),
    ],
)
def test_layers_in_loops_and_codes(dtype: KvCacheDtype, loop: int) -> None:
    """Three layers, of which one is left over."""
    three = replace(MODEL, num_layers=3)
    graphdef = make_graphdef(three, dtype=jnp.float32, loops=Loops(decode=loop))
    model = for_generation(graphdef, init_params(three, jax.random.key(0)), kv_cache_dtype=dtype)
    same(answers(model, 8), apart(model))


@pytest.mark.parametrize("sizes", [{"data": 2, "fsdp": 4}, {"fsdp": 2, "tensor": 2}], ids=str)
def test_on_a_mesh(sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each device has its answers' prompts, and when slots become fewer, still."""
    mesh = make_mesh(MeshConfig(**sizes), jax.devices()[: int(np.prod(list(sizes.values())))])
    spread = for_generation(GRAPHDEF, shard_tree(PARAMS, mesh), mesh)
    prompts = PROMPTS[: 4 * GROUP] * 2
    expected = apart(for_generation(GRAPHDEF, PARAMS), prompts)
    seen = Seen(monkeypatch)
    same(answers(spread, None, prompts), expected)
    assert len({shape[0] for shape in seen.shapes}) > 1
    assert {len(shape) for shape in seen.shapes} == {4}


def test_nothing_of_an_answer_is_left_in_its_slot() -> None:
    """See the test of this name in `test_slots`: here of what answers wrote, and of a longer prompt."""
    params = init_params(MODEL, jax.random.key(0))
    params["embed"]["embedding"] = params["embed"]["embedding"].at[23].set(jnp.nan)
    model = for_generation(GRAPHDEF, params)
    prompts = [prompt for prompt in ([23, *range(3, 20)], [3] * 12, [4] * 13) for _ in range(2)]
    greedy = SamplingConfig(max_new_tokens=6, temperature=0, batch_size=2)
    logprobs = generate(model, prompts, greedy, jax.random.key(0), Ends((), 0)).logprobs
    assert np.isnan(logprobs[:2]).all()
    assert np.isfinite(logprobs[2:]).all()


def test_prompts_may_be_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which `==` says no single truth."""
    model, prompts = for_generation(GRAPHDEF, PARAMS), PROMPTS[: 2 * GROUP]
    expected = answers(model, None, prompts)
    seen = Seen(monkeypatch)
    same(generate(model, [np.asarray(prompt) for prompt in prompts], SAMPLING, jax.random.key(7), ENDS), expected)
    assert {shape[0] // shape[2] for shape in seen.shapes} == {GROUP}
