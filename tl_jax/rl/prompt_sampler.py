"""Which prompts are answered next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grain

from tl_jax.config.curriculum import CurriculumConfig
from tl_jax.data.loader import check_same_data
from tl_jax.data.prompts import Prompt
from tl_jax.rl.curriculum import Curriculum

NO_CURRICULUM = CurriculumConfig()


class PromptSampler:
    """An endless queue of prompts, shuffled anew in every epoch; by a curriculum some are answered out of turn.

    Prompts are told by their index. What comes next is a function of prompts, size, seed and `state` alone: it is the
    same in every process, and after a run is continued.

    Args:
        prompts: all of them.
        batch_size: prompts of a rollout.
        seed: of the order.
        curriculum: which are answered again sooner.
    """

    def __init__(
        self, prompts: Sequence[Prompt], batch_size: int, seed: int, curriculum: CurriculumConfig = NO_CURRICULUM
    ) -> None:
        self.prompts, self._batch_size = prompts, batch_size
        self._identity = {"prompts": len(prompts), "batch_size": batch_size, "seed": seed}
        self._order = grain.MapDataset.range(len(prompts)).seed(seed).shuffle().repeat()
        self._curriculum = Curriculum(curriculum, seed)
        self._rollouts = self._drawn = 0

    def rollout(self) -> list[int]:
        """The prompts of the next rollout: in turn, then those that the curriculum draws."""
        out_of_turn = self._curriculum.count(self._batch_size)
        in_turn = self.more(self._batch_size - out_of_turn)
        drawn = self._curriculum.draw(out_of_turn, self._rollouts, without=in_turn)
        self._rollouts += 1
        return in_turn + drawn + self.more(out_of_turn - len(drawn))

    def more(self, count: int) -> list[int]:
        """The next ``count`` prompts in turn."""
        places = range(self._drawn, self._drawn + count)
        self._drawn += count
        return [int(self._order[place]) for place in places]

    def observe(self, prompt: int, scores: Sequence[float]) -> None:
        """Takes in what answers to a prompt have earned."""
        self._curriculum.observe(prompt, scores)

    def state(self) -> dict[str, Any]:
        """Goes into the checkpoint; fit for JSON."""
        place = {"step": self._rollouts, "drawn": self._drawn, "variances": self._curriculum.state()}
        return {**self._identity, **place}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was given.

        Raises:
            UserError: it is one of other prompts, of another size or seed.
        """
        check_same_data(state, self._identity)
        self._rollouts = int(state["step"])
        self._drawn = int(state.get("drawn", self._rollouts * self._batch_size))  # older runs drew nothing else
        self._curriculum.restore(state.get("variances", []))
