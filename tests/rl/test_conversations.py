"""Episodes that keep what was read of them, against episodes that are read anew in every turn."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.rl.test_rollout import codec
from tests.training.helpers import TINY
from tl_jax.config import SamplingConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.inference.sampler import Sampler
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.rl.episodes import Episode
from tl_jax.rl.rollout import EnvironmentSpec, run_multi_turn
from tl_jax.tooluse.environments.base import UserTurn
from tl_jax.tooluse.schema import Call, Case, Message, Tool

__all__ = ["codec"]

CASES = [Case(f"c{n}", (Tool("open"),), (Message("user", "Open it." + " And again." * n),)) for n in range(2)]
GROUP, TURNS = 3, 3


class Asking:
    """Whatever the model says, the user asks for more."""

    def reset(self, case: Case) -> Case:
        return case

    def step(self, call: Call) -> tuple[str, bool]:
        return "done", False

    def user_says(self, answer: str) -> UserTurn | None:
        return UserTurn((Message("user", f"Of {len(answer)} letters. Go on."),))

    def close(self) -> None:
        pass


class Forgetful(InProcessEngine):
    """Reads every prompt anew."""

    def conversations(self) -> AbstractContextManager[None]:
        return nullcontext()


def played(engine: InProcessEngine, codec: Codec) -> list[Episode]:
    """With every third token an end of the answer."""
    stops = (codec.stop_ids[0], *range(0, engine.model.vocab_size, 3))
    sampler = Sampler(engine, codec, SamplingConfig(max_new_tokens=12, temperature=1.5), stops)
    prompts = [Prompt(case, tuple(codec.prompt(case.tools, case.messages))) for case in CASES for _ in range(GROUP)]
    with sampler.serving(init_params(engine.model, jax.random.key(1))):
        return run_multi_turn(sampler, prompts, jax.random.key(0), EnvironmentSpec(Asking, TURNS, 2048))


@pytest.mark.slow
def test_episodes_are_those_that_are_read_anew(codec: Codec) -> None:
    model = replace(TINY, vocab_size=len(codec.tokenizer))
    graphdef = make_graphdef(model, dtype=jnp.float32)
    ours, anew = (played(kind(graphdef, model), codec) for kind in (InProcessEngine, Forgetful))
    assert sum(len(episode.turns) == TURNS for episode in ours) > GROUP
    for one, other in zip(ours, anew, strict=True):
        assert one.stream == other.stream
        for turn, again in zip(one.turns, other.turns, strict=True):
            assert turn.tokens == again.tokens
            np.testing.assert_allclose(turn.logprobs, again.logprobs, atol=1e-5)
        for before, turn, again in zip(one.turns, one.turns[1:], other.turns[1:], strict=False):
            until = turn.predict_from + 1
            new = until - before.predict_from - len(before.tokens)  # all behind the answer, which is without its EOS
            assert turn.read in (0, new)  # 0: another episode's prompt was the same
            assert again.read in (0, until)
    read = [sum(turn.read or 0 for one in episodes for turn in one.turns[1:]) for episodes in (ours, anew)]
    assert 0 < 4 * read[0] < read[1]
