"""A trajectory longer than a row: several shorter ones that together have the same targets.

The first window takes as many leading messages as fit. Every later one keeps the tools, the system message and the
user message it is about, drops whole leading turns and begins with about half a row of context before its first target.
No answer is cut, and none is trained twice: it is a target in the first window that reaches it, context afterwards.

A window from the beginning takes its tokens from the whole's. Any other is written and encoded anew, because what joins
its first messages stands nowhere in the whole; its unchanged answers and results are looked up (`SegmentTokenizer`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tl_jax.config import PktConfig
from tl_jax.data.codec import Codec
from tl_jax.data.encoding import Encoded
from tl_jax.data.supervision import Example
from tl_jax.tooluse.schema import Trajectory


@dataclass(frozen=True, slots=True)
class Windows:
    """What became of one long trajectory."""

    examples: tuple[Example, ...]
    dropped_turns: int
    """Turns missing from the contexts, summed over the windows."""
    skipped_targets: int
    """Turns that do not fit into a row even with the least context: the message they answer, or the call and result."""


def split(trajectory: Trajectory, encoded: Encoded, codec: Codec, pkt: PktConfig, max_length: int) -> Windows:
    """Cuts ``trajectory`` (whose tokens are ``encoded``) into windows of at most ``max_length`` tokens."""
    layout = _Layout(trajectory, encoded)
    waiting = [index for index, message in trajectory.turns if message.weight != 0]
    examples: list[Example] = []
    dropped, skipped, budget = 0, 0, max_length
    while waiting:
        found = layout.window(waiting, budget, whole_context=not examples)
        if found is None:
            waiting, skipped, budget = waiting[1:], skipped + 1, max_length
            continue
        start, end = found
        if layout.is_beginning(start):  # its tokens are the first ones of the whole
            example = codec.supervise(layout.masked(end, waiting), pkt, encoded).trimmed()
        else:
            example = codec.supervise(layout.cut(start, end, waiting), pkt).trimmed()
        excess = len(example.tokens) - max_length
        if excess > 0:  # a chat template may write a part of a conversation longer than it stood in the whole
            budget -= excess
            continue
        examples.append(example)
        dropped += layout.turns_before(start)
        waiting, budget = [index for index in waiting if index > end], max_length
    return Windows(tuple(examples), dropped, skipped)


class _Layout:
    """Sizes of the messages in tokens, and where a window may begin."""

    def __init__(self, trajectory: Trajectory, encoded: Encoded) -> None:
        self._trajectory, self._messages = trajectory, trajectory.messages
        counts = np.bincount(encoded.message + 1, minlength=len(self._messages) + 1)
        self._sum = np.cumsum(counts)  # tokens before message i
        roles = [message.role for message in self._messages]
        self._body = next((i for i, role in enumerate(roles) if role != "system"), len(roles))
        self._starts = [i for i in range(self._body, len(roles)) if roles[i] != "tool"]

    def window(self, waiting: Sequence[int], budget: int, whole_context: bool) -> tuple[int, int] | None:
        """First and last message of the next window; None if the first waiting target does not fit."""
        target = waiting[0]
        closest = max((i for i in self._starts if i < target), default=target)
        fitting = [i for i in self._starts if i <= closest and self._size(i, target) <= budget]
        if not fitting:
            return None
        modest = [i for i in fitting if self._size(i, target - 1) <= budget / 2]
        if whole_context and fitting[0] == self._body:
            start = self._body
        else:
            start = modest[0] if modest else fitting[-1]
        return start, max(index for index in waiting if index == target or self._size(start, index) <= budget)

    def is_beginning(self, start: int) -> bool:
        """Whether nothing is missing before message ``start``."""
        return start == self._body

    def masked(self, end: int, waiting: Sequence[int]) -> Trajectory:
        """The whole trajectory, in which only turns up to message ``end`` that wait to be learnt are targets."""
        return self._with_targets(range(len(self._messages)), [index for index in waiting if index <= end])

    def cut(self, start: int, end: int, waiting: Sequence[int]) -> Trajectory:
        """The trajectory of messages ``start`` to ``end``; turns that do not wait to be learnt are context."""
        return self._with_targets([*range(self._body), *self._question(start), *range(start, end + 1)], waiting)

    def _with_targets(self, kept: Iterable[int], targets: Sequence[int]) -> Trajectory:
        messages = (
            replace(message, weight=0.0) if message.role == "assistant" and index not in targets else message
            for index, message in ((index, self._messages[index]) for index in kept)
        )
        return replace(self._trajectory, messages=tuple(messages))

    def turns_before(self, start: int) -> int:
        return sum(message.role == "assistant" for message in self._messages[self._body : start])

    def _size(self, start: int, end: int) -> int:
        """Tokens of the window of messages ``start`` to ``end``."""
        question = sum(int(self._sum[i + 1] - self._sum[i]) for i in self._question(start))
        return int(self._sum[self._body] + question + self._sum[max(end + 1, start)] - self._sum[start])

    def _question(self, start: int) -> list[int]:
        """The user message that a window beginning in the middle of its answer is about."""
        if self._messages[start].role == "user":
            return []
        return [i for i in range(self._body, start) if self._messages[i].role == "user"][-1:]
