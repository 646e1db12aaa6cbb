"""What a request asked an API for, and what an answer says about itself: logs have both beside the messages.

Many of these fields are called as content may be (``user``, ``n``, ``object``). One is a setting only if it holds what
the API takes there; otherwise it is left for whoever reports fields that are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tl_jax.tooluse.fields import Fields

NO_SETTING = "unknown field: requests have a setting of this name, but this value is none that it can have"

Fits: TypeAlias = Callable[[Any], bool]
"""Whether a value is one that a setting may have."""


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _word(value: Any) -> bool:
    """A text that no sentence is: ``chat.completion``, ``low``, an id."""
    return _text(value) and value.isascii() and len(value.split()) <= 1


def _texts(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and all(map(_text, value)))


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _wordless(value: Any) -> bool:
    """An object of numbers, flags and single words, perhaps in further objects: what was used, how often."""
    return isinstance(value, dict) and all(map(_counted, value.values()))


def _counted(value: Any) -> bool:
    if isinstance(value, (dict, list)):
        return all(map(_counted, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, str) or _word(value)


def _of_keys(*names: str) -> Fits:
    """Objects that have no other fields than these, and one of them at least."""
    return lambda value: isinstance(value, dict) and bool(value) and value.keys() <= set(names)


def _either(*kinds: Fits) -> Fits:
    return lambda value: any(fits(value) for fits in kinds)


OF_OPENAI: Mapping[str, Fits] = {
    **dict.fromkeys(("stream", "store", "enable_thinking", "safe_prompt"), _flag),
    **dict.fromkeys(("n", "max_completion_tokens", "top_logprobs", "top_k", "min_p", "random_seed"), _number),
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "repetition_penalty"), _number),
    **dict.fromkeys(("object", "service_tier", "verbosity", "system_fingerprint", "reasoning_effort"), _word),
    "user": _text,
    **dict.fromkeys(("stream_options", "logit_bias", "usage"), _wordless),
    "stop": _texts,
    "logprobs": _either(_flag, _number),
    "response_format": lambda value: isinstance(value, dict) and _text(value.get("type")),
    "extra_body": _object,
    "function_call": lambda value: value in ("auto", "none") or _of_keys("name")(value),
    "keep_alive": _either(_word, _number),
    "think": _either(_flag, _word),
}
"""Fields of a request to OpenAI's API or one like it, such as Ollama's, and of their answers."""
OF_RESPONSES: Mapping[str, Fits] = {
    **{name: OF_OPENAI[name] for name in ("stream", "store", "user", "object", "service_tier", "usage")},
    **{name: OF_OPENAI[name] for name in ("top_logprobs", "frequency_penalty", "presence_penalty")},
    **dict.fromkeys(("status", "previous_response_id", "safety_identifier", "truncation"), _word),
    **dict.fromkeys(("prompt_cache_key", "prompt_cache_retention"), _word),
    **dict.fromkeys(("max_output_tokens", "max_tool_calls"), _number),
    **dict.fromkeys(("created_at", "completed_at"), _either(_number, _text)),
    **dict.fromkeys(("include", "used_in"), _texts),  # the latter in Llama-Nemotron's rows, as is the next one
    **dict.fromkeys(("billing", "moderation"), _wordless),
    "used_in_training": _either(_flag, _word),
    "background": _flag,
    "conversation": _either(_word, _of_keys("id")),
    "error": _of_keys("code", "message", "type", "param"),
    "incomplete_details": _of_keys("reason"),
    "prompt": _of_keys("id", "version", "variables"),
    "reasoning": _either(_word, _wordless),
    "text": _of_keys("format", "verbosity"),
}
"""Those of OpenAI's Responses API."""
_OF_OLLAMA: Mapping[str, Fits] = {
    "options": lambda value: isinstance(value, dict) and not any(isinstance(item, str) for item in value.values()),
    "format": lambda value: value == "json" or isinstance(value, dict),
}
"""Fields of Ollama's requests, which say their model: how to sample, without texts; JSON, or an answer's schema."""


def fitting(row: Fields, known: Mapping[str, Fits]) -> list[str]:
    """The names of those settings that are there and hold what they may; of the others is told that they do not.

    Example:
        >>> fitting(Fields({"n": 2, "user": ["Hello"]}), OF_OPENAI)
        ['n']
    """
    there = {name: fits(row.look(name)) for name, fits in known.items() if name in row}
    row.tell(NO_SETTING, *(name for name, fit in there.items() if not fit))
    return [name for name, fit in there.items() if fit]


def settings(row: Fields) -> dict[str, Any]:
    """Takes what a request for an answer to messages asked for, if it is one."""
    return row.keep(*fitting(row, OF_OPENAI), *(fitting(row, _OF_OLLAMA) if "model" in row else ()))
