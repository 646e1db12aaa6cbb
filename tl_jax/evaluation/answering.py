"""How a stored model answers: everything that decides what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_jax.config import Dtype, MeshConfig, SamplingConfig
from tl_jax.config.engine import KvCacheDtype
from tl_jax.config.model import Loops
from tl_jax.data.codec import Codec
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.inference.sampler import Sampler, answer_stops
from tl_jax.model.llama import make_graphdef
from tl_jax.model.sharding import make_mesh
from tl_jax.model.store import open_model, tokenizer_dir
from tl_jax.tooluse.text.spoken import Include
from tl_jax.tooluse.text.template_choice import NO_CHOICE, TemplateChoice

_GREEDY = SamplingConfig(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Answering:
    """Text format, sampling and the devices it runs on.

    Attributes:
        renderer: the text format of prompts and answers.
        dtype: of the computation.
        batch_size: prompts that are answered at once.
        seed: of the sampling; the same seed gives the same answers.
        include: parts of the data's assistant messages that are written in the prompts with the rest.
        mesh: how devices share the work; by default all of them along ``fsdp``.
        verify: look for damaged files, NaN and infinity when the model is opened.
        base: the model below, where the model is an adapter; None = the one that it names.
        kv_cache_dtype: of keys and values; int8 = half the memory of bfloat16.
        template: of ``renderer="chat"``: which template, and what it is told; over what the model was trained with.
    """

    sampling: SamplingConfig = _GREEDY
    renderer: str = "paper"
    dtype: Dtype = "bfloat16"
    batch_size: int = 16
    seed: int = 0
    include: tuple[Include, ...] = ()
    mesh: MeshConfig | None = None
    template: TemplateChoice = NO_CHOICE
    verify: bool = True
    base: Path | None = None
    kv_cache_dtype: KvCacheDtype = "auto"

    @classmethod
    def of(
        cls,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        **others: Any,
    ) -> Answering:
        """From settings side by side, as the command line has them; ``others`` are the attributes above."""
        sampling = SamplingConfig(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p)
        return cls(sampling, **others)

    def codec(self, model: Path) -> Codec:
        """The text format and the tokenizer of a model, whose parameters are left alone."""
        return Codec.open(self.renderer, tokenizer_dir(model, self.base), self.template)

    def open(self, model: Path) -> Sampler:
        """A model, checkpoint or run directory, ready to answer."""
        devices = make_mesh(self.mesh or MeshConfig())
        loaded = open_model(model, param_dtype=self.dtype, mesh=devices, verify=self.verify, base=self.base)
        codec = Codec.open(self.renderer, loaded.tokenizer_dir, self.template)
        graphdef = make_graphdef(loaded.config, dtype=self.dtype, loops=Loops(training=False))
        engine = InProcessEngine(graphdef, loaded.config, devices, self.kv_cache_dtype)
        engine.update(loaded.params)
        return Sampler(engine, codec, self.sampling, answer_stops(codec, loaded.config))


GREEDY = Answering()
"""The most likely answer, in the paper's format."""
