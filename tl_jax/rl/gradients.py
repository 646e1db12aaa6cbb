"""The gradient of actor and critic over a minibatch, which is read in parts."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.data.batch import Array
from tl_jax.model.llama import merge
from tl_jax.model.parameters import Params
from tl_jax.model.row_order import Wanted
from tl_jax.rl.minibatch_losses import Targets, loss_sum
from tl_jax.rl.parts import MicroBatch, of_episodes
from tl_jax.rl.scores import SUMS, Metrics
from tl_jax.rl.state import StepSpec, with_base
from tl_jax.training.micro_batches import add_gradients


class Parts(NamedTuple):
    """A minibatch as it is read, arrays [M, R, T]."""

    read: MicroBatch
    targets: Targets
    sources: Array


def gradient_of(
    learning: Params,
    frozen: Params,
    parts: Parts,
    warm: jax.Array,
    kl_coef: jax.Array,
    spec: StepSpec,
    shape: tuple[int, ...],
) -> tuple[Params, Metrics]:
    """Gradient and metrics of those models that learn together, over a minibatch of episodes with arrays of ``shape``,
    [B, N]. Until it is ``warm``, that of the actor is 0, without being computed."""

    def over_parts(actor_learns: bool, wanted: jax.Array | None) -> tuple[Params, Metrics]:
        def loss(differentiated: Params, sums: Params, part: Parts) -> tuple[jax.Array, Metrics]:
            models = with_base(learning | differentiated, frozen) | {SUMS: sums}
            total, metrics = loss_sum(models, part.read, part.targets, spec, kl_coef, actor_learns)
            if "found" in metrics:
                metrics["found"] = of_episodes(part.sources, metrics["found"], shape)
            return total, metrics

        differentiated = {name: params for name, params in learning.items() if actor_learns or name != "actor"}
        in_place = _layers_that_add(differentiated, frozen, spec)
        return add_gradients(loss, differentiated, in_place, parts, lambda part: part.read.holds_anything, wanted)

    if not ("actor" in learning and spec.config.has_critic and spec.config.critic_warmup):
        return over_parts(True, None)
    # two loops of which one does not run, and no condition: what goes through one may be in memory twice
    gradient, metrics = over_parts(True, warm)
    of_critic, told = over_parts(False, ~warm)
    both = {name: jax.tree.map(jnp.add, gradient[name], of_critic[name]) for name in of_critic}
    return gradient | both, jax.tree.map(jnp.add, metrics, told)


def _layers_that_add(learning: Params, frozen: Params, spec: StepSpec) -> list[tuple[str, ...]]:
    """Paths of those parameters in ``learning`` whose gradients the layers themselves add to the sums."""
    if "base" in frozen or Wanted.saves_work():
        return []  # sums of adapters are small; a last layer that is computed by itself is in no loop
    paths = []
    if "actor" in learning:
        paths += [("actor", *path) for path in merge(spec.actor.graphdef, learning["actor"]).adding()]
    if "backbone" in learning.get("critic", {}):
        backbone = merge(spec.critic.graphdef, learning["critic"]).backbone
        paths += [("critic", "backbone", *path) for path in backbone.adding()]
    return paths
