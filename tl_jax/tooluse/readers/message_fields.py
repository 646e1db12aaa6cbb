"""What a message in the shape of chat APIs says, under all its names: text, thoughts, weight, failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.fields import literal, plain
from tl_jax.tooluse.schema import DataError, loss_weight

WEIGHTS = ("weight", "loss_weight", "loss", "train", "training", "mask", "masked")
"""What the weight of a message is called, see `message_weight`."""
REASONING = ("reasoning", "reasoning_content", "thinking", "tool_plan")
"""What the thoughts before an answer are called; the last one by Cohere."""
ENCRYPTED = "encrypted thoughts left out: nobody but their vendor can read them"

SPEAKERS = {
    **dict.fromkeys(("developer", "system"), "system"),
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("model", "gpt", "ai", "bot", "chatbot", "chatgpt", "assistant"), "assistant"),
    **dict.fromkeys(("function_call", "function-call", "tool_call", "tool-call"), "call"),
    **dict.fromkeys(("function", "ipython", "environment", "observation", "tool"), "tool"),
    **dict.fromkeys(("function_response", "function-response", "tool_response", "tool-response"), "tool"),
}
"""What APIs and data sets call who speaks, in any case of letters -> our role, or that what is said is a call."""

SMOLAGENTS = {"tool-call": "Calling tools:\n", "tool-response": "Observation:\n"}
"""What smolagents writes before what these roles say."""

THOUGHTS = ("thinking", "reasoning", "redacted_thinking")
"""Kinds of parts that are what the model thought, see `thoughts`."""

_TEXT_PARTS = ("text", "input_text", "output_text")
OF_MCP = ("structuredContent", "_meta")
"""What MCP servers say of a result beside its text: the same as a value, and about it."""
_PARTS_OF_MCP = ("text", "image", "audio")
_PARTS = (
    *(*_TEXT_PARTS, *THOUGHTS, "refusal", "document"),
    *("image", "image_url", "input_image", "audio", "input_audio", "video", "video_url", "file", "input_file"),
)
"""Kinds of parts; those of the second line cannot be read."""
_OF_A_PART = ("cache_control", "annotations", "citations", "index", "logprobs", "signature", "closed", "_meta")
"""How long a server keeps the prompt, where a text comes from, where it stands: nothing that the message says."""
OF_AN_ANSWER = (
    *("annotations", "citations", "finish_reason", "stop_reason", "logprobs", "prefix"),
    *("provider_specific_fields", "extra_content"),
)
"""What APIs say about an answer beside it."""
CUT_OFF = "answer that was cut off, as the file says: it has the weight 0, or its end would be learnt"
_REASONS = ("finish_reason", "finishReason", "stop_reason", "stopReason", "status")
"""What APIs call the reason why an answer ended."""
_CUT_OFF = frozenset(
    (
        *("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "incomplete"),
        *("content_filter", "content_filtered", "guardrail_intervened", "safety", "recitation", "error_limit"),
    )
)
"""Reasons that are no end of what was to be said, in any case of letters."""
OF_A_CALL = ("provider_specific_fields", "extra_content")
"""What a call is signed with, so that the vendor knows it again: LiteLLM's, Google's in OpenAI's shape."""
_BESIDE = ("reasoning_details", "thinking_blocks")
"""Thoughts as parts beside the content: OpenRouter's, LiteLLM's."""


class Content(NamedTuple):
    """What the content of a message says."""

    text: str
    refusal: str | None = None
    reasoning: str = ""
    failed: bool = False


def role_named(name: str) -> str:
    """Our name of a role; one that is not known, or says that its message is a call, stays as it is."""
    known_as = name.lower()
    if known_as in SMOLAGENTS and SPEAKERS[known_as] == "call":  # words, and a call as text
        return "assistant"
    role = SPEAKERS.get(known_as, name)
    return name if role == "call" else role


def listed_calls(fields: Fields) -> list[Any]:
    """Takes ``tool_calls``: a list, or the JSON text of one.

    Raises:
        DataError: anything else.
    """
    value = fields.take("tool_calls", default=[])
    if isinstance(value, str):
        value = literal(value, fields.taken) if value.strip() else []
    if not isinstance(value := value or [], list):
        raise DataError(f"must be a list, not {type(value).__name__}", field=fields.taken)
    return value


