"""Which rule a user's words name, and rules of the user's own with options."""

from __future__ import annotations

import pytest

from tl_jax.errors import UserError
from tl_jax.plugins import Plugin
from tl_jax.tooluse.mae.apply import Category, blocked_turns, find_error
from tl_jax.tooluse.mae.rules import RULES, finder
from tl_jax.tooluse.schema import Call, Message, Trajectory


def longer_than(result: str, limit: int = 3) -> str | None:
    """A user's rule with an option."""
    return "bad_value" if len(result) > limit else None


OWN = f"{__name__}:longer_than"


def test_options_of_a_users_rule() -> None:
    assert find_error("1234", OWN) is not None
    assert find_error("1234", Plugin(OWN, {"limit": 4})) is None
    found = find_error("12345", Plugin(OWN, {"limit": 4}))
    assert found is not None
    assert (found.category, found.rule) == (Category.BAD_VALUE, OWN)
    with pytest.raises(UserError, match=r"mae.rule.options: .* has no option 'limt'; did you mean 'limit'\?"):
        finder(Plugin(OWN, {"limt": 4}))


@pytest.mark.parametrize("name", RULES)
def test_our_rules_take_no_options(name: str) -> None:
    finder(Plugin(name))
    with pytest.raises(UserError, match=f"MAE rule {name} takes no options"):
        finder(Plugin(name, {"limit": 4}))


def test_an_unknown_rule_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown MAE rule 'papper'; did you mean 'paper'\?"):
        finder("papper")


def test_rule_none_blocks_nothing() -> None:
    failed = Message("tool", "Error: no")
    trajectory = Trajectory("t", (), (Message("user", "?"), Message("assistant", "", (Call("f"),)), failed))
    assert blocked_turns(trajectory, "none") == []
    assert [block.message for block in blocked_turns(trajectory, "paper")] == [1]
