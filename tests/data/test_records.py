from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.data.records import from_record, to_record
from tl_jax.data.supervision import Example

positions = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.sampled_from([0, 0, 0.5, 9])))


@given(name=st.text(st.characters()), positions=positions, turns=st.floats(0, 1e6))
def test_an_example_comes_back_as_it_was(name: str, positions: list[tuple[int, int, float]], turns: float) -> None:
    """A label without weight too, and an id with half of a surrogate pair."""
    tokens, labels, weights = zip(*positions, strict=True) if positions else ((), (), ())
    example = Example(
        name, np.array(tokens, np.int32), np.array(labels, np.int32), np.array(weights, np.float32), turns
    )
    found = from_record(to_record(example))
    assert (found.id, found.turns, found.targets) == (name, turns, ())
    for array in ("tokens", "labels", "weights"):
        assert np.array_equal(getattr(found, array), getattr(example, array))
        assert getattr(found, array).dtype == getattr(example, array).dtype


def test_what_is_no_target_takes_four_bytes() -> None:
    long = np.zeros(10_000, np.int32)
    example = Example("", long + 7, long, long.astype(np.float32), 0.0)
    assert len(to_record(example)) < 40_100
