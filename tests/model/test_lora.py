"""Adapters: what they add, what they learn, and that PEFT understands them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.model.tiny import forward, hf_logits, hf_model, unpacked
from tests.training.helpers import TINY, assert_trees_close
from tl_jax.addresses import place_of
from tl_jax.config import ConfigError, LoraConfig, MeshConfig
from tl_jax.model.directory import CheckpointError
from tl_jax.model.hf.peft import CONFIG_FILE, WEIGHTS_FILE, LoadedAdapter, export_adapter
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.model.lora import abstract_adapters, adapt, adaptable, init_adapters, lora_parameters, merge_adapters
from tl_jax.model.parameters import Params, assemble
from tl_jax.model.sharding import make_mesh, shard_tree
from tl_jax.model.store import open_adapter, open_model

ALL = LoraConfig(rank=3, alpha=6)
QV = LoraConfig(rank=4, alpha=8, targets=("q_proj", "v_proj"), rslora=True)
WHOLE = LoraConfig(
    rank=2, alpha=2, targets="v_proj", modules_to_save=("lm_head", "embed_tokens", "norm", "input_layernorm")
)
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
TOKENS = np.random.default_rng(0).integers(3, 96, (2, 24)).astype(np.int32)


def random_adapters(lora: LoraConfig, config: Any = TINY, params: Params | None = None) -> Params:
    """Adapters as after some training: B is not 0; and what is trained whole, of ``params`` or of a random model."""
    adapters, _ = adapt(params or init_params(config, jax.random.key(0)), jax.random.key(1), config, lora)
    noise = iter(jax.random.split(jax.random.key(2), 99))
    return jax.tree.map(lambda x: x + 0.2 * jax.random.normal(next(noise), x.shape), adapters)


def beside(adapters: Params, params: Params, lora: LoraConfig, config: Any = TINY) -> Params:
    """All that the adapted model is computed from."""
    return assemble(adapters, adapt(params, jax.random.key(1), config, lora)[1])


def logits(params: Params, lora: LoraConfig | None = None, config: Any = TINY) -> np.ndarray:
    return np.asarray(forward(make_graphdef(config, lora, dtype=jnp.float32), params, *unpacked(TOKENS)))


def test_targets_by_name_or_all() -> None:
    everything = {record.path for record in lora_parameters(TINY, ALL)}
    assert everything == {f"layers.{name}_lora_{ab}" for name in MATRICES for ab in "ab"}
    assert [matrix.module for matrix in adaptable(TINY)][:2] == ["q_proj", "k_proj"]
    assert [record.path for record in lora_parameters(TINY, QV)] == [
        "layers.q_lora_a",
        "layers.q_lora_b",
        "layers.v_lora_a",
        "layers.v_lora_b",
    ]
    assert LoraConfig(rank=1, targets="q_proj").targets == ("q_proj",)
    with pytest.raises(ConfigError, match=r"lora\.targets: unknown 'q_prj'; did you mean 'q_proj'"):
        lora_parameters(TINY, LoraConfig(rank=1, targets=("q_prj",)))


def test_fresh_adapters_change_nothing() -> None:
    params = init_params(TINY, jax.random.key(0))
    adapters = init_adapters(TINY, ALL, jax.random.key(1))
    np.testing.assert_array_equal(logits(assemble(adapters, params), ALL), logits(params))
    for name, leaf in flatten_dict(adapters, sep=".").items():
        inputs = np.prod(leaf.shape[1:-1])
        assert leaf.dtype == jnp.float32
        assert name.endswith("_b") or 0.9 < np.abs(leaf).max() * np.sqrt(inputs) <= 1
    again = init_adapters(TINY, LoraConfig(rank=3, targets=("o_proj",)), jax.random.key(1))
    np.testing.assert_array_equal(again["layers"]["o_lora_a"], adapters["layers"]["o_lora_a"])


def test_what_is_trained_whole_has_the_gradient_of_full_training() -> None:
    """Gradients of the head, the embedding and norms are those of the model without adapters, which add nothing yet."""
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), init_params(TINY, jax.random.key(0)))
    trained, kept = adapt(params, jax.random.key(1), TINY, WHOLE)
    assert {leaf.dtype for leaf in jax.tree.leaves(trained)} == {np.dtype(np.float32)}
    names = {"embed.embedding", "lm_head", "norm", "layers.attn_norm"}
    assert {*flatten_dict(trained, sep=".")} - names == {"layers.v_lora_a", "layers.v_lora_b"}
    assert {*flatten_dict(kept, sep=".")} == {*flatten_dict(params, sep=".")} - names

    def loss(params: Params, lora: LoraConfig | None = None) -> jax.Array:
        out = forward(make_graphdef(TINY, lora, dtype=jnp.float32, remat="none"), params, *unpacked(TOKENS))
        return jnp.mean(jax.nn.log_softmax(out)[..., 7] ** 2)

    got = flatten_dict(jax.grad(lambda tree: loss(assemble(tree, kept), WHOLE))(trained), sep=".")
    wanted = flatten_dict(jax.grad(loss)(jax.tree.map(lambda x: x.astype(jnp.float32), params)), sep=".")
    for name in names:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-4, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("modules", "tied", "message"),
    [
        ("lm_hed", False, r"lora\.modules_to_save: unknown 'lm_hed'; did you mean 'lm_head'"),
        ("q_proj", False, r"lora\.modules_to_save: unknown 'q_proj'"),
        ("lm_head", True, r"lora\.modules_to_save: unknown 'lm_head'"),
        ("embed_tokens", True, r"embed_tokens is this model's head, too \(tie_word_embeddings\)"),
    ],
)
def test_what_cannot_be_trained_whole_is_refused(modules: str, tied: bool, message: str) -> None:
    config = replace(TINY, tie_word_embeddings=tied)
    with pytest.raises(ConfigError, match=message):
        abstract_adapters(config, LoraConfig(rank=2, modules_to_save=modules))


@pytest.mark.parametrize("lora", [ALL, QV, WHOLE])
def test_merged_is_the_same_model(lora: LoraConfig) -> None:
    params, adapters = init_params(TINY, jax.random.key(0)), random_adapters(lora)
    together = logits(beside(adapters, params, lora), lora)
    assert np.abs(together - logits(params)).max() > 0.1
    merged = merge_adapters(shard_tree(params, make_mesh(MeshConfig(fsdp=4, tensor=2))), adapters, lora.scale)
    np.testing.assert_allclose(logits(jax.device_get(merged)), together, atol=2e-4)


@pytest.mark.parametrize("module", ["q_proj", "o_proj"])
@pytest.mark.parametrize("full_rank", [False, True])
def test_gradients_are_those_of_the_whole_matrix_by_the_chain_rule(module: str, full_rank: bool) -> None:
    """At W + s A B: dA = s dW B^T and dB = s A^T dW; with A = 1 and s = 1 B learns just as the matrix would."""
    config = replace(TINY, num_layers=1)
    name = next(matrix.path.split(".")[1] for matrix in adaptable(config) if matrix.module == module)
    params = init_params(config, jax.random.key(0))
    inputs = 32 if name == "q" else 64
    rank = inputs if full_rank else 5
    lora = LoraConfig(rank=rank, alpha=rank if full_rank else 10, targets=(module,))
    adapters = random_adapters(lora, config)
    if full_rank:
        shape = adapters["layers"][f"{name}_lora_a"].shape
        adapters["layers"][f"{name}_lora_a"] = jnp.eye(rank).reshape(shape)

    def loss(params: Params, lora: LoraConfig | None) -> jax.Array:
        out = forward(make_graphdef(config, lora, dtype=jnp.float32, remat="none"), params, *unpacked(TOKENS))
        return jnp.mean(jax.nn.log_softmax(out)[..., 7] ** 2)

    got = jax.grad(lambda tree: loss(assemble(tree, params), lora))(adapters)["layers"]
    whole = merge_adapters(init_params(config, jax.random.key(0)), adapters, lora.scale)
    d_w = np.asarray(jax.grad(loss)(whole, None)["layers"][name], np.float64).reshape(inputs, -1)
    a, b = (np.asarray(adapters["layers"][f"{name}_lora_{ab}"], np.float64) for ab in "ab")
    wanted = {
        f"{name}_lora_a": (lora.scale * d_w @ b.reshape(rank, -1).T).reshape(a.shape),
        f"{name}_lora_b": (lora.scale * a.reshape(inputs, -1).T @ d_w).reshape(b.shape),
    }
    assert_trees_close(got, wanted, rtol=2e-4)
    if full_rank:
        assert_trees_close(got[f"{name}_lora_b"].reshape(d_w.shape), d_w, rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "lora"), [("qwen2", ALL), ("qwen3-tied", QV), ("llama", WHOLE)])
def test_peft_computes_the_same(variant: str, lora: LoraConfig, tmp_path: Path) -> None:
    """Ours to PEFT, and PEFT's own back to us."""
    peft = pytest.importorskip("peft")
    theirs = hf_model(variant)
    theirs.save_pretrained(tmp_path / "base")
    base = open_model(tmp_path / "base")
    adapters = random_adapters(lora, base.config, base.params)
    adapter = LoadedAdapter(lora, adapters, base.config, tmp_path / "base", tmp_path / "base")
    export_adapter(adapter, tmp_path / "ours")
    expected = logits(beside(adapters, base.params, lora, base.config), lora, base.config)
    with_ours = peft.PeftModel.from_pretrained(hf_model(variant), tmp_path / "ours").eval()
    np.testing.assert_allclose(hf_logits(with_ours, TOKENS), expected, atol=1e-4)
    with_ours.save_pretrained(tmp_path / "theirs")
    settings = json.loads((tmp_path / "theirs" / CONFIG_FILE).read_text())
    settings["base_model_name_or_path"] = str(tmp_path / "base")
    (tmp_path / "theirs" / CONFIG_FILE).write_text(json.dumps(settings))
    opened = open_model(tmp_path / "theirs")
    np.testing.assert_allclose(logits(opened.params, config=opened.config), expected, atol=2e-4)
    again = open_adapter(tmp_path / "theirs")
    said = {"targets": again.lora.targets, "modules_to_save": again.lora.modules_to_save}
    assert again.lora == LoraConfig(**{**lora.model_dump(), **said})
    assert {*again.lora.modules_to_save} == {*lora.modules_to_save}
    jax.tree.map(np.testing.assert_array_equal, again.params, adapters)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, Params]:
    """A PEFT directory beside the model that it adapts; and its adapters."""
    model = hf_model("llama")
    model.save_pretrained(tmp_path / "base")
    base = open_model(tmp_path / "base")
    adapters = random_adapters(QV, base.config)
    export_adapter(LoadedAdapter(QV, adapters, base.config, tmp_path / "base", tmp_path / "base"), tmp_path / "peft")
    return tmp_path / "peft", adapters


