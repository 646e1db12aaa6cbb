"""Slots: answers end and others begin, prompts are read once, and no answer knows of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.config import MeshConfig, SamplingConfig
from tl_jax.config.model import Loops
from tl_jax.inference import generate as module
from tl_jax.inference import reading, slots
from tl_jax.inference.buckets import bucket, places_for
from tl_jax.inference.engine import Ends, Generation
from tl_jax.inference.generate import generate
from tl_jax.inference.lowered import Lowered
from tl_jax.inference.serving import ServedModel, for_generation
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import init_params
from tl_jax.model.sharding import make_mesh, shard_tree

MODEL = LlamaConfig(
    vocab_size=24,
    hidden_size=16,
    intermediate_size=32,
    num_layers=1,
    num_heads=2,
    num_kv_heads=2,
    head_dim=8,
)
GRAPHDEF = make_graphdef(MODEL, dtype=jnp.float32)
PARAMS = init_params(MODEL, jax.random.key(0))
GROUP = 8
PROMPTS = [[row + 3, *range(4, 4 + 3 * row)] for row in range(5) for _ in range(GROUP)]
ENDS = Ends(eos_ids=(1, 2), pad_id=0)
NEW = 20


SAMPLING = SamplingConfig(max_new_tokens=NEW, temperature=2.0)


def answers(model: ServedModel, at_once: int | None, prompts: list[list[int]] = PROMPTS) -> Generation:
    """Of temperature 2, so that lengths differ."""
    sampling = SAMPLING.model_copy(update={"batch_size": at_once})
    return generate(model, prompts, sampling, jax.random.key(7), ENDS)


class Seen:
    """What the programs were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[int] = []
        self.rows: list[int] = []
        self.places: list[int] = []
        read, advance = reading.read, slots.advance

        def noted_read(*args: Any) -> Any:
            self.read.append(int((np.asarray(args[3].lengths) > 0).sum()))
            return read(*args)

        def noted_advance(*args: Any) -> Any:
            rows, places = args[3].cache.keys[0].shape[1:3]
            self.rows.append(rows)
            self.places.append(places)
            return advance(*args)

        monkeypatch.setattr(reading, "read", noted_read)
        monkeypatch.setattr(slots, "advance", noted_advance)


def test_same_answers_whatever_the_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 8)
    seen, model = Seen(monkeypatch), for_generation(GRAPHDEF, PARAMS)
    together = answers(model, None)
    assert len(set(together.lengths.tolist())) > 8
    assert not together.finished.all()
    assert seen.read == [5]  # of 40 answers
    assert {48, 16} <= set(seen.rows)
    assert seen.rows == sorted(seen.rows, reverse=True)
    assert seen.places[0] == places_for(13, 8) == 32
    assert max(seen.places) == places_for(13, NEW) == 48
    seen.rows.clear()
    seen.read.clear()
    in_turn = answers(model, 3)
    assert seen.rows == [3] * len(seen.rows)
    assert len(seen.rows) < len(PROMPTS)
    assert sum(seen.read) == 5
    own = [PROMPTS[9], PROMPTS[31]]
    some = generate(model, own, SAMPLING, jax.random.key(7), ENDS, numbers=[9, 31])
    np.testing.assert_array_equal(some.tokens, together.tokens[[9, 31]])
    for name in ("tokens", "lengths", "finished"):
        np.testing.assert_array_equal(getattr(in_turn, name), getattr(together, name))
    np.testing.assert_allclose(in_turn.logprobs, together.logprobs, atol=1e-5)


@pytest.mark.parametrize(("where", "sizes"), [("cpu", [96, 64, 48, 32, 24, 16, 12, 8]), ("gpu", [96, 32, 16, 8])])
def test_which_numbers_of_slots_there_are(where: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "platform", lambda: where)
    assert [module._next_fewer(size) for size in sizes[:-1]] == sizes[1:]
    assert module._next_fewer(1) == 0


