"""Google's Gemini API: ``contents`` of ``parts``, with ``functionCall`` and ``functionResponse`` (or in snake case).

Where a list is meant, one item may stand by itself, and a text may stand for a part or a content that says no more: the
API reads JSON so, and Google's libraries take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, identity, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import message_weight, unless_cut_off
from tl_jax.tooluse.readers.nulls import is_padded, result_without_padding, without_nulls
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import declarations
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_NAMES = ("contents", "history", "messages")
"""What the turns of a row are called."""
_CALLED = ("functionCall", "function_call", "functionResponse", "function_response")
"""Parts that no other API has."""
_WHY = ("finishReason", "finish_reason")
"""Why an answer ended."""
_SETTINGS = (
    *("generationConfig", "generation_config", "toolConfig", "tool_config", "safetySettings", "safety_settings"),
    *("cachedContent", "cached_content", "labels"),
)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        system = _system(fields)
        at = fields.at(*_NAMES)
        contents, answers = _each(fields, *_NAMES), _answer(fields)
        padded = is_padded([value for value, _ in (*contents, *answers)])
        tools = _tools(fields, padded)
        beside = around(fields, place.name, "gemini", *_SETTINGS)
    dialogue, offered = Dialogue(), by_name(tools)
    for spoken_by, said in (("user", contents), ("model", answers)):
        for value, where in said:
            _content(value, where, dialogue, offered, padded, spoken_by)
    return [dialogue.trajectory(beside, tools, system, at)]


def _answer(row: Fields) -> list[tuple[Any, str]]:
    """What the API answered, as logs have it beside the request.

    Raises:
        DataError: several answers.
    """
    row.keep("usageMetadata", "usage_metadata", "modelVersion", "model_version", "responseId", "response_id")
    candidates = row.each("candidates")
    if len(candidates) > 1:
        raise DataError(f"holds {len(candidates)} answers, of which one is to be learnt", field="candidates")
    found = []
    for value, where in candidates:
        with Fields(value, where) as candidate:
            content, at, why = candidate.take("content"), candidate.taken, candidate.keep(*_WHY)
            found.append(({**why, **content} if isinstance(content, dict) else content, at))
            candidate.keep("index", "avgLogprobs", "safetyRatings", "citationMetadata")
    return found


def _content(
    value: Any, where: str, dialogue: Dialogue, tools: Mapping[str, Tool], padded: bool, spoken_by: str
) -> None:
    """Adds what somebody says: whoever it says, or else ``spoken_by``."""
    with Fields({"parts": value} if isinstance(value, str) else value, where) as fields:
        role = fields.take("role", kind=str, default=spoken_by)
        weight = message_weight(fields, "assistant" if role == "model" else role)
        why = fields.keep(*_WHY)
        weight = unless_cut_off(weight, why) if role == "model" else weight
        parts = _parts(fields)
    if role not in ("user", "model", "function", "tool", "system"):
        raise DataError(f"unknown role {role!r}; expected user, model or function", field=f"{where}.role")
    turn, texts, answered = AssistantTurn(), list[str](), False
    for value, at in parts:
        with Fields(value, at) as part:
            part.keep("thoughtSignature", "thought_signature")
            thought = part.take("thought", kind=bool, default=False)
            if "text" in part:
                text = part.take("text", kind=str)
                if role != "model":
                    texts.append(text)
                elif thought:
                    turn.reasoning.append(text)
                else:
                    turn.text(text)
            elif role == "model" and ("functionCall" in part or "function_call" in part):
                turn.calls.append(_call(part, tools, padded))
            elif role != "model" and ("functionResponse" in part or "function_response" in part):
                if "".join(texts):
                    dialogue.add(Message("user", "".join(texts)), where)
                    texts = []
                _response(part, dialogue, padded)
                answered = True
            else:
                part.done()
                raise DataError("only text, functionCall and functionResponse can be read", field=at)
    if role == "model":
        dialogue.add(turn.message(weight), where)
    elif texts or not answered:
        dialogue.add(Message("system" if role == "system" else "user", "".join(texts), weight=weight), where)


def _each(fields: Fields, *names: str) -> list[tuple[Any, str]]:
    """As `Fields.each`; what is no list is its one item."""
    value = fields.take(*names, default=[])
    if not isinstance(value, list):
        return [(value, fields.taken)]
    return [(item, f"{fields.taken}[{i}]") for i, item in enumerate(value)]


def _parts(content: Fields) -> list[tuple[Any, str]]:
    """The parts of a content, each with where it stands."""
    return [({"text": part} if isinstance(part, str) else part, at) for part, at in _each(content, "parts")]


def _call(part: Fields, tools: Mapping[str, Tool], padded: bool) -> Call:
    where = part.at("functionCall", "function_call")
    with Fields(part.take("functionCall", "function_call"), where) as call:
        name, known_as = call.take("name", kind=str), identity(call, "id")
        given = call_arguments(call, tools.get(name), padded, "args", "arguments")
    return Call(name, given, id=known_as)


def _response(part: Fields, dialogue: Dialogue, padded: bool) -> None:
    where = part.at("functionResponse", "function_response")
    with Fields(part.take("functionResponse", "function_response"), where) as response:
        name, known_as = response.take("name", kind=str, default=None), identity(response, "id")
        said = result_without_padding(response.take("response", default={}), padded)
        response.keep("willContinue", "will_continue", "scheduling")
    error = isinstance(said, dict) and said.keys() == {"error"} and said["error"] is not None
    dialogue.result(plain(said), f"{where}.id", known_as, name, error)


def _system(row: Fields) -> str:
    where = row.at("systemInstruction", "system_instruction")
    value = row.take("systemInstruction", "system_instruction", default="")
    texts = []
    with Fields(value if isinstance(value, dict) else {"parts": value}, where) as fields:
        fields.take("role", default=None)
        for item, at in _parts(fields):
            with Fields(item, at) as part:
                texts.append(part.take("text", kind=str))
    return "".join(texts)


def _tools(row: Fields, padded: bool) -> list[Tool]:
    """The functions declared in all tools.

    Raises:
        DataError: a tool of Google's own, which no model here has.
    """
    given = [(without_nulls(value) if padded else value, where) for value, where in _each(row, "tools")]
    return [tool for value, where in given for tool in declarations(value, where)]


def _recognises(row: Mapping[str, Any]) -> bool:
    named = next((name for name in ("messages", *_NAMES) if row.get(name) is not None), "")
    contents = row.get(named)
    contents = contents if isinstance(contents, list) else [contents]
    parts = [item["parts"] for item in contents if isinstance(item, dict) and "parts" in item]
    if named != "messages":
        return bool(parts)
    listed = [part for found in parts for part in (found if isinstance(found, list) else [found])]  # others have those
    return any(isinstance(part, dict) and any(name in part for name in _CALLED) for part in listed)


FORMAT = Format(
    name="gemini",
    description="Google's Gemini API and its tuning files: `contents` of `parts`, `systemInstruction`, "
    "`functionDeclarations`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://ai.google.dev/api/caching#Content",
)