def test_an_adapter_opens_as_the_merged_model(stored: tuple[Path, Params], tmp_path: Path) -> None:
    path, adapters = stored
    base, merged = open_model(tmp_path / "base"), open_model(path)
    assert merged.config == base.config
    assert merged.params.keys() == base.params.keys()
    unchanged = {"k", "o", "gate", "up", "down", "attn_norm", "mlp_norm"}
    for name, leaf in base.params["layers"].items():
        assert np.array_equal(leaf, merged.params["layers"][name]) == (name in unchanged)
    expected = merge_adapters(base.params, adapters, QV.scale)
    jax.tree.map(np.testing.assert_array_equal, merged.params, expected)
    export_adapter(open_adapter(path), tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS_FILE).read_bytes() == (path / WEIGHTS_FILE).read_bytes()
    assert sorted(open_adapter(path).lora.targets) == ["q_proj", "v_proj"]
    export_adapter(replace(open_adapter(path), base=place_of("gs://b-1/base", "models")), tmp_path / "there")
    assert json.loads((tmp_path / "there" / CONFIG_FILE).read_text())["base_model_name_or_path"] == "gs://b-1/base"


def test_an_adapter_on_an_adapter(stored: tuple[Path, Params], tmp_path: Path) -> None:
    path, adapters = stored
    once = open_model(path)
    upper = LoadedAdapter(QV, adapters, once.config, path, path)
    export_adapter(upper, tmp_path / "upper")
    twice = open_model(tmp_path / "upper").params
    jax.tree.map(np.testing.assert_array_equal, twice, merge_adapters(once.params, adapters, QV.scale))