def message_weight(fields: Fields, role: str = "assistant") -> float | None:
    """The weight of a message's loss, under whichever of its names; None where it says nothing.

    ``mask`` and ``masked`` mean, as in torchtune, that a message is left *out* of the loss. As a number they could mean
    either, as loss masks are 1 where a token counts, and are refused. Of other messages than the assistant's only the
    weight 0 is read: they are no targets anyway.

    Raises:
        DataError: no weight, or two that differ.
    """
    found: dict[str, float | None] = {}
    for name, value in fields.keep(*WEIGHTS).items():
        if name in ("mask", "masked"):
            if not isinstance(value, bool):
                raise DataError("must be true (no target) or false; write numbers as weight", field=fields.at(name))
            value = not value
        found[name] = loss_weight(float(value) if isinstance(value, bool) else value, fields.at(name))
    if len(set(found.values())) > 1:
        first, *others = found
        raise DataError(f"says something else than {first!r}, which means the same", field=fields.at(others[-1]))
    weight = next(iter(found.values()), None)
    return None if role != "assistant" and weight == 0 else weight


def unless_cut_off(weight: float | None, about: Any) -> float | None:
    """The weight of an answer's loss: 0 where an API says that it was cut off, unless the file gives it a weight.

    Args:
        about: what the API says, if it is an object.

    Example:
        >>> unless_cut_off(None, {"finish_reason": "length"}), unless_cut_off(None, {"finish_reason": "stop"})
        (0.0, None)
    """
    said = about if isinstance(about, dict) else {}
    if weight is None and any(str(said.get(name)).lower() in _CUT_OFF for name in _REASONS):
        remark(CUT_OFF)
        return 0.0
    return weight


def failed(fields: Fields) -> bool | str:
    """Whether the environment says that a call failed, by any of the names for it; or the error, where that is text.

    Raises:
        DataError: something else than true and false; a ``status`` that is neither ``error`` nor ``success``.
    """
    flag = fields.take("is_error", "isError", kind=bool, default=False)
    error = fields.take("error", default=False)
    if not isinstance(error, (bool, str)):
        raise DataError(f"must be true, false or text, not {type(error).__name__}", field=fields.taken)
    status = fields.take("status", default="success")
    if status not in ("success", "error"):
        raise DataError(f"must be 'success' or 'error', not {status!r}", field=fields.taken)
    return error or flag or status == "error"


def as_lines(texts: Iterable[str]) -> str:
    """Texts below each other; those that say nothing are left out.

    Example:
        >>> as_lines(["10\\n", "", "11"])
        '10\\n11'
    """
    said = [text for text in texts if text]
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in said[:-1]) + "".join(said[-1:])


def message_text(fields: Fields, result: bool = False, padded: bool = False) -> Content:
    """Takes the content of a message: its text, joined of its parts, and what else is among these.

    Args:
        result: it is what a tool said: each part of text is a line of its own, as two numbers must not become one; it
            may be an object, or a list in which not all are parts; then it says what it is as JSON.
        padded: a table wrote the row, see `plain`.

    Raises:
        DataError: its content is something else, such as a picture.
    """
    content = fields.take("content", default="")
    if isinstance(content, str):
        return Content(content)
    where = fields.taken
    if result and _is_of_mcp(content):
        with Fields(content, where) as answer:
            failed = answer.take("isError", kind=bool, default=False)
            beside, found = answer.keep(*OF_MCP), message_text(answer, True, padded)
            return found._replace(text=found.text or value_of_mcp(beside, padded), failed=failed)
    if result and not is_parts(content):
        return Content(plain(content, padded))
    if not isinstance(content, list):
        raise DataError(f"must be text, not {type(content).__name__}", field=where)
    texts, said, refusal = list[str](), list[str](), None
    for index, value in enumerate(content):
        with Fields({"text": value} if isinstance(value, str) else value, f"{where}[{index}]") as part:
            kind = part.take("type", default="text")
            if kind == "refusal":
                refusal = part.take("refusal", kind=str)
            elif kind in THOUGHTS:
                said.append(thoughts(part))
            elif kind == "document" and "source" in part:
                texts.append(document_text(part))
            elif kind == "document":  # Cohere's results
                with Fields(part.take("document"), part.at("document")) as document:
                    document.take("id", default=None)
                    texts.append(plain(document.take("data"), padded))
            elif kind == "reference":  # Mistral's: where the text before it comes from
                part.take("reference_ids", default=None)
            elif kind in _TEXT_PARTS and isinstance(text := part.take("text", default=None), str):
                texts.append(text)
            else:
                raise DataError("only parts of text can be read", field=part.where)
            part.keep(*_OF_A_PART)
    return Content(as_lines(texts) if result else "".join(texts), refusal, "\n".join(filter(None, said)))


