"""Strict reading of JSON objects: a field that nobody asked for is an error, or is dropped and counted.

Whoever reads an object wraps it in `Fields`, takes what it understands and says `Fields.done`. What is understood and
what is accepted are therefore the same list, and no field can be lost by being forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from types import TracebackType
from typing import Any, TypeVar, overload

from tl_jax.errors import DataError
from tl_jax.registry import suggestion
from tl_jax.tooluse.notes import dropped

T = TypeVar("T")
D = TypeVar("D")

PREFERENCES = (
    *("chosen", "rejected", "rejected_response", "rejected_messages", "rejected_completion", "kto_tag"),
    *("preferred_output", "non_preferred_output"),
)
"""Fields of rows that say which of two answers is better, or whether an answer is good."""

_REQUIRED: Any = object()
_KINDS: dict[Any, str] = {str: "text", dict: "a JSON object", list: "a list", bool: "true or false"}


class Fields:
    """A JSON object that hands out each of its fields once. Null counts as absent everywhere.

    Args:
        value: what should be an object.
        where: the field that it stands in, for errors; empty = it is the whole row.

    Raises:
        DataError: it is no object.

    Example:
        >>> with Fields({"name": "f", "args": {"x": 1}}, "tool_calls[0]") as call:
        ...     call.take("name", kind=str), call.take("arguments", "args", kind=dict, default={})
        ('f', {'x': 1})
        >>> with Fields({"name": "f", "argumens": {}}, "tool_calls[0]") as call:
        ...     call.take("name"), call.take("arguments", default=None)
        Traceback (most recent call last):
            ...
        tl_jax.errors.DataError: tool_calls[0].argumens: unknown field; did you mean 'arguments'?
    """

    __slots__ = ("_asked", "_left", "_taken", "_told", "where")

    def __init__(self, value: Any, where: str = "") -> None:
        if not isinstance(value, dict):
            raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where or "row")
        if not where:
            refuse_preferences(value)
        self.where = where
        self._left = {key: item for key, item in value.items() if item is not None}
        self._asked: list[tuple[str, ...]] = []
        self._taken = ""
        self._told: dict[str, str] = {}

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.done()

    def __contains__(self, name: str) -> bool:
        """Whether there is such a field and it was not taken yet."""
        return name in self._left

    def __bool__(self) -> bool:
        """Whether there are fields that were not taken yet."""
        return bool(self._left)

    @overload
    def take(self, *names: str) -> Any: ...
    @overload
    def take(self, *names: str, kind: type[T]) -> T: ...
    @overload
    def take(self, *names: str, default: Any) -> Any: ...
    @overload
    def take(self, *names: str, kind: type[T], default: D) -> T | D: ...
    def take(self, *names: str, kind: Any = object, default: Any = _REQUIRED) -> Any:
        """The field, under whichever of its names it is there.

        Args:
            names: its name, and others that mean the same.
            kind: the class that the value has to have. True and False are no numbers.
            default: what an absent field is; without it the field is required.

        Raises:
            DataError: it is missing, of another kind, or there under two names with different values.
        """
        self._asked.append(names)
        left = self._left
        for name in names:
            if name in left:
                break
        else:
            if default is _REQUIRED:
                raise DataError("is missing", field=self.at(names[0]))
            return default
        value, self._taken = left.pop(name), name
        if len(names) > 1:
            for other in names:
                if other in left and left.pop(other) != value:
                    raise DataError(f"says something else than {name!r}, which means the same", field=self.at(other))
        if not isinstance(value, kind) or (kind in (int, float) and isinstance(value, bool)):
            expected = _KINDS.get(kind, kind.__name__)
            raise DataError(f"must be {expected}, not {type(value).__name__}", field=self.at(name))
        return value

    @property
    def taken(self) -> str:
        """Where the field stands that was taken last and was there."""
        return self.at(self._taken)

    def at(self, *names: str) -> str:
        """Where the field stands, for errors and for what is in it. Of several names, the one that is there."""
        name = next((name for name in names if name in self._left), names[0])
        return f"{self.where}.{name}" if self.where else name

    def look(self, name: str) -> Any:
        """The value of a field, which stays to be taken; None where there is none."""
        return self._left.get(name)

    def each(self, *names: str) -> list[tuple[Any, str]]:
        """The items of a list, each with where it stands; an absent list has none.

        Raises:
            DataError: it is no list.
        """
        items = self.take(*names, kind=list, default=())
        return [(item, f"{self.taken}[{i}]") for i, item in enumerate(items)]

    def keep(self, *names: str, prefix: str | None = None) -> dict[str, Any]:
        """Those of these fields that are there, and those that begin with ``prefix``, as they are."""
        self._asked.append(names)
        if not self._left:
            return {}
        found = [n for n in self._left if n in names or (prefix is not None and n.startswith(prefix))]
        return {name: self._left.pop(name) for name in found}

    def expect(self, name: str, *values: Any) -> None:
        """The field, if it is there, has one of these values: it says what kind of object this is, and nothing else.

        Raises:
            DataError: it has another.
        """
        value = self.take(name, default=values[0])
        if value not in values:
            raise DataError(f"must be {' or '.join(map(repr, values))}, not {value!r}", field=self.at(name))

    def tell(self, problem: str, *names: str) -> None:
        """What is wrong with these fields if nobody takes them."""
        self._told |= dict.fromkeys(names, problem)

    def done(self) -> None:
        """Says that everything known was taken.

        Raises:
            DataError: something is left, and `Notes.unknown` is ``error``.
        """
        for name in self._left:
            if name in self._told:
                left_out(self.at(name), self._told[name])
            else:
                unknown(self.at(name), name, chain.from_iterable(self._asked))


def row_id(row: Fields, default: str | None = None) -> str:
    """Takes the id of a row.

    Args:
        default: that of a row without one, or with an empty one; None: it has to have one.

    Raises:
        DataError: it is missing, or neither text nor a number.
    """
    value = row.take("id") if default is None else row.take("id", default=default)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataError(f"must be text or a number, not {type(value).__name__}", field=row.at("id"))
    return str(value) or default or ""


def refuse_preferences(row: Mapping[str, Any]) -> None:
    """Says that a row is preference data, which nobody may mistake for answers to learn.

    Raises:
        DataError: it is.
    """
    found = [name for name in PREFERENCES if row.get(name) is not None]
    found += ["label"] if isinstance(row.get("label"), bool) else []
    if found:
        raise DataError(
            "is preference data (DPO, KTO): which answer is better cannot be learnt here; write the answers to imitate "
            "as trajectories of their own",
            field=found[0],
        )


def unknown(where: str, name: str, known: Iterable[str]) -> None:
    """Complains about a field that is not known, or counts it where such fields are dropped.

    Raises:
        DataError: unless `Notes.unknown` is ``drop``.
    """
    if not dropped(where):
        raise DataError(f"unknown field; {suggestion(name, dict.fromkeys(known))}", field=where)


def left_out(where: str, problem: str) -> None:
    """Complains about a field that has no place, or counts it where such fields are dropped.

    Raises:
        DataError: unless `Notes.unknown` is ``drop``.
    """
    if not dropped(where):
        raise DataError(problem, field=where)
