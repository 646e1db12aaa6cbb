"""Where tokens stand while models read them, and that it changes nothing of what is learnt from them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.thoroughness import THOROUGH
from tests.training.helpers import TINY, assert_trees_close
from tl_jax.config import AlgorithmConfig, LoraConfig, MeshConfig, RlConfig, load_config
from tl_jax.model import row_order
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.model.sharding import make_mesh
from tl_jax.model.value import make_value_graphdef
from tl_jax.rl.batch import RolloutBatch, collate
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.row_plans import BUSY, Layout, dealt, row_length
from tl_jax.rl.row_sizes import RowSizes
from tl_jax.rl.rows import Rows, arrange
from tl_jax.rl.state import StepSpec, TrainableModel, adapter_off, first_actor, init_rl_state
from tl_jax.rl.step import make_rl_step
from tl_jax.tooluse.schema import Case

CASE = Case("c", (), ())


def answered(prompt: list[int], *answers: list[int], restarts: tuple[int, ...] = ()) -> Episode:
    """A turn for every other list of ``answers``; those between are what tools say."""
    stream, turns = list(prompt), []
    for number, tokens in enumerate(answers):
        if number % 2 == 0:
            turns.append(Turn(CASE, "", True, len(stream) - 1, tuple(tokens), (-1.0,) * len(tokens)))
        stream += tokens
    return Episode(CASE, stream, len(prompt), turns, list(restarts))


def random_groups(seed: int, groups: int, size: int, longest: int = 30) -> list[Episode]:
    """Groups of unequal prompts, with answers of one turn or of two, of which some are read anew."""
    random = np.random.default_rng(seed)

    def some(most: int) -> list[int]:
        return random.integers(3, TINY.vocab_size, random.integers(1, most)).tolist()

    episodes = []
    for _ in range(groups):
        prompt = some(longest)
        for _ in range(size):
            first, tool, second = some(longest // 3), some(longest // 3), some(longest // 3)
            kind = random.integers(3)
            begun = len(prompt) + len(first)
            episodes.append(
                answered(prompt, first)
                if kind == 0
                else answered(prompt, first, tool, second, restarts=(begun,) if kind == 2 else ())
            )
    return episodes


def seen_by(rows: Rows, place: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """(position, token) of all that the token at ``place`` [R, U, M, T] sees, by the definition of `AttentionMask`."""
    row = place[:3]
    same = rows.segment_ids[row] == rows.segment_ids[place]
    same &= rows.positions[row] <= rows.positions[place]
    if rows.branches is not None:
        same &= np.isin(rows.branches[row], (0, rows.branches[place]))
    return sorted(zip(rows.positions[row][same].tolist(), rows.tokens[row][same].tolist(), strict=True))


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([None, 128]),
    st.booleans(),
)
def test_every_column_reads_what_its_episode_read_once_in_every_epoch(
    seed: int, groups: int, size: int, epochs: int, minibatches: int, devices: int, tokens: int | None, later: bool
) -> None:
    """In rows of a size for this rollout, or for another one before it."""
    episodes = random_groups(seed, groups * minibatches, size)
    layout = Layout(size, epochs, minibatches, devices, tokens)
    width = max(len(one.stream) - one.prompt_length for one in episodes) + 1
    sizes = RowSizes()
    if later:
        arrange(random_groups(seed + 1, groups * minibatches, size, longest=60), width, layout, seed, sizes)
    rows = arrange(episodes, width, layout, seed, sizes)
    assert rows.tokens.shape[0] % devices == 0
    for epoch in range(epochs):
        of_epoch = slice(epoch * minibatches, (epoch + 1) * minibatches)
        places = np.argwhere(rows.sources[:, of_epoch] < len(episodes) * width)
        columns = sorted(rows.sources[:, of_epoch][tuple(places.T)].tolist())
        assert columns == sorted(
            number * width + column
            for number, one in enumerate(episodes)
            for column in range(len(one.stream) - one.prompt_length + 1)
        )
        for row, update, part, column in places.tolist():
            place = (row, epoch * minibatches + update, part, column)
            number, after = divmod(rows.sources[place], width)
            one, last = episodes[number], episodes[number].prompt_length - 1 + after
            begin = max([0, *(start for start in one.restarts if start <= last)])
            assert seen_by(rows, place) == list(enumerate(one.stream[begin : last + 1]))


def test_a_prompt_stands_once_and_its_last_token_with_every_answer() -> None:
    episodes = [answered([5, 6, 7], [8, 2]), answered([5, 6, 7], [9, 9, 2]), answered([5, 4], [3])]
    rows = arrange(episodes, 9, Layout(group_size=3))
    assert rows.tokens.shape == (1, 1, 1, 128)
    read = int((rows.segment_ids > 0).sum())
    assert rows.tokens[0, 0, 0, :read].tolist() == [5, 6, 7, 8, 2, 6, 7, 9, 9, 2, 4, 3]  # 5 is all that they share
    rows = arrange(episodes[:2], 9, Layout(group_size=2))
    read = int((rows.segment_ids > 0).sum())
    assert rows.tokens[0, 0, 0, :read].tolist() == [5, 6, 7, 8, 2, 7, 9, 9, 2]
    assert rows.branches is not None
    assert rows.branches[0, 0, 0, :read].tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert rows.positions[0, 0, 0, :read].tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 5]
    assert rows.sources[0, 0, 0, :read].tolist() == [18, 18, 0, 1, 2, 9, 10, 11, 12]
    assert rows.padding == 1 - 9 / 128
    assert rows.most == 16


def test_it_is_counted_how_much_of_a_row_is_kept() -> None:
    """As an eighth, a quarter, half or all, of the fullest row of all updates."""
    for seed in range(5):
        rows = arrange(random_groups(seed, 8, 4), 40, Layout(group_size=4, minibatches=2, tokens=512))
        kept, length = (rows.sources < 32 * 40).sum(axis=3).max(), rows.tokens.shape[3]
        shares = [length // 8, length // 4, length // 2, length]
        assert rows.most == shares[np.searchsorted(shares, kept)]


def test_an_accelerator_is_not_asked_to_compile_for_every_such_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes whole rows whatever is kept of them."""
    ends = ([7] * 20, [7] * 90)

    def programs() -> int:
        return len({jax.tree.structure(arrange([answered([4] * (110 - len(end)), end)], 91, Layout())) for end in ends})

    assert programs() == 2
    monkeypatch.setattr(row_order, "platform", lambda: "gpu")
    assert programs() == 1


