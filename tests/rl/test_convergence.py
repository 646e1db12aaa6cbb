"""Where learning ends: the closed-form optimum of the KL-regularised objective, on problems small enough to know it.

The policy that maximises ``E[R] - beta KL(pi || ref)`` is ``pi ~ ref exp(R / beta)``. Real parts only: the sampler
draws tokens of a tiny Llama, the rewards are the paper's or those of an environment, and the compiled step learns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.thoroughness import THOROUGH, first_then_slow, first_then_thorough
from tl_jax.config import AlgorithmConfig, SamplingConfig
from tl_jax.config.estimators import ESTIMATORS
from tl_jax.config.model import Loops
from tl_jax.inference.engine import Ends
from tl_jax.inference.generate import generate
from tl_jax.inference.serving import ServedModel, for_generation
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import init_params, make_graphdef, merge
from tl_jax.model.value import make_value_graphdef
from tl_jax.rl import estimators, scores
from tl_jax.rl.batch import RolloutBatch, collate
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.kl import kl_estimate, shaped_rewards
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.state import RlState, StepSpec, TrainableModel, init_rl_state
from tl_jax.rl.step import make_rl_step
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Call, Case, Message, Tool

PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
CASE = Case(
    "weather",
    (Tool("get_weather", "", PLACE), Tool("get_time", "", PLACE)),
    (Message("user", "Weather in Oslo?"),),
    ((Call("get_weather", {"city": "Oslo"}),),),
)
CALLS = (
    "get_weather(city='Oslo')",
    "get_weather(city='Rome')",
    "get_weather(city='Oslo', days=3)",
    "get_weather()",
    "get_time(city='Oslo')",
    "no call at all",
)
"""One token each, by increasing fault: the paper's rewards are 1, -0.25, -0.5, -0.5, -1.5 and -2."""
ACTIONS = len(CALLS)
MODEL = LlamaConfig(
    vocab_size=8,
    hidden_size=16,
    intermediate_size=16,
    num_layers=1,
    num_heads=2,
    num_kv_heads=2,
    head_dim=8,
    initializer_range=0.4,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
GRAPH = make_graphdef(MODEL, dtype=jnp.float32, remat="none", loops=Loops(training=False))
CRITIC = make_value_graphdef(MODEL, dtype=jnp.float32, remat="none", loops=Loops(training=False))
PROMPT, TOOL_SAYS = [7], 6
"""The question, and what a tool answers with between two calls: the tokens that are no calls."""
BETAS = (0.5, 1.0, 2.0)
ROWS, AT_ONCE = 384, 512
"""Episodes of a rollout, and tokens of them that are read at once: few lengths of rows are tried then."""
STEPS, RATE = {1: 80, 2: 160, 3: 400}, {1: 0.02, 2: 0.006, 3: 0.012}
"""Rollouts and learning rates for problems of one call, of two and of three."""
CLOSE = 0.02


Problem: TypeAlias = tuple[np.ndarray, ...]
"""What each turn earns: the first one [V] by its token, the second one [V, V] by the first's and its own, ..."""


def bandit_rewards() -> np.ndarray:
    """[V]: what each token earns; tokens that are no call are no call."""
    values = [score(call, CASE, "paper").value for call in CALLS]
    assert values == [1, -0.25, -0.5, -0.5, -1.5, -2]
    return np.array([*values, *[values[-1]] * (MODEL.vocab_size - ACTIONS)])


def two_step_rewards() -> np.ndarray:
    """[V, V]: the second call is worth most after the right first one, and the greedy first call is the wrong one."""
    first, second = bandit_rewards(), np.random.default_rng(0).uniform(-1, 1, (MODEL.vocab_size,) * 2)
    return 0.3 * first[::-1, None] + second


def three_step_rewards() -> Problem:
    """Each turn is rewarded at once, by its token and the one before."""
    random = np.random.default_rng(2)
    second, third = random.uniform(-1, 1, (2, MODEL.vocab_size, MODEL.vocab_size))
    return 0.3 * bandit_rewards()[::-1], second, np.broadcast_to(third, (MODEL.vocab_size,) * 3)


def at_the_end(rewards: np.ndarray) -> Problem:
    """The last turn earns it all."""
    return (*(np.zeros(rewards.shape[:turn]) for turn in range(1, rewards.ndim)), rewards)


def returns(problem: Problem) -> np.ndarray:
    """[V, V, ...]: what an episode earns, by its tokens."""
    return sum((x.reshape(x.shape + (1,) * (len(problem) - x.ndim)) for x in problem), start=np.zeros(()))


@cache
def optimum_of_reference(steps: int) -> np.ndarray:
    """The reference's distribution over tokens [V], or over pairs [V, V] or triples of them."""
    return distribution(initial_params(), steps)


def initial_params() -> Any:
    return init_params(MODEL, jax.random.key(4))


@jax.jit
def _next_token(params: Any, tokens: jax.Array) -> jax.Array:
    """[B, V]: softmax after each row of ``tokens``."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return jax.nn.softmax(merge(GRAPH, params)(tokens, positions, jnp.ones_like(tokens))[:, -1])


def distribution(params: Any, steps: int) -> np.ndarray:
    """[V, V, ...]: the chance of every sequence of ``steps`` tokens."""
    found = np.ones(())
    for step in range(steps):
        before = np.ndindex((MODEL.vocab_size,) * step)
        rows = [[*PROMPT, *(word for token in tokens for word in (token, TOOL_SAYS))] for tokens in before]
        following = np.asarray(_next_token(params, jnp.array(rows)), np.float64)
        found = found[..., None] * following.reshape(*found.shape, -1)
    return found


def regularised(reference: np.ndarray, rewards: np.ndarray, beta: float) -> np.ndarray:
    """ref exp(R / beta) / Z"""
    weights = reference * np.exp((rewards - rewards.max()) / beta)
    return weights / weights.sum()


def total_variation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).sum() / 2)


def sample(policy: ServedModel, prompts: list[list[int]], key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """One token for each prompt, and its log-probability."""
    made = generate(policy, prompts, SamplingConfig(max_new_tokens=1), key, Ends())
    return made.tokens[:, 0], made.logprobs[:, 0]


def rollout(params: Any, problem: Problem, key: jax.Array) -> RolloutBatch:
    """Episodes of as many calls as the problem has, with a tool's answer between them."""
    steps, episodes = len(problem), [Episode(CASE, list(PROMPT), 1) for _ in range(ROWS)]
    policy = for_generation(GRAPH, params)
    for step in range(steps):
        tokens, logprobs = sample(policy, [one.stream for one in episodes], jax.random.fold_in(key, step))
        for episode, token, logprob in zip(episodes, tokens.tolist(), logprobs.tolist(), strict=True):
            episode.turns.append(Turn(CASE, "", True, len(episode.stream) - 1, (token,), (logprob,)))
            episode.stream += [token] if step == steps - 1 else [token, TOOL_SAYS]
    spoken = [tuple(turn.tokens[0] for turn in one.turns) for one in episodes]
    earned = [np.float32([[x[tokens[: x.ndim]]] for x in problem]) for tokens in spoken]
    return collate(episodes, earned, layout=Layout(minibatches=2, tokens=AT_ONCE))


REGULARISED = [name for name, record in ESTIMATORS.items() if record.requires.get("kl_in", "reward") == "reward"]
"""Estimators that let the KL into the reward: where learning ends is known."""
THOROUGHLY = ("gae", "grpo", "rloo")
"""Those of them that learn every problem."""
SHOWN_BY_TWO_CALLS = ("grpo",)
"""Those whose single call says nothing that the two calls below do not."""
_COMMON: dict[str, Any] = {"minibatches": 2, "reward_clip": None, "kl_target": 1.0, "kl_rate": 0.0}
"""Its coefficient adapts at the rate 0: it stays that of the state, and one program serves every beta."""
ALGORITHMS: dict[str, AlgorithmConfig] = {
    **{name: AlgorithmConfig(estimator=name, lam=1.0, **_COMMON) for name in REGULARISED},
    **{
        f"{name} by turn": AlgorithmConfig(estimator=name, lam=1.0, advantage_scope="turn", **_COMMON)
        for name in REGULARISED
    },
    "k2 in the loss": AlgorithmConfig(estimator="dr_grpo", kl_in="loss", kl_estimator="k2", **_COMMON),
    "k3 in the loss": AlgorithmConfig(estimator="dr_grpo", kl_in="loss", kl_estimator="k3", **_COMMON),
}


@cache
def program(name: str, calls: int, ahead: int = 0) -> tuple[Callable[..., RlState], Callable[..., Any]]:
    """What makes the first state, and the compiled step; the coefficient of the KL is in the state."""
    schedule = optax.cosine_decay_schedule(RATE[calls], 2 * STEPS[calls], alpha=0.01)
    actor, critic = (
        TrainableModel(GRAPH, optax.adam(schedule), schedule),
        TrainableModel(CRITIC, optax.adam(0.02), schedule),
    )
    old: dict[str, Any] = {"steps_off_policy": ahead, "importance_cap": 2.0} if ahead else {}
    algorithm = ALGORITHMS[name].model_copy(update=old)
    spec = StepSpec(actor, critic, algorithm, group_size=ROWS // 8, answer_length=1)
    fast = {"xla_backend_optimization_level": 1} if STEPS[calls] > 100 else None  # only then does compiling better pay
    return lambda params: init_rl_state(params, MODEL, spec, 0), jax.jit(make_rl_step(spec), compiler_options=fast)


def learnt(name: str, problem: Problem, beta: float, ahead: int = 0, seed: int = 0) -> np.ndarray:
    """The distribution that an algorithm ends with, whose rollouts are sampled so many steps ahead.

    Rollouts have the keys from ``seed`` on.
    """
    calls = len(problem)
    init, step = program(name, calls, ahead)
    state = replace(init(initial_params()), kl_coef=jnp.float32(beta))
    waiting = [rollout(state.params["actor"], problem, jax.random.key(seed + number)) for number in range(ahead)]
    for number in range(seed + ahead, seed + ahead + STEPS[calls]):
        waiting.append(rollout(state.params["actor"], problem, jax.random.key(number)))
        state, _ = step(state, waiting.pop(0))
    return distribution(state.params["actor"], calls)


@pytest.mark.parametrize(
    ("name", "beta"),
    [
        *first_then_slow((name, 1.0) for name in REGULARISED if name not in SHOWN_BY_TWO_CALLS),
        *(
            pytest.param(name, beta, marks=THOROUGH)
            for name in THOROUGHLY
            for beta in BETAS
            if beta != 1 or name in SHOWN_BY_TWO_CALLS
        ),
    ],
)
def test_a_bandit_over_calls_ends_at_the_optimum(name: str, beta: float) -> None:
    rewards = bandit_rewards()
    expected = regularised(optimum_of_reference(1), rewards, beta)
    assert total_variation(expected, optimum_of_reference(1)) > 5 * CLOSE  # there is something to learn
    got = learnt(name, at_the_end(rewards), beta)
    assert total_variation(got, expected) < CLOSE


@pytest.mark.slow
def test_k2_in_the_loss_ends_at_the_same_optimum() -> None:
    rewards, beta = bandit_rewards(), 2.0
    expected = regularised(optimum_of_reference(1), rewards, beta)
    assert total_variation(learnt("k2 in the loss", at_the_end(rewards), beta), expected) < CLOSE


def test_k3_in_the_loss_ends_at_the_optimum_of_the_other_kl() -> None:
    """GRPO's own place for the KL: its gradient is that of KL(ref || pi), whose optimum is beta ref / (c - R)."""
    rewards, reference, beta = bandit_rewards(), optimum_of_reference(1), 1.0
    low, high = rewards.max() + 1e-9, rewards.max() + 10.0
    for _ in range(100):
        c = (low + high) / 2
        low, high = (c, high) if (beta * reference / (c - rewards)).sum() > 1 else (low, c)
    expected = beta * reference / (low - rewards)
    assert total_variation(expected, regularised(reference, rewards, beta)) > 2 * CLOSE
    assert total_variation(learnt("k3 in the loss", at_the_end(rewards), beta), expected) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("beta", first_then_thorough(BETAS))
@pytest.mark.parametrize("name", ["gae", "grpo", pytest.param("rloo", marks=pytest.mark.thorough)])  # one call: all
def test_two_calls_with_a_tools_answer_between_them_end_at_the_optimum(name: str, beta: float) -> None:
    rewards = two_step_rewards()
    expected = regularised(optimum_of_reference(2), rewards, beta)
    assert total_variation(expected, optimum_of_reference(2)) > 5 * CLOSE
    got = learnt(name, at_the_end(rewards), beta)
    assert total_variation(got, expected) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("name", first_then_thorough(REGULARISED))
def test_episodes_of_the_policy_one_step_before_lead_to_the_same_optimum(name: str) -> None:
    rewards = bandit_rewards()
    got = learnt(name, at_the_end(rewards), beta=1.0, ahead=1)
    assert total_variation(got, regularised(optimum_of_reference(1), rewards, 1.0)) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("calls", "name"), first_then_thorough((calls, f"{name} by turn") for calls in (2, 3) for name in REGULARISED)
)
def test_calls_with_credit_by_turn_end_at_the_optimum(calls: int, name: str) -> None:
    problem = three_step_rewards()[:calls]
    expected = regularised(optimum_of_reference(calls), returns(problem), 1.0)
    assert total_variation(expected, optimum_of_reference(calls)) > 5 * CLOSE
    assert total_variation(learnt(name, problem, 1.0), expected) < CLOSE * (calls - 1)  # the third: of 512 sequences


@pytest.mark.slow
@pytest.mark.parametrize("name", first_then_thorough(reversed(THOROUGHLY)))  # the cheapest
@pytest.mark.parametrize("defect", first_then_thorough(["k3 in the reward", "wrong sign of the KL"]))
def test_a_defect_of_the_kl_ends_elsewhere(name: str, defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above would miss if they were not sharp enough."""
    if defect == "k3 in the reward":
        monkeypatch.setattr(scores, "kl_estimate", lambda _, new, old: kl_estimate("k3", new, old))
    else:
        monkeypatch.setattr(estimators, "shaped_rewards", lambda r, kl, mask, beta: shaped_rewards(r, -kl, mask, beta))
    program.cache_clear()  # compiled anew, with the defect and then without it
    rewards = bandit_rewards()
    got = learnt(name, at_the_end(rewards), beta=1.0)
    program.cache_clear()
    assert total_variation(got, regularised(optimum_of_reference(1), rewards, 1.0)) > 5 * CLOSE
