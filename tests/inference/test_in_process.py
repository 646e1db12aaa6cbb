"""The engine on this run's own devices: the last update answers, a release keeps nothing."""

from __future__ import annotations

import weakref

import jax
import numpy as np
import pytest

from tests.freed_pieces import goes_back, needs_glibc
from tests.inference.test_slots import ENDS, GRAPHDEF, MODEL, PARAMS, PROMPTS
from tl_jax.config import SamplingConfig
from tl_jax.inference.generate import generate
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.inference.serving import for_generation
from tl_jax.model.parameters import init_params


def test_answers_come_from_the_last_update_and_a_release_keeps_nothing() -> None:
    sampling, key = SamplingConfig(max_new_tokens=4, temperature=2.0), jax.random.key(3)
    engine = InProcessEngine(GRAPHDEF, MODEL)
    engine.update(PARAMS)
    first = engine.generate(PROMPTS[:8], sampling, key, ENDS)
    other = init_params(MODEL, jax.random.key(1))
    engine.update(other)
    second = engine.generate(PROMPTS[:8], sampling, key, ENDS)
    assert (first.logprobs != second.logprobs).any()
    for made, params in ((first, PARAMS), (second, other)):
        expected = generate(for_generation(GRAPHDEF, params), PROMPTS[:8], sampling, key, ENDS)
        np.testing.assert_array_equal(made.tokens, expected.tokens)
        np.testing.assert_array_equal(made.logprobs, expected.logprobs)
    assert engine._served is not None
    weights = weakref.ref(engine._served)
    engine.release()
    assert weights() is None
    with pytest.raises(AssertionError, match="no update"):
        engine.generate(PROMPTS[:8], sampling, key, ENDS)


@needs_glibc
def test_a_release_gives_the_system_what_answers_took() -> None:
    engine = InProcessEngine(GRAPHDEF, MODEL)
    with goes_back():
        engine.release()