def test_rows_have_no_branches_where_nothing_is_shared() -> None:
    """The kernels that know none are used then."""
    assert arrange(random_groups(0, 4, 1), 40, Layout()).branches is None


def test_every_epoch_has_its_own_order_and_groups_stay_together() -> None:
    updates = dealt(24, Layout(group_size=3, epochs=3, minibatches=4), seed=5)
    assert updates.shape == (12, 6)
    epochs = updates.reshape(3, 24)
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
    assert all(b == a + 1 and c == a + 2 for a, b, c in updates.reshape(-1, 3).tolist())
    again, other = (dealt(24, Layout(group_size=3, epochs=3, minibatches=4), seed) for seed in (5, 6))
    np.testing.assert_array_equal(updates, again)
    assert (updates != other).any()


def test_a_group_is_divided_where_devices_would_be_idle_or_it_is_too_long() -> None:
    long = [answered([4] * 4000, [7] * 40)] * 16
    one, many = (arrange(long, 41, Layout(group_size=8, devices=devices)) for devices in (1, 8))
    assert one.tokens.size == 2 * 4352  # two groups on one device: each prompt once
    assert many.tokens.shape[0] == 8
    assert many.tokens.size <= 8 * 4352  # on eight each group in four: none waits for a whole one
    assert many.tokens[0].size < one.tokens.size
    rows = arrange([answered([4] * 3000, [7] * 1000)] * 8, 1001, Layout(group_size=8, tokens=6144))
    assert rows.tokens.shape[3] <= 6144
    assert rows.branches is not None


