"""Published model sizes by name, as each model's ``config.json`` on the Hugging Face hub has them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tl_jax.model.config import LlamaConfig, RopeScaling
from tl_jax.model.parameters import count_parameters
from tl_jax.registry import Registry


@dataclass(frozen=True)
class Preset:
    """A published model's size."""

    name: str
    config: LlamaConfig
    hub: str = ""
    """its name on the Hugging Face hub"""


_LLAMA_2_7B = LlamaConfig(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=11008,
    num_layers=32,
    num_heads=32,
    num_kv_heads=32,
    head_dim=128,
    rms_norm_eps=1e-5,
    rope_theta=1e4,
    max_position_embeddings=4096,
    bos_token_id=1,
    eos_token_id=2,
)
_CODELLAMA_7B = replace(_LLAMA_2_7B, vocab_size=32016, rope_theta=1e6, max_position_embeddings=16384)
_LLAMA_3_1_8B = replace(
    _LLAMA_2_7B,
    vocab_size=128256,
    intermediate_size=14336,
    num_kv_heads=8,
    rope_theta=5e5,
    rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 8192),
    max_position_embeddings=131072,
    bos_token_id=128000,
    eos_token_id=128001,
)
_LLAMA_3_2_1B = replace(
    _LLAMA_3_1_8B,
    hidden_size=2048,
    intermediate_size=8192,
    num_layers=16,
    head_dim=64,
    rope_scaling=RopeScaling("llama3", 32.0, 1.0, 4.0, 8192),
    tie_word_embeddings=True,
)
_QWEN_CODER_7B = LlamaConfig(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    rms_norm_eps=1e-6,
    rope_theta=1e6,
    max_position_embeddings=32768,
    architecture="qwen2",
    bos_token_id=151643,
    eos_token_id=151643,
)
_QWEN3_8B = LlamaConfig(
    vocab_size=151936,
    hidden_size=4096,
    intermediate_size=12288,
    num_layers=36,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    rms_norm_eps=1e-6,
    rope_theta=1e6,
    max_position_embeddings=40960,
    architecture="qwen3",
    bos_token_id=151643,
    eos_token_id=151645,
)
_QWEN3_0_6B = replace(
    _QWEN3_8B, hidden_size=1024, intermediate_size=3072, num_layers=28, num_heads=16, tie_word_embeddings=True
)

PRESETS: Registry[Preset] = Registry(
    "preset",
    [
        # About a million parameters with a vocabulary of 1,024; takes the size of whatever tokenizer it is given.
        Preset(
            "tiny",
            LlamaConfig(
                vocab_size=1024,
                hidden_size=128,
                intermediate_size=344,
                num_layers=4,
                num_heads=4,
                num_kv_heads=2,
                head_dim=32,
                max_position_embeddings=4096,
            ),
        ),
        Preset("codellama-7b", _CODELLAMA_7B, "codellama/CodeLlama-7b-hf"),
        Preset(
            "codellama-13b",
            replace(
                _CODELLAMA_7B, hidden_size=5120, intermediate_size=13824, num_layers=40, num_heads=40, num_kv_heads=40
            ),
            "codellama/CodeLlama-13b-hf",
        ),
        Preset(
            "codellama-34b",
            replace(
                _CODELLAMA_7B,
                vocab_size=32000,
                hidden_size=8192,
                intermediate_size=22016,
                num_layers=48,
                num_heads=64,
                num_kv_heads=8,
            ),
            "codellama/CodeLlama-34b-hf",
        ),
        Preset("llama-2-7b", _LLAMA_2_7B, "meta-llama/Llama-2-7b-hf"),
        Preset("llama-3.1-8b", _LLAMA_3_1_8B, "meta-llama/Llama-3.1-8B"),
        Preset(
            "llama-3.1-70b",
            replace(_LLAMA_3_1_8B, hidden_size=8192, intermediate_size=28672, num_layers=80, num_heads=64),
            "meta-llama/Llama-3.1-70B",
        ),
        Preset("llama-3.2-1b", _LLAMA_3_2_1B, "meta-llama/Llama-3.2-1B"),
        Preset(
            "llama-3.2-3b",
            replace(_LLAMA_3_2_1B, hidden_size=3072, num_layers=28, num_heads=24, head_dim=128),
            "meta-llama/Llama-3.2-3B",
        ),
        Preset(
            "smollm2-135m",
            LlamaConfig(
                vocab_size=49152,
                hidden_size=576,
                intermediate_size=1536,
                num_layers=30,
                num_heads=9,
                num_kv_heads=3,
                head_dim=64,
                rms_norm_eps=1e-5,
                rope_theta=1e5,
                max_position_embeddings=8192,
                tie_word_embeddings=True,
                initializer_range=1 / 24,
                bos_token_id=0,
                eos_token_id=0,
            ),
            "HuggingFaceTB/SmolLM2-135M",
        ),
        Preset(
            "qwen2.5-coder-1.5b",
            replace(
                _QWEN_CODER_7B,
                vocab_size=151936,
                hidden_size=1536,
                intermediate_size=8960,
                num_heads=12,
                num_kv_heads=2,
                tie_word_embeddings=True,
            ),
            "Qwen/Qwen2.5-Coder-1.5B",
        ),
        Preset("qwen2.5-coder-7b", _QWEN_CODER_7B, "Qwen/Qwen2.5-Coder-7B"),
        Preset("qwen3-0.6b", _QWEN3_0_6B, "Qwen/Qwen3-0.6B"),
        Preset("qwen3-1.7b", replace(_QWEN3_0_6B, hidden_size=2048, intermediate_size=6144), "Qwen/Qwen3-1.7B"),
        Preset(
            "qwen3-4b",
            replace(_QWEN3_8B, hidden_size=2560, intermediate_size=9728, tie_word_embeddings=True),
            "Qwen/Qwen3-4B",
        ),
        Preset("qwen3-8b", _QWEN3_8B, "Qwen/Qwen3-8B"),
        Preset(
            "mistral-7b-v0.3",
            replace(
                _LLAMA_2_7B,
                vocab_size=32768,
                intermediate_size=14336,
                num_kv_heads=8,
                rope_theta=1e6,
                max_position_embeddings=32768,
                architecture="mistral",
            ),
            "mistralai/Mistral-7B-v0.3",
        ),
    ],
    columns={
        "preset": lambda preset: f"`{preset.name}`",
        "`model_type`": lambda preset: f"`{preset.config.architecture}`",
        "parameters": lambda preset: f"{count_parameters(preset.config):,}",
        "layers": lambda preset: preset.config.num_layers,
        "width": lambda preset: preset.config.hidden_size,
        "heads": lambda preset: f"{preset.config.num_heads} on {preset.config.num_kv_heads}",
        "vocabulary": lambda preset: f"{preset.config.vocab_size:,}{' (tied)' * preset.config.tie_word_embeddings}",
        "context": lambda preset: f"{preset.config.max_position_embeddings:,}",
        "on the Hugging Face hub": lambda preset: f"`{preset.hub}`" if preset.hub else "-",
    },
)
