"""The batches of reinforcement learning, without a model: which prompts and keys, what is measured, told and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.config import RlConfig, load_config
from tl_jax.data.prompts import Prompt
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.prompt_sampler import PromptSampler
from tl_jax.rl.rubric import make_rubric
from tl_jax.rl.source import Rollouts
from tl_jax.rl.state import RlState
from tl_jax.rl.waiting import NO_WATCH
from tl_jax.run_files import SAMPLES_FILE
from tl_jax.tooluse.schema import Call, Case, Message, Tool

STATE = RlState(
    step=jnp.int32(0),
    trainable={"actor": {"norm": jnp.ones(2)}},
    frozen={"ref": {"norm": jnp.zeros(2)}},
    opt_state={},
    key=jax.random.key_data(jax.random.key(1)),
    kl_coef=jnp.float32(0),
)
ANSWERS = ("go() ", "stop() ", "go() ", "go(")


def prompt(index: int) -> Prompt:
    return Prompt(Case(f"c{index}", (Tool("go"),), (Message("user", "go"),), ((Call("go"),),)), (1, 2 + index))


class Worker:
    """Answers in turn what `ANSWERS` says; the tool always fails."""

    watch = NO_WATCH

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.prompts: list[Sequence[Prompt]] = []

    def __call__(self, params: Any, prompts: Sequence[Prompt], key: jax.Array) -> list[Episode]:
        assert params.keys() == {"norm"}
        assert params["norm"].sum() == 2  # the actor's, not the reference policy's
        self.keys.append(jax.random.key_data(key).tobytes())
        self.prompts.append(prompts)
        episodes = []
        for one, text in zip(prompts, ANSWERS, strict=True):
            episode = Episode.begin(one)
            logprobs, finished = (-1.0,) * len(text), text != "go("
            turn = Turn(one.case, text, finished, 1, tuple(range(3, 3 + len(text))), logprobs, read=2)
            if text == "go() ":
                turn = replace(turn, calls=(Call("go"),), results=('{"error": "no tool called go"}',))
            episode.end(turn)
            episodes.append(episode)
        return episodes


@pytest.fixture
def run(tmp_path: Path) -> Any:
    tables: list[Any] = []
    lines: list[str] = []
    log = SimpleNamespace(table=tables.append, line=lines.append, busy=lambda text: None)
    mesh = SimpleNamespace(shape={"data": 1, "fsdp": 1})
    return SimpleNamespace(directory=tmp_path, start=2, tables=tables, lines=lines, log=log, mesh=mesh)


def fails_on_stop(prediction: str, case: Case) -> float:
    """A user's reward that fails for one of the `ANSWERS`."""
    if prediction == "stop() ":
        raise KeyError(prediction)
    return 1.0


@pytest.fixture
def source(run: Any) -> Rollouts:
    return make_source(run, "{binary: 1, monotone: 2}")


def make_source(run: Any, reward: str, *more: str, position: Any = None) -> Rollouts:
    settings = ["run_dir=r", "model.path=m", "data.path=d", "group_size=2", f"reward={reward}", *more]
    config = load_config(RlConfig, [], settings)
    (run.directory / SAMPLES_FILE).write_text('{"step": 2}\n{"step": 3}\n')
    prompts = PromptSampler([prompt(index) for index in range(5)], batch_size=2, seed=0)
    return Rollouts(run, config, Worker(), make_rubric(config), prompts, position)  # type: ignore[arg-type]


def test_prompts_are_repeated_for_their_group_and_every_step_has_its_own_key(source: Rollouts) -> None:
    rollout = source.batch(1, STATE)
    assert rollout.labels.shape[0] == rollout.rewards.shape[0] == 4
    source.batch(2, replace(STATE, step=jnp.int32(1)))
    worker: Any = source._queue._groups._worker
    first, second = ([one.case.id for one in prompts] for prompts in worker.prompts)
    assert first[0] == first[1] != first[2] == first[3]
    assert first != second
    assert worker.keys[0] != worker.keys[1]
    place = {"step": 2, "drawn": 4, "variances": []}
    position = dict(source.position(2))
    assert position.pop("sizes")["of"]["known"]
    assert position == {"prompts": 5, "batch_size": 2, "seed": 0, **place, "ahead": {}}


def test_a_run_that_goes_on_knows_the_sizes_of_its_rows_unless_they_are_dealt_out_otherwise(run: Any) -> None:
    before = make_source(run, "binary")
    rollout = before.batch(1, STATE)
    position = json.loads(json.dumps(before.position(1)))
    position["sizes"]["of"]["known"][0][0] *= 2  # as if an earlier rollout had needed longer rows
    for more, times in ((), 2), (("algorithm.tokens_per_microbatch=128",), 1):
        rows = make_source(run, "binary", *more, position=position).batch(2, STATE).rows
        told = [line for line in run.lines if line.startswith("step 2: rows of another size")]
        assert len(told) == 2 - times
        assert rows.tokens.shape[3] == times * rollout.rows.tokens.shape[3]


