"""The engine that computes on the devices of this run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax
from jax.sharding import Mesh

from tl_jax.config import SamplingConfig
from tl_jax.config.engine import KvCacheDtype
from tl_jax.host_memory import trim
from tl_jax.inference.engine import SILENT, Ends, Generation, Listener
from tl_jax.inference.generate import generate
from tl_jax.inference.kept import Kept
from tl_jax.inference.serving import ServedModel, for_generation
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef
from tl_jax.model.parameters import Params


class InProcessEngine:
    """An `Engine` on the mesh of training, with the computation of training.

    Args:
        graphdef: of a `Llama`, from `split` or `make_graphdef`.
        model: what it was made from.
        mesh: where the parameters are placed.
        kv_cache_dtype: of keys and values.
    """

    def __init__(
        self, graphdef: GraphDef, model: LlamaConfig, mesh: Mesh | None = None, kv_cache_dtype: KvCacheDtype = "auto"
    ) -> None:
        self._graphdef, self._mesh, self.model, self._kv_cache_dtype = graphdef, mesh, model, kv_cache_dtype
        self._served: ServedModel | None = None
        self._kept: Kept | None = None

    def update(self, params: Params) -> None:
        """See `Engine.update`: makes the compute copies, once for all answers that these parameters give."""
        self.release()  # there is no room for the last ones too
        self._served = for_generation(self._graphdef, params, self._mesh, self._kv_cache_dtype)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        key: jax.Array,
        ends: Ends,
        listener: Listener = SILENT,
        numbers: Sequence[int] | None = None,
    ) -> Generation:
        """See `Engine.generate`; the same ``key`` gives the same answers."""
        assert self._served is not None, "no update since the release"
        return generate(self._served, prompts, sampling, key, ends, listener, numbers, self._kept)

    @contextmanager
    def conversations(self) -> Iterator[None]:
        """See `Engine.conversations`: keys and values stay on the devices, as far as there is memory for them."""
        assert self._served is not None, "no update since the release"
        self._kept = Kept(self._served)
        try:
            yield
        finally:
            self._kept = None

    def release(self) -> None:
        """See `Engine.release`."""
        self._served = self._kept = None
        trim()
