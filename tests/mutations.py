"""Known defects of libraries like this one, put into a copy of the code: which test notices?

    python -m tests.mutations

Each row of `MUTATIONS` changes one line. Its test has to pass on the code as it is (the suite sees to that) and to fail
on the changed copy; the command exits with 1 if one does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutation(NamedTuple):
    defect: str
    file: str
    """below ``tl_jax/rl``"""
    line: str
    """text of the code, once in the file"""
    changed: str
    test: str
    """below ``tests/rl``"""


MUTATIONS = (
    Mutation(
        "rewards stored as integers",
        "batch.py",
        "rewards=columns(np.concatenate(rewards), np.float32, last)",
        "rewards=columns(np.concatenate(rewards), np.int32, last)",
        "test_batch.py::test_fractional_rewards_are_kept",
    ),
    Mutation(
        "the reference's log-probabilities at another temperature",
        "scores.py",
        "policy_scores(params, hidden_states(params, part, spec), part, spec).log_probs",
        "policy_scores(params, hidden_states(params, part, spec), part, spec._replace(temperature=1.0)).log_probs",
        "test_scores.py::test_reference_logprobs_have_the_policys_temperature",
    ),
    Mutation(
        "old log-probabilities under other noise than the update's",
        "dropout.py",
        "one_by_one(read, noisy)",
        "one_by_one(read, parts)",
        "test_dropout.py::test_the_policy_that_was_read_first_has_the_updates_noise",
    ),
    Mutation(
        "EOS cut off, so that stopping is never trained",
        "batch.py",
        "mask=columns(np.ones(len(written)), np.bool_)",
        "mask=columns(~np.isin(written, last[[turn.finished for turn in turns]]), np.bool_)",
        "test_step.py::test_stopping_is_trained",
    ),
    Mutation(
        "the same key for every rollout",
        "groups.py",
        "key = jax.random.fold_in(fold_key(state, ahead), attempt + 1 if attempt else 0)",
        "key = jax.random.key(0)",
        "test_train.py::test_a_users_reward_a_random_critic_and_a_fresh_key_for_every_rollout",
    ),
    Mutation(
        "mask = ids != pad, where pad is EOS",
        "batch.py",
        "mask=columns(np.ones(len(written)), np.bool_)",
        "mask=columns([token for turn in turns for token in turn.tokens], np.bool_)",
        "test_batch.py::test_the_mask_is_not_derived_from_the_pad_id",
    ),
    Mutation(
        "a clip of 0 read as the default",
        "losses.py",
        "high = jnp.inf if clip_high is None else 1.0 + clip_high",
        "high = jnp.inf if clip_high is None else 1.0 + (clip_high or 0.2)",
        "test_losses.py::test_zero_is_a_limit_and_none_is_no_limit",
    ),
    Mutation(
        "no clip read as the default",
        "losses.py",
        "high = jnp.inf if clip_high is None else 1.0 + clip_high",
        "high = 1.0 + (0.2 if clip_high is None else clip_high)",
        "test_losses.py::test_zero_is_a_limit_and_none_is_no_limit",
    ),
    Mutation(
        "k3 in the reward",
        "scores.py",
        'kl = kl_estimate("k1", old_logprobs, found.ref_logprobs)',
        'kl = kl_estimate("k3", old_logprobs, found.ref_logprobs)',
        "test_convergence.py::test_a_bandit_over_calls_ends_at_the_optimum",
    ),
    Mutation(
        "the KL with the wrong sign",
        "kl.py",
        "return jnp.where(mask, rewards - kl_coef * kl, 0.0)",
        "return jnp.where(mask, rewards + kl_coef * kl, 0.0)",
        "test_convergence.py::test_a_bandit_over_calls_ends_at_the_optimum",
    ),
    Mutation(
        "an episode whose reward failed is learnt from, with reward 0",
        "source.py",
        "places = stand_ins([rewards.dropped for rewards in self._rewards], self._group_size)",
        "places = range(len(self._rewards))",
        "test_source.py::test_another_answer_takes_the_place_of_one_whose_reward_failed",
    ),
    Mutation(
        "calls are made after the episode is over",
        "guard.py",
        "if over or self._environment is None:",
        "if self._environment is None:",
        "test_guard.py::test_calls_after_the_end_are_not_made",
    ),
    Mutation(
        "whitening per chunk",
        "estimators.py",
        "        advantages = adv.whiten(advantages, inputs.mask)\n",
        "        halves = zip(jnp.split(advantages, 2), jnp.split(inputs.mask, 2), strict=True)\n"
        "        advantages = jnp.concatenate([adv.whiten(*half) for half in halves])\n",
        "test_scores.py::test_whitening_is_global_over_all_minibatches",
    ),
    Mutation(
        "a critic that silently starts at random",
        "state.py",
        "    return value_params(params)\n",
        "    return value_params(init_params(model, key, params['norm'].dtype, lm_head=False))\n",
        "test_critic.py::test_critic_weights_are_actually_loaded",
    ),
    Mutation(
        "blocked turns still count in the losses",
        "minibatch_losses.py",
        "loss=average(experience.mask & here, spec.config.loss_average) * rollout.weights,",
        "loss=average(experience.mask & here, spec.config.loss_average),",
        "test_step.py::test_weights_of_turns_reach_the_gradient_of_the_policy_alone",
    ),
    Mutation(
        "prompts that took the place of others come again after a restart",
        "prompt_sampler.py",
        'self._drawn = int(state.get("drawn", self._rollouts * self._batch_size))',
        "self._drawn = self._rollouts * self._batch_size",
        "test_prompt_sampler.py::test_a_run_that_is_continued_answers_the_same_prompts",
    ),
    Mutation(
        "groups that are sampled again have the noise of the first",
        "groups.py",
        "others = self._answered(state, ahead, self._prompts.more(len(idle)), attempt)",
        "others = self._answered(state, ahead, self._prompts.more(len(idle)), 0)",
        "test_groups.py::test_groups_of_equal_rewards_give_way_to_the_next_prompts",
    ),
    Mutation(
        "what is sampled ahead has the noise of the step before",
        "groups.py",
        "fold_key(state, ahead)",
        "fold_key(state)",
        "test_ahead.py::test_a_step_learns_from_what_the_policy_before_its_last_update_says",
    ),
)


def main() -> int:
    missed = 0
    for mutation in MUTATIONS:
        noticed = notices(mutation)
        missed += not noticed
        print(f"{'noticed' if noticed else 'MISSED '}  {mutation.defect}: {mutation.test}", flush=True)
    return int(missed > 0)


def notices(mutation: Mutation) -> bool:
    """Whether the test fails on a copy of the package with the defect in it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("tl_jax", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        file = copy / "tl_jax" / "rl" / mutation.file
        code = file.read_text(encoding="utf-8")
        if code.count(mutation.line) != 1:
            raise SystemExit(
                f"{mutation.defect}: the line to change is {code.count(mutation.line)} times in {file.name}"
            )
        file.write_text(code.replace(mutation.line, mutation.changed), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            f"tests/rl/{mutation.test}",
        ]
        run = subprocess.run(
            command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False
        )
        if run.returncode not in (0, 1):  # 1: tests failed
            raise SystemExit(f"{mutation.defect}: the test did not run:\n{run.stdout}{run.stderr}")
        return run.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
