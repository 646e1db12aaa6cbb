"""A step of reinforcement learning compiled: a program scores a rollout, the next learns from it, or one does both."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
from jax.sharding import Mesh

from tl_jax.model.sharding import batch_sharding, replicated
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.scores import Metrics, ScoredRollout, scores_apart
from tl_jax.rl.state import RlState, StepSpec
from tl_jax.rl.step import make_rl_step, split_rl_step
from tl_jax.training.compile import compile_eval, compile_step
from tl_jax.training.memory import needed, shortage


class CompiledRlStep:
    """``step(state, rollout) -> (state, metrics)``, compiled for each size of a rollout when first called.

    To score a rollout and to learn from it are programs of their own (`scores_apart`), which XLA compiles at the same
    time. The second uses up the old state, all but what is frozen.

    Args:
        spec: what the step is made of.
        state: placed arrays, or the abstract ones; the new state lies where it does.
        mesh: rows of the rollout are spread over it; the metrics are on all of its devices.
        warn: is told before the first step if it needs more memory than the devices have.
    """

    def __init__(self, spec: StepSpec, state: RlState, mesh: Mesh, warn: Callable[[str], None] | None = None) -> None:
        score, update = split_rl_step(spec)
        rows, scored = batch_sharding(mesh), ScoredRollout(batch_sharding(mesh), replicated(mesh))  # type: ignore[arg-type]

        def learn(state: RlState, given: tuple[RolloutBatch, ScoredRollout]) -> tuple[RlState, Metrics]:
            return update(state, *given)

        self._spec, self._warn = spec, warn
        self._score = compile_eval(score, state, mesh, scored)
        self._learn = compile_step(learn, state, mesh, places=(rows, scored))
        self._both = compile_step(make_rl_step(spec), state, mesh)
        self._compiled = set[Any]()

    def __call__(self, state: RlState, rollout: RolloutBatch) -> tuple[RlState, Metrics]:
        size = (jax.tree.structure(rollout), *(leaf.shape for leaf in jax.tree.leaves(rollout)))
        if size not in self._compiled:
            self._compile(state, rollout)
            self._compiled.add(size)
        if not self.scores_apart(rollout):
            return self._both(state, rollout)
        return self._learn(state, (rollout, self._score(state, rollout)))

    def scores_apart(self, rollout: RolloutBatch) -> bool:
        """Whether there are two programs for this rollout, arrays or shapes."""
        return scores_apart(self._spec, *rollout.rows.tokens.shape[1:3])

    def lower_scoring(self, state: RlState, rollout: RolloutBatch) -> jax.stages.Lowered:
        """The program that scores, for arguments of these shapes and places; it can be compiled unrun."""
        return self._score.lower(state, rollout)

    def lower_updates(self, state: RlState, rollout: RolloutBatch) -> jax.stages.Lowered:
        """The program that learns from what was scored."""
        return self._learn.lower(state, (rollout, jax.eval_shape(self._score, state, rollout)))

    def lower_both(self, state: RlState, rollout: RolloutBatch) -> jax.stages.Lowered:
        """The only program, where one scores and learns."""
        return self._both.lower(state, rollout)

    def _compile(self, state: RlState, rollout: RolloutBatch) -> None:
        """Compiles what is kept by its functions: they are not compiled again when they are called."""
        apart = self.scores_apart(rollout)
        lowers = (self.lower_scoring, self.lower_updates) if apart else (self.lower_both,)
        with ThreadPoolExecutor(len(lowers)) as pool:
            compiling = [pool.submit(lower(state, rollout).compile) for lower in lowers]
        compiled = [one.result() for one in compiling]
        warn, self._warn = self._warn, None
        if warn and (problem := shortage(max(needed(one, (state, rollout)) for one in compiled))):
            warn(problem)
