"""Rewards that are a table of amounts, one for each kind of fault, as the paper's is."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from tl_jax.files import reason
from tl_jax.tooluse.rewards.compare import Fault, compare, same_value
from tl_jax.tooluse.rewards.grade import grade_calls
from tl_jax.tooluse.rewards.matching import PAIRINGS
from tl_jax.tooluse.rewards.verdict import CATEGORIES, Verdict, summed
from tl_jax.tooluse.schema import Call, Case, DataError, Tool
from tl_jax.yaml_text import read_yaml

PARAMETER_FAULTS = ("hallucinated_parameter", "redundant_parameter", "missing_parameter")


@dataclass(frozen=True, slots=True)
class RewardTable:
    """What each outcome is worth. The fields from ``parse_failure`` to ``correct`` are the categories of a reward.

    Attributes:
        parameter_floor: the least that the three faults of parameter names, which add up, may sum to; None = no bound.
        coerce_strings: a string equals what it spells, ``"1"`` an integer, unless schema and gold call both have text.
        pairing: how several calls are paired with the gold calls, one of `PAIRINGS`.
        description: in a few words, for the documents.

    Raises:
        DataError: there is no such pairing.

    Example:
        >>> RewardTable("mine", wrong_value=0.5, correct=2.0).whole(None)
        Verdict(value=2.0, faults=(), terms=(2.0,))
    """

    name: str
    parse_failure: float = -2.0
    hallucinated_tool: float = -2.0
    wrong_tool: float = -1.5
    hallucinated_parameter: float = -0.8
    redundant_parameter: float = -0.5
    missing_parameter: float = -0.5
    wrong_value: float = -0.25
    correct: float = 1.0
    parameter_floor: float | None = None
    coerce_strings: bool = False
    pairing: str = "best"
    description: str = ""

    def __post_init__(self) -> None:
        if self.pairing not in PAIRINGS:
            raise DataError(f"unknown pairing {self.pairing!r}; {PAIRINGS.hint(self.pairing)}", field="pairing")

    def grade(self, prediction: str, case: Case) -> Verdict:
        return grade_calls(prediction, case, self)

    def whole(self, fault: Fault | None) -> Verdict:
        faults = (fault,) if fault else ()
        value = self._worth(faults)
        return Verdict(value, faults, (value,))

    def calls(self, predicted: Sequence[Call], gold: Sequence[Call], offered: Mapping[str, Tool]) -> Verdict:
        """The mean over the calls, each paired with a gold call by ``pairing``.

        A call too few or too many counts as the worst there is: it is not the form that was asked for, and calls could
        otherwise be added to dilute a bad one. Where one call was asked for, any other number is a parse failure.
        """
        if len(gold) == 1 and len(predicted) != 1:
            return self.whole(Fault("parse_failure", reason=f"{len(predicted)} calls instead of one"))
        faults = [
            [compare(call, one, offered, same_value, defaults=True, coerce=self.coerce_strings) for one in gold]
            for call in predicted
        ]
        if len(predicted) == len(gold) == 1:
            value = self._worth(faults[0][0])
            return Verdict(value, faults[0][0], (value,))
        values = [[self._worth(cell) for cell in row] for row in faults]
        pairs = PAIRINGS[self.pairing].pairs(values)
        spare = unpaired(predicted, gold, pairs)
        terms = [values[row][column] for row, column in pairs] + [self._worst] * len(spare)
        found = [fault for row, column in pairs for fault in faults[row][column]]
        return Verdict(sum(terms) / len(terms), (*found, *spare), tuple(terms))

    def arithmetic(self, verdict: Verdict) -> str:
        if len(verdict.terms) > 1:
            shown = " ".join(f"{term:+g}" for term in verdict.terms[:8]) + (" ..." if len(verdict.terms) > 8 else "")
            return f"mean of {len(verdict.terms)} calls: {shown} = {verdict.value:+g}"
        amounts = [float(getattr(self, fault.category)) for fault in verdict.faults] or [self.correct]
        bounded = f", but no less than {verdict.value:+g}" if sum(amounts) != verdict.value else ""
        return summed(amounts) + bounded

    @property
    def _worst(self) -> float:
        names = self._worth(tuple(Fault(category) for category in PARAMETER_FAULTS))
        return min(self.parse_failure, self.hallucinated_tool, self.wrong_tool, self.wrong_value, names)

    def _worth(self, faults: tuple[Fault, ...]) -> float:
        if not faults:
            return float(self.correct)
        total = float(sum(getattr(self, fault.category) for fault in faults))
        floor = self.parameter_floor
        if floor is not None and total < floor and faults[0].category in PARAMETER_FAULTS:
            return float(floor)
        return total


def unpaired(predicted: Sequence[Call], gold: Sequence[Call], pairs: Sequence[tuple[int, int]]) -> list[Fault]:
    """A fault for each call that a pairing leaves over, on either side."""
    rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
    lacking = [
        Fault("parse_failure", (), None, call, f"no call of {call.name!r}")
        for column, call in enumerate(gold)
        if column not in columns
    ]
    return lacking + [
        Fault("parse_failure", (), call, None, "a call too many")
        for row, call in enumerate(predicted)
        if row not in rows
    ]


def read_table(path: Path) -> RewardTable:
    """A table from a YAML file: any of the fields of `RewardTable`; what is left out is as in the paper.

    Raises:
        DataError: names file and key: not readable, an unknown key or pairing (with the nearest), a value of another
            type, or amounts under which a wrong answer would earn as much as a right one.
    """
    try:
        row = read_yaml(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {reason(error)}", path=str(path)) from None
    except ValueError as error:
        raise DataError(str(error), path=str(path)) from None
    if not isinstance(row, dict):
        raise DataError("must be a mapping of outcomes to amounts", path=str(path))
    try:
        table = RewardTable(**{"name": path.stem} | {key: _checked(key, value) for key, value in row.items()})
        _check_order(table)
    except DataError as error:
        raise error.at(str(path), None) from None
    return table


_WORDS: Mapping[type, str] = {float: "a finite number", bool: "true or false", str: "text", NoneType: "null"}


def _checked(key: Any, value: Any) -> Any:
    """The value of a field of `RewardTable`, if it is of the field's type."""
    types = get_type_hints(RewardTable)
    if key not in types:
        near = difflib.get_close_matches(str(key), types, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {list(types)}"
        raise DataError(f"unknown key; {hint}", field=str(key))
    kinds = get_args(types[key]) or (types[key],)
    if not any(_is(value, kind) for kind in kinds):
        raise DataError(f"must be {' or '.join(_WORDS[kind] for kind in kinds)}, not {value!r}", field=key)
    return float(value) if float in kinds and value is not None else value


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max  # neither infinite nor NaN
    return isinstance(value, kind)


def _check_order(table: RewardTable) -> None:
    """No fault may be worth as much as no fault."""
    for category in CATEGORIES:
        if getattr(table, category) >= table.correct:
            raise DataError(f"must be less than 'correct' ({table.correct:g})", field=category)
    if sum(max(0.0, getattr(table, category)) for category in PARAMETER_FAULTS) >= table.correct:
        raise DataError(f"may add up to as much as 'correct' ({table.correct:g})", field=", ".join(PARAMETER_FAULTS))
    if table.parameter_floor is not None and table.parameter_floor >= table.correct:
        raise DataError(f"must be less than 'correct' ({table.correct:g})", field="parameter_floor")
