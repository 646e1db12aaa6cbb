"""The programs of `generate` that take the memory and the time, to be compiled and looked at but not run."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from tl_jax.config import SamplingConfig
from tl_jax.inference import reading
from tl_jax.inference import slots as programs
from tl_jax.inference.buckets import room_for, row_count
from tl_jax.inference.capacity import prompts_at_once
from tl_jax.inference.choice import Draw, Static
from tl_jax.inference.serving import ServedModel
from tl_jax.inference.slots import Slots
from tl_jax.model.sharding import batch_sharding, replicated


class Lowered:
    """What `generate` compiles for prompts of one length."""

    def __init__(self, model: ServedModel, at_once: int, length: int, sampling: SamplingConfig, group: int = 1) -> None:
        """Lowers nothing yet.

        Args:
            model: from `abstract_served`, on a mesh.
            at_once: how many answers are written at once.
            length: tokens of the longest prompt.
            sampling: as for `generate`.
            group: answers that share a prompt's keys and values.
        """
        assert model.mesh is not None
        self._model, self._mesh, self._static = model, model.mesh, Static.of(sampling)
        rows = model.spread
        self._groups, self._group = row_count(-(-at_once // group), rows), group
        self._room = room_for(length, sampling.max_new_tokens, group)
        self._prompts = reading.in_rows(
            [np.zeros(length, np.int32)] * prompts_at_once(self._groups, rows, length), rows
        )

    @property
    def stacks(self) -> int:
        """How often `read` runs for a batch of prompts; `admit` runs for the keys and the values of each."""
        return len(self._model.stacks)

    def read(self) -> jax.stages.Lowered:
        """A stack of layers reads prompts, not the last if there are several, as many as are read at once."""
        model, (rows, places) = self._model, self._prompts.tokens.shape
        x = np.zeros((rows, places, model.config.hidden_size), model.dtype)
        x, lengths = _shapes((x, self._prompts.lengths), batch_sharding(self._mesh))
        with jax.set_mesh(self._mesh):
            return reading.read_stack.lower(
                model.graphdef, model.params, model.stacks[0], x, lengths, model.layout.dtype, last=self.stacks == 1
            )

    def admit(self) -> jax.stages.Lowered:
        """The keys of a stack are put into slots, or where these share them."""
        taken = _shapes(np.zeros(self._groups * self._group, np.int32), replicated(self._mesh))
        model, (rows, places) = self._model, self._prompts.tokens.shape
        with jax.set_mesh(self._mesh):
            read = programs.abstract_read(model.layout, model.dtype, rows, places)
            cache, kept = self._slots().cache, jax.tree.leaves(read.cache.keys)[0]
            if cache.shared is not None:
                return programs.put_shared.lower(jax.tree.leaves(cache.shared.keys)[0], kept, taken)
            return programs.put.lower(jax.tree.leaves(cache.keys)[0], kept, taken)

    def advance(self) -> jax.stages.Lowered:
        """Answers are written, in as many slots."""
        key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
        draw = Draw(key, np.float32(1), np.float32(1), np.zeros(2, np.int32))
        draw, enough = _shapes((draw, np.int32(0)), replicated(self._mesh))
        weights = (self._model.graphdef, self._model.params, self._model.stacks)
        with jax.set_mesh(self._mesh):
            return programs.advance.lower(*weights, self._slots(), enough, draw, self._static)

    def _slots(self) -> Slots:
        model = self._model
        count = self._groups * self._group
        return programs.abstract(model.layout, model.dtype, count, self._room, self._groups, self._static)


def _shapes(tree: Any, place: NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree)
