"""Keys and values in fewer bits: nearly the same answers, which know nothing of other answers, slots or devices."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from tests.inference import test_kept as conversations
from tests.inference import test_slots as slots
from tl_jax.config import MeshConfig
from tl_jax.config.engine import KvCacheDtype
from tl_jax.inference import generate as module
from tl_jax.inference.capacity import place_bytes
from tl_jax.inference.engine import Generation
from tl_jax.inference.kept import Kept
from tl_jax.inference.serving import ServedModel, for_generation
from tl_jax.inference.slots import advance
from tl_jax.model.sharding import make_mesh, shard_tree

pytestmark = pytest.mark.slow  # all compile

DRIFT = {"bfloat16": 0.01, "int8": 0.02}
"""Of a log-probability, at most, in the models of these tests."""
PROMPTS = slots.PROMPTS[::2]


def served(kind: KvCacheDtype) -> ServedModel:
    return for_generation(slots.GRAPHDEF, slots.PARAMS, kv_cache_dtype=kind)


def check_near(ours: Generation, theirs: Generation, drift: float) -> None:
    """As far as both say the same, which is nearly always, they find it as likely."""
    same = np.cumprod(ours.tokens == theirs.tokens, axis=1).astype(bool)
    assert same[:, :-1].mean() > 0.9
    np.testing.assert_allclose(ours.logprobs[same], theirs.logprobs[same], atol=drift)


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_nearly_the_same_answers_and_exactly_whatever_the_slots(
    kind: KvCacheDtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 8)
    leaves: list[list[jax.ShapeDtypeStruct]] = []

    def noted(*args: Any) -> Any:
        cache = args[3].cache
        leaves.append([jax.ShapeDtypeStruct(x.shape, x.dtype) for x in jax.tree.leaves((cache.keys, cache.values))])
        return advance(*args)

    monkeypatch.setattr(module.programs, "advance", noted)
    model = served(kind)
    together = slots.answers(model, None, PROMPTS)
    _, rows, places, *_ = leaves[0][0].shape
    assert leaves[0][0].dtype == kind
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves[0])
    assert held == rows * places * place_bytes(model.layout, None)
    in_turn = slots.answers(model, 3, PROMPTS)
    np.testing.assert_array_equal(in_turn.tokens, together.tokens)
    np.testing.assert_allclose(in_turn.logprobs, together.logprobs, atol=1e-5)
    exact = slots.answers(served("auto"), None, PROMPTS)
    check_near(together, exact, DRIFT[kind])
    assert np.abs(together.logprobs - exact.logprobs).max() > 1e-5


def test_conversations_go_on_as_if_read_anew() -> None:
    """But for what rounding makes of a number that lies between two codes."""
    model = for_generation(conversations.GRAPHDEF, conversations.PARAMS, kv_cache_dtype="int8")
    kept, anew = (conversations.played(model, there) for there in (Kept(model), None))
    for (numbers, _, ours), (others, _, theirs) in zip(kept, anew, strict=True):
        assert numbers == others
        np.testing.assert_array_equal(ours.tokens, theirs.tokens)
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=5e-3)
    assert sum(made.read.sum() for *_, made in kept) < sum(made.read.sum() for *_, made in anew) / 2


def test_on_a_mesh() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    spread = for_generation(slots.GRAPHDEF, shard_tree(slots.PARAMS, mesh), mesh, "int8")
    ours, alone = slots.answers(spread, None, PROMPTS), slots.answers(served("int8"), None, PROMPTS)
    np.testing.assert_array_equal(ours.tokens, alone.tokens)
    np.testing.assert_allclose(ours.logprobs, alone.logprobs, atol=5e-3)