def changed(path: Path, **fields: Any) -> None:
    file = path / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_dora": True}, "field 'use_dora' is True, which is not supported"),
        ({"bias": "all"}, "field 'bias' is 'all', which is not supported"),
        ({"peft_type": "IA3"}, "field 'peft_type' is 'IA3', which is not supported"),
        ({"init_lora_weights": "pissa"}, "field 'init_lora_weights' is 'pissa', which is not supported"),
        ({"rank_pattern": {"q_proj": 2}}, "field 'rank_pattern' is .*, which is not supported"),
        ({"r": "many"}, "field 'r': .*valid integer"),
        ({"r": None}, "field 'r' is missing"),
        ({"r": 5}, r"tensor base_model.*lora_A.weight has shape \[4, 32\], .* makes it \[5, 32\]"),
        ({"lora_alpha": 0}, "field 'lora_alpha': .*greater than 0"),
        ({"base_model_name_or_path": "org/name"}, "'org/name' is no directory here.*--base DIR"),
        ({"base_model_name_or_path": None}, "field 'base_model_name_or_path' must name a model"),
        ({"base_model_name_or_path": ".."}, "no model found"),
        ({"base_model_name_or_path": "a" * 5000}, "is no directory here.*--base DIR"),
    ],
)
def test_what_is_not_computed_is_refused(stored: tuple[Path, Params], fields: dict[str, Any], message: str) -> None:
    changed(stored[0], **fields)
    with pytest.raises(CheckpointError, match=message):
        open_model(stored[0])


