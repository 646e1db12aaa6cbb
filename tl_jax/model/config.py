"""What a model looks like, read from and written as a Hugging Face ``config.json``.

How families differ is in their records, see `tl_jax.model.families`. What the code cannot run raises
`ModelConfigError`, which names the field: a model that loads is a model that is computed as it was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tl_jax.model.config_fields import ModelConfigError, check_types, shown
from tl_jax.model.families import COMPUTED, DEFAULTS, FAMILIES, Family, HfConfig


@dataclass(frozen=True)
class RopeScaling:
    """Rotary frequencies stretched for a longer context.

    ``linear`` divides every frequency by ``factor``; ``llama3`` divides the low ones, keeps the high ones and
    interpolates between (https://arxiv.org/abs/2407.21783, section 3.4.1, and Meta's released model code).
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes and constants of one model. Hashable, so it can be a static argument of a compiled function."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = DEFAULTS["rope_theta"]
    rope_scaling: RopeScaling | None = None
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = False
    architecture: str = "llama"
    """a name of `FAMILIES`"""
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        if self.architecture not in FAMILIES:
            raise ModelConfigError(f"architecture {self.architecture!r}: {FAMILIES.hint(self.architecture)}")
        if self.num_heads % self.num_kv_heads:
            raise ModelConfigError(
                f"num_attention_heads ({self.num_heads}) is not a multiple of num_key_value_heads ({self.num_kv_heads})"
            )
        if self.head_dim % 2:
            raise ModelConfigError(f"head_dim: rotary embeddings need an even size, got {self.head_dim}")

    @property
    def family(self) -> Family:
        """The record of its family."""
        return FAMILIES[self.architecture]

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Every token that ends a generation; empty when the config names none."""
        if self.eos_token_id is None:
            return ()
        return self.eos_token_id if isinstance(self.eos_token_id, tuple) else (self.eos_token_id,)

    @classmethod
    def from_hf(cls, config: HfConfig) -> LlamaConfig:
        """Reads the content of a ``config.json`` written by transformers 4 or 5.

        Raises:
            ModelConfigError: a missing size, or anything this code does not compute; the message names the field.
        """
        check_types(config)
        for field in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
            _size(config, field)
        family = _family(config)
        _refuse_unsupported(config, family)
        given = {field: value for field, value in config.items() if value is not None}
        config = {**DEFAULTS, **family.defaults, **given}
        heads = _size(config, "num_attention_heads")
        hidden = _size(config, "hidden_size")
        if "head_dim" not in config and hidden % heads:
            raise ModelConfigError(
                f"hidden_size ({hidden}) is not a multiple of num_attention_heads ({heads}); name head_dim"
            )
        theta, scaling = _rope(config)
        eos, pad = config.get("eos_token_id"), config.get("pad_token_id")
        return cls(
            vocab_size=_size(config, "vocab_size"),
            hidden_size=hidden,
            intermediate_size=_size(config, "intermediate_size"),
            num_layers=_size(config, "num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=_size(config, "num_key_value_heads", heads),
            head_dim=_size(config, "head_dim", hidden // heads),
            rms_norm_eps=float(config["rms_norm_eps"]),
            rope_theta=theta,
            rope_scaling=scaling,
            max_position_embeddings=_size(config, "max_position_embeddings"),
            tie_word_embeddings=bool(config["tie_word_embeddings"]),
            architecture=family.name,
            initializer_range=float(config["initializer_range"]),
            bos_token_id=config.get("bos_token_id"),
            eos_token_id=tuple(eos) if isinstance(eos, list | tuple) else eos,
            pad_token_id=None if pad == -1 else pad,
        )

    def to_hf(self) -> dict[str, Any]:
        """The content of a ``config.json`` that transformers 4 and 5 read alike.

        transformers 4 reads ``rope_theta`` and ``rope_scaling``; 5 reads ``rope_parameters`` and lets the older
        names override nothing that it holds.
        """
        scaling = None if self.rope_scaling is None else _scaling_to_hf(self.rope_scaling)
        return {
            "architectures": [self.family.hf_class],
            "model_type": self.family.name,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": scaling,
            "rope_parameters": {"rope_type": "default", **(scaling or {}), "rope_theta": self.rope_theta},
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": self.tie_word_embeddings,
            "initializer_range": self.initializer_range,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": list(self.eos_token_id) if isinstance(self.eos_token_id, tuple) else self.eos_token_id,
            "pad_token_id": self.pad_token_id,
            "use_cache": True,
            **self.family.written,
        }


def _family(config: HfConfig) -> Family:
    named = config.get("architectures")
    if not named:  # a config without a head class still says its type
        if config.get("model_type") not in FAMILIES:
            raise ModelConfigError(f"model_type {shown(config.get('model_type'))} is not one of {', '.join(FAMILIES)}")
        return FAMILIES[config["model_type"]]
    by_class = {family.hf_class: family for family in FAMILIES.values()}
    if named[0] not in by_class:
        raise ModelConfigError(f"architectures {shown(named)}: supported are {', '.join(by_class)}")
    return by_class[named[0]]


def _size(config: HfConfig, field: str, default: int | None = None) -> int:
    value = config.get(field, default)
    if value is None:
        raise ModelConfigError(f"{field}: a positive whole number is needed, and the file names none")
    return int(value)


def _refuse_unsupported(config: HfConfig, family: Family) -> None:
    """Fields that change the computation and that `llama.py` does not compute."""
    for field, computed in {**COMPUTED, **family.computed}.items():
        if config.get(field) not in computed:
            raise ModelConfigError(f"{field}={shown(config[field])} is not supported (only {computed[0]!r})")
    window = family.window(config)
    length = config.get("max_position_embeddings") or {**DEFAULTS, **family.defaults}["max_position_embeddings"]
    if window is not None and window < length:
        raise ModelConfigError(
            f"sliding_window={window} with max_position_embeddings={length} is not supported; set sliding_window to "
            f"null, or max_position_embeddings to at most {window}, where the window never applies"
        )


def _rope(config: HfConfig) -> tuple[float, RopeScaling | None]:
    """theta and scaling from ``rope_parameters`` (transformers 5) or ``rope_theta`` and ``rope_scaling`` (4)."""
    field = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    rope: HfConfig = {name: value for name, value in (config.get(field) or {}).items() if value is not None}
    theta = float(rope.get("rope_theta") or config["rope_theta"])
    if rope.get("partial_rotary_factor") not in (1, None):
        raise ModelConfigError(f"{field}.partial_rotary_factor={rope['partial_rotary_factor']!r} is not supported")
    kind = rope.get("rope_type", rope.get("type", "default"))  # "type" is the older spelling
    if kind == "default":
        return theta, None
    if kind not in ("linear", "llama3"):
        raise ModelConfigError(f"{field}.rope_type={shown(kind)} is not supported (default, linear and llama3 are)")
    try:
        if kind == "linear":
            return theta, RopeScaling("linear", float(rope["factor"]))
        low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
        length = rope.get("original_max_position_embeddings") or _size(config, "max_position_embeddings")
        scaling = RopeScaling("llama3", float(rope["factor"]), low, high, length)
    except KeyError as error:
        raise ModelConfigError(f"{field}.{error.args[0]} is missing for rope_type {kind!r}") from None
    if high <= low:
        raise ModelConfigError(f"{field}.high_freq_factor ({high:g}) must be above low_freq_factor ({low:g})")
    return theta, scaling


def _scaling_to_hf(scaling: RopeScaling) -> dict[str, Any]:
    if scaling.kind == "linear":
        return {"rope_type": "linear", "factor": scaling.factor}
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_max_position_embeddings,
    }
