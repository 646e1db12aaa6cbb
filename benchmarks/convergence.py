"""Where reinforcement learning ends, against the closed-form optimum of the KL-regularised objective.

    python -m benchmarks.convergence [--ahead 1] [--seed 1000]

The problems are those of tests/rl/test_convergence.py: six calls with the paper's rewards, two calls with a tool's
answer between them that earn at the end, and three calls that are each rewarded at once, with credit by turn. Printed
is the total variation between what is learnt and ``ref exp(R / beta)``, by estimator and beta; minutes on two cores.
With ``--ahead 1`` episodes are those of the policy one step before, as with algorithm.steps_off_policy=1.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from rich.console import Console
from rich.table import Column, Table

from tests.rl.test_convergence import (
    BETAS,
    REGULARISED,
    THOROUGHLY,
    Problem,
    at_the_end,
    bandit_rewards,
    learnt,
    optimum_of_reference,
    regularised,
    returns,
    three_step_rewards,
    total_variation,
    two_step_rewards,
)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--ahead", type=int, default=0, help="steps that episodes are sampled ahead")
    options.add_argument("--seed", type=int, default=0, help="of the rollouts; a thousand further, all are others")
    given = options.parse_args()
    table = Table(
        "problem", "beta", Column("before", justify="right"), *(Column(n, justify="right") for n in REGULARISED)
    )
    for title, problem, betas, suffix, names in problems():
        for beta in betas:
            reference = optimum_of_reference(len(problem))
            optimum = regularised(reference, returns(problem), beta)
            ends = {
                n: total_variation(learnt(n + suffix, problem, beta, given.ahead, given.seed), optimum)
                for n in REGULARISED
                if n in names
            }
            cells = (f"{ends[name]:.4f}" if name in ends else "" for name in REGULARISED)
            table.add_row(title, f"{beta:g}", f"{total_variation(reference, optimum):.3f}", *cells)
    Console().print(table)


def problems() -> Iterator[tuple[str, Problem, tuple[float, ...], str, tuple[str, ...]]]:
    """Title, rewards, betas, what an estimator's configuration is called besides, and the estimators that learn it."""
    everyone = tuple(REGULARISED)
    yield "one of six calls", at_the_end(bandit_rewards()), BETAS, "", everyone
    yield "two calls, paid at the end", at_the_end(two_step_rewards()), BETAS, "", THOROUGHLY
    yield "three calls, each paid, credit by turn", three_step_rewards(), (1.0,), " by turn", everyone


if __name__ == "__main__":
    main()
