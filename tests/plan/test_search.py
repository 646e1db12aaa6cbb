"""Changes and meshes that are tried, with a measure whose figures are known instead of a compiler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from jax.sharding import Mesh

from tests.plan.test_plan import SMALL, SMALL_RL, TINY
from tl_jax.config import MeshConfig, RlConfig, RunConfig, SftConfig, load_config
from tl_jax.model.sharding import ShardingError, make_mesh
from tl_jax.plan import plan as plans
from tl_jax.plan import search
from tl_jax.plan.changes import CHANGES, with_settings
from tl_jax.plan.html import to_html
from tl_jax.plan.machine import Machine, open_machine
from tl_jax.plan.measure import Measured
from tl_jax.plan.plan import Plan, make_plan
from tl_jax.plan.program import Program
from tl_jax.plan.programs import BOTH, SCORING, TRAINING, UPDATES
from tl_jax.plan.report import report
from tl_jax.plan.sampling import READING, SAMPLING
from tl_jax.plan.workload import Subject, Workload
from tl_jax.training.chips import CHIPS

MEMORY = 1000


def measured(name: str, needed: float, memory: int = MEMORY) -> Measured:
    return Measured(
        name=name,
        argument=100.0,
        temporary=needed - 100,
        output=100.0,
        alias=100.0,
        code=0.0,
        resident=0.0,
        needed=needed,
        memory=memory,
        fits=needed <= memory,
        state={"parameters": 100.0},
        beside={},
        inside={"logits": 5.0},
        sent={"fsdp": 7.0},
        kernels=(),
        seconds=0.1,
    )


@pytest.fixture
def here() -> Machine:
    return replace(open_machine("this"), chip=CHIPS["h100"], memory=MEMORY)


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Sets what a program of some settings needs, and notes what is compiled."""

    def setting(of: Callable[[str, RunConfig], float]) -> list[str]:
        compiled: list[str] = []
        made = plans.programs_of

        def programs_of(config: RunConfig, subject: object, mesh: Mesh, *more: object) -> list[Program]:
            programs = made(config, subject, mesh, *more)  # type: ignore[arg-type]
            return [replace(one, inside={"asked": of(one.name, config)}) for one in programs]

        def measure(program: Program, machine: Machine, mesh: Mesh) -> Measured:
            compiled.append(program.name)
            return measured(program.name, program.inside["asked"], machine.memory)

        for module in (plans, search):
            monkeypatch.setattr(module, "programs_of", programs_of)
            monkeypatch.setattr(module, "measure", measure)
        return compiled

    return setting


def advised(config: RunConfig, here: Machine) -> Plan:
    found = make_plan(config, TINY, here)
    return search.with_advice(found, config, TINY, here, lambda text: None)


def test_nothing_is_changed_where_all_fits(here: Machine, needs: Callable[..., list[str]]) -> None:
    needs(lambda name, config: 900)
    plan = advised(load_config(SftConfig, [], SMALL), here)
    assert plan.fits
    assert plan.advice is None


def test_micro_batches_are_halved_until_the_step_fits(here: Machine, needs: Callable[..., list[str]]) -> None:
    compiled = needs(lambda name, config: 100 if "held" in name else 3200 / config.accumulate)
    plan = advised(load_config(SftConfig, [], (*SMALL, f"data.batch_size={8 * jax.device_count()}")), here)
    assert not plan.fits
    assert plan.advice is not None
    assert plan.advice.fits
    assert plan.advice.settings == {"accumulate": 4}
    assert compiled == ["training step", "held-out loss", "training step", "training step"]
    assert "it fits with accumulate=4" in "\n".join(report(plan))


