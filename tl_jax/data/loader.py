"""Rows -> batches without end, in an order that a saved state continues exactly."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import grain

from tl_jax.data.batch import Batch
from tl_jax.data.packing import AnyRow, Row, collate
from tl_jax.errors import UserError

EPOCHS = 1_000_000
"""How often the rows are repeated: as good as without end, which overflows in grain for batches of one row."""


class Loader:
    """Batches of ``batch_size`` rows, shuffled anew in every epoch; an epoch's last batch is filled from the next one.

    Every process makes the same global batches; they are distributed over devices later. The order depends on the rows,
    the batch size and the seed only.

    Args:
        needed: places of the rows in a batch that this process reads, see `collate`; None: all.
    """

    def __init__(
        self, rows: Sequence[AnyRow], batch_size: int, seed: int, needed: Collection[int] | None = None
    ) -> None:
        if not rows:
            raise ValueError("there are no rows to load")
        self._identity = {"rows": len(rows), "batch_size": batch_size, "seed": seed}
        shuffled = grain.MapDataset.source(rows).seed(seed).shuffle().repeat(EPOCHS)
        dataset = shuffled.batch(batch_size, batch_fn=partial(collate, needed=needed))
        self._iterator = iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)))

    @property
    def steps_per_epoch(self) -> int:
        """Batches after which every row was seen."""
        return math.ceil(self._identity["rows"] / self._identity["batch_size"])

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch: Batch = next(self._iterator)
        return batch

    def state(self) -> dict[str, Any]:
        """What `restore` needs to continue after the batch handed out last; fit for JSON."""
        return {**self._identity, "iterator": self._iterator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state`` was taken.

        Raises:
            UserError: the state belongs to other data, another batch size or another seed.
        """
        check_same_data(state, self._identity)
        self._iterator.set_state(state["iterator"])


def check_same_data(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Nothing, if a position in the data that was saved is one in today's data.

    Args:
        saved: the saved position, among other things what identified the data.
        now: what identifies today's data: sizes and seed.

    Raises:
        UserError: the data is another.

    Example:
        >>> check_same_data({"rows": 7, "seed": 0, "step": 3}, {"rows": 8, "seed": 0})
        Traceback (most recent call last):
            ...
        tl_jax.errors.UserError: cannot continue the data where it was left, because it changed (rows: 7 then, 8 now)
    """
    changed = [f"{key}: {saved.get(key)} then, {value} now" for key, value in now.items() if saved.get(key) != value]
    if changed:
        raise UserError(f"cannot continue the data where it was left, because it changed ({'; '.join(changed)})")


def batches(rows: Sequence[AnyRow], batch_size: int, needed: Collection[int] | None = None) -> Iterator[Batch]:
    """One pass over ``rows`` in their order, for evaluation; empty rows without targets fill the last batch.

    Args:
        needed: as for `Loader`.
    """
    for start in range(0, len(rows), batch_size):
        chunk = list(rows[start : start + batch_size])
        chunk += [Row((), rows[0].length)] * (batch_size - len(chunk))
        yield collate(chunk, needed)
