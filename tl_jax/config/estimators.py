"""Estimators: which there are, what each needs and where it comes from. One record is all that an estimator is told in.

Validation, the command line's help, the tables of docs/rl.md and docs/papers.md and the tests read `ESTIMATORS`. What
an estimator computes is a function in `tl_jax.rl.estimators`; it is named by its path, because settings can be read
without JAX.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tl_jax.plugins import Function
from tl_jax.registry import Registry

Average = Literal["tokens", "answers", "length"]
"""How the losses of tokens are averaged, see `tl_jax.rl.losses.token_weights`."""
KlEstimator = Literal["k1", "k2", "k3"]
"""How the KL to the reference policy is estimated, see `tl_jax.rl.kl`."""


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """How the rewards of a rollout become advantages.

    Example:
        >>> mine = Estimator(
        ...     name="mine",
        ...     compute="my_module:mine",
        ...     advantage="`R_i` minus the median of its group",
        ...     source="https://example.org/mine",
        ...     average="tokens",
        ...     needs_groups=True,
        ... )
        >>> with ESTIMATORS.added(mine):  # or ESTIMATORS.add(mine), for good
        ...     ESTIMATORS.find("mine").needs
        'groups'
    """

    name: str
    """what ``algorithm.estimator`` says"""
    compute: str | Function
    """a function, or the dotted path of one, of `tl_jax.rl.estimators.EstimatorInputs`, which says what it returns"""
    advantage: str
    """of a token, for the documents"""
    source: str
    """address of the paper"""
    average: Average
    """what ``algorithm.average=published`` means: how the paper averages the losses of tokens"""
    needs_critic: bool = False
    needs_groups: bool = False
    """compares the answers to a prompt, so ``group_size`` must be 2 or more"""
    always_by_turn: bool = False
    """compares turns with turns whatever ``advantage_scope`` says, so that groups are equal if their turns are"""
    rewards_apart: bool = False
    """compares each reward by itself, so that groups are equal only if every reward is"""
    nonnegative: bool = False
    """makes sense only of rewards of 0 and more; others are refused when they are given"""
    requires: Mapping[str, Any] = field(default_factory=dict)
    """settings of ``algorithm`` without which it makes no sense, such as the place of the KL; others are refused"""
    because: str = ""
    """why, as the rest of a sentence that begins with the name"""
    published: str = ""
    """settings besides the defaults that make a run what the paper describes, as the command line takes them"""

    @property
    def paper(self) -> str:
        """A link to the source, in Markdown."""
        return f"[{self.source.rsplit('/', 1)[-1]}]({self.source})"

    @property
    def required(self) -> tuple[str, ...]:
        """`requires` as users write settings: ``whiten_rewards=false``."""
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.requires.items()}
        return tuple(f"{name}={value}" for name, value in values.items())

    @property
    def needs(self) -> str:
        """What it cannot do without, in Markdown: ``groups, `kl_in=loss` ``."""
        parts = (["critic"] if self.needs_critic else []) + (["groups"] if self.needs_groups else [])
        return ", ".join([*parts, *(f"`{setting}`" for setting in self.required)])


ESTIMATORS: Registry[Estimator] = Registry(
    "estimator",
    [
        Estimator(
            name="gae",
            compute="tl_jax.rl.estimators:gae",
            advantage="`sum_k (gamma lam)^k (r + gamma V' - V)`, whitened over the rollout if `whiten_advantages`",
            source="https://arxiv.org/abs/1506.02438",
            average="tokens",
            needs_critic=True,
        ),
        Estimator(
            name="grpo",
            compute="tl_jax.rl.estimators:grpo",
            advantage="`(R_i - mean) / std` of its group",
            source="https://arxiv.org/abs/2402.03300",
            average="answers",
            needs_groups=True,
            published="group_size=64 algorithm.kl_in=loss algorithm.kl_estimator=k3 algorithm.kl_coef=0.04 "
            "algorithm.reward_clip=null",
        ),
        Estimator(
            name="dr_grpo",
            compute="tl_jax.rl.estimators:dr_grpo",
            advantage="`R_i - mean` of its group",
            source="https://arxiv.org/abs/2503.20783",
            average="length",
            needs_groups=True,
            published="group_size=8 algorithm.kl_coef=0 algorithm.reward_clip=null",
        ),
        Estimator(
            name="rloo",
            compute="tl_jax.rl.estimators:rloo",
            advantage="`R_i` minus the mean of the others of its group",
            source="https://arxiv.org/abs/2402.14740",
            average="length",  # the paper's sum over an answer's tokens differs from it by a factor
            needs_groups=True,
            published="group_size=4 algorithm.kl_coef=0.03 algorithm.clip_low=null algorithm.clip_high=null "
            "algorithm.reward_clip=null",
        ),
        Estimator(
            name="maxrl",
            compute="tl_jax.rl.estimators:maxrl",
            advantage="`(R_i - mean) / mean` of its group, 0 where all earned 0; for rewards of 0 and more",
            source="https://arxiv.org/abs/2602.02710",
            average="tokens",
            needs_groups=True,
            nonnegative=True,
            requires={"kl_in": "loss", "whiten_rewards": False},
            because="divides by the mean of what was earned",
            published="reward=binary group_size=16 algorithm.kl_coef=0 algorithm.reward_clip=null",
        ),
        Estimator(
            name="reinforce++",
            compute="tl_jax.rl.estimators:reinforce_plus_plus",
            advantage="rewards to come, less the group's mean from the turn on if there are groups, whitened over the "
            "rollout",
            source="https://arxiv.org/abs/2501.03262",
            average="tokens",
            always_by_turn=True,
            published="algorithm.reward_clip=null",
        ),
        Estimator(
            name="gdpo",
            compute="tl_jax.rl.estimators:gdpo",
            advantage="each reward normalised in its group, weighted sum, whitened over the rollout",
            source="https://arxiv.org/abs/2601.05242",
            average="answers",
            needs_groups=True,
            rewards_apart=True,
            requires={"kl_in": "loss", "whiten_rewards": False},
            because="normalises each reward by itself",
            published="group_size=4 algorithm.kl_in=loss algorithm.kl_estimator=k3 algorithm.reward_clip=null",
        ),
    ],
    columns={
        "`estimator`": lambda it: f"`{it.name}`",
        "advantage of a token": lambda it: it.advantage,
        "needs": lambda it: it.needs,
        "`average`": lambda it: it.average,
        "source": lambda it: it.paper,
    },
)

PUBLISHED: Registry[Estimator] = Registry(
    "estimator",
    ESTIMATORS.values(),
    columns={
        "paper": lambda it: it.paper,
        "estimator": lambda it: f"`{it.name}`",
        "settings of `tl-jax rl`": lambda it: f"`{' '.join((f'algorithm.estimator={it.name}', it.published)).strip()}`",
    },
)
"""`ESTIMATORS` with the settings of their papers, for the documents."""
