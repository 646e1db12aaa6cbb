"""Token by token: prompts in, sampled tokens and their log-probabilities out.

Answers are written in slots. When some have ended, the next prompts take their slots; when no prompt is left, the slots
become fewer. A prompt that is asked for several answers is read once, and where it is long they share its keys and
values. Sizes are of a few kinds, so that a new prompt seldom compiles anything. Of a conversation that goes on, only
what is new is read (`kept`). The noise of a row depends on the key, the prompt's number and the step alone: neither
slots nor padding nor sharding change a sample but by rounding.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import accumulate, groupby

import jax
import numpy as np

from tl_jax.config import SamplingConfig
from tl_jax.inference import reading
from tl_jax.inference import slots as programs
from tl_jax.inference.buckets import Room, bucket_within, places_for, room_for, row_count
from tl_jax.inference.capacity import AtOnce, answers_at_once, free_memory, prompts_at_once, rows_that_fit
from tl_jax.inference.choice import Draw, Static
from tl_jax.inference.engine import SILENT, Ends, Generation, Listener
from tl_jax.inference.kept import Kept
from tl_jax.inference.reading import ReadPrompts
from tl_jax.inference.room import check_prompts
from tl_jax.inference.serving import ServedModel
from tl_jax.inference.slots import Slots
from tl_jax.model.platform import platform

FEWEST = 8
"""Slots on a device below which fewer are not faster: a step reads all weights however few there are."""
BLOCK = 128
"""Tokens of an answer for which there is room at first; twice as many whenever that is full."""


def generate(
    model: ServedModel,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    key: jax.Array,
    ends: Ends,
    listener: Listener = SILENT,
    numbers: Sequence[int] | None = None,
    kept: Kept | None = None,
) -> Generation:
    """Continues every prompt until one of ``ends.eos_ids`` or ``max_new_tokens``.

    Args:
        model: from `for_generation`.
        prompts: token ids, of any lengths; the same on every process. Equal ones are read once if they follow each
            other.
        sampling: how tokens are chosen, and how many prompts run at once. A new temperature or top_p compiles nothing.
        key: of the noise; greedy decoding does not read it.
        ends: which tokens end a row, and what follows the end in the result.
        listener: is told when answers have ended, and before prompts take slots.
        numbers: of the prompts, below 2^31: what their noise depends on besides the key; by default their indices.
        kept: of earlier turns of the conversations with these numbers, which this adds to; None = there are none.

    Raises:
        GenerationError: see `check_prompts`.
    """
    check_prompts(model.config, prompts, sampling.max_new_tokens)
    words = np.asarray(jax.random.key_data(key))  # the key may lie on the mesh of training, which answers do not use
    draw = Draw(
        words,
        np.float32(sampling.temperature),
        np.float32(sampling.top_p or 1),
        np.asarray(ends.eos_ids or (-1,), np.int32),
    )
    static, numbers = Static.of(sampling), numbers or range(len(prompts))
    if kept is not None:
        kept.go_on(numbers)
    same = 1 if kept is not None else _same(prompts)  # a conversation goes on by itself
    at_once = _at_once(model, prompts, sampling, kept, same)
    with jax.set_mesh(model.mesh) if model.mesh is not None else nullcontext():
        writer = _Writer(model, prompts, numbers, at_once, draw, static, kept)
        writer.write(listener, ends)
    return writer.generation(ends)


class _Writer:
    """The host's part: which prompts are read when, which slot each answer takes, and how many there are."""

    def __init__(
        self,
        model: ServedModel,
        prompts: Sequence[Sequence[int]],
        numbers: Sequence[int],
        at_once: AtOnce,
        draw: Draw,
        static: Static,
        kept: Kept | None,
    ) -> None:
        self._model, self._numbers, self._static, self._kept = model, numbers, static, kept
        self._prompts = [np.asarray(prompt, np.int32) for prompt in prompts]
        self._draw, self._eos_ids = model.everywhere(draw), draw.eos_ids
        self._queue = deque(sorted(range(len(prompts)), key=self._order))
        to_come = (len(self._prompts[index]) for index in reversed(self._queue))
        self._longest = list(accumulate(to_come, max, initial=0))
        """tokens of the longest of the last prompts of the queue, by how many these are"""
        self._group = at_once.group
        """slots of one prompt"""
        self._groups = row_count(-(-at_once.answers // at_once.group), model.spread)
        self._read: ReadPrompts | None = None
        self._tokens_read = np.zeros(len(prompts), np.int32)
        self._waiting: deque[tuple[int, int]] = deque()
        """answers whose prompt is read: its row there, and their index"""
        self._held = np.full(self._groups * self._group, -1)
        """of each slot: the index of the answer that is written there, or was; -1 = it is taken out"""
        self._extra = min(BLOCK, static.max_new_tokens)
        self._tokens = np.zeros((len(prompts), static.max_new_tokens), np.int32)
        self._logprobs, self._drawn = np.zeros((2, *self._tokens.shape), np.float32)
        self._lengths = np.zeros(len(prompts), np.int32)

    def write(self, listener: Listener, ends: Ends) -> None:
        """All answers, from the longest prompt's to the shortest's."""
        layout, count = self._model.layout, len(self._held)
        slots = programs.empty(layout, self._model.dtype, count, self._room(), self._groups, self._static)
        while True:
            ended = self._take_out(slots)
            free = ~self._busy()
            if self._queue or self._waiting:
                if free.any():
                    listener.before_batch()
                    slots = self._admitted(slots)
            elif free.all():
                break
            else:
                slots = self._compacted(slots)
            written = int(np.asarray(slots.steps)[self._held >= 0].max())
            while self._extra <= written:
                self._extra = min(2 * self._extra, self._static.max_new_tokens)
            slots = programs.resized(slots, self._room())
            enough = self._model.everywhere(np.int32(self._enough()))
            model = self._model
            slots = programs.advance(
                model.graphdef, model.params, model.stacks, slots, enough, self._draw, self._static
            )
            if ended:  # the devices have begun to write on
                listener.ended(ended, self.generation(ends, ended))
        listener.ended(ended, self.generation(ends, ended))

    def generation(self, ends: Ends, indices: Sequence[int] | None = None) -> Generation:
        """What was written, of some prompts or of all: with many of them, all is too much for each that ends."""
        chosen = np.arange(len(self._prompts)) if indices is None else np.asarray(indices, int)
        lengths = self._lengths[chosen]
        written = np.arange(self._static.max_new_tokens) < lengths[:, None]
        tokens = np.where(written, self._tokens[chosen], np.int32(ends.pad_id))
        logprobs, drawn = (np.where(written, x[chosen], np.float32(0)) for x in (self._logprobs, self._drawn))
        filtered = drawn if self._static.filters else None
        return Generation(tokens, logprobs, lengths, self._finished(chosen), filtered, self._tokens_read[chosen])

    def _finished(self, indices: np.ndarray) -> np.ndarray:
        """Which answers were ended by a token of `Ends` and not by the limit."""
        return np.isin(self._tokens[indices, self._lengths[indices] - 1], self._eos_ids)

    def _order(self, index: int) -> tuple[bool, int]:
        """Of the queue: the longest first, since memory runs out at once or never; then what is partly known."""
        known = self._known(index)
        return known > 0, known - len(self._prompts[index])

    def _known(self, index: int) -> int:
        """Tokens at the beginning of a prompt that need not be read."""
        return 0 if self._kept is None else self._kept.common(self._numbers[index], self._prompts[index])

    def _busy(self) -> np.ndarray:
        """Bool [U]: groups with an answer that is not taken out."""
        return np.any((self._held >= 0).reshape(self._groups, self._group), axis=1)

    def _room(self) -> Room:
        """For the longest prompt there is or may come, and its answer."""
        held = (len(self._prompts[index]) for index in self._held[self._held >= 0])
        longest = max([self._longest[len(self._waiting) + len(self._queue)], *held])
        return room_for(longest, self._extra, self._group)

    def _enough(self) -> int:
        """Of how many groups that still write the host wants to hear, to do something about the free ones."""
        if self._queue or self._waiting:
            return self._groups - max(self._groups // 4, 1)
        fewer = _next_fewer(self._groups // self._model.spread)
        if fewer * self._group < FEWEST:
            return 0
        return min(fewer * self._model.spread, int(self._busy().sum()) - 1)

    def _admitted(self, slots: Slots) -> Slots:
        """With prompts in the free groups, as far as there are."""
        free = deque(np.flatnonzero(~self._busy()).tolist())
        while free and (self._queue or self._waiting):
            if not self._waiting:
                self._read_next(len(free) * self._group)
            slots = programs.resized(slots, self._room())
            rows, numbers = np.full(len(self._held), -1, np.int32), np.zeros(len(self._held), np.int32)
            while free and self._waiting:
                first = free.popleft() * self._group
                for slot in range(first, first + self._group):  # all of a prompt are so many, or several times
                    row, index = self._waiting.popleft()
                    rows[slot], numbers[slot], self._held[slot] = row, self._numbers[index], index
            assert self._read is not None
            slots = programs.admit(slots, self._read, *self._model.everywhere((rows, numbers)))
        if not self._waiting:
            self._read = None  # its memory
        return slots

    def _read_next(self, free: int) -> None:
        """Reads the prompts of the next answers, for ``free`` slots and for further answers to the same prompts."""
        known = self._next_prompts(free)
        rests = [self._prompts[index][there:] for index, there in known.items()]
        self._tokens_read[list(known)] = [len(rest) for rest in rests]
        model, arrays = self._model, reading.in_rows(rests, self._model.spread)
        weights, placed = (model.graphdef, model.params, model.stacks), model.by_rows(arrays)
        if self._kept is None or not any(known.values()):
            self._read = reading.read(*weights, placed, model.layout.dtype)
            return
        rows, padded = arrays.tokens.shape
        lengths = [(self._numbers[index], there) for index, there in known.items()]
        cache = self._kept.taken(lengths, rows, places_for(max(known.values()), padded))
        self._read = reading.extend(*weights, cache, placed)

    def _next_prompts(self, free: int) -> dict[int, int]:
        """Takes answers from the queue: the first to each prompt that is read next, and how many of its tokens are
        known; of none or of all of them some are."""
        rows: dict[bytes, int] = {}
        known: dict[int, int] = {}
        longest, any_known = 0, False
        while self._queue:
            index = self._queue[0]
            prompt = self._prompts[index].tobytes()
            if prompt not in rows:
                there = self._known(index)
                longest = max(longest, len(self._prompts[index]))  # what is known takes memory, too
                most = prompts_at_once(self._groups, self._model.spread, longest)
                if rows and (len(rows) >= most or len(self._waiting) >= free or (there > 0) != any_known):
                    break
                any_known = there > 0
                rows[prompt], known[index] = len(rows), there
            self._waiting.append((rows[prompt], self._queue.popleft()))
        return known

    def _take_out(self, slots: Slots) -> list[int]:
        """Keeps the answers that have ended, frees their slots, and says which they are."""
        ended = np.flatnonzero(np.asarray(slots.done) & (self._held >= 0))
        if not len(ended):
            return []
        for ours, theirs in (
            (self._tokens, slots.tokens),
            (self._logprobs, slots.logprobs),
            (self._drawn, slots.drawn),
            (self._lengths, slots.steps),
        ):
            ours[self._held[ended]] = np.asarray(theirs)[ended]
        if self._kept is not None:
            full = slots.cache.places
            lengths = np.minimum(slots.cache.lengths, full - 1)  # where it is full, the last place is written again
            finished = ended[self._finished(self._held[ended])].tolist()  # what is cut off does not go on
            self._kept.keep(slots.cache, {slot: self._in_slot(slot, lengths[slot]) for slot in finished})
        answers: list[int] = self._held[ended].tolist()
        self._held[ended] = -1
        return answers

    def _in_slot(self, slot: int, length: int) -> tuple[int, np.ndarray]:
        """The number of the conversation whose answer has ended in a slot, and its first tokens."""
        index = self._held[slot]
        tokens = np.concatenate([self._prompts[index], self._tokens[index, : self._lengths[index]]])
        return self._numbers[index], tokens[:length]

    def _compacted(self, slots: Slots) -> Slots:
        """With as few slots as the answers on their way need, of few sizes on each device."""
        busy = self._busy().reshape(self._model.spread, -1)
        needed, fewer = max(int(busy.sum(axis=1).max()), -(-FEWEST // self._group)), busy.shape[1]
        while (next_fewer := _next_fewer(fewer)) >= needed:
            fewer = next_fewer
        if fewer == busy.shape[1]:
            return slots
        groups = np.argsort(~busy, axis=1, stable=True)[:, :fewer].astype(np.int32)  # those in use first
        rows = (groups[..., None] * self._group + np.arange(self._group)).reshape(len(busy), -1).astype(np.int32)
        self._held = np.take_along_axis(self._held.reshape(len(busy), -1), rows, axis=1).ravel()
        self._groups = groups.size
        return programs.compacted(slots, *self._model.everywhere((groups, rows)))


def _next_fewer(slots: int) -> int:
    """Of a device, the next smaller number; 0 = there is none.

    A step of a processor takes as long as its rows are many, and a quarter of them less is worth another program; one
    of an accelerator goes by the weights that it reads.
    """
    if slots < 2:
        return 0
    return bucket_within(slots - 1) if platform() == "cpu" else 1 << (slots // 2).bit_length() - 1


def _same(prompts: Sequence[Sequence[int]]) -> int:
    """Of how many equal prompts after another all are, or several times as many."""
    return math.gcd(*(len(list(equal)) for _, equal in groupby(prompts, key=tuple)))


def _at_once(
    model: ServedModel, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, kept: Kept | None, same: int
) -> AtOnce:
    """How many of the answers are written together; to each prompt there are ``same``, or several times as many."""
    longest, new = max(map(len, prompts)), sampling.max_new_tokens

    def fitting(group: int) -> int:
        free = free_memory(model.devices) - (0 if kept is None else kept.to_come(places_for(longest, new)))
        return rows_that_fit(model.layout, model.mesh, longest, new, model.dtype.itemsize, free, group)

    return answers_at_once(sampling.batch_size, len(prompts), same, model.spread, longest, new, fitting)
