"""The known defects still fit the code that they are put into, and the tests that are to notice are there."""

from __future__ import annotations

from tests.mutations import MUTATIONS, ROOT


def test_every_defect_can_be_put_in_and_has_its_test() -> None:
    for mutation in MUTATIONS:
        assert (ROOT / "tl_jax/rl" / mutation.file).read_text().count(mutation.line) == 1, mutation.defect
        file, _, name = mutation.test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / "tests/rl" / file).read_text(), mutation.defect
