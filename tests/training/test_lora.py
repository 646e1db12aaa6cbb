"""Supervised training of adapters: only they are trained and kept, and a run of them is a model like any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from click.testing import CliRunner
from flax.traverse_util import flatten_dict

from tests.devices import few_devices
from tests.training.helpers import TINY, assert_same_avals, assert_trees_close, random_batch
from tl_jax.cli.main import main
from tl_jax.config import LoraConfig, MeshConfig, OptimizerConfig, SftConfig
from tl_jax.errors import UserError
from tl_jax.model.directory import CheckpointError
from tl_jax.model.hf import export_hf
from tl_jax.model.hf.peft import export_adapter, read_adapter_config
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.model.lora import adapt, dropped
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.model.store import open_adapter, open_model, save_model, stored_model
from tl_jax.training.checkpoint import ResumeError
from tl_jax.training.compile import compile_step, start_state
from tl_jax.training.losses import weighted_cross_entropy
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.run import Run
from tl_jax.training.sft import run_sft
from tl_jax.training.state import TrainState, init_state
from tl_jax.training.step import accumulated_gradient, make_eval_step, make_train_step

LORA = LoraConfig(rank=4, alpha=8)
OPTIMIZER = make_optimizer(OptimizerConfig(learning_rate=1e-2, weight_decay=0.1), 9)


def adapted(params: Params, lora: LoraConfig = LORA) -> TrainState:
    return init_state(params, OPTIMIZER[0], 0, partial(adapt, config=TINY, lora=lora))


@pytest.mark.parametrize(
    ("dtype", "quantize", "accumulate"), [("float32", None, 1), ("bfloat16", None, 2), ("bfloat16", "nf4", 2)]
)
def test_a_step_gives_back_what_it_takes(dtype: Any, quantize: Any, accumulate: int) -> None:
    lora = LORA.model_copy(update={"quantize": quantize})
    step = make_train_step(make_graphdef(TINY, lora, dtype=dtype), weighted_cross_entropy, *OPTIMIZER, accumulate)
    state = adapted(init_params(TINY, jax.random.key(0), dtype), lora)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.trainable)} == {np.dtype("float32")}
    assert {leaf.shape for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim} == {
        leaf.shape for leaf in jax.tree.leaves(state.trainable)
    }
    assert_same_avals(step, state, random_batch(0, 4, 16))


@pytest.mark.slow
def test_steps_are_the_same_on_eight_devices() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    step = make_train_step(make_graphdef(TINY, LORA, dtype="float32"), weighted_cross_entropy, *OPTIMIZER)
    batches = [random_batch(seed, 8, 48) for seed in range(2)]
    state = adapted(init_params(TINY, jax.random.key(7)))
    for batch in batches:
        state, _ = jax.jit(step)(state, batch)
    with jax.set_mesh(mesh):
        spread = start_state(adapted, shard_tree(init_params(TINY, jax.random.key(7)), mesh), mesh)
        compiled = compile_step(step, spread, mesh)
        for batch in batches:
            spread, _ = compiled(spread, make_global_array(batch, batch_sharding(mesh)))
            jax.block_until_ready(spread)
    places = spread.trainable["layers"]["q_lora_b"].sharding.spec
    assert places[2] == "tensor"
    assert_trees_close(jax.device_get(spread.trainable), state.trainable, rtol=2e-3)


Q = {"lora__rank": 2, "lora__targets": "q_proj"}


def saved_run(config: SftConfig) -> TrainState:
    """A run that ends as it begins; its state."""
    run = Run(config, make_mesh(config.mesh))
    model, _ = run.open_model()
    adapter = partial(adapt, config=model, lora=config.adapter) if config.adapter else None
    state, _ = run.begin(partial(init_state, optimizer=optax.sgd(0.1), seed=0, adapt=adapter))
    with run.prepare(1):
        run.save(1, state, {})
    return state


@pytest.mark.slow
def test_other_weights_below_are_told(sft_config: Callable[..., SftConfig], model_dir: Path, tmp_path: Path) -> None:
    """The base may have changed since, as a run does that goes on; where it lies, and in which dtype, is no matter."""
    base = tmp_path / "base"
    shutil.copytree(model_dir, base)
    config = sft_config(model__path=base, model__frozen_dtype="bfloat16", lora__quantize="int8", **Q)
    saved_run(config)
    model = open_model(base)
    save_model(tmp_path / "moved", model.config, model.params, base)
    other = {**model.params, "norm": model.params["norm"].at[-1].add(0.1)}
    open_model(config.run_dir, param_dtype="bfloat16")
    open_adapter(config.run_dir)
    export_hf(other, model.config, model_dir, base)
    for reads in (partial(open_model, param_dtype="bfloat16"), open_adapter):
        with pytest.raises(CheckpointError, match=f"trained on other weights than {base} holds.*--base"):
            reads(config.run_dir)
        reads(config.run_dir, verify=False)
    open_model(config.run_dir, param_dtype=None, base=tmp_path / "moved")
    open_adapter(config.run_dir, tmp_path / "moved")


@pytest.mark.slow
def test_adapters_cannot_count_otherwise_from_here_on(sft_config: Callable[..., SftConfig]) -> None:
    saved_run(sft_config(**Q))
    config = sft_config(lora__rslora=True, **Q)
    with pytest.raises(ResumeError, match=r"trained with another lora\.rslora"):
        saved_run(config)
    assert not read_adapter_config(config.run_dir / "model").lora.rslora
    saved_run(sft_config(log_every=3, **Q))


@pytest.mark.slow
def test_nothing_of_a_run_of_adapters_stays_that_saved_nothing(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config(**Q)
    saved_run(config)
    shutil.rmtree(config.run_dir / "checkpoints")
    state = saved_run(sft_config())
    jax.tree.map(np.testing.assert_array_equal, open_model(config.run_dir).params, state.params)


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_what_is_trained_whole_is_kept_beside_the_adapters(
    sft_config: Callable[..., SftConfig], model_dir: Path, tmp_path: Path
) -> None:
    config = sft_config(
        lora__modules_to_save="[lm_head, norm]", lora__quantize="int8", steps=2, data__batch_size=8, **Q
    )
    run_sft(config)
    assert {*saved(config.run_dir, 2)["trainable"]} == {"layers", "lm_head", "norm"}
    assert read_adapter_config(config.run_dir / "model").lora.modules_to_save == ("norm", "lm_head")
    before, after = (flatten_dict(open_model(path).params, sep=".") for path in (model_dir, config.run_dir))
    changed = {name for name, leaf in after.items() if not np.array_equal(leaf, before[name])}
    assert changed == {"lm_head", "norm", "layers.q"}
    one_at_a_time = flatten_dict(stored_model(config.run_dir, param_dtype="float32").params, sep=".")
    for name, leaf in after.items():
        np.testing.assert_array_equal(np.asarray(one_at_a_time[name]), leaf, err_msg=name)
    export_adapter(open_adapter(config.run_dir), tmp_path / "peft")
    jax.tree.map(np.testing.assert_array_equal, open_model(tmp_path / "peft").params, open_model(config.run_dir).params)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, model_dir: Path, make_sft_config: Callable[..., SftConfig]
) -> tuple[SftConfig, dict[str, Any]]:
    config = make_sft_config(
        run_dir=tmp_path_factory.mktemp("lora") / "run",
        data__batch_size=8,
        lora__rank=4,
        lora__quantize="nf4",
        lora__targets="[q_proj, v_proj, down_proj]",
        optimizer__learning_rate=3e-2,
        optimizer__schedule="constant",
        steps=12,
        checkpoint__every=6,
        log_every=12,
    )
    with few_devices(2):
        return config, run_sft(config)


def saved(run_dir: Path, step: int) -> Any:
    return ocp.StandardCheckpointer().restore((run_dir / "checkpoints" / str(step) / "state").resolve())


def bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_adapters_learn_and_are_all_that_is_kept(trained: tuple[SftConfig, dict[str, Any]], model_dir: Path) -> None:
    config, result = trained
    state = saved(config.run_dir, 12)
    assert {*state["trainable"]} == {"layers"}
    assert {name.rsplit("_", 2)[0] for name in state["trainable"]["layers"]} == {"q", "v", "down"}
    assert not state["frozen"]
    before, after = open_model(model_dir).params, open_model(config.run_dir).params
    assert before.keys() == after.keys()
    changed = {name for name, leaf in after["layers"].items() if not np.array_equal(leaf, before["layers"][name])}
    assert changed == {"q", "v", "down"}
    first = run_sft(config.model_copy(update={"run_dir": config.run_dir.parent / "first", "steps": 1}))
    assert result["loss"] < 0.8 * first["loss"]


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_a_run_goes_on_to_the_bit(trained: tuple[SftConfig, dict[str, Any]], tmp_path: Path) -> None:
    config, _ = trained
    run_dir = tmp_path / "run"
    shutil.copytree(config.run_dir, run_dir)
    shutil.rmtree(run_dir / "checkpoints" / "12")
    again = config.model_copy(update={"run_dir": run_dir})
    gone = config.model.model_copy(update={"path": tmp_path / "gone"})
    with pytest.raises(ResumeError, match=r"needed again \(base of the adapters\).*gone: no model"):
        run_sft(again.model_copy(update={"model": gone}))
    run_sft(again)
    jax.tree.map(np.testing.assert_array_equal, saved(run_dir, 12), saved(config.run_dir, 12))


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_another_rank_cannot_continue(trained: tuple[SftConfig, dict[str, Any]], tmp_path: Path) -> None:
    config, _ = trained
    for lora in (LoraConfig(rank=2), LoraConfig()):
        with pytest.raises(UserError, match="cannot be continued with this configuration"):
            run_sft(config.model_copy(update={"lora": lora, "steps": 13}))


@pytest.mark.slow
def test_export_merged_and_by_itself(trained: tuple[SftConfig, dict[str, Any]], tmp_path: Path) -> None:
    config, _ = trained
    call = partial(CliRunner().invoke, main, catch_exceptions=False)
    assert call(["export", "--from", str(config.run_dir), "--to", str(tmp_path / "hf")]).exit_code == 0
    merged = open_model(config.run_dir).params
    jax.tree.map(np.testing.assert_array_equal, open_model(tmp_path / "hf").params, merged)
    assert call(["export", "--from", str(config.run_dir), "--to", str(tmp_path / "peft"), "--adapter"]).exit_code == 0
    assert {file.name for file in (tmp_path / "peft").iterdir()} > {"adapter_config.json", "tokenizer.json"}
    jax.tree.map(np.testing.assert_array_equal, open_model(tmp_path / "peft").params, merged)
    assert open_adapter(tmp_path / "peft").base == config.model.path.resolve()
    told = call(["export", "--from", str(tmp_path / "hf"), "--to", str(tmp_path / "no"), "--adapter"])
    assert told.exit_code == 2
    assert "is no adapter, but a whole model" in told.output


def test_dropout_is_of_the_step_and_not_of_how_it_is_computed() -> None:
    """Micro-batches change nothing, another step or seed does, and without a step nothing is dropped."""
    lora = LORA.model_copy(update={"dropout": 0.5})
    graphdef, batch = make_graphdef(TINY, lora, dtype="float32"), random_batch(0, 4, 24)
    state = adapted(init_params(TINY, jax.random.key(7)))
    noisy = jax.tree.map(lambda leaf: leaf + 0.02, state.trainable)  # B is 0 at first, and what A reads no matter
    state = replace(state, trainable=noisy)

    @partial(jax.jit, static_argnums=1)
    def gradient(state: TrainState, accumulate: int) -> tuple[Params, Any]:
        return accumulated_gradient(graphdef, weighted_cross_entropy, state, batch, accumulate)

    whole, loss = gradient(state, 1)
    assert_trees_close(gradient(state, 2), (whole, loss), rtol=1e-5)
    others = [replace(state, step=state.step + 1), replace(state, key=state.key + 1)]
    totals = [float(loss.total), *(float(gradient(other, 1)[1].total) for other in others)]
    evaluated = make_eval_step(graphdef, weighted_cross_entropy)(state.params, batch)
    plain = make_eval_step(make_graphdef(TINY, LORA, dtype="float32"), weighted_cross_entropy)(state.params, batch)
    assert float(evaluated.total) == float(plain.total)
    assert len({*totals, float(plain.total)}) == 4


def test_dropout_keeps_the_mean_and_drops_what_it_says() -> None:
    keys = jax.random.split(jax.random.key(3), 64)
    x = jnp.ones((64, 16, 32))
    out = dropped(x, keys, "q", 0.25)
    assert set(np.unique(out)) == {0.0, np.float32(1 / 0.75)}
    assert float((out == 0).mean()) == pytest.approx(0.25, abs=0.01)
    assert not bool((out == dropped(x, keys, "k", 0.25)).all())
    assert bool((dropped(x[:8], keys[:8], "q", 0.25) == out[:8]).all())
