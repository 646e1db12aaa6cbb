"""config.json in and out: what transformers writes is read, what we write transformers reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from tests.model.tiny import LLAMA3, SIZES, VARIANTS
from tl_jax.model.config import LlamaConfig, ModelConfigError, RopeScaling

V4 = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **SIZES}  # transformers 4 has rope_theta on top


def written(config: transformers.PreTrainedConfig, tmp_path: Path) -> dict[str, object]:
    config.architectures = [
        {"llama": "Llama", "qwen2": "Qwen2", "mistral": "Mistral"}[config.model_type] + "ForCausalLM"
    ]
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
        ({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "sliding_window": 64}, "sliding_window"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"vocab_size": None}, "vocab_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(changed: dict[str, object], named: str) -> None:
    with pytest.raises(ModelConfigError, match=named):
        LlamaConfig.from_hf({**V4, **changed})


def test_a_sliding_window_that_never_applies_is_fine() -> None:
    mistral = {**V4, "architectures": ["MistralForCausalLM"], "sliding_window": 512}
    assert LlamaConfig.from_hf(mistral).architecture == "mistral"
    qwen = {**V4, "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False, "sliding_window": 64}
    assert LlamaConfig.from_hf(qwen).attention_bias
