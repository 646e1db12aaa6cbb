"""A family from outside the package is one record, which is enough to read, compute, shard, export and document it."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from tests.model.tiny import SIZES, forward, hf_logits, unpacked
from tl_jax.config import MeshConfig
from tl_jax.model.config import ModelConfigError
from tl_jax.model.directory import CheckpointError
from tl_jax.model.families import FAMILIES, Family, map_parameters, parameter_of
from tl_jax.model.hf import export_hf, load_hf
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import bias, norm
from tl_jax.model.sharding import batch_sharding, make_mesh, shard_tree
from tl_jax.training.optimizers import decays

ATTENTION = "model.layers.{}.self_attn"
HEADS, KV_HEADS = ("layers", "heads", "head_dim"), ("layers", "kv_heads", "head_dim")

BIASED = Family(
    name="biased",
    hf_class="BiasedForCausalLM",
    parameters=(
        bias("layers.q_bias", HEADS, f"{ATTENTION}.q_proj.bias", ("heads*head_dim",)),
        bias("layers.k_bias", KV_HEADS, f"{ATTENTION}.k_proj.bias", ("kv_heads*head_dim",)),
        bias("layers.v_bias", KV_HEADS, f"{ATTENTION}.v_proj.bias", ("kv_heads*head_dim",)),
        bias("layers.o_bias", ("layers", "embed"), f"{ATTENTION}.o_proj.bias"),
    ),
    computed={"attention_bias": (True,)},
    written={"attention_bias": True},
)
"""transformers' Llama with ``attention_bias``."""

NORM_OVER_HEADS = Family(
    name="norm-over-heads",
    hf_class="NormOverHeadsForCausalLM",
    parameters=(
        norm("layers.q_norm", HEADS, f"{ATTENTION}.q_norm.weight"),
        norm("layers.k_norm", KV_HEADS, f"{ATTENTION}.k_norm.weight"),
    ),
)
"""Qwen3 with one norm over all heads, under the paths of Qwen3's."""


class NormOverHeads(nn.Module):
    """Of [B, T, heads, head_dim], over the last two axes."""

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, head_dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean((-2, -1), keepdim=True) + 1e-6) * self.weight


def biased_llama() -> transformers.PreTrainedModel:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, num_key_value_heads=2, attention_bias=True))


def qwen3_with_other_norms() -> transformers.PreTrainedModel:
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8))
    for layer in model.model.layers:
        layer.self_attn.q_norm, layer.self_attn.k_norm = NormOverHeads(4, 8), NormOverHeads(2, 8)
    return model


@pytest.mark.parametrize(
    ("family", "make"), [(BIASED, biased_llama), (NORM_OVER_HEADS, qwen3_with_other_norms)], ids=lambda x: str(x)[:20]
)
def test_a_family_from_outside_is_one_record(
    family: Family, make: type[transformers.PreTrainedModel], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.2)
    model.save_pretrained(tmp_path / "hf")
    file = tmp_path / "hf" / "config.json"
    content = json.loads(file.read_text()) | {"architectures": [family.hf_class], "model_type": family.name}
    file.write_text(json.dumps(content))
    tokens = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, 24)).astype(np.int32)

    with pytest.raises(CheckpointError, match=family.hf_class):
        load_hf(tmp_path / "hf")
    with FAMILIES.added(family):
        config, params = load_hf(tmp_path / "hf")
        assert config.architecture == family.name
        graphdef = make_graphdef(config, dtype=jnp.float32)
        ours = forward(graphdef, params, *unpacked(tokens))
        np.testing.assert_allclose(ours, hf_logits(model, tokens), atol=1e-4, rtol=0)

        mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
        with jax.set_mesh(mesh):
            rows = jax.device_put(unpacked(np.tile(tokens, (2, 1))), batch_sharding(mesh))
            sharded = forward(graphdef, shard_tree(params, mesh), *rows)
        np.testing.assert_allclose(np.asarray(sharded)[:2], ours, atol=1e-4)

        assert not any(decays(params)["layers"][p.path.removeprefix("layers.")] for p in family.parameters)
        export_hf(params, config, tmp_path / "hf", tmp_path / "out")
        stored, exported = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "out"))
        assert stored.keys() == exported.keys()
        assert all(torch.equal(tensor, exported[name]) for name, tensor in stored.items())
        assert load_hf(tmp_path / "out")[0] == config
        assert f"| `{family.name}` | `{family.hf_class}` |" in FAMILIES.table()
    with pytest.raises(ModelConfigError, match=family.name):
        type(config).from_hf(content | {"architectures": None})


def test_a_leaf_is_known_by_the_end_of_its_path() -> None:
    tree = {"mu": {"backbone": {"layers": {"q": 0, "q_norm": 0}, "norm": 0}, "value_head": 0}}
    names = map_parameters(lambda parameter, _: parameter.path, tree)["mu"]
    assert names == {
        "backbone": {"layers": {"q": "layers.q", "q_norm": "layers.q_norm"}, "norm": "norm"},
        "value_head": "value_head",
    }
    with pytest.raises(LookupError, match=r"parameter layers\.adapter is in no record"):
        parameter_of((jax.tree_util.DictKey("layers"), jax.tree_util.DictKey("adapter")))
