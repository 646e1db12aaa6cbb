"""Plans for this machine, whose compiler is always there, against the arrays and figures they speak of."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from tl_jax.cli import main
from tl_jax.config import MeshConfig, RlConfig, SftConfig, load_config
from tl_jax.inference.slots import Slots
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import abstract_params, count_in_products, count_parameters, init_params
from tl_jax.model.presets import PRESETS
from tl_jax.model.sharding import batch_devices, make_mesh, param_shardings, shard_tree
from tl_jax.plan import programs
from tl_jax.plan.machine import Machine, PlanError, open_machine
from tl_jax.plan.measure import measure, needed_bytes
from tl_jax.plan.plan import Plan, make_plan, workload
from tl_jax.plan.program import Program
from tl_jax.plan.report import report
from tl_jax.plan.roofline import bound
from tl_jax.plan.sampling import sampling_programs
from tl_jax.plan.workload import Subject, open_subject
from tl_jax.training.chips import CHIPS

BASE = ("run_dir=r", "model.path=nowhere", "data.path=nodata")
SMALL = (*BASE, "data.max_length=64", "data.batch_size=8")
SMALL_RL = (*BASE, "batch_size=8", "data.max_prompt_length=40", "sampling.max_new_tokens=8")
TINY = Subject("tiny", replace(PRESETS["tiny"].config, num_layers=1, hidden_size=32, num_heads=2), None)


@pytest.fixture(scope="module")
def sft() -> Plan:
    return make_plan(load_config(SftConfig, [], SMALL), TINY, open_machine("this"))


@pytest.fixture(scope="module")  # "slow" with it: compiling PPO takes some seconds
def rl() -> Plan:
    return make_plan(load_config(RlConfig, [], SMALL_RL), TINY, open_machine("this"))


@pytest.mark.parametrize(("stored", "copied"), [("float32", True), ("bfloat16", False)])
def test_what_is_stored_as_it_computes_has_no_copies(stored: str, copied: bool) -> None:
    """A plan of parameters in bfloat16 spoke of 12 GiB of copies of a 7B that nobody makes."""
    config = load_config(SftConfig, [], (*SMALL, f"model.param_dtype={stored}", "model.dtype=bfloat16"))
    mesh = make_mesh(config.mesh)
    step, _ = programs.sft_programs(config, TINY.config, mesh, workload(config, TINY, batch_devices(mesh)))
    assert (step.inside["compute copies"] > 0) == copied


def test_parts_are_the_bytes_of_the_arrays_that_training_has(sft: Plan) -> None:
    mesh = make_mesh(MeshConfig())
    params = shard_tree(jax.tree.map(np.zeros_like, init_params(TINY.config, jax.random.key(0))), mesh)
    step, held_out = sft.programs
    size = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(params))
    assert step.state["parameters"] == step.inside["gradients"] == size
    assert step.state["moments"] == held_out.beside["moments"] == pytest.approx(2 * size, abs=16)  # and counters
    assert step.argument == pytest.approx(sum(step.state.values()), abs=64)  # and step and key
    assert step.alias == pytest.approx(3 * size, abs=64)  # all of the old state is used up


@pytest.mark.slow
def test_what_is_needed_is_the_sum_of_what_the_compiler_lays_out(rl: Plan) -> None:
    copy, reading, admitting, sampling, step = rl.programs
    for one in rl.programs:
        assert one.needed == one.argument + one.temporary + one.output - one.alias + one.code + one.resident
    state = sum(step.state.values()) - step.state["rollout"]
    weights, cache = sampling.state["weights for sampling"], sampling.state["KV cache"]
    prompts = sampling.beside["KV cache of prompts"]  # of the only layer, as everything
    assert sampling.resident == pytest.approx(state + prompts)
    assert reading.resident == pytest.approx(state + weights + cache - sum(reading.state.values()))
    assert prompts < reading.output < 2 * prompts  # and what the next layer reads
    assert admitting.resident == pytest.approx(state + weights + cache / 2 + prompts / 2)
    assert admitting.argument == pytest.approx(sum(admitting.state.values()), rel=0.05)
    assert admitting.alias == admitting.output == cache / 2  # the old keys are used up
    assert sampling.argument == pytest.approx(copy.output + sampling.state["KV cache"], rel=0.05)
    assert copy.output == pytest.approx(sampling.state["weights for sampling"], abs=4096)
    assert set(step.state) == {"actor", "critic", "moments", "frozen", "rollout"}


def test_a_rollout_has_the_positions_that_the_workload_counts() -> None:
    config, mesh = load_config(RlConfig, [], (*SMALL_RL, "group_size=2")), make_mesh(MeshConfig())
    load = workload(config, TINY, batch_devices(mesh))
    rollout = programs._rollout(config, load, rewards=1, mesh=mesh)
    assert math.prod(rollout.rows.tokens.shape) == load.positions
    assert np.count_nonzero(rollout.rows.segment_ids) == load.tokens == 8 * (39 + 2 * 9)


TWO_UPDATES = ("batch_size=16", "algorithm.minibatches=2")
TWO_PARTS = ("batch_size=16", "data.max_prompt_length=100", "algorithm.tokens_per_microbatch=128")
IN_LOSS = ("algorithm.kl_in=loss", "algorithm.kl_estimator=k3")
GRPO = ("algorithm.estimator=grpo", "group_size=2")


@pytest.mark.parametrize(
    ("settings", "before", "learners", "apart"),
    [
        ((), 1, 2, False),
        (TWO_PARTS, 3, 2, True),  # policy, critic, reference
        ((*TWO_PARTS, *IN_LOSS), 2, 2, True),
        ((*TWO_PARTS, *IN_LOSS, "algorithm.critic_backbone=shared"), 2, 1, True),
        ((*TWO_PARTS, *IN_LOSS, *GRPO), 1, 1, True),
        ((*TWO_PARTS, "algorithm.kl_coef=0", *GRPO), 0, 1, False),
        ((*TWO_UPDATES, "algorithm.kl_coef=0", *GRPO), 1, 1, True),
    ],
)
def test_a_bound_counts_readings_that_there_are(
    settings: tuple[str, ...], before: int, learners: int, apart: bool
) -> None:
    """One pass each; a reading that is learnt from is three. See docs/rl.md, "What is read"."""
    config, mesh = load_config(RlConfig, [], (*SMALL_RL, *settings)), make_mesh(MeshConfig())
    load = workload(config, TINY, batch_devices(mesh))
    made = {one.name: one for one in programs.rl_programs(config, TINY.config, mesh, load, 1e9)}
    if apart:
        assert made[programs.SCORING].model_flops == pytest.approx(load.flops / 3 * before)
        assert made[programs.UPDATES].model_flops == pytest.approx(load.flops / 3 * 3 * learners)
    else:
        assert made[programs.BOTH].model_flops == pytest.approx(load.flops / 3 * (before + 3 * learners))


@pytest.mark.parametrize("adapters", [False, True])
def test_scoring_reads_no_moments_and_updates_no_reference(adapters: bool) -> None:
    """The reference of adapters is the model below them, which updates read, too."""
    settings = (*TWO_UPDATES, *GRPO, *IN_LOSS, *(["lora.rank=2"] if adapters else []))
    config, mesh = load_config(RlConfig, [], (*SMALL_RL, *settings)), make_mesh(MeshConfig())
    load = workload(config, TINY, batch_devices(mesh))
    parts = {"actor", "moments", "frozen"}
    for program in programs.rl_programs(config, TINY.config, mesh, load, 1e9)[-2:]:
        reads = {programs.SCORING: parts - {"moments"}, programs.UPDATES: parts - (set() if adapters else {"frozen"})}
        assert set(program.arguments) == {"rollout"} | reads[program.name]
        assert set(program.resident) == parts - reads[program.name]
        found = measure(program, open_machine("this"), mesh)
        assert found.argument == pytest.approx(sum(program.arguments.values()), rel=0.02, abs=1000)


@pytest.mark.slow
def test_the_cache_is_counted_as_it_is_laid_out(rl: Plan) -> None:
    """8 prompts of bucket(40) = 48 and 8 more places make 64, over the devices; 2 arrays of G x K bfloat16 a layer."""
    model, devices = TINY.config, jax.device_count()
    expected = 8 / devices * 64 * 2 * model.num_kv_heads * model.head_dim * 2
    assert rl.programs[3].state["KV cache"] == expected


def sampling_of(
    memory: float, *more: str, model: LlamaConfig = TINY.config, devices: int | None = None
) -> list[Program]:
    """What a rollout of the actor compiles, on some devices or on all."""
    mesh = make_mesh(MeshConfig(), jax.devices()[:devices])
    config, shapes = load_config(RlConfig, [], (*SMALL_RL, *more)), abstract_params(model)
    actor = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        param_shardings(shapes, mesh),
    )
    load = workload(config, replace(TINY, config=model), batch_devices(mesh))
    return sampling_programs(config, make_graphdef(model), actor, mesh, load, {}, memory)


def test_prompts_are_read_with_each_layer_once() -> None:
    """8 of 39 tokens at once, then as many again: 2 x 3 layers, of which each is an argument of the program."""
    two, three = (replace(TINY.config, num_layers=number) for number in (2, 3))
    reading = sampling_of(1e9, "batch_size=16", "sampling.batch_size=8", model=three, devices=1)[1]
    layer = (count_parameters(three) - count_parameters(two)) * 2  # bfloat16
    layer += 2 * three.hidden_size * 2  # but its norms, which are float32
    assert reading.weights_read + reading.times * sum(reading.arguments.values()) == 2 * 3 * layer


def test_answers_of_a_group_have_their_prompt_once() -> None:
    """Of 16 prompts of 39 tokens and 2 answers of 8 to each: places for 48 and for 16, and no answer has its own 48."""
    apart = sampling_of(1e9, "batch_size=32", devices=2)[3].arguments["KV cache"]
    *_, admitting, shared = sampling_of(1e9, "batch_size=16", *GRPO, devices=2)
    cache = shared.arguments["KV cache"]
    assert cache / apart == pytest.approx((16 * 48 + 32 * 16) / (32 * 64))
    slots = next(given for given in shared.lower().args_info[0] if isinstance(given, Slots))
    prompts = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(slots.cache.shared)) / 2
    assert cache * 16 * 48 / (16 * 48 + 32 * 16) == pytest.approx(prompts, rel=0.01)
    assert admitting.arguments["KV cache, of a layer or loop"] == pytest.approx(prompts / 2, rel=0.01)  # keys


def test_what_is_kept_of_episodes_is_counted_with_an_environment_alone() -> None:
    """8 rows of 64 places (bucket(40) = 48 and 8 more) beside the slots that answers are written in, or half of what
    is left."""

    def beside(memory: float, *more: str) -> float | None:
        made = sampling_of(memory, *more)
        copy, reading, admitting, sampling = (one.resident.get("KV cache of conversations") for one in made)
        assert copy is None
        assert reading == admitting == sampling
        return sampling

    size = 8 / jax.device_count() * 64 * 2 * TINY.config.num_kv_heads * TINY.config.head_dim * 2
    assert beside(1e9) is None
    assert beside(1e9, "environment=replay") == size
    codes = (TINY.config.head_dim + 4) / (2 * TINY.config.head_dim)  # a byte each and a float32 scale
    assert beside(1e9, "environment=replay", "engine.kv_cache_dtype=int8") == size * codes
    assert beside(1e5, "environment=replay") < 1e5 / 2


def test_a_machine_without_room_is_told(sft: Plan) -> None:
    here, one = open_machine("this"), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    number = jax.ShapeDtypeStruct((), jnp.float32, sharding=one)
    program = Program("p", lambda: jax.jit(jnp.add).lower(number, number), {}, {"beside": 10**6}, {}, 0, 0, 0)
    needed = measure(program, replace(here, memory=2**30), make_mesh(MeshConfig())).needed
    assert needed == pytest.approx(10**6, abs=1000)
    for memory, fits in ((needed, True), (needed - 1, False)):
        found = measure(program, replace(here, memory=int(memory)), make_mesh(MeshConfig()))
        assert found.fits is fits
        assert ("DOES NOT FIT" in "\n".join(report(replace(sft, programs=(found,))))) is not fits


def test_work_without_data_is_full_rows(sft: Plan) -> None:
    model, tokens = TINY.config, 8 * 64
    seen = 8 * 64 * 65 / 2
    assert sft.load.tokens == tokens
    assert sft.load.padding == 0
    assert sft.load.flops == 6 * count_in_products(model) * tokens + 12 * model.num_heads * model.head_dim * seen


def test_the_bound_by_hand(sft: Plan) -> None:
    """Arithmetic 4 s, memory 3 s, messages 1 s a step: 4 s."""
    devices = jax.devices()[:2] * 2
    chip = replace(CHIPS["h100"], flops=100.0, bandwidth=10.0, link=5.0)
    machine = Machine("two", chip, devices[:2], 0)
    program = Program("p", lambda: None, {}, {}, {}, model_flops=400.0, flops=800.0, weights_read=20.0)  # type: ignore[arg-type,return-value]
    found = replace(sft.programs[0], argument=4.0, output=6.0, sent={"fsdp": 3.0, "data": 2.0})
    load = replace(sft.load, tokens=1000.0)
    most = bound([program], [found], machine, load, "bfloat16")
    assert most is not None
    assert (most.seconds, most.arithmetic, most.memory, most.messages) == (4.0, 4.0, 3.0, 1.0)
    assert (most.tokens_per_second, most.mfu, most.limit) == (250.0, 0.5, "arithmetic")
    assert bound([program], [found], replace(machine, chip=None), load, "bfloat16") is None


def test_memory_that_a_compiler_names_when_it_refuses() -> None:
    words = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (447.18G) exceeds"
    )
    assert needed_bytes(words) == pytest.approx(447.18 * 2**30)
    assert needed_bytes("something else") is None


def test_the_model_has_to_be_somewhere(tmp_path: Path) -> None:
    config = load_config(SftConfig, [], SMALL)
    with pytest.raises(PlanError, match=r"model\.path=nowhere: no such directory; --preset"):
        open_subject(config, None)
    (tmp_path / "config.json").write_text(json.dumps(TINY.config.to_hf()))
    found = open_subject(load_config(SftConfig, [], (*SMALL, f"model.path={tmp_path}")), None)
    assert found.config == TINY.config


@pytest.mark.parametrize(("settings", "kind"), [(SMALL, "SftConfig"), (SMALL_RL, "RlConfig")])
@pytest.mark.parametrize("fits", [True, False])
def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sft: Plan, settings: tuple[str, ...], kind: str, fits: bool
) -> None:
    """Which command's settings these are, what is printed and written, and the exit code."""
    config, out = tmp_path / "c.yaml", tmp_path / "plan.json"
    config.write_text("seed: 1\n")
    planned = []

    def make(config: object, *_: object, **__: object) -> Plan:
        planned.append(type(config).__name__)
        return replace(sft, programs=tuple(replace(one, fits=fits) for one in sft.programs))

    monkeypatch.setattr("tl_jax.plan.plan.make_plan", make)
    monkeypatch.setattr("tl_jax.plan.search.with_advice", lambda plan, *_: plan)
    words = ["plan", "--config", str(config), "--devices", "this", "--preset", "tiny", "--json", str(out)]
    done = CliRunner().invoke(main, [*words, *settings[3:]])
    assert (done.exit_code, planned) == (0 if fits else 3, [kind])
    plan = json.loads(out.read_text())
    assert plan["fits"] is fits
    assert math.prod(plan["mesh"].values()) == jax.device_count()
    assert ("fits, needs" in done.stdout) is fits
    assert CliRunner().invoke(main, [*words, "-q", *settings]).stdout == ""
