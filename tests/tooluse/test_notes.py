"""What there is to say about a file that is read."""

from __future__ import annotations

from typing import Any

from tl_jax.tooluse.fields import unknown
from tl_jax.tooluse.notes import Notes, remark


def test_notes_are_kept_while_a_file_is_read_and_not_in_between() -> None:
    notes, outside = Notes("drop"), Notes("drop")

    def read() -> Any:
        for number in range(2):
            remark("seen")
            unknown(f"messages[{number}].foo", "foo", ())
            yield number

    with outside.kept():
        for _ in notes.during(read):
            remark("in between")
    assert (notes.dropped, notes.remarks) == ({"messages[].foo": 2}, {"seen": 2})
    assert outside.remarks == {"in between": 2}
    remark("nobody is told")