def document_text(part: Fields) -> str:
    """Takes what one of Anthropic's documents says, with its title and what is said about it; a line ends it.

    Raises:
        DataError: it is no text, but a file.
    """
    about = [part.take(name, kind=str, default="") for name in ("title", "context")]
    with Fields(part.take("source"), part.taken) as source:
        kind = source.take("type", kind=str)
        if kind not in ("text", "content"):
            raise DataError(f"documents of type {kind!r} are not read, only text", field=source.where)
        source.take("media_type", default=None)
        value, where = source.take("data", "content"), source.taken
    text = message_text(Fields({"content": value}, where.rpartition(".")[0])).text
    return "".join(f"{line}\n" for line in (*about, text) if line)


def thoughts(part: Fields) -> str:
    """Takes what a part says that the model thought, often nothing: text, or parts of it or of a summary.

    Raises:
        DataError: thoughts of a kind that is not known.
    """
    if any(part.keep("data", "encrypted_content").values()):
        remark(ENCRYPTED)
    part.keep("id", "status", "extras")
    texts = []
    for value, where in part.each("summary"):
        with Fields(value, where) as item:
            item.expect("type", "summary_text")
            item.keep("index")
            texts.append(item.take("text", kind=str, default=""))
    texts.append(_joined(part.take("thinking", "reasoning", "text", default=""), part.taken))
    return "\n".join(filter(None, texts))


def is_parts(content: Any) -> bool:
    """Whether it is a list of nothing but parts; any other value is what a tool said."""
    return isinstance(content, list) and all(
        isinstance(part, dict)
        and (part.get("type") in _PARTS or [key for key, item in part.items() if item is not None] == ["text"])
        for part in content
    )


def _is_of_mcp(content: Any) -> bool:
    """Whether it is the whole of what an MCP server answers to a call; other objects have ``content`` as well."""
    known = ("isError", *OF_MCP)
    if not isinstance(content, dict) or not isinstance(content.get("content"), list):
        return False
    kinds = [part.get("type") if isinstance(part, dict) else None for part in content["content"]]
    beside = content.keys() - {"content"}
    return beside <= set(known) and all(kind in _PARTS_OF_MCP for kind in kinds) and bool(kinds or beside)


def value_of_mcp(beside: Mapping[str, Any], padded: bool = False) -> str:
    """What an MCP server said only as a value, of what it says beside its text; empty where there is none."""
    return plain(beside["structuredContent"], padded) if "structuredContent" in beside else ""


def _joined(value: Any, where: str) -> str:
    """A text, or the parts of one: what Mistral's models think."""
    if isinstance(value, str):
        return value
    return message_text(Fields({"content": value}, where)).text


def reasoning(fields: Fields, content: Content) -> str | None:
    """Takes what the model thought before an answer: as text, or else as parts of its content or beside it.

    Raises:
        DataError: thoughts of a kind that is not known.
    """
    said = fields.take(*REASONING, kind=str, default="") or content.reasoning
    parts = [part for name in _BESIDE for part in fields.each(name)]
    if said:
        return said
    texts = []
    for value, where in parts:
        with Fields(value, where) as part:
            kind = part.take("type", kind=str)
            if kind.endswith(("encrypted", "redacted_thinking")):
                remark(ENCRYPTED)
                part.take("data", default=None)
            else:
                texts.append(part.take("thinking", "text", "summary", kind=str, default=""))
            part.keep("signature", "format", "id", "index", "cache_control")
    return "\n".join(filter(None, texts)) or None


def of_an_answer(fields: Fields) -> dict[str, Any]:
    """Takes what an API says about an answer and is no part of it.

    Raises:
        DataError: the answer was spoken.
    """
    about = fields.keep(*OF_AN_ANSWER)
    if fields.take("audio", default=None):
        raise DataError("only text can be read, no sound", field=fields.taken)
    return about
