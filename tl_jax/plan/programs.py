"""The programs that a configuration compiles, made by the functions that training uses, of shapes instead of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from tl_jax.config import ModelConfig, RlConfig, RunConfig, SftConfig
from tl_jax.data.batch import Batch
from tl_jax.data.packing import Row, collate
from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import abstract_params, axis_sizes, count_in_products, llama_parameters
from tl_jax.model.remat import kept_numbers, multiplied_again
from tl_jax.model.sharding import batch_devices, batch_sharding
from tl_jax.plan.program import Program
from tl_jax.plan.sampling import sampling_programs
from tl_jax.plan.workload import Workload, longest_episodes
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.batch import collate as collate_episodes
from tl_jax.rl.compiled import CompiledRlStep
from tl_jax.rl.dropout import starts_from_itself
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.rubric import make_rubric
from tl_jax.rl.scores import read_before
from tl_jax.rl.state import RlState, StepSpec, init_rl_state
from tl_jax.rl.train import check_batch_size as check_rollout
from tl_jax.rl.train import make_step_spec
from tl_jax.rl.update import learning_together
from tl_jax.training.chunks import KEPT
from tl_jax.training.compile import abstract_state, compile_eval, compile_step
from tl_jax.training.losses import CHUNKS, MAX_CHUNK, make_loss
from tl_jax.training.memory import bytes_on_device
from tl_jax.training.sft import check_batch_size, make_programs
from tl_jax.training.state import TrainState

TRAINING, SCORING, UPDATES, BOTH = "training step", "scoring", "updates", "scoring and updates"
"""What the programs are called that read micro-batches: of supervised and of reinforcement training, where the only
update of a rollout may score it, too."""
LEARNING = (TRAINING, UPDATES, BOTH)
"""Those of them that learn, and have a backward pass."""
KEPT_OF_LAYERS = "kept of layers"
"""What such a program's `Program.inside` calls what is kept for the backward pass."""
Lower = Callable[[RlState, RolloutBatch], jax.stages.Lowered]
STEPS = 1000
"""Updates of a training whose data is not at hand; only the course of its learning rate depends on it."""


