"""The optimizers by name: their update rules, what they keep, where it lies, and what they are told."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.thoroughness import first_then_slow
from tests.training.helpers import TINY, assert_same_avals, assert_trees_close
from tl_jax.config import ConfigError, LoraConfig, MeshConfig, OptimizerConfig, RlConfig, SftConfig, load_config
from tl_jax.config.optimizers import OPTIMIZERS, Optimizer
from tl_jax.errors import UserError
from tl_jax.model.llama import abstract_params, init_params
from tl_jax.model.lora import abstract_adapters
from tl_jax.model.parameters import assemble
from tl_jax.model.sharding import make_mesh, param_shardings
from tl_jax.training.checkpoint import Checkpoints, Record
from tl_jax.training.compile import abstract_state, start_state
from tl_jax.training.optimizer import check_optimizer, make_optimizer
from tl_jax.training.optimizers import decays
from tl_jax.training.state import TrainState, fold_key, init_state
from tl_jax.training.stochastic_rounding import apply_updates

MOST = {"adafactor": {"momentum": 0.9, "by_parameter_scale": True}}
"""Options with which an optimizer keeps most."""
PATHS = ["run_dir=r", "model.path=m", "data.path=d"]


def named(name: str, **settings: Any) -> OptimizerConfig:
    return OptimizerConfig(name={"name": name, "options": MOST.get(name, {})}, schedule="constant", **settings)


def learnt(state: TrainState, gradient: Any, config: OptimizerConfig) -> tuple[TrainState, None]:
    """A step whose gradient is given."""
    updates, opt_state = make_optimizer(config, 9)[0].update(gradient, state.opt_state, state.trainable)
    trainable = apply_updates(state.trainable, updates, fold_key(state))
    return replace(state, step=state.step + 1, trainable=trainable, opt_state=opt_state), None


def fresh(params: Any, config: OptimizerConfig) -> TrainState:
    return init_state(params, make_optimizer(config, 9)[0], seed=4)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mu_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_an_update_gives_back_what_it_takes(name: str, param_dtype: Any, mu_dtype: Any, schedule: Any) -> None:
    config = named(name, mu_dtype=mu_dtype, weight_decay=0.1).model_copy(update={"schedule": schedule})
    params = assemble(
        abstract_params(TINY, param_dtype),
        abstract_adapters(TINY, LoraConfig(rank=2, targets=("q_proj",)), param_dtype),
    )
    state = jax.eval_shape(partial(fresh, config=config), params)
    gradient = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), params)
    assert_same_avals(partial(learnt, config=config), state, gradient)
    found = {leaf.dtype.name for leaf in jax.tree.leaves(state.opt_state)}
    assert found == {"int32", "float32", mu_dtype}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.trainable)} == {param_dtype}


def random_like(tree: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: np.float32(rng.normal(size=x.shape)), tree)


def test_updates_follow_adafactor() -> None:
    """A matrix of each layer and a vector, in float64 by algorithm 4 of the paper; q's inputs are its embed axis."""
    config = OptimizerConfig(name="adafactor", learning_rate=0.1, schedule="constant", weight_decay=0.3, clip_norm=None)
    shapes = {"layers": {"q": np.zeros((2, 6, 3, 4))}, "norm": np.zeros(6)}
    params = random_like(shapes, 0)
    state = fresh(jax.tree.map(jnp.asarray, params), config)
    kept = jax.tree.map(np.shape, (state.opt_state[0].outputs, state.opt_state[0].inputs))
    assert kept == ({"layers": {"q": (2, 1, 3, 4)}, "norm": (6,)}, {"layers": {"q": (2, 6, 1, 1)}, "norm": (1,)})
    matrices, norm = np.float64(params["layers"]["q"]).reshape(2, 6, 12), np.float64(params["norm"])
    rows, columns, square = np.zeros((2, 6)), np.zeros((2, 12)), np.zeros(6)
    for n in range(1, 4):
        gradient = random_like(shapes, n)
        state, _ = learnt(state, gradient, config)
        keep = 1 - n**-0.8
        for layer in range(2):
            g = np.float64(gradient["layers"]["q"][layer]).reshape(6, 12)
            rows[layer] = keep * rows[layer] + (1 - keep) * (g * g + 1e-30).mean(axis=1)
            columns[layer] = keep * columns[layer] + (1 - keep) * (g * g + 1e-30).mean(axis=0)
            step = g / np.sqrt(np.outer(rows[layer], columns[layer]) / rows[layer].mean())
            step /= max(1.0, np.sqrt((step**2).mean()))
            matrices[layer] -= 0.1 * (step + 0.3 * matrices[layer])
        g = np.float64(gradient["norm"])
        square = keep * square + (1 - keep) * g * g
        step = g / np.sqrt(square)
        norm -= 0.1 * step / max(1.0, np.sqrt((step**2).mean()))
    np.testing.assert_allclose(state.trainable["layers"]["q"].reshape(2, 6, 12), matrices, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.trainable["norm"], norm, rtol=1e-4, atol=1e-6)