@pytest.mark.slow
def test_same_answers_with_layers_in_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop of two of three layers, and one that is left over; prompts take slots in turn, room grows, slots go."""
    monkeypatch.setattr(module, "BLOCK", 8)
    three = replace(MODEL, num_layers=3)
    params = init_params(three, jax.random.key(0))
    alone, loops = (
        for_generation(make_graphdef(three, dtype=jnp.float32, loops=Loops(decode=loop)), params) for loop in (1, 2)
    )
    assert [len(stack["o"]) for stack in loops.stacks] == [2, 1]
    assert (alone.layout.loop, loops.layout.loop) == (1, 2)
    seen = Seen(monkeypatch)
    found = answers(loops, 20)
    assert len(set(seen.rows)) > 1
    assert len(set(seen.places)) > 1
    expected = answers(alone, 20)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-6)


@pytest.mark.parametrize(("length", "read"), [(16, 8), (256, 4), (600, 2)])
def test_few_long_prompts_are_read_at_once_and_so_it_is_planned(
    length: int, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for a quarter of the answers' prompts is what `rows_that_fit` leaves."""
    mesh, sampling = make_mesh(MeshConfig(), jax.devices()[:1]), SamplingConfig(max_new_tokens=1)
    model = for_generation(GRAPHDEF, shard_tree(PARAMS, mesh), mesh)
    planned = Lowered(model, 8, length, sampling).read().args_info[0][2].shape[:2]
    seen = Seen(monkeypatch)
    generate(model, [[row] * length for row in range(8)], sampling, jax.random.key(0), ENDS)
    assert seen.read == [read] * (8 // read)
    assert planned == (read, bucket(length))


@pytest.mark.parametrize(("devices", "fitting"), [(3, 9), (6, 6), (4, 12)])
def test_no_device_has_more_slots_than_fit(devices: int, fitting: int) -> None:
    assert module.row_count(fitting, devices) == fitting


def test_three_slots_are_kept_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the loop, counted by the noise that was drawn: little more than the tokens over the slots."""
    model, rounds = for_generation(GRAPHDEF, PARAMS), []
    advance = slots.advance

    def noted(*args: Any) -> Any:
        before = np.where(np.asarray(args[3].done), 0, np.asarray(args[3].steps))
        live = ~np.asarray(args[3].done)
        out = advance(*args)
        rounds.append(int((np.asarray(out.steps) - before)[live].max()))
        return out

    monkeypatch.setattr(slots, "advance", noted)
    made = answers(model, 3)
    assert sum(rounds) < 1.2 * made.lengths.sum() / 3
    in_batches = sum(int(made.lengths[n : n + 3].max()) for n in range(0, len(PROMPTS), 3))
    assert sum(rounds) < 0.85 * in_batches


def test_nothing_of_an_answer_is_left_in_its_slot() -> None:
    """Where one prompt gives NaN, keys and values behind the next prompt are NaN too, and 0 times NaN is not 0."""
    config = replace(MODEL, num_layers=2)
    params = init_params(config, jax.random.key(0))
    params["embed"]["embedding"] = params["embed"]["embedding"].at[23].set(jnp.nan)
    model = for_generation(make_graphdef(config, dtype=jnp.float32), params)
    prompts = [[23, *range(4, 19)], [3, 4, 5], [6, 7, 8]]
    greedy = SamplingConfig(max_new_tokens=6, temperature=0, batch_size=1)
    logprobs = generate(model, prompts, greedy, jax.random.key(0), ENDS).logprobs
    assert np.isnan(logprobs[0]).all()
    assert np.isfinite(logprobs[1:]).all()


@pytest.mark.slow
def test_each_device_keeps_its_own_rows_when_slots_become_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    seen, alone = Seen(monkeypatch), for_generation(GRAPHDEF, PARAMS)
    spread = for_generation(GRAPHDEF, shard_tree(PARAMS, mesh), mesh)
    assert spread.mesh is not None
    assert dict(spread.mesh.shape) == {"data": 4, "fsdp": 1, "tensor": 2}
    prompts = PROMPTS * 2
    ours = answers(spread, None, prompts)
    assert {96, 32} <= set(seen.rows)
    expected = answers(alone, None, prompts)
    np.testing.assert_array_equal(ours.tokens, expected.tokens)


def test_what_has_ended_is_told_without_the_other_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation asks for thousands at once, of which a few end at a time."""
    rows: list[int] = []

    def noted(*args: Any) -> Generation:
        rows.append(len(args[0]))
        return Generation(*args)

    monkeypatch.setattr(module, "Generation", noted)
    answers(for_generation(GRAPHDEF, PARAMS), 8)
    *told, everything = rows
    assert max(told) <= 8
    assert sum(told) == everything == len(PROMPTS)


def test_more_layers_need_no_more_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilers of accelerators take as long as layers are many; only the loop that writes answers has them all."""
    monkeypatch.setattr(module, "BLOCK", 8)  # or no cache would become longer

    def made(layers: int) -> list[int]:
        config = replace(MODEL, num_layers=layers)
        model = for_generation(make_graphdef(config, dtype=jnp.float32), init_params(config, jax.random.key(0)))
        programs = (reading.read_stack, slots.put, slots._resized, slots._fewer)
        before = [program._cache_size() for program in programs]
        generate(model, PROMPTS, SAMPLING, jax.random.key(7), ENDS)
        return [program._cache_size() - there for program, there in zip(programs, before, strict=True)]

    few, many = made(3), made(7)
    assert few[0] == many[0] == 2  # the last is another
    assert many[1:] == [0, 0, 0]  # its keys and values are no others