def test_each_program_has_its_own_change(here: Machine, needs: Callable[..., list[str]]) -> None:
    rows = 4 * jax.device_count()

    def of(name: str, config: RunConfig) -> float:
        assert isinstance(config, RlConfig)
        at_once = config.sampling.batch_size or rows
        return 2000 * at_once / rows if name in (READING, SAMPLING) else 2000 / config.algorithm.accumulate

    needs(of)
    plan = advised(load_config(RlConfig, [], (*SMALL_RL, f"batch_size={rows}")), here)
    assert plan.advice is not None
    assert plan.advice.settings == {"algorithm.accumulate": 2, "sampling.batch_size": rows // 2}


def test_a_program_that_becomes_two_is_followed(
    here: Machine, needs: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several parts, the only update no longer scores the rollout: what takes its place has to fit, too."""

    def of(name: str, config: RunConfig) -> float:
        assert isinstance(config, RlConfig)
        return {BOTH: 4000, UPDATES: 6000, SCORING: 4000}.get(name, 100) / config.algorithm.accumulate

    compiled = needs(of)
    config = load_config(RlConfig, [], (*SMALL_RL, f"batch_size={16 * jax.device_count()}"))
    plan = advised(config, here)
    assert plan.advice is not None
    assert plan.advice.fits
    assert plan.advice.settings == {"algorithm.accumulate": 8}
    assert {one.name for one in plan.advice.programs} == {SCORING, UPDATES}
    assert compiled[-4:] == [BOTH, SCORING, UPDATES, UPDATES]
    monkeypatch.setattr(search, "meshes", lambda *_: [{"mesh.fsdp": jax.device_count()}])
    (found,) = search.search(config, TINY, here, lambda text: None)
    assert found.settings["algorithm.accumulate"] == 8
    assert {one.name for one in found.programs} > {SCORING, UPDATES}
    assert BOTH not in {one.name for one in found.programs}


def test_what_is_read_at_once_is_halved_where_it_is_said_in_tokens(
    here: Machine, needs: Callable[..., list[str]]
) -> None:
    def of(name: str, config: RunConfig) -> float:
        assert isinstance(config, RlConfig)
        return 100 if name in (READING, SAMPLING) else 3 * (config.algorithm.tokens_per_microbatch or 8192)

    needs(of)
    small = (*SMALL_RL, f"batch_size={4 * jax.device_count()}", "algorithm.tokens_per_microbatch=1024")
    plan = advised(load_config(RlConfig, [], small), here)
    assert plan.advice is not None
    assert plan.advice.settings == {"algorithm.tokens_per_microbatch": 256}


def test_what_does_not_help_the_program_is_not_tried(here: Machine, needs: Callable[..., list[str]]) -> None:
    """A held-out loss reads all rows at once, and has no backward pass."""
    rows = 8 * jax.device_count()

    def of(name: str, config: RunConfig) -> float:
        assert isinstance(config, SftConfig)
        return 1500 * config.data.batch_size / rows if "held" in name else 100

    needs(of)
    plan = advised(load_config(SftConfig, [], (*SMALL, f"data.batch_size={rows}", "model.remat=none")), here)
    assert plan.advice is not None
    assert plan.advice.settings == {"data.batch_size": rows // 2}


def test_what_training_refuses_is_not_tried(here: Machine, needs: Callable[..., list[str]]) -> None:
    """Adapters cannot stand on a random critic."""
    needs(lambda name, config: 500 if "critic_backbone='shared'" in repr(config) else 5000)
    config = load_config(RlConfig, [], (*SMALL_RL, f"batch_size={4 * jax.device_count()}"))
    plan = advised(with_settings(config, {"algorithm.critic_backbone": "random"}), here)
    assert plan.advice is not None
    assert plan.advice.fits
    assert "lora.rank" not in plan.advice.settings
    assert plan.advice.settings["algorithm.critic_backbone"] == "shared"


def test_what_the_model_refuses_is_not_told(
    here: Machine, needs: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads that do not divide are seen only by the programs: then nothing says that it was compiled."""
    needs(lambda name, config: 5000)
    monkeypatch.setattr(search, "TRIES", 100)

    made = search.programs_of

    def refuse(config: RunConfig, subject: Subject, mesh: Mesh, load: Workload, memory: float) -> list[Program]:
        if config.lora.rank:
            raise ShardingError("no")
        return made(config, subject, mesh, load, memory)

    monkeypatch.setattr(search, "programs_of", refuse)
    plan = advised(load_config(SftConfig, [], (*SMALL, f"data.batch_size={8 * jax.device_count()}")), here)
    assert plan.advice is not None
    assert "lora.rank" not in plan.advice.settings
    assert "accumulate" in plan.advice.settings
    assert "adapters learn" not in " ".join(plan.advice.costs)


def test_what_never_fits_says_so(here: Machine, needs: Callable[..., list[str]]) -> None:
    compiled = needs(lambda name, config: 5000)
    plan = advised(load_config(SftConfig, [], SMALL), here)
    assert plan.advice is not None
    assert not plan.advice.fits
    assert len(compiled) <= 2 * (1 + search.TRIES)
    assert "more or larger devices are needed" in "\n".join(report(plan))


def kept(config: RunConfig) -> float:
    """Of the one layer: its input; q, k, v, o and attention's output; gate and up."""
    assert isinstance(config, SftConfig)
    model = TINY.config
    heads, kv_heads = (count * model.head_dim for count in (model.num_heads, model.num_kv_heads))
    attention = 2 * model.hidden_size + 2 * heads + 2 * kv_heads
    numbers = {"block": model.hidden_size, "attention": attention, "dots": attention + 2 * model.intermediate_size}
    return 2.0 * config.data.max_length * numbers[config.model.remat]  # bfloat16, a row on a device


@pytest.mark.parametrize(("room", "remat"), [("dots", "dots"), ("attention", "attention"), ("block", None)])
def test_what_memory_is_left_for_is_told_and_searched(
    room: str, remat: str | None, here: Machine, needs: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(SftConfig, [], (*SMALL, f"data.batch_size={jax.device_count()}", "data.max_length=1024"))
    there = replace(here, memory=int(1.05 * (1e6 + kept(with_settings(config, {"model.remat": room})))))
    compiled = needs(lambda name, config: 100 if "held" in name else 1e6 + kept(config))
    plan = search.with_advice(make_plan(config, TINY, there), config, TINY, there, lambda text: None)
    assert compiled == ["training step", "held-out loss"]
    monkeypatch.setattr(search, "meshes", lambda *_: [{"mesh.fsdp": jax.device_count()}])
    (found,) = search.search(config, TINY, there, lambda text: None)
    assert found.settings.get("model.remat") == remat
    assert found.bound is not None
    assert plan.bound is not None
    if remat is None:
        assert plan.faster is None
        assert found.bound == plan.bound
        return
    assert plan.faster is not None
    assert plan.faster.settings == {"model.remat": remat}
    assert plan.faster.needed == 1e6 + kept(with_settings(config, plan.faster.settings))
    assert plan.faster.bound == found.bound
    assert found.bound.arithmetic < plan.bound.arithmetic
    assert f"memory is left: model.remat={remat} " in "\n".join(report(plan))


def test_a_search_takes_the_largest_micro_batches_of_every_mesh(here: Machine, needs: Callable[..., list[str]]) -> None:
    """Each device along fsdp halves what is needed; messages are the same, so the order is that of the work."""
    needs(lambda name, config: 100 if "held" in name else 8000 / (config.accumulate * config.mesh.fsdp))
    config = load_config(SftConfig, [], (*SMALL, "data.batch_size=64"))
    found = search.search(config, TINY, here, lambda text: None)
    by_mesh = {
        one.settings["mesh.fsdp"]: one.settings.get("accumulate", 1)
        for one in found
        if one.settings["mesh.tensor"] == 1
    }
    assert by_mesh == {fsdp: 8 // fsdp for fsdp in (1, 2, 4, 8) if fsdp <= jax.device_count()}
    assert [one.bound.seconds for one in found if one.bound] == sorted(one.bound.seconds for one in found if one.bound)
    assert len(found) > 0


def test_meshes_use_every_device() -> None:
    machine = Machine("m", None, jax.devices(), 1)
    for one in search.meshes(TINY, machine):
        assert one["mesh.data"] * one["mesh.fsdp"] * one["mesh.tensor"] == jax.device_count()
        assert TINY.config.num_kv_heads % one["mesh.tensor"] == 0


def test_every_mesh_has_a_copy_in_each_slice() -> None:
    chips: Any = [SimpleNamespace(platform="tpu", slice_index=number % 2) for number in range(8)]
    assert {one["mesh.data"] for one in search.meshes(TINY, Machine("m", None, chips, 1))} == {2, 4, 8}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_comes_to_an_end(change: object) -> None:
    mesh = make_mesh(MeshConfig())
    for kind, base in ((SftConfig, SMALL), (RlConfig, SMALL_RL)):
        for program in (TRAINING, SCORING, UPDATES, BOTH, SAMPLING):
            config: RunConfig = load_config(kind, [], (*base, "model.remat=none"))
            for _ in range(20):
                new = change.next(config, mesh, program)  # type: ignore[attr-defined]
                if new is None:
                    break
                assert with_settings(config, new) != config
                config = with_settings(config, new)
                mesh = make_mesh(config.mesh)
            else:
                pytest.fail(f"{program}: no end")


def test_the_page_shows_all_and_lets_nothing_become_markup(here: Machine, needs: Callable[..., list[str]]) -> None:
    needs(lambda name, config: 5000)
    plan = replace(make_plan(load_config(SftConfig, [], SMALL), TINY, here), model="<script>alert(1)</script>\x1b[2J")
    page = to_html(plan)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert page.count('class="bar"') == 2
    assert page.count("DOES NOT FIT") == 2
    assert "http" not in page