def alone(count: int) -> list[Episode]:
    """Episodes of 120 tokens that share nothing."""
    return [answered([number] * 100, [7] * 20) for number in range(1, count + 1)]


def test_the_last_part_is_on_as_many_devices_as_can_be() -> None:
    rows = arrange(alone(6), 21, Layout(devices=2, tokens=256))
    read = rows.segment_ids.any(axis=(1, 3)).reshape(2, 2, 2).sum(axis=1)  # [devices, parts]
    assert read.tolist() == [[2, 1], [2, 1]]


def test_accumulate_divides_what_is_read_at_once() -> None:
    mesh, base = make_mesh(MeshConfig()), ["run_dir=r", "model.path=m", "data.path=d"]
    for settings, tokens, parts in (([], 12 * 128, 1), (["algorithm.accumulate=3"], 4 * 128, 3)):
        layout = Layout.of(load_config(RlConfig, [], [*base, *settings]), mesh)._replace(devices=1)
        rows = arrange(alone(12), 21, layout)
        assert rows.tokens.shape[0] * rows.tokens.shape[3] == tokens
        assert rows.segment_ids.any(axis=(0, 3)).sum() == parts


def test_padding_is_little_and_shapes_are_few() -> None:
    """Rollouts of 64 prompts of 300 to 3,000 tokens, with 8 answers that end where they like."""
    random = np.random.default_rng(0)
    shapes, shares = set(), []
    for _ in range(6):
        episodes = []
        for length in np.exp(random.uniform(np.log(300), np.log(3000), 64)).astype(int):
            answers = random.integers(5, 60, 8)
            episodes += [answered([4] * length, [7] * answer) for answer in answers]
        rows = arrange(episodes, 61, Layout(group_size=8, minibatches=4))
        shapes.add(rows.tokens.shape)
        shares.append(rows.padding)
        assert rows.tokens.shape[0] * rows.tokens.shape[3] <= BUSY
    assert np.mean(shares) < 0.1
    assert max(shares) < 0.14
    assert len(shapes) <= 5


def test_a_row_is_as_long_as_its_tokens_and_little_more() -> None:
    """A prompt of 8,192 and 512 more were padded to 12,288, one of 4,090 and 40 to 6,144."""
    lengths = [row_length(size) for size in range(1, 20_000)]
    assert lengths[8192 + 512 - 1] == 8704
    assert lengths[4090 + 40 - 1] == 4352
    assert all(longer - shorter in (0, 128, 256, 512) for shorter, longer in pairwise(lengths))
    assert all(length - size <= max(128, size / 16) for size, length in enumerate(lengths, 1))
    assert arrange([answered([4] * 4090, [7] * 40)], 41, Layout()).tokens.shape == (1, 1, 1, 4352)


@pytest.mark.parametrize(("prompts", "devices", "most"), [(4, 8, 1.05), (8, 8, 1.09), (32, 8, 1.12), (48, 32, 1.05)])
def test_devices_read_little_more_than_they_must(prompts: int, devices: int, most: float) -> None:
    """The longest episode, or their share of all tokens: no device can read less, however episodes are dealt out."""
    random, read, least = np.random.default_rng(1), 0, 0.0
    for _ in range(3):
        episodes, tokens = [], 0
        for length in np.exp(random.uniform(np.log(300), np.log(4000), prompts)).astype(int):
            answers = random.integers(5, 100, 8)
            episodes += [answered([4] * length, [7] * answer) for answer in answers]
            tokens += length - 1 + answers.sum() + 8
        rows = arrange(episodes, 101, Layout(group_size=8, devices=devices))
        read += rows.segment_ids.any(axis=(0, 3)).sum() * rows.tokens.shape[0] // devices * rows.tokens.shape[3]
        least += max(tokens / devices, max(len(one.stream) for one in episodes))
    assert least <= read <= most * least, read / least


