"""A decoder-only language model in Flax NNX: embedding, a stack of identical blocks, a norm, a vocabulary projection.

One computation for all of `tl_jax.model.families`. NNX holds structure and parameters; what is computed are plain
functions of arrays. `split` and `merge` are the only boundary: everything outside works on a static ``graphdef`` and a
nested dictionary of arrays.

Letters in shapes: B rows, T tokens, D hidden size, H query heads, G key/value heads, K head size, F feed-forward,
V vocabulary, L layers, S new tokens, C slots of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import chex
import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import TraceContextError

from tl_jax.config import LoraConfig
from tl_jax.config.model import Loops, Remat
from tl_jax.errors import UserError
from tl_jax.model import lora as adapters
from tl_jax.model.attention import AttentionMask, attention
from tl_jax.model.attention.cached import Beginnings
from tl_jax.model.cache import Cache, attend_cache, attend_new, held
from tl_jax.model.config import LlamaConfig
from tl_jax.model.embedding import lookup
from tl_jax.model.gradient_sums import through_adding
from tl_jax.model.host_memory import HOST, is_in_host_memory
from tl_jax.model.layer import Only, through_layer
from tl_jax.model.operations import few_rows, projected, rms_norm
from tl_jax.model.parameters import Params, abstract_params, init_params
from tl_jax.model.remat import policy
from tl_jax.model.rotary import Rotation, rotation
from tl_jax.model.row_order import Wanted
from tl_jax.model.sharding import constrain

__all__ = ["Cache", "GraphDef", "Llama", "abstract_params", "init_params", "make_graphdef", "merge", "split"]

GraphDef: TypeAlias = "nnx.GraphDef[Any]"
ONE_LOOP = Loops()


class Llama(nnx.Module):
    """A language model; parameters of all layers are stacked ``[L, ...]``, see `tl_jax.model.parameters`."""

    def __init__(
        self,
        config: LlamaConfig,
        params: Params,
        *,
        dtype: jax.typing.DTypeLike = jnp.bfloat16,
        attention: str = "auto",
        remat: Remat = "block",
        loops: Loops = ONE_LOOP,
        offload: bool = False,
        lora: adapters.Use = adapters.AS_THEY_ARE,
    ) -> None:
        """A model of ``params``, arrays or their shapes.

        Args:
            config: sizes and constants.
            params: those of `init_params` or `abstract_params`, and of adapters where there are some.
            dtype: of the computation.
            attention: backend, a name of `tl_jax.config.attention.BACKENDS`.
            remat: what the backward pass computes again of a layer: all of it (``block``), the feed-forward
                (``attention``), nothing but what is no product (``dots``), or nothing at all (``none``).
            loops: which layers are compiled once, and run in a loop.
            offload: what ``remat`` does not compute again waits in the host's memory for the backward pass.
            lora: how adapters are used, where there are some; without `dropout_keys` nothing is dropped.
        """
        self.config = config
        self.dtype = jnp.dtype(dtype)
        self.attention = attention
        self.remat = remat
        self.loops = loops
        self.offload = offload
        self.lora = lora
        self.dropout_keys: jax.Array | None = nnx.data(None)
        """[B], typed: of a training step's rows; None = nothing is dropped"""
        self.gradient_sums: Params | None = nnx.data(None)
        """of layers, see `through_adding`; of those that `adding` names, if at all, and taken by the first reading"""
        self.branched = False
        """segments of the rows have branches, and whoever reads them without is told"""
        self.embed = nnx.Dict({name: nnx.Param(value) for name, value in params["embed"].items()})
        self.layers = nnx.Dict({name: nnx.Param(value) for name, value in params["layers"].items()})
        self.norm = nnx.Param(params["norm"])
        if "lm_head" in params:
            self.lm_head = nnx.Param(params["lm_head"])

    def __call__(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        """Float32 logits [B, T, V]. Training takes `hidden` and projects only where it needs to."""
        return self.logits(self.hidden(tokens, positions, segment_ids))

    def hidden(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        segment_ids: jax.Array,
        branches: jax.Array | None = None,
        wanted: Wanted | None = None,
    ) -> jax.Array:
        """What the vocabulary projection reads, [B, T, D].

        Args:
            tokens: int32 [B, T].
            positions: int32 [B, T], within the segment.
            segment_ids: int32 [B, T]; tokens see only their own segment, 0 is padding.
            branches: int32 [B, T]; ways in which the beginning of a segment goes on, from 1, that see nothing of each
                other; 0 is the beginning. None = segments have no branches.
            wanted: where it is read; elsewhere any numbers may stand. None = everywhere.

        Raises:
            UserError: the rows of this step have branches, and they were not given.
        """
        chex.assert_rank(tokens, 2)
        chex.assert_equal_shape([tokens, positions, segment_ids])
        if self.branched and branches is None:
            raise UserError(
                "the loss reads rows that share prefixes as if they did not: use model.hidden(*batch.inputs)"
            )
        mask = AttentionMask.within(positions, segment_ids, branches)
        by, x = rotation(self.config, positions), self.embedded(tokens)
        layers = {name: param[...] for name, param in self.layers.items()}
        if self.lora.dropout and self.dropout_keys is not None:
            layers[adapters.DROPOUT] = adapters.keys_of_layers(self.dropout_keys, self.config.num_layers)
        sums = self._taken_sums()
        if wanted is None or sums is not None or not self._divides(layers):
            return self._normed(self._through(x, layers, mask, by, sums=sums))
        x = self._through(x, jax.tree.map(lambda leaf: leaf[:-1], layers), mask, by)
        last = jax.tree.map(lambda leaf: leaf[-1:], layers)
        x = self._through(x, last, mask.only(wanted.only), by, wanted.only)
        return wanted.back(self._normed(x))

    def _taken_sums(self) -> Params | None:
        """`gradient_sums` for the one reading that may add to them; the next one's gradients are derived as usual."""
        sums = self.gradient_sums
        if sums is not None:
            try:
                self.gradient_sums = None
            except TraceContextError:
                raise UserError(
                    "a loss with one_reading=True reads the model in a loop, a condition or a transformation of its "
                    "own, where sums of gradients would be wrong: leave one_reading out"
                ) from None
        return sums

    def _through(
        self,
        x: jax.Array,
        layers: Params,
        mask: AttentionMask,
        by: Rotation,
        only: Only | None = None,
        sums: Params | None = None,
    ) -> jax.Array:
        """Through some layers as training has them, ``only`` those tokens in the last of them: see `through_layer`."""

        looped, backend = self.loops.training and not only, "xla" if only else self.attention

        def block(x: jax.Array, weights: Params, read: tuple[AttentionMask, Rotation]) -> tuple[jax.Array, None]:
            def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> tuple[jax.Array, None]:
                return attention(query, key, value, read[0], backend), None

            return through_layer(x, weights, config=self.config, by=read[1], attend=attend, lora=self.lora, only=only)

        if sums is not None:
            return through_adding(lambda *given: block(*given)[0], x, layers, sums, (mask, by))
        step = self._with_remat(partial(block, read=(mask, by)), looped)
        if looped:
            through: jax.Array = jax.lax.scan(step, x, layers)[0]
            return through
        for layer in range(len(next(iter(layers.values())))):
            x, _ = step(x, {name: stacked[layer] for name, stacked in layers.items()})
        return x

    def _divides(self, layers: Params) -> bool:
        """Whether the last layer is computed by itself, for some tokens only. What dropout drops goes by the places of
        whole rows."""
        whole = self.offload or adapters.DROPOUT in layers or any(map(is_in_host_memory, jax.tree.leaves(layers)))
        return Wanted.saves_work() and not whole

    def adding(self) -> list[tuple[str, str]]:
        """Paths of the parameters of which `hidden` takes `gradient_sums`: those of all layers or none.

        Layers add their gradients where all of them are trained, in a loop of which their inputs are kept.
        """
        layers = {name: param[...] for name, param in self.layers.items()}
        alike = self.loops.training and self.remat == "block" and not self.offload
        adapted = any(adapters.A in name for name in layers)
        if not alike or adapted or any(map(is_in_host_memory, layers.values())):
            return []
        return [("layers", name) for name in layers]

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Float32 [..., V] from ``hidden`` [..., D]."""
        if self.config.tie_word_embeddings:
            return projected(hidden, self.embed["embedding"][...].astype(hidden.dtype), 1)
        return projected(hidden, self.lm_head[...].astype(hidden.dtype), 0)

    def next_logits(self, hidden: jax.Array) -> jax.Array:
        """Float32 [B, V] of one state of each row, [B, D]: as `logits`, faster for few rows, without a gradient."""
        if self.config.tie_word_embeddings:
            return self.logits(hidden)
        return few_rows(hidden, self.lm_head[...].astype(hidden.dtype))

    def embedded(self, tokens: jax.Array) -> jax.Array:
        """What the first layer takes, [B, S, D], of tokens int32 [B, S]."""
        rows = lookup(self.embed["embedding"][...], tokens)
        return constrain(rows.astype(self.dtype), "batch", None, None)

    def read(
        self, x: jax.Array, lengths: jax.Array, stack: Params, dtype: jax.typing.DTypeLike, last: bool
    ) -> tuple[jax.Array, Cache]:
        """One stack of layers reads prompts, by the model's attention backend as in training.

        Stack by stack, since then one program serves all that are alike: compilers take as long as layers are many.

        Args:
            x: [B, S, D], what the stack before gave; for the first one `embedded` tokens, padding behind them.
            lengths: int32 [B], without padding.
            stack: the layers' parameters, [n, ...], one of `stacks_of`.
            dtype: of the cache.
            last: whether no other stack follows.

        Returns:
            What the next stack takes, [B, S, D], or of the last one the hidden state of each prompt's last token,
            [B, D]; and the cache of these layers, whose places are the S.
        """
        chex.assert_rank([x, lengths], [3, 1])
        order = jnp.arange(x.shape[1], dtype=jnp.int32)
        segment_ids = (order < lengths[:, None]).astype(jnp.int32)
        positions = jnp.where(segment_ids == 1, order, 0)
        mask, by = AttentionMask.within(positions, segment_ids), rotation(self.config, positions)
        only = _only_last(stack, lengths) if last else None
        backend, seen = (self.attention, mask) if only is None else ("xla", mask.only(only))
        attend = partial(attend_new, backend, seen, dtype)
        block = partial(through_layer, config=self.config, by=by, attend=attend, lora=self.lora, only=only)
        x, kept = _loop(block, x, stack)
        keys, values = jax.tree.map(held, kept)
        return self._last(x, lengths) if last else x, Cache((keys,), (values,), lengths)

    def extend(
        self, x: jax.Array, lengths: jax.Array, cache: Cache, stack: Params, last: bool
    ) -> tuple[jax.Array, Cache]:
        """One stack of layers reads on in prompts whose beginning is in its cache.

        Args:
            x: as for `read`.
            lengths: int32 [B], without padding.
            cache: of these layers, with room for S more in every row.
            stack: as for `read`.
            last: whether no other stack follows.

        Returns:
            As `read`; the cache is that of the whole prompts.
        """
        chex.assert_rank([x, lengths], [3, 1])
        chex.assert_equal_shape([lengths, cache.lengths])
        only = _only_last(stack, lengths) if last else None
        x, longer = self._behind(x, cache, [stack], only)
        return self._last(x, lengths) if last else x, longer._replace(lengths=cache.lengths + lengths)

    def decode(self, tokens: jax.Array, cache: Cache, stacks: Sequence[Params]) -> tuple[jax.Array, Cache]:
        """Reads one more token of each row, by ``xla``: a step is bound by reading the cache, whatever the kernel.

        Args:
            tokens: int32 [B].
            cache: with room for one more.
            stacks: the layers' parameters in groups, as the cache has them, made outside of all loops.

        Returns:
            Hidden states [B, D] and the cache with the new keys and values. Its lengths are those of before.
        """
        chex.assert_equal_shape([tokens, cache.lengths])
        hidden, longer = self._behind(self.embedded(tokens[:, None]), cache, stacks)
        return self._normed(hidden[:, 0]), longer

    def _behind(
        self, x: jax.Array, cache: Cache, stacks: Sequence[Params], only: Only | None = None
    ) -> tuple[jax.Array, Cache]:
        """What the last of some layers gives of new tokens, [B, S, D], and their cache with new keys and values; its
        lengths are those of before. ``only``: see `_only_last`, of one stack."""
        mask, places = cache.mask(x.shape[1]), cache.lengths - cache.begun
        by, seen = rotation(self.config, mask.positions), mask if only is None else mask.only(only)

        def layer(
            shared: Beginnings | None, state: tuple[Any, ...], at: tuple[Params, jax.Array]
        ) -> tuple[tuple[Any, ...], None]:
            x, keys, values = state
            weights, index = at
            attend = partial(attend_cache, (keys, values), shared, index, places, seen)
            x, kept = through_layer(x, weights, config=self.config, by=by, attend=attend, lora=self.lora, only=only)
            return (x, *kept), None

        kept = []
        for number, (weights, keys, values) in enumerate(zip(stacks, cache.keys, cache.values, strict=True)):
            shared = None if cache.shared is None else cache.shared.of_stack(number)
            count = len(jax.tree.leaves(keys)[0])
            numbered = (weights, jnp.arange(count, dtype=jnp.int32))
            (x, *new), _ = _loop(partial(layer, shared), (x, keys, values), numbered)
            kept.append(new)
        new_keys, new_values = zip(*kept, strict=True)
        return x, cache._replace(keys=new_keys, values=new_values)

    def _last(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
        """Hidden states [B, D] of the last of ``lengths`` [B] tokens, of what the last layer gave of all, [B, S, D], or
        of that one, [B, 1, D]."""
        return self._normed((x if x.shape[1] == 1 else _last_token(lengths, x))[:, 0])

    def _normed(self, x: jax.Array) -> jax.Array:
        return rms_norm(x, self.norm[...], self.config.rms_norm_eps)

    def _with_remat(self, step: Callable[..., Any], looped: bool) -> Callable[..., Any]:
        if self.remat == "none":
            return step
        kept = policy(self.remat, self.config, HOST if self.offload else None)
        return jax.checkpoint(step, policy=kept, prevent_cse=not looped)


def split(model: nnx.Module) -> tuple[GraphDef, Params]:
    """A static, hashable description of the model and its parameters as a nested dictionary of arrays."""
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def merge(graphdef: GraphDef, params: Params) -> Any:
    """The model again: the inverse of `split`. Cheap; used at the top of a traced function."""
    return nnx.merge(graphdef, params)


def make_graphdef(config: LlamaConfig, lora: LoraConfig | None = None, **options: Any) -> GraphDef:
    """`split`'s description of ``Llama(config, params, **options)`` without any parameter, with adapters or without."""
    return nnx.split(Llama(config, **abstract_model(config, lora), **options))[0]


def abstract_model(config: LlamaConfig, lora: LoraConfig | None) -> dict[str, Any]:
    """What `Llama` takes for a model with adapters or without: shapes of its parameters, and what adapters count."""
    if lora is None:
        return {"params": abstract_params(config)}
    return {"params": adapters.adapted_shapes(config, lora), "lora": adapters.Use(lora.scale, lora.dropout)}


def _only_last(stack: Params, lengths: jax.Array) -> Only | None:
    """Of the last stack, the tokens of which more is computed than keys and values; None = all of them.

    Of the last layer nobody reads more than the last of ``lengths`` [B] tokens. If it is in a loop with others, it is
    computed like these.
    """
    return partial(_last_token, lengths) if len(jax.tree.leaves(stack)[0]) == 1 else None


def _last_token(lengths: jax.Array, tree: Any) -> Any:
    """Of arrays [B, T, ...] the token in place ``lengths - 1`` of each row, [B, 1, ...]."""
    places = jnp.maximum(lengths - 1, 0)
    return jax.tree.map(lambda x: jnp.take_along_axis(x, jnp.reshape(places, (-1, *[1] * (x.ndim - 1))), axis=1), tree)


def _loop(step: Callable[[Any, Any], tuple[Any, Any]], state: Any, stack: Any) -> tuple[Any, Any]:
    """`jax.lax.scan`; of one layer, that layer, so that nothing is left of the loop."""
    if len(jax.tree.leaves(stack)[0]) > 1:
        return jax.lax.scan(step, state, stack)
    state, out = step(state, jax.tree.map(lambda leaf: leaf[0], stack))
    return state, jax.tree.map(lambda leaf: leaf[None], out)