def test_the_base_may_be_named(stored: tuple[Path, Params], tmp_path: Path) -> None:
    path, _ = stored
    before = open_model(path).params
    changed(path, base_model_name_or_path="somewhere/else", lora_dropout=0.1, megatron_config=None)
    jax.tree.map(np.testing.assert_array_equal, open_model(path, base=tmp_path / "base").params, before)
    with pytest.raises(CheckpointError, match="is no adapter, so it has no model below it"):
        open_model(tmp_path / "base", base=tmp_path / "base")
    changed(path, base_model_name_or_path=str(path))
    with pytest.raises(CheckpointError, match="leads back to the adapter itself"):
        open_model(path)


def test_the_base_of_an_adapter_on_an_adapter_may_be_named(stored: tuple[Path, Params], tmp_path: Path) -> None:
    """A whole model takes the place of the whole one at the bottom, an adapter that of the adapter below."""
    path, adapters = stored
    export_adapter(LoadedAdapter(QV, adapters, open_model(path).config, path, tmp_path / "base"), tmp_path / "upper")
    twice = open_model(tmp_path / "upper").params
    (tmp_path / "base").rename(tmp_path / "moved")
    jax.tree.map(np.testing.assert_array_equal, open_model(tmp_path / "upper", base=tmp_path / "moved").params, twice)
    path.rename(tmp_path / "middle")
    changed(tmp_path / "middle", base_model_name_or_path=str(tmp_path / "moved"))
    jax.tree.map(np.testing.assert_array_equal, open_model(tmp_path / "upper", base=tmp_path / "middle").params, twice)


def test_what_only_looks_like_a_run_is_none(stored: tuple[Path, Params], tmp_path: Path) -> None:
    stored[0].rename(tmp_path / "model")
    with pytest.raises(CheckpointError, match=f"no model found.*did you mean {tmp_path / 'base'}"):
        open_model(tmp_path)


def test_an_adapter_that_is_no_number_is_not_handed_on(stored: tuple[Path, Params], tmp_path: Path) -> None:
    _, adapters = stored
    adapters["layers"]["v_lora_b"] = adapters["layers"]["v_lora_b"].at[1].set(jnp.nan)
    base = open_model(tmp_path / "base").config
    export_adapter(LoadedAdapter(QV, adapters, base, tmp_path / "base", tmp_path / "base"), tmp_path / "bad")
    with pytest.raises(CheckpointError, match=r"layers\.1\.self_attn\.v_proj\.lora_B\.weight holds NaN"):
        open_adapter(tmp_path / "bad")
    assert open_adapter(tmp_path / "bad", verify=False).lora == QV
