"""An error that a rule of MAE found, and what every rule gives: a `Finder`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tl_jax.tooluse.mae.phrases import Category, classify
from tl_jax.tooluse.schema import Call, Message

FLAG = "error flag"
"""The detector of results that the environment marked as errors, where no other found one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An error: whose fault it is, the detector that found it and a short piece of the text."""

    category: Category
    rule: str
    evidence: str


Said: TypeAlias = frozenset[str]
"""The texts among the arguments of a turn's calls, as Python quotes them: all that a rule needs to know of the calls.
Made once for all results, of which there may be as many as there are calls."""


def said(calls: Iterable[Call]) -> Said:
    """What these calls said."""
    return frozenset(repr(value) for call in calls for value in call.arguments.values() if isinstance(value, str))


@dataclass(frozen=True, slots=True)
class Finder:
    """How a rule finds errors.

    Attributes:
        in_result: the error that one tool result reports, or None; given the result and what its turn said (`said`).
        in_turn: the errors that answer a turn; given the turn's calls, the tool messages that answer it wherever they
            stand, and the message after it, if there is one.
    """

    in_result: Callable[[str, Said], Finding | None]
    in_turn: Callable[[Sequence[Call], Sequence[Message], Message | None], Iterable[Finding]]

    @classmethod
    def of_results(cls, in_result: Callable[[str, Said], Finding | None]) -> Finder:
        """A rule that looks at every tool message that answers a turn, and at nothing else.

        What the environment itself calls an error (`Message.error`) is one, whatever its text says.
        """

        def in_turn(calls: Sequence[Call], results: Sequence[Message], following: Message | None) -> Iterator[Finding]:
            arguments = said(calls)
            for message in results:
                finding = in_result(message.content, arguments)
                if finding is None and message.error:
                    finding = Finding(classify(message.content[:2400]), FLAG, excerpt(message.content))
                if finding:
                    yield finding

        return cls(in_result, in_turn)


def excerpt(text: str, limit: int = 120) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
