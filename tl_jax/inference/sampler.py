"""From prompts to answers as text: what evaluation, rollouts and generation on the command line share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from jax.sharding import Mesh

from tl_jax.config import Dtype, MeshConfig, SamplingConfig
from tl_jax.data.codec import Codec
from tl_jax.inference.generate import Ends, Generation, generate
from tl_jax.inference.serving import ServedModel, for_generation
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef, make_graphdef
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import make_mesh
from tl_jax.model.store import open_model
from tl_jax.tooluse.text.template_choice import NO_CHOICE, TemplateChoice


@dataclass(frozen=True)
class Sampler:
    """A model's way to answer: how it samples, where it stops and how its tokens become text."""

    graphdef: GraphDef
    codec: Codec
    sampling: SamplingConfig
    eos_ids: tuple[int, ...]
    """tokens that end an answer, see `answer_stops`"""
    mesh: Mesh | None = None

    def serve(self, params: Params) -> ServedModel:
        """Parameters, placed on the mesh, as `generate` takes them: once for all answers that they give."""
        return for_generation(self.graphdef, params, self.mesh)

    def generate(
        self,
        model: ServedModel,
        prompts: Sequence[Sequence[int]],
        key: jax.Array,
        before_batch: Callable[[], None] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> Generation:
        """Answers as tokens; the same ``key`` gives the same answers. ``before_batch`` may give the rest up by raising,
        ``numbers`` are as for the function `generate`.

        Raises:
            UserError: a prompt has tokens that the model has no embedding for.
        """
        self.codec.check_ids(prompts, model.params["embed"]["embedding"].shape[0], "the model")
        return generate(
            model,
            prompts,
            self.sampling,
            key,
            Ends(self.eos_ids, pad_id=self.eos_ids[0]),
            before_batch,
            numbers,
        )

    def texts(self, generation: Generation) -> list[str]:
        """The answers without the token that ended them and the space that opens an answer."""
        answers = []
        for tokens, length, finished in zip(generation.tokens, generation.lengths, generation.finished, strict=True):
            answers.append(self.codec.answer(tokens[: length - int(finished)].tolist()))
        return answers


def answer_stops(codec: Codec, model: LlamaConfig) -> tuple[int, ...]:
    """Every token that ends an answer: the format's terminator, EOS, and what the model's configuration names."""
    return tuple(dict.fromkeys((*codec.stop_ids, *model.eos_ids)))


def open_sampler(
    model: Path,
    sampling: SamplingConfig,
    renderer: str = "paper",
    dtype: Dtype = "bfloat16",
    mesh: MeshConfig | None = None,
    template: TemplateChoice = NO_CHOICE,
    verify: bool = True,
    base: Path | None = None,
) -> tuple[Sampler, ServedModel]:
    """A stored model that can answer, and how it does.

    ``mesh`` says how devices share the work; by default all of them along ``fsdp``.
    ``template`` is as for `Codec.open`, ``verify`` and ``base`` as for `open_model`.
    """
    devices = make_mesh(mesh or MeshConfig())
    loaded = open_model(model, param_dtype=dtype, mesh=devices, verify=verify, base=base)
    codec = Codec.open(renderer, loaded.tokenizer_dir, template)
    graphdef = make_graphdef(loaded.config, dtype=dtype, scan_layers=False)
    sampler = Sampler(graphdef, codec, sampling, answer_stops(codec, loaded.config), devices)
    return sampler, sampler.serve(loaded.params)
