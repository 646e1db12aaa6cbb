"""config.json in and out: what transformers writes is read, what we write transformers reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.model.tiny import LLAMA3, SIZES, VARIANTS
from tl_jax.model.config import LlamaConfig, ModelConfigError, RopeScaling
from tl_jax.model.families import FAMILIES

V4 = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **SIZES}  # transformers 4 has rope_theta on top

QWEN3 = {"architectures": ["Qwen3ForCausalLM"]}
MIXED = ["full_attention", "sliding_attention"]


def written(config: transformers.PreTrainedConfig, tmp_path: Path) -> dict[str, object]:
    config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]]
    config.save_pretrained(tmp_path)
    return json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize("variant", VARIANTS)
def test_transformers_reads_back_what_it_wrote_through_us(variant: str, tmp_path: Path) -> None:
    theirs = VARIANTS[variant]()
    ours = LlamaConfig.from_hf(written(theirs, tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(ours.to_hf()))
    again = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(again) is type(theirs)
    fields = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
    fields += ["num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings"]
    fields += ["bos_token_id", "eos_token_id", "pad_token_id", "rope_parameters", "hidden_act"]
    assert {f: getattr(again, f) for f in fields} == {f: getattr(theirs, f) for f in fields}
    assert LlamaConfig.from_hf(ours.to_hf()) == ours
    assert hash(ours) == hash(LlamaConfig.from_hf(ours.to_hf()))


def test_files_of_transformers_4() -> None:
    assert LlamaConfig.from_hf(V4).rope_theta == 1e6
    assert LlamaConfig.from_hf(V4).num_kv_heads == 4
    scaled = LlamaConfig.from_hf({**V4, "rope_scaling": LLAMA3})
    assert scaled.rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 16)
    assert scaled.rope_theta == 1e6
    old = LlamaConfig.from_hf({**V4, "rope_scaling": {"type": "linear", "factor": 2.0}})
    assert old.rope_scaling == RopeScaling("linear", 2.0)
    without = {key: value for key, value in V4.items() if key != "rope_theta"}
    assert LlamaConfig.from_hf(without).rope_theta == transformers.LlamaConfig().rope_parameters["rope_theta"]


def test_a_file_for_transformers_4_has_the_names_it_reads() -> None:
    written = LlamaConfig.from_hf({**V4, "rope_scaling": LLAMA3}).to_hf()
    assert written["rope_theta"] == 1e6
    assert written["rope_scaling"] == LLAMA3


def test_several_ends() -> None:
    config = LlamaConfig.from_hf({**V4, "eos_token_id": [2, 7]})
    assert config.eos_ids == (2, 7)
    assert config.to_hf()["eos_token_id"] == [2, 7]
    assert LlamaConfig.from_hf({**V4, "eos_token_id": 2}).eos_ids == (2,)
    assert LlamaConfig.from_hf(V4).eos_ids == ()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "architectures"),
        ({"architectures": None, "model_type": "gemma"}, "model_type"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling.rope_type"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}, "rope_parameters.rope_type"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling.factor"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 64}, "sliding_window"),
        ({"architectures": ["MistralForCausalLM"], "max_position_embeddings": 8192}, "sliding_window=4096"),
        ({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "sliding_window": 64}, "sliding_window"),
        ({**QWEN3, "use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}, "sliding_window=64"),
        ({**QWEN3, "use_sliding_window": True, "sliding_window": 64, "layer_types": MIXED}, "sliding_window=64"),
        ({**QWEN3, "attention_bias": True}, "attention_bias"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"vocab_size": None}, "vocab_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(changed: dict[str, object], named: str) -> None:
    with pytest.raises(ModelConfigError, match=named):
        LlamaConfig.from_hf({**V4, **changed})


@pytest.mark.parametrize(
    ("architecture", "windows"),
    [
        ("MistralForCausalLM", {"sliding_window": None}),
        ("MistralForCausalLM", {"sliding_window": 512}),
        ("Qwen2ForCausalLM", {"use_sliding_window": False, "sliding_window": 64}),
        ("Qwen3ForCausalLM", {"use_sliding_window": False, "sliding_window": 64}),
        ("Qwen3ForCausalLM", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 2}),
        ("Qwen3ForCausalLM", {"use_sliding_window": True, "sliding_window": 64, "layer_types": ["full_attention"] * 2}),
        ("LlamaForCausalLM", {"sliding_window": 64}),
    ],
)
def test_a_sliding_window_that_never_applies_is_fine(architecture: str, windows: dict[str, object]) -> None:
    config = LlamaConfig.from_hf({**V4, "architectures": [architecture], **windows})
    assert config.family.hf_class == architecture


def test_a_family_is_known_by_its_class_or_its_type() -> None:
    for family in FAMILIES.values():
        assert MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[family.name] == family.hf_class
        by_class = LlamaConfig.from_hf({**V4, "architectures": [family.hf_class], "sliding_window": None})
        by_type = LlamaConfig.from_hf({**V4, "architectures": None, "model_type": family.name, "sliding_window": None})
        assert by_class == by_type
        assert by_class.architecture == family.name
    with pytest.raises(ModelConfigError, match=r"supported are LlamaForCausalLM, .*Qwen3ForCausalLM"):
        LlamaConfig.from_hf({**V4, "architectures": ["GPT2LMHeadModel"]})
    with pytest.raises(ModelConfigError, match="did you mean 'qwen3'"):
        dataclasses.replace(LlamaConfig.from_hf(V4), architecture="qwen33")


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_file_leaves_out_is_what_transformers_assumes(name: str) -> None:
    """But for the sizes, which every file has."""
    theirs = transformers.AutoConfig.for_model(name)
    sizes = {key: V4[key] for key in ("vocab_size", "hidden_size", "intermediate_size")}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4}
    ours = LlamaConfig.from_hf({"model_type": name, **sizes, "sliding_window": None})
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    for field in ("rms_norm_eps", "max_position_embeddings", "tie_word_embeddings", "initializer_range"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert ours.head_dim == getattr(transformers.AutoConfig.for_model(name, **sizes), "head_dim", 8)
