"""What other trainers hand over: completions as text or as chat messages, cases as rows of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from tl_jax.errors import DataError
from tl_jax.tooluse.readers import canonical
from tl_jax.tooluse.readers.answers import answer_text
from tl_jax.tooluse.readers.nulls import in_table
from tl_jax.tooluse.readers.rows import parse
from tl_jax.tooluse.rewards.grade import Profile
from tl_jax.tooluse.rewards.reference import Reference
from tl_jax.tooluse.rewards.score import Reward, resolve_profile, score
from tl_jax.tooluse.schema import Case
from tl_jax.tooluse.text.parse import parse_answer

Row: TypeAlias = "Case | str | dict[str, Any]"
"""A case: as it is, as JSON text, or as a column of structs has it, which fills it with nulls."""


def reward_of(completion: Any, case: Row, profile: str | Profile = "paper") -> Reward:
    """The reward of a completion, whatever its shape.

    Args:
        completion: text, a message, or the messages of a whole episode: see `answer_text`.

    Raises:
        UserError: an unknown profile, a row that is no case, or a message with a field that is not known.
        ValueError: a case without gold.
    """
    chosen, read = resolve_profile(profile), read_case(case)
    text = answer_text(completion)
    if isinstance(chosen, Reference) and not isinstance(completion, str):
        text = _as_released(text, read, chosen)
    return score(text, read, chosen)


def read_case(row: Row) -> Case:
    """The case in a row of a dataset. Texts are read once.

    Raises:
        DataError: it is none.
    """
    if isinstance(row, Case):
        return row
    if isinstance(row, str):
        return _case(row)
    with in_table():
        return _made(lambda: row)


@lru_cache(maxsize=10_000)
def _case(text: str) -> Case:
    return _made(lambda: parse(text))


def _made(load: Callable[[], Any]) -> Case:
    """The case in what ``load`` gives."""
    try:
        row = load()
        if not isinstance(row, dict) or not canonical.is_case(row):
            raise DataError("must be a JSON object with messages and gold")
        return canonical.case(row)
    except DataError as error:
        raise DataError(error.problem, field=f"case.{error.field}" if error.field else "case") from None


def _as_released(text: str, case: Case, profile: Reference) -> str:
    """The answer's calls as the released scorer reads them."""
    answer = parse_answer(text, case.tools)
    return profile.renderer.answer(answer.calls, answer.text) if answer.calls else text