def test_adafactors_options() -> None:
    """At twice the parameters, twice the step; with momentum m, the first is 1 - m of it; a limit is a limit."""
    params = {"lm_head": jnp.asarray(random_like(np.zeros((4, 8)), 0))}
    gradient = {"lm_head": jnp.asarray(random_like(np.zeros((4, 8)), 1))}

    def step(params: Any, **options: Any) -> np.ndarray:
        config = OptimizerConfig(name={"name": "adafactor", "options": options}, learning_rate=1.0, clip_norm=None)
        updates, _ = (it := make_optimizer(config, 9)[0]).update(gradient, it.init(params), params)
        return np.asarray(updates["lm_head"])

    plain, doubled = step(params), jax.tree.map(lambda x: 2 * x, params)
    np.testing.assert_allclose(step(doubled), plain)
    scaled = step(params, by_parameter_scale=True)
    np.testing.assert_allclose(step(doubled, by_parameter_scale=True), 2 * scaled, rtol=1e-6)
    np.testing.assert_allclose(scaled, plain * np.sqrt((np.asarray(params["lm_head"]) ** 2).mean()), rtol=1e-5)
    np.testing.assert_allclose(step(params, momentum=0.75), 0.25 * plain, rtol=1e-6)
    assert np.sqrt((step(params, clip_rms=0.01) ** 2).mean()) == pytest.approx(0.01, rel=1e-5)


def orthogonalised(matrix: np.ndarray) -> np.ndarray:
    """Five Newton-Schulz iterations in float64, as the authors' page has them."""
    x = np.float64(matrix) / np.linalg.norm(matrix)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


def test_muon_makes_the_layers_matrices_orthogonal_and_leaves_the_rest_to_adamw() -> None:
    settings: dict[str, Any] = {"learning_rate": 1.0, "schedule": "constant", "clip_norm": None}
    params = init_params(TINY, jax.random.key(0))
    gradient = jax.tree.map(jnp.asarray, random_like(params, 1))

    def first_updates(name: str) -> Any:
        optimizer = make_optimizer(OptimizerConfig(name=name, **settings), 9)[0]
        return jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p)[0])(gradient, params)

    updates, of_adamw = first_updates("muon"), first_updates("adamw")
    inputs = {"q": 1, "k": 1, "v": 1, "o": 2, "gate": 1, "up": 1, "down": 1}  # axes of one layer that are read
    for name, leaf in updates["layers"].items():
        if name not in inputs:
            np.testing.assert_array_equal(leaf, of_adamw["layers"][name])
            continue
        for layer, slope in zip(np.asarray(leaf), np.asarray(gradient["layers"][name]), strict=True):
            read = int(np.prod(layer.shape[: inputs[name]]))
            matrix, slope = layer.reshape(read, -1), slope.reshape(read, -1)
            expected = orthogonalised(slope)
            np.testing.assert_allclose(-matrix, 0.2 * np.sqrt(max(matrix.shape)) * expected, rtol=1e-3, atol=1e-4)
            stretch = np.linalg.svd(expected, compute_uv=False)
            assert np.median(stretch) > 0.6  # five iterations do not converge further
            assert stretch.max() < 1.3
    for name in ("embed", "norm", "lm_head"):
        jax.tree.map(np.testing.assert_array_equal, updates[name], of_adamw[name])


