"""Token by token: prompts in, sampled tokens and their log-probabilities out.

Prompts are padded on the left to a few lengths and numbers of rows, so that a new prompt seldom compiles anything. The
noise of a row depends on the key, the row's index and the step alone: padding, chunking and sharding change no sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from tl_jax.config import SamplingConfig
from tl_jax.inference.buckets import bucket
from tl_jax.inference.capacity import free_memory, rows_that_fit
from tl_jax.inference.room import ContextRoom, GenerationError
from tl_jax.inference.serving import ServedModel
from tl_jax.model.cache import Cache
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef, Llama, merge
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_sharding, constrain, make_global_array, replicated

Array: TypeAlias = Any
"""Of the host before a program runs, of its devices while it does."""


@dataclass(frozen=True)
class Generation:
    """What was generated for B prompts, N = ``max_new_tokens``."""

    tokens: np.ndarray
    """int32 [B, N]: EOS kept, ``pad_id`` after it"""
    logprobs: np.ndarray
    """float32 [B, N]: of each token under softmax(logits / temperature), before top-k and top-p; greedy: temperature 1;
    0 after the end"""
    lengths: np.ndarray
    """int32 [B]: tokens generated, EOS included"""
    finished: np.ndarray
    """bool [B]: ended by EOS and not by the limit"""
    drawn_logprobs: np.ndarray | None = None
    """float32 [B, N]: of each token in the distribution that it was drawn from, after top-k and top-p; None = as
    ``logprobs``, where nothing is filtered"""


class Ends(NamedTuple):
    """What ends an answer, and what follows the end."""

    eos_ids: tuple[int, ...] = ()
    """empty = nothing does but the limit"""
    pad_id: int = 0


def generate(
    model: ServedModel,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    key: jax.Array,
    ends: Ends,
    before_batch: Callable[[], None] | None = None,
) -> Generation:
    """Continues every prompt until one of ``ends.eos_ids`` or ``max_new_tokens``.

    Args:
        model: from `for_generation`.
        prompts: token ids, of any lengths; the same on every process.
        sampling: how tokens are chosen, and how many prompts run at once. A new temperature or top_p compiles nothing.
        key: of the noise; greedy decoding does not read it.
        ends: which tokens end a row, and what follows the end in the result.
        before_batch: called before each ``sampling.batch_size`` prompts; it may raise, to give the rest up.

    Raises:
        GenerationError: no prompt, an empty one, an unknown token, or a prompt that leaves no room for the answer.
    """
    mesh = model.mesh
    _check(model.config, prompts, sampling)
    order = np.argsort([-len(prompt) for prompt in prompts], stable=True)  # longest first: memory runs out at once
    step = _at_once(model, prompts, sampling)
    spread = _spread(mesh) if mesh else 1
    static = _Static.of(sampling)
    temperature, top_p = np.float32(sampling.temperature), np.float32(sampling.top_p or 1)
    if mesh is not None:
        temperature, top_p = make_global_array((temperature, top_p), replicated(mesh))
    draw = _Draw(key, temperature, top_p, np.asarray(ends.eos_ids or (-1,), np.int32), np.int32(ends.pad_id))
    chunks = []
    for start in range(0, len(prompts), step):
        if before_batch:
            before_batch()
        chosen = order[start : start + step]
        rows = _padded(prompts, chosen, spread)
        if mesh is not None:
            rows = make_global_array(rows, batch_sharding(mesh))
        with jax.set_mesh(mesh) if mesh is not None else nullcontext():
            out = _run(model.graphdef, model.params, model.layers, rows, draw, static)
        chunks.append([np.asarray(array)[: len(chosen)] for array in out])
    back = np.argsort(order)
    tokens, logprobs, drawn, lengths, finished = (np.concatenate(parts)[back] for parts in zip(*chunks, strict=True))
    return Generation(tokens, logprobs, lengths, finished, drawn if static.filters else None)


def lower(model: ServedModel, prompts: int, length: int, sampling: SamplingConfig) -> jax.stages.Lowered:
    """The program of `generate` for some prompts of one length, to be compiled and looked at but not run.

    Args:
        model: from `abstract_served`, on a mesh.
        prompts: how many run at once.
        length: tokens of the longest.
        sampling: as for `generate`.
    """
    mesh = model.mesh
    assert mesh is not None
    everywhere, rows = replicated(mesh), _padded([[0] * length], np.zeros(prompts, int), _spread(mesh))

    def placed(tree: Any, place: NamedSharding) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree)

    key = jax.eval_shape(lambda: jax.random.key(0))
    draw = _Draw(key, np.float32(1), np.float32(1), np.zeros(2, np.int32), np.int32(0))
    rows, draw = placed(rows, batch_sharding(mesh)), placed(draw, everywhere)
    with jax.set_mesh(mesh):
        lowered: jax.stages.Lowered = _run.lower(
            model.graphdef, model.params, model.layers, rows, draw, _Static.of(sampling)
        )
    return lowered


def _spread(mesh: Mesh) -> int:
    """Over how many devices rows are spread."""
    return math.prod(mesh.shape[axis] for axis in ("data", "fsdp"))


def _at_once(model: ServedModel, prompts: Sequence[Sequence[int]], sampling: SamplingConfig) -> int:
    """How many prompts are answered together."""
    if sampling.batch_size != "auto":
        return sampling.batch_size or len(prompts)
    devices = jax.devices()[:1] if model.mesh is None else model.mesh.local_devices
    slots = bucket(max(map(len, prompts)), smallest=16) + sampling.max_new_tokens
    fitting = rows_that_fit(model.config, model.mesh, slots, model.dtype.itemsize, free_memory(devices))
    return min(fitting, len(prompts))


def _check(config: LlamaConfig, prompts: Sequence[Sequence[int]], sampling: SamplingConfig) -> None:
    room, vocab = ContextRoom(config.max_position_embeddings, sampling.max_new_tokens), config.vocab_size
    if not prompts:
        raise GenerationError("no prompts")
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise GenerationError(f"prompt {index} has no tokens")
        room.check(f"prompt {index}", len(prompt))
        if not 0 <= min(prompt) <= max(prompt) < vocab:
            raise GenerationError(f"prompt {index} has a token id outside the model's vocabulary of {vocab}")


class _Rows(NamedTuple):
    """Prompts as arrays, padded on the left."""

    tokens: Array  # int32 [B, P]
    segment_ids: Array  # int32 [B, P]: 0 where there is padding
    indices: Array  # int32 [B]: of the prompts, for their noise


class _Draw(NamedTuple):
    """How tokens are chosen, of which another value compiles nothing."""

    key: jax.Array
    temperature: Array  # float32 []
    top_p: Array  # float32 []
    eos_ids: Array  # int32 [E]
    pad_id: Array  # int32 []


class _Static(NamedTuple):
    """What a compiled program depends on."""

    max_new_tokens: int
    greedy: bool
    top_k: int | None
    nucleus: bool

    @classmethod
    def of(cls, sampling: SamplingConfig) -> _Static:
        return cls(sampling.max_new_tokens, sampling.temperature == 0, sampling.top_k, sampling.top_p is not None)

    @property
    def filters(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return not self.greedy and (self.top_k is not None or self.nucleus)


def _padded(prompts: Sequence[Sequence[int]], chosen: np.ndarray, spread: int) -> _Rows:
    """The prompts whose indices are ``chosen``, in that order, in a multiple of ``spread`` rows."""
    rows = -(-bucket(len(chosen)) // spread) * spread
    length = bucket(max(len(prompts[index]) for index in chosen), smallest=16)
    tokens, segment_ids = np.zeros((2, rows, length), np.int32)
    indices = np.zeros(rows, np.int32)
    for row, index in enumerate(chosen):
        prompt = prompts[index]
        tokens[row, length - len(prompt) :] = prompt
        segment_ids[row, length - len(prompt) :] = 1
        indices[row] = index
    return _Rows(tokens, segment_ids, indices)


class _Progress(NamedTuple):
    step: jax.Array  # int32 []: tokens chosen so far
    last: jax.Array  # int32 [B]: the newest token
    done: jax.Array  # bool [B]
    tokens: jax.Array  # int32 [B, N]
    logprobs: jax.Array  # float32 [B, N]
    drawn: jax.Array  # float32 [B, N]: log-probabilities after the filters
    cache: Cache


@partial(jax.jit, static_argnames=("graphdef", "static"))
def _run(
    graphdef: GraphDef, params: Params, layers: tuple[Params, ...], rows: _Rows, draw: _Draw, static: _Static
) -> tuple[jax.Array, ...]:
    """Prefill and decoding loop; see `generate`."""
    model: Llama = merge(graphdef, params)
    batch, prompt_length = rows.tokens.shape

    def choose(progress: _Progress, hidden: jax.Array) -> _Progress:
        """Takes the next token of every row from the hidden state of its last one."""
        logits = constrain(model.logits(hidden[:, -1]), "batch", None)
        logits = logits if static.greedy else logits / draw.temperature
        scores = filtered = logits
        if not static.greedy:
            filtered = filter_logits(logits, static.top_k, draw.top_p if static.nucleus else None)
            scores = filtered + _noise(draw.key, rows.indices, progress.step, logits.shape[1])
        chosen = jnp.argmax(scores, axis=-1).astype(jnp.int32)
        logprob = _log_probs(logits, chosen)
        drawn = _log_probs(filtered, chosen) if static.filters else logprob
        done = progress.done
        return progress._replace(
            step=progress.step + 1,
            last=chosen,
            done=done | jnp.isin(chosen, draw.eos_ids),
            tokens=progress.tokens.at[:, progress.step].set(jnp.where(done, draw.pad_id, chosen)),
            logprobs=progress.logprobs.at[:, progress.step].set(jnp.where(done, 0.0, logprob)),
            drawn=progress.drawn.at[:, progress.step].set(jnp.where(done, 0.0, drawn)),
        )

    def unfinished(progress: _Progress) -> jax.Array:
        return (progress.step < static.max_new_tokens) & ~progress.done.all()

    def advance(progress: _Progress) -> _Progress:
        positions = (lengths + progress.step - 1)[:, None]
        hidden, cache = model.decode(progress.last[:, None], positions, ones, progress.cache, layers)
        return choose(progress._replace(cache=cache), hidden)

    lengths, ones = rows.segment_ids.sum(axis=1), jnp.ones((batch, 1), jnp.int32)
    positions = jnp.maximum(jnp.cumsum(rows.segment_ids, axis=1) - 1, 0)
    cache = Cache.empty(model.config, model.dtype, batch, prompt_length)
    hidden, cache = model.decode(rows.tokens, positions, rows.segment_ids, cache, layers)
    progress = _Progress(
        step=jnp.zeros((), jnp.int32),
        last=jnp.zeros(batch, jnp.int32),
        done=lengths == 0,  # a row that only fills up the batch
        tokens=jnp.full((batch, static.max_new_tokens), draw.pad_id, jnp.int32),
        logprobs=jnp.zeros((batch, static.max_new_tokens), jnp.float32),
        drawn=jnp.zeros((batch, static.max_new_tokens), jnp.float32),
        cache=cache.extended(static.max_new_tokens),
    )
    progress = jax.lax.while_loop(unfinished, advance, choose(progress, hidden))
    tokens, logprobs, drawn = (constrain(x, None, None) for x in (progress.tokens, progress.logprobs, progress.drawn))
    ends = jnp.isin(tokens, draw.eos_ids)
    finished = ends.any(axis=1)
    lengths = jnp.where(finished, jnp.argmax(ends, axis=1) + 1, static.max_new_tokens)
    return tokens, logprobs, drawn, lengths, finished


def _log_probs(logits: jax.Array, chosen: jax.Array) -> jax.Array:
    """[B]: of one token of each row."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), chosen[:, None], axis=1)[:, 0]


def filter_logits(logits: jax.Array, top_k: int | None, top_p: jax.Array | float | None) -> jax.Array:
    """Sets to -inf what is not among the ``top_k`` most likely tokens, then what is not in the smallest set that
    holds ``top_p`` of the remaining probability (https://arxiv.org/abs/1904.09751). Ties at the border stay. [B, V].
    """
    if top_k is not None and top_k < logits.shape[-1]:
        kth = jax.lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if top_p is not None:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        probabilities = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        border = jnp.min(jnp.where(before < top_p, ordered, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < border, -jnp.inf, logits)
    return logits


def _noise(key: jax.Array, indices: jax.Array, step: jax.Array, vocab: int) -> jax.Array:
    """Gumbel noise [B, V]: the argmax of logits plus this is a sample of their softmax."""

    def one(row: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(jax.random.fold_in(key, row), step), (vocab,))

    return jax.vmap(one)(indices)
