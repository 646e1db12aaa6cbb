"""Where decision points come from: files of evaluation cases, or trajectories, of which every right call is one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from tl_jax.config import MaeConfig
from tl_jax.data.sources import opened
from tl_jax.tooluse.mae.apply import right_calls
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import holds_cases, read_cases, read_trajectories
from tl_jax.tooluse.schema import Case, DataError
from tl_jax.tooluse.text.spoken import Include, spoken_case

if TYPE_CHECKING:
    from tl_jax.data.codec import Codec  # scoring needs cases but neither transformers nor NumPy

PAPER_MAE = MaeConfig(rule="paper", block="all")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A decision point and the tokens the model is asked to continue, generation prompt included."""

    case: Case
    tokens: tuple[int, ...]
    before: int = 0
    """Tokens of its episode that stand before these and are not seen with them: see `Episode.restarts`."""


def load_cases(
    path: Path,
    format: str = "auto",
    mae: MaeConfig = PAPER_MAE,
    limit: int | None = None,
    notes: Notes | None = None,
    include: Collection[Include] = (),
) -> list[Case]:
    """The first ``limit`` cases of a file, in its order.

    A file whose first row has gold calls holds cases. Any other holds trajectories: every call of theirs that MAE
    (default: the paper's rule) does not block is a case, with the call as its gold answer.

    Args:
        path: anything that `tl_jax.data.sources.opened` opens.
        format: of the file; auto looks at the first row.
        mae: which calls are no gold answer.
        limit: how many are read; None = all.
        notes: as for `read_cases`.
        include: parts of assistant messages that are written in their texts.

    Raises:
        DataError: a bad row, two cases of the same id, or no case at all.
    """
    # A call that failed is no gold answer, however little it weighs in training.
    of_trajectory = partial(right_calls, rule=mae.rule, block=mae.block, packs=mae.packs)
    with opened(path) as file, notes.kept() if notes else nullcontext():
        if holds_cases(file, format):
            found = read_cases(file, format, notes=notes, of_trajectory=of_trajectory)
        else:
            found = chain.from_iterable(map(of_trajectory, read_trajectories(file, format, notes=notes)))
        cases = [spoken_case(case, include) for case in with_distinct_ids(islice(found, limit), path)]
    if not cases:
        raise DataError(
            "holds no cases: neither gold calls nor trajectories with calls that did not fail", path=str(path)
        )
    return cases


def with_distinct_ids(cases: Iterable[Case], path: Path) -> Iterator[Case]:
    """The cases of a file one after another, as long as no two have the same id.

    Raises:
        DataError: two have.
    """
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise DataError(f"{case.id!r} appears twice; ids tell predictions apart", path=str(path), field="id")
        seen.add(case.id)
        yield case


def encode_prompts(cases: Sequence[Case], codec: Codec, max_length: int | None = None) -> tuple[list[Prompt], int]:
    """Prompts of at most ``max_length`` tokens, and how many were longer and are left out.

    A prompt is never cut: without the definitions of its tools no answer could be right.
    """
    prompts = [Prompt(case, tuple(codec.prompt(case.tools, case.messages))) for case in cases]
    kept = [prompt for prompt in prompts if max_length is None or len(prompt.tokens) <= max_length]
    return kept, len(prompts) - len(kept)


def spread(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """``count`` prompts from all over the file, always the same ones.

    Example:
        >>> spread("abcdefg", 3)
        ['a', 'd', 'g']
    """
    step = (len(prompts) - 1) / max(min(count, len(prompts)) - 1, 1)
    return [prompts[round(index * step)] for index in range(min(count, len(prompts)))]