def sft_programs(config: SftConfig, model: LlamaConfig, mesh: Mesh, load: Workload) -> list[Program]:
    """Step and held-out loss of supervised training."""
    check_batch_size(config, mesh)
    made = make_programs(config, model, make_loss(config.loss), STEPS)
    state = abstract_state(made.init, abstract_params(model, config.stored_dtype), mesh, config.model.offload)
    rows, length = config.data.batch_size, config.data.max_length
    host = collate([Row((), length, () if config.data.share_prefixes else None)] * rows)
    batch: Batch = _placed(host, batch_sharding(mesh))
    micro = rows // batch_devices(mesh) // config.accumulate
    parts = _parts_of(state)
    compute = _matrices(model, config.model, mesh)
    logits, copies = _logits(model, mesh, micro, length), _copies(config, compute, mesh)
    again, each = _again(config.model, model, load), _passes(config)
    parameters = {name: size for name, size in parts.items() if name in ("parameters", "frozen")}
    return [
        Program(
            TRAINING,
            lambda: _lowered(mesh, lambda: compile_step(made.step, state, mesh).lower(state, batch)),
            {**parts, "batch": bytes_on_device(batch)},
            {},
            {
                "gradients": _float32(state.trainable),
                "compute copies": copies,
                "logits": _logits_kept(config.model) * logits,
                KEPT_OF_LAYERS: _kept_of_layers(config.model, model, mesh, micro * length),
            },
            load.flops / 3 * each,
            load.computed / 3 * each + again.flops,
            compute * (each + again.weights) * config.accumulate,
        ),
        Program(
            "held-out loss",
            lambda: _lowered(mesh, lambda: compile_eval(made.evaluate, state.params, mesh).lower(state.params, batch)),
            {**parameters, "batch": bytes_on_device(batch)},
            {name: size for name, size in parts.items() if name not in parameters},
            {"logits": _logits(model, mesh, rows // batch_devices(mesh), length)},
            0.0,
            0.0,
            0.0,
            times=0.0,
        ),
    ]


def rl_programs(config: RlConfig, model: LlamaConfig, mesh: Mesh, load: Workload, memory: float) -> list[Program]:
    """Sampling, and the programs that score a rollout and learn from it; a device has ``memory`` bytes for them."""
    check_rollout(config, mesh)
    rubric = make_rubric(config)
    spec = make_step_spec(config, model, rubric)
    init = partial(init_rl_state, model=model, spec=spec, seed=config.seed)
    state = abstract_state(init, abstract_params(model, config.stored_dtype), mesh, config.model.offload)
    collated = _rollout(config, load, len(rubric.weights), mesh)
    parts = _parts_of(state)
    return [
        *sampling_programs(config, spec.actor.graphdef, state.params["actor"], mesh, load, parts, memory),
        *_learning_programs(config, model, spec, state, collated, mesh, load),
    ]


def _learning_programs(
    config: RlConfig,
    model: LlamaConfig,
    spec: StepSpec,
    state: RlState,
    collated: RolloutBatch,
    mesh: Mesh,
    load: Workload,
) -> list[Program]:
    """Those of `CompiledRlStep` for the rollout ``collated``, on the host; ``state`` is abstract."""
    algorithm, parts, compute = config.algorithm, _parts_of(state), _matrices(model, config.model, mesh)
    rollout: RolloutBatch = _placed(collated, batch_sharding(mesh))
    rows, updates, most, length = rollout.rows.tokens.shape
    in_turn = collated.rows.segment_ids.any(axis=(0, 3)).sum() / algorithm.epochs
    logits, copies = _logits(model, mesh, rows // batch_devices(mesh), length), _copies(config, compute, mesh)
    together = [{name: state.trainable[name] for name in names} for names in learning_together(algorithm)]
    learning, learners = algorithm.epochs * len(together), len(together)
    gradients = max(map(_float32, together))  # of those that learn at a time
    before = read_before(spec, updates, most)
    step = CompiledRlStep(spec, state, mesh)

    def program(
        name: str, lower: Lower, reads: Collection[str], inside: dict[str, float], passes: int, backward: int = 0
    ) -> Program:
        """It reads so many times all of the rollout, and has so many backward passes."""
        return Program(
            name,
            lambda: _lowered(mesh, lambda: lower(state, rollout)),
            {**{part: size for part, size in parts.items() if part in reads}, "rollout": bytes_on_device(rollout)},
            {part: size for part, size in parts.items() if part not in reads},
            inside,
            load.flops / 3 * passes,
            load.computed / 3 * passes + again.flops * backward,
            compute * (passes + again.weights * backward) * in_turn,
            loop=1 if name == SCORING else most,
        )

    again = _again(config.model, model, load)
    passes = learning * _passes(config)
    if spec.drops and not starts_from_itself(algorithm):
        passes += learning
    inside = {
        "gradients": gradients,
        "compute copies": learners * copies,
        "logits": _logits_kept(config.model) * logits,
        KEPT_OF_LAYERS: _kept_of_layers(config.model, model, mesh, rows // batch_devices(mesh) * length),
    }
    if not step.scores_apart(rollout):
        return [program(BOTH, step.lower_both, parts, inside, len(before) + passes, learning)]
    scoring = {"compute copies": len({*before} - {"reference"}) * copies, "logits": logits}
    learn_from = parts if config.adapter else parts.keys() - {"frozen"}  # else only a reference is frozen
    return [
        program(SCORING, step.lower_scoring, {"frozen", *before}, scoring, len(before)),
        program(UPDATES, step.lower_updates, learn_from, inside, passes, learning),
    ]


def _copies(config: RunConfig, compute: float, mesh: Mesh) -> float:
    """Bytes on a device of the copies that what is trained computes with, if it is not stored as such."""
    stored = config.adapter is not None or config.model.param_dtype == config.model.dtype
    return 0.0 if stored else compute / mesh.shape["fsdp"]


class _Recomputed(NamedTuple):
    """What a backward pass computes a second time."""

    flops: float
    """over all devices"""
    weights: float
    """share of the matrices that are read once more"""


def _again(config: ModelConfig, model: LlamaConfig, load: Workload) -> _Recomputed:
    """Of `tl_jax.model.remat`; logits that are computed again are left out, for they are few."""
    multiplied = multiplied_again(config.remat, model)
    flops = 2.0 * multiplied * load.positions
    if config.remat == "block":
        flops += load.computed / 3 - 2.0 * count_in_products(model) * load.positions  # attention
    return _Recomputed(flops, multiplied / count_in_products(model))


def _passes(config: RunConfig) -> int:
    """What both passes compute, in forward ones: where adapters are trained, the model's matrices have no gradient."""
    return 2 if config.adapter else 3


def _float32(tree: Any) -> float:
    """Bytes of one device of as many float32 numbers, which gradients are."""
    return sum(4 * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(tree))


def _parts_of(state: TrainState) -> dict[str, float]:
    """A state's parts in bytes of one device: parameters by model, moments, what is frozen, the rest."""
    models = state.trainable if "actor" in state.trainable else {"parameters": state.trainable}
    parts = {name: bytes_on_device(tree) for name, tree in models.items()}
    frozen = {"frozen": bytes_on_device(state.frozen)} if jax.tree.leaves(state.frozen) else {}
    return {**parts, "moments": bytes_on_device(state.opt_state), **frozen}


def _matrices(model: LlamaConfig, config: ModelConfig, mesh: Mesh) -> float:
    """Bytes of the matrices that multiply a token, in the dtype of the computation, cut along ``tensor`` only."""
    sizes = axis_sizes(model)
    count = sum(math.prod(p.shape(sizes)) for p in llama_parameters(model) if p.matrix)
    return count * np.dtype(jax.numpy.dtype(config.dtype)).itemsize / mesh.shape["tensor"]


def _logits(model: LlamaConfig, mesh: Mesh, rows: int, length: int) -> float:
    """Bytes of the float32 logits that a loop over chunks has at once on a device."""
    chunk = min(-(-length // CHUNKS), MAX_CHUNK)
    return 4.0 * rows * chunk * model.vocab_size / mesh.shape["tensor"]


def _logits_kept(config: ModelConfig) -> int:
    """How often there are such logits while a model learns: a chunk's with their gradient, and those that are kept."""
    return 2 + (KEPT if config.remat == "none" else 0)


def _kept_of_layers(config: ModelConfig, model: LlamaConfig, mesh: Mesh, tokens: int) -> float:
    """Bytes on a device, of so many of its tokens; 0 where they wait elsewhere, or nobody knows (``none``)."""
    if config.remat == "none" or "activations" in config.offload:
        return 0.0
    itemsize = np.dtype(jax.numpy.dtype(config.dtype)).itemsize
    inputs = model.num_layers * model.hidden_size
    products = kept_numbers(config.remat, model) - inputs
    return tokens * itemsize * (inputs + products / mesh.shape["tensor"])


def _rollout(config: RlConfig, load: Workload, rewards: int, mesh: Mesh) -> RolloutBatch:
    """The longest rollout, as training lays it out."""
    episodes = longest_episodes([load.prompt] * config.batch_size, load.answer, config.group_size)
    nothing = [np.zeros((1, rewards), np.float32)] * len(episodes)
    return collate_episodes(episodes, nothing, layout=Layout.of(config, mesh))


def _placed(tree: Any, place: NamedSharding) -> Any:
    """The shapes of a host tree on the mesh."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree)


def _lowered(mesh: Mesh, make: Callable[[], jax.stages.Lowered]) -> jax.stages.Lowered:
    with jax.set_mesh(mesh):
        return make()