@pytest.mark.parametrize("name", first_then_slow(["muon", "adafactor"]))
def test_a_state_on_eight_devices_learns_and_is_saved_as_on_one(name: str, tmp_path: Path) -> None:
    config = named(name, learning_rate=1e-2, weight_decay=0.1, mu_dtype="bfloat16")
    params = init_params(TINY, jax.random.key(0), "bfloat16")
    params = {"layers": {name: params["layers"][name] for name in ("q", "mlp_norm")}, "lm_head": params["lm_head"]}
    gradient = jax.tree.map(jnp.asarray, random_like(params, 1))
    init, step = partial(fresh, config=config), jax.jit(lambda s, g: learnt(s, g, config)[0])
    alone = step(step(init(params), gradient), gradient)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    with jax.set_mesh(mesh):
        state = start_state(init, jax.device_put(params, param_shardings(params, mesh)), mesh)
        gradient = jax.device_put(gradient, param_shardings(gradient, mesh))
        cut = {leaf.sharding.spec for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim}
        assert any("fsdp" in spec for spec in cut)
        state = jax.block_until_ready(step(state, gradient))
        saved = Checkpoints(tmp_path, keep=1)
        saved.save(1, state, Record(data={}, config={}, frozen=None))
        saved.wait()
        again = saved.restore(1, abstract_state(init, params, mesh)).state
        saved.close()
        ends = [jax.device_get(jax.block_until_ready(step(one, gradient))) for one in (state, again)]
    jax.tree.map(np.testing.assert_array_equal, *ends)  # to the last bit, rounding included
    exact = jax.tree.map(np.float32, (alone.trainable, ends[0].trainable))
    assert_trees_close(exact[1], exact[0], rtol=1e-2)


def test_norms_and_biases_do_not_decay() -> None:
    qwen = replace(TINY, architecture="qwen2")
    marked = decays(abstract_params(qwen, jnp.float32) | {"value_head": 0})
    matrices = {"q", "k", "v", "o", "gate", "up", "down"}
    assert {name for name, decayed in marked["layers"].items() if decayed} == matrices
    assert marked["layers"].keys() - matrices == {"attn_norm", "mlp_norm", "q_bias", "k_bias", "v_bias"}
    assert marked["embed"]["embedding"]
    assert marked["lm_head"]
    assert not marked["norm"]
    assert marked["value_head"]


def descent(schedule: optax.Schedule, config: OptimizerConfig, factor: float = 1.0) -> optax.GradientTransformation:
    """An optimizer of the test's own."""
    return optax.chain(optax.scale(factor), optax.scale_by_learning_rate(schedule))


def nothing(schedule: optax.Schedule, config: OptimizerConfig) -> None:
    """What somebody has forgotten to return."""


def test_an_optimizer_from_outside() -> None:
    path = f"{__name__}:descent"
    with OPTIMIZERS.added(Optimizer("descent", path, "the gradient", "nothing", "https://example.org")):
        for name in ("descent", path):
            config = OptimizerConfig(name={"name": name, "options": {"factor": 3}}, learning_rate=0.5, clip_norm=None)
            optimizer = make_optimizer(config, 9)[0]
            updates, _ = optimizer.update({"norm": jnp.ones(2)}, optimizer.init({"norm": jnp.ones(2)}))
            np.testing.assert_array_equal(updates["norm"], -1.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optimizer.name=muom"], "key 'optimizer.name': unknown 'muom'; did you mean 'muon'"),
        (["optimizer.name=adafactor", "optimizer.b1=0.5"], "optimizer: adafactor does not read b1; leave it out"),
        (["optimizer.mu_dtype=float16"], "key 'optimizer.mu_dtype'"),
    ],
)
def test_settings_that_cannot_be_meant(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(SftConfig, [], [*PATHS, *settings])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["name=muon", "name.options.bet=0.9"], "actor.name.options: muon has no option 'bet'; did you mean 'beta'"),
        (["name=muon", "name.options.ns_steps=few"], "actor.name.options.ns_steps: must be int, got 'few'"),
        (["name=muon", "name.options.ns_steps=0"], "actor.name: muon: ns_steps must be from 1 to 100, got 0"),
        (["name=adafactor", "name.options.momentum=1"], "momentum must be from 0 to below 1, or null, got 1.0"),
        (["name=no_such_module:f"], "actor.name: 'no_such_module:f': there is no module"),
        ([f"name={__name__}:nothing"], "nothing must return an optax.GradientTransformation, not NoneType"),
    ],
)
def test_options_that_cannot_be_meant(settings: list[str], message: str) -> None:
    config = load_config(RlConfig, [], [*PATHS, *(f"actor.{setting}" for setting in settings)])
    with pytest.raises(UserError) as error:
        check_optimizer(config.actor, "actor")
    assert message in str(error.value)
    check_optimizer(config.critic, "critic")