def test_metrics_of_the_host_join_those_of_the_step(source: Rollouts) -> None:
    rollout = source.batch(3, STATE)
    metrics = source.observe({"policy_loss": jnp.float32(0.5)})
    assert metrics["padding"] == rollout.rows.padding > 0.5
    binary, monotone = (np.array([turn.values[0, i] for turn in source._rewards]) for i in (0, 1))
    assert list(metrics)[:4] == ["policy_loss", "reward", "reward/binary", "reward/monotone"]
    assert metrics["reward"] == pytest.approx(np.mean(binary + 2 * monotone))
    assert metrics["reward/binary"] == pytest.approx(np.mean(binary))
    assert (metrics["turns"], metrics["finished"]) == (1, 0.75)
    assert metrics["answer_length"] == np.mean([len(text) for text in ANSWERS])
    assert metrics["tokens_read"] == 2 * len(ANSWERS)
    source._episodes[0].turns[0] = replace(source._episodes[0].turns[0], read=None)
    assert "tokens_read" not in source.observe({})  # an engine does not say it
    seconds = metrics["seconds_sampling"] + metrics["seconds_learning"]
    assert metrics["tokens_per_second"] == pytest.approx(sum(2 + len(text) for text in ANSWERS) / seconds)


def test_an_episode_without_room_or_turns_left_is_truncated_although_its_answers_are_finished(
    source: Rollouts,
) -> None:
    source.batch(3, STATE)
    assert source.observe({})["truncated"] == 0.25  # the one answer that was cut off
    source._episodes[0].truncated = True
    metrics = source.observe({})
    assert (metrics["truncated"], metrics["finished"]) == (0.5, 0.75)


def test_shares_are_of_the_steps_since_the_last_reading(source: Rollouts) -> None:
    for step in (3, 4):
        source.batch(step, STATE)
        source.observe({})
    shares = source.read()
    assert shares["outcome/correct"] == 0.5
    assert sum(share for name, share in shares.items() if name.startswith("outcome/")) == 1
    assert shares["result/tool_hallucination"] == 1
    assert source.read() == {}


def test_samples_are_printed_and_kept_and_those_after_the_checkpoint_dropped(source: Rollouts, run: Any) -> None:
    source.batch(3, STATE)
    source.show(3)
    before, *samples = [json.loads(line) for line in (run.directory / SAMPLES_FILE).read_text().splitlines()]
    assert before == {"step": 2}
    assert [sample["prediction"] for sample in samples] == list(ANSWERS)
    assert {sample["step"] for sample in samples} == {3}
    assert samples[0]["results"] == ['{"error": "no tool called go"}']
    assert samples[0]["reward"] == 3.0
    assert samples[0]["explanation"].count(";") == 1
    (table,) = run.tables
    assert str(table.columns[1]._cells[3]) == "go( ... (cut off)"


def test_another_answer_takes_the_place_of_one_whose_reward_failed(run: Any) -> None:
    source = make_source(run, f"{__name__}:fails_on_stop")
    rollout = source.batch(3, STATE)
    first, second = np.where(rollout.mask[0], rollout.labels[0], 0), np.where(rollout.mask[1], rollout.labels[1], 0)
    np.testing.assert_array_equal(first, second)  # of the same group
    assert rollout.rewards.sum() == 4
    metrics = source.observe({})
    assert (metrics["faults"], metrics["reward"]) == (0.25, 1.0)
    assert metrics["answer_length"] == np.mean([len(text) for text in ANSWERS if text != "stop() "])
    assert source.read()["outcome/fault"] == 0.25
    begins, line, sampled = run.lines
    assert begins == "step 3: the first rollout begins"
    assert sampled == "step 3: 4 episodes are sampled; learning is compiled"
    assert line.startswith(f"step 3: 1 of 4 episodes failed; reward {__name__}:fails_on_stop: KeyError: 'stop() '")


def test_turns_that_failed_are_no_targets_where_they_are_to_be_none(run: Any) -> None:
    source = make_source(run, "binary", "environment=replay", "online_mae.rule=paper", "online_mae.block=all")
    rollout = source.batch(3, STATE)
    called = np.array([text == "go() " for text in ANSWERS])
    np.testing.assert_array_equal(rollout.weights, np.where(called[:, None], 0, rollout.mask))
    assert source.observe({})["blocked_turns"] == 0.5
    source = make_source(run, "binary", "environment=replay", "online_mae.rule=paper")  # it is the caller's fault
    np.testing.assert_array_equal(source.batch(3, STATE).weights, rollout.mask)


def test_an_episode_that_was_cut_off_is_no_target_where_it_is_to_be_none(run: Any) -> None:
    rollout = make_source(run, "binary", "algorithm.mask_truncated=true").batch(3, STATE)
    kept = np.array([text != "go(" for text in ANSWERS])[:, None]
    np.testing.assert_array_equal(rollout.weights, rollout.mask & kept)
    assert rollout.mask[~kept[:, 0]].any()