def test_only_a_group_longer_than_the_rows_is_divided() -> None:
    """Short ones beside a long one with long answers stay whole."""
    groups = [answered([4] * 200, [7] * 20)] * 8 + [answered([5] * 1000, [7] * 1000)] * 8
    rows = arrange(groups, 1001, Layout(group_size=8, devices=4, tokens=4096))
    prompts = [int(((rows.tokens == token) & (rows.branches == 0)).sum()) for token in (4, 5)]
    assert prompts[0] == 199
    assert prompts[1] > 999


SMALL = replace(TINY, num_layers=1, num_heads=4, num_kv_heads=2, head_dim=64)
LORA = LoraConfig(rank=4, alpha=8)
PPO, GRPO = {"kl_coef": 0.3, "whiten_advantages": False}, {"estimator": "grpo", "kl_in": "loss", "kl_estimator": "k3"}


def after_one_step(rollout: RolloutBatch, algorithm: dict[str, Any], lora: LoraConfig | None) -> Any:
    """All that is trained, after gradient descent at rate 1 from weights that have left the reference; metrics."""
    config, sgd = AlgorithmConfig(**algorithm), optax.sgd(1.0)
    models = [
        TrainableModel(make(SMALL, lora, dtype="float32"), sgd, optax.constant_schedule(1.0))
        for make in (make_graphdef, make_value_graphdef)
    ]
    spec = StepSpec(*models, config, answer_length=40, group_size=4, lora=lora)
    spec = spec._replace(ref_params=adapter_off if lora else first_actor)
    state = init_rl_state(init_params(SMALL, jax.random.key(7)), SMALL, spec, seed=1)
    keys = iter(jax.random.split(jax.random.key(3), 99))
    trainable = jax.tree.map(lambda x: x + 0.02 * jax.random.normal(next(keys), x.shape), state.trainable)
    state, metrics = jax.jit(make_rl_step(spec))(replace(state, trainable=trainable), rollout)
    return state.trainable, metrics


@pytest.mark.parametrize(
    ("algorithm", "lora"),
    [
        pytest.param(GRPO, None, id="grpo"),
        pytest.param(PPO, None, id="a critic of its own", marks=pytest.mark.slow),
        pytest.param(GRPO, LORA, id="grpo, lora", marks=THOROUGH),
        pytest.param({**PPO, "critic_backbone": "shared"}, None, id="shared backbone", marks=THOROUGH),
    ],
)
def test_shared_prompts_make_the_update_of_ordinary_rows(algorithm: dict[str, Any], lora: LoraConfig | None) -> None:
    """Six groups in rows of a few, long enough for attention by blocks, against one row for each episode."""
    episodes = random_groups(3, 6, 4, longest=60)
    random = np.random.default_rng(1)
    rewards = [random.normal(size=(len(one.turns), 1)).astype(np.float32) for one in episodes]
    shared = collate(episodes, rewards, layout=Layout(group_size=4, tokens=256))
    alone = collate(episodes, rewards, layout=Layout(tokens=128))
    alone = replace(alone, rows=one_to_a_row(episodes, alone.mask.shape[1]))
    assert shared.rows.branches is not None
    assert shared.rows.tokens.shape[2:] != (1, 128)
    assert (shared.rows.segment_ids > 0).sum() < 0.7 * (alone.rows.segment_ids > 0).sum()
    (found, metrics), (expected, metrics_alone) = (after_one_step(one, algorithm, lora) for one in (shared, alone))
    assert_trees_close(found, expected, rtol=1e-5)
    for name, value in metrics_alone.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name


def one_to_a_row(episodes: list[Episode], width: int) -> Rows:
    """One part of as many rows as there are episodes, as prompts were read before they were shared."""
    each = [arrange([one], width, Layout(tokens=128)) for one in episodes]
    sources = [
        np.where(rows.sources < width, rows.sources + number * width, len(each) * width)
        for number, rows in enumerate(each)
    ]
    tokens, positions, segment_ids = (
        np.concatenate([getattr(rows, name) for rows in each]) for name in ("tokens", "positions", "segment_ids")
    )
    return Rows(tokens, positions, segment_ids, None, np.concatenate(sources))
