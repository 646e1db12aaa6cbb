"""Types and bounds of what a ``config.json`` says, so that whoever reads a field knows what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tl_jax.errors import UserError

LARGEST = 2**31 - 1
"""Sizes and ids are counted in 32 bits."""


class ModelConfigError(UserError):
    """A ``config.json`` that cannot be run as it says; the message names the field."""


@dataclass(frozen=True)
class Whole:
    """A whole number."""

    least: int = 1
    most: int = LARGEST

    def fits(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most

    def __str__(self) -> str:
        if self.most < LARGEST:
            return f"a whole number from {self.least} to {self.most}"
        return "a positive whole number" if self.least == 1 else f"a whole number from {self.least} on"


@dataclass(frozen=True)
class Real:
    """A number above ``above`` that is still one in float32; neither infinity nor NaN is."""

    above: float = 0.0
    most: float = 1e30

    def fits(self, value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.above < value <= self.most

    def __str__(self) -> str:
        return f"a number above {self.above:g}, at most {self.most:g}"


@dataclass(frozen=True)
class Of:
    """A value of a class."""

    kind: type
    words: str

    def fits(self, value: Any) -> bool:
        return isinstance(value, self.kind)

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind, or one such value where ``or_one`` says so."""

    kind: Whole | Of
    words: str
    or_one: bool = False

    def fits(self, value: Any) -> bool:
        if self.or_one and self.kind.fits(value):
            return True
        return isinstance(value, list | tuple) and all(map(self.kind.fits, value))

    def __str__(self) -> str:
        return self.words


_SIZE, _REAL, _ID = Whole(), Real(), Whole(0)
_FLAG, _TEXT, _OBJECT = Of(bool, "true or false"), Of(str, "text"), Of(dict, "an object")
_ROPE = {
    **dict.fromkeys(("factor", "low_freq_factor", "high_freq_factor", "rope_theta", "partial_rotary_factor"), _REAL),
    **dict.fromkeys(("rope_type", "type"), _TEXT),
    "original_max_position_embeddings": _SIZE,
}
_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings", "sliding_window"),
)
KINDS: Mapping[str, Whole | Real | Of | ListOf] = {
    **dict.fromkeys(_SIZES, _SIZE),
    **dict.fromkeys(("rope_theta", "partial_rotary_factor"), _REAL),
    "rms_norm_eps": Real(most=1.0),
    "initializer_range": Real(above=-1e-30, most=1e6),
    "attention_dropout": Real(above=-1e-30, most=1.0),
    **dict.fromkeys(("tie_word_embeddings", "use_sliding_window", "attention_bias", "mlp_bias"), _FLAG),
    **dict.fromkeys(("model_type", "hidden_act"), _TEXT),
    **dict.fromkeys(("rope_parameters", "rope_scaling", "quantization_config"), _OBJECT),
    "max_window_layers": Whole(0),
    "architectures": ListOf(_TEXT, "a list of names"),
    "layer_types": ListOf(_TEXT, "a list of names"),
    "bos_token_id": _ID,
    "eos_token_id": ListOf(_ID, "an id or a list of ids", or_one=True),
    "pad_token_id": Whole(-1),  # the first Llama's files say -1 for none
}
"""Every field that is looked at. What is null counts as absent."""


def check_types(config: Mapping[str, Any]) -> None:
    """Every known field of a ``config.json`` is of its kind.

    Raises:
        ModelConfigError: one is not.
    """
    _check(config, KINDS, "")
    for field in ("rope_parameters", "rope_scaling"):
        _check(config.get(field) or {}, _ROPE, f"{field}.")


def shown(value: Any) -> str:
    """A value for an error, not longer than a line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # too many digits, too deep
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def _check(row: Mapping[str, Any], kinds: Mapping[str, Any], where: str) -> None:
    for field, kind in kinds.items():
        value = row.get(field)
        if value is not None and not kind.fits(value):
            raise ModelConfigError(f"{where}{field}: {kind} is needed, got {shown(value)}")
