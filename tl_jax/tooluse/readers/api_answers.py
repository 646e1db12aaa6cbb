"""The message in what an API answers as a whole: beside it stand counts of tokens, the model's name and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tl_jax.errors import DataError
from tl_jax.tooluse.fields import Fields

_COMMON = ("id", "object", "created", "created_at", "model", "usage", "service_tier", "finish_reason", "logprobs")


class Envelope(NamedTuple):
    """An API's answer.

    Attributes:
        inner: the field of the message in what the answer holds; empty = that is the message.
        beside: what else the answer has.
        inside: what else stands beside the message.
    """

    inner: str
    beside: tuple[str, ...]
    inside: tuple[str, ...] = ()


ENVELOPES: Mapping[str, Envelope] = {
    "choices": Envelope(
        "message",
        ("system_fingerprint", "provider", "timings", "citations", "prompt_logprobs", "prompt_token_ids"),
        ("index", "native_finish_reason", "stop_reason", "matched_stop", "content_filter_results", "token_ids"),
    ),
    "candidates": Envelope(
        "content",
        ("usageMetadata", "modelVersion", "responseId", "promptFeedback", "createTime"),
        ("index", "finishReason", "finishMessage", "avgLogprobs", "safetyRatings", "citationMetadata", "tokenCount"),
    ),
    "output": Envelope(
        "message",
        (
            *("stopReason", "metrics", "trace", "performanceConfig", "ResponseMetadata"),  # Amazon's
            *("status", "error", "incomplete_details", "instructions", "max_output_tokens", "metadata", "background"),
            *("parallel_tool_calls", "previous_response_id", "reasoning", "store", "temperature", "text", "truncation"),
            *("tool_choice", "tools", "top_p", "top_logprobs", "user", "max_tool_calls", "prompt_cache_key"),
            *("safety_identifier", "output_text", "completed_at"),
        ),
    ),
    "message": Envelope(
        "",
        (
            *("done", "done_reason", "total_duration", "load_duration", "prompt_eval_count"),
            *("prompt_eval_duration", "eval_count", "eval_duration"),
        ),
    ),
}
"""Answers by the field that holds what was said: OpenAI's and its like, Google's, Amazon's and OpenAI's Responses,
Ollama's and Cohere's."""


def holds_message(value: Any) -> bool:
    """Whether a value is an API's whole answer."""
    return _field(value) is not None


def message_in(value: Any, where: str) -> tuple[Any, str]:
    """The message or the items in an API's whole answer, and the field they stand in; any other value as it is.

    Raises:
        DataError: it holds no answer or several, or a field that is not known.

    Example:
        >>> message_in({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}}]}, "row")
        ({'role': 'assistant', 'content': 'Hi.'}, 'row.choices[0].message')
    """
    name = _field(value)
    if name is None:
        return value, where
    envelope = ENVELOPES[name]
    with Fields(value, where) as fields:
        found, place = fields.take(name), fields.taken
        fields.keep(*_COMMON, *envelope.beside)
    if isinstance(found, list) and name == "output":
        return found, place
    if isinstance(found, list):
        if len(found) != 1:
            raise DataError(f"has {len(found)} answers, not one; give each a row of its own", field=place)
        (found,), place = found, f"{place}[0]"
    if not envelope.inner:
        return found, place
    with Fields(found, place) as fields:
        message, place = fields.take(envelope.inner, kind=dict), fields.taken
        fields.keep(*_COMMON, *envelope.inside)
    return message, place


def _field(value: Any) -> str | None:
    """Which field of an answer holds what was said; None where it is no answer of an API."""
    if not isinstance(value, dict) or "role" in value or "type" in value:
        return None
    return next((name for name in ENVELOPES if isinstance(value.get(name), dict | list)), None)
