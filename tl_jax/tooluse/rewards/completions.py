"""What other trainers hand over: completions as text or as chat messages, cases as rows of a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from tl_jax.errors import DataError
from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers import canonical
from tl_jax.tooluse.readers.fields import ARGUMENTS
from tl_jax.tooluse.readers.message_fields import REASONING, listed_calls, message_text, of_an_answer, role_named
from tl_jax.tooluse.readers.nulls import in_table
from tl_jax.tooluse.readers.rows import Place, parse
from tl_jax.tooluse.readers.tool_lists import TEXT
from tl_jax.tooluse.rewards.grade import Profile
from tl_jax.tooluse.rewards.reference import Reference
from tl_jax.tooluse.rewards.score import Reward, resolve_profile, score
from tl_jax.tooluse.schema import Case
from tl_jax.tooluse.text.parse import parse_answer

Row: TypeAlias = "Case | str | dict[str, Any]"
"""A case: as it is, as JSON text, or as a column of structs has it, which fills it with nulls."""

_BESIDE = (*REASONING, "name", "id", "reasoning_details", "thinking_blocks", "audio")
"""What a message may have besides its text and calls: no part of the answer."""

_CALLS = ("tool_use", "tool_call", "tool-call", "function_call")
"""Kinds of parts that are calls: Anthropic's, LangChain's, those of Vercel's AI SDK."""


def reward_of(completion: Any, case: Row, profile: str | Profile = "paper") -> Reward:
    """The reward of a completion, whatever its shape.

    Args:
        completion: text, a message, or the messages of a whole episode: see `answer_text`.

    Raises:
        UserError: an unknown profile, a row that is no case, or a message with a field that is not known.
        ValueError: a case without gold.
    """
    chosen, read = resolve_profile(profile), read_case(case)
    text = answer_text(completion)
    if isinstance(chosen, Reference) and not isinstance(completion, str):
        text = _as_released(text, read, chosen)
    return score(text, read, chosen)


def answer_text(completion: Any) -> str:
    """The answer in a completion as one text: what it says, and its calls as JSON, one a line.

    Of several messages the assistant's first ones count, up to the first result: what it did before it was told
    anything. Calls are written as they came; whether they are calls is for the parser to say.

    Raises:
        DataError: a message with a field that is not known, or no message.

    Example:
        >>> answer_text([{"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}])
        '{"name": "f", "arguments": {"a": 1}}'
    """
    if completion is None or isinstance(completion, str):
        return completion or ""
    messages: Sequence[Any] = [completion] if isinstance(completion, dict) else completion
    if not isinstance(messages, (list, tuple)):
        raise DataError(f"must be text or messages, not {type(completion).__name__}", field="completion")
    parts: list[str] = []
    for index, message in enumerate(messages):
        found = _said(message, f"completion[{index}]")
        if found is None:
            break
        parts += found
    return "\n".join(parts)


def read_case(row: Row) -> Case:
    """The case in a row of a dataset. Texts are read once.

    Raises:
        DataError: it is none.
    """
    if isinstance(row, Case):
        return row
    if isinstance(row, str):
        return _case(row)
    with in_table():
        return _made(lambda: row)


@lru_cache(maxsize=10_000)
def _case(text: str) -> Case:
    return _made(lambda: parse(text))


def _made(load: Callable[[], Any]) -> Case:
    """The case in what ``load`` gives."""
    try:
        row = load()
        if not isinstance(row, dict) or not canonical.is_case(row):
            raise DataError("must be a JSON object with messages and gold")
        (case,) = canonical.cases(row, Place(Path("case")))
    except DataError as error:
        raise DataError(error.problem, field=f"case.{error.field}" if error.field else "case") from None
    return case


def _said(message: Any, where: str) -> list[str] | None:
    """What an assistant's message says and calls; None for any other message."""
    role = message.get("role") if isinstance(message, dict) else None
    if role is not None and role_named(str(role)) != "assistant":
        return None
    with Fields(message, where) as fields:
        content, parts = _without_calls(fields.take("content", default=""))
        fields.take("role", default=None)
        text, refusal, *_ = message_text(Fields({"content": content}, where))
        calls = listed_calls(fields)
        older = [fields.take(name, default=None) for name in ("function_call", "function_calls")]
        refusal = fields.take("refusal", kind=str, default=refusal or "")
        fields.keep(*_BESIDE)
        of_an_answer(fields)
    calls = [*parts, *calls, *(call for call in older if call is not None)]
    spoken = text if text.strip() else refusal
    return [*([spoken] if spoken else []), *map(_written, calls)]


def _without_calls(content: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The content of a message without the parts that are calls, and these calls."""
    if not isinstance(content, list):
        return content, []
    calls = [part for part in content if isinstance(part, dict) and part.get("type") in _CALLS]
    named = [{"name": part.get("name", part.get("toolName"))} | _arguments_of(part) for part in calls]
    return [part for part in content if part not in calls], named


def _arguments_of(part: dict[str, Any]) -> dict[str, Any]:
    return {key: part[key] for key in ARGUMENTS if key in part}


def _written(call: Any) -> str:
    """A call as JSON that the parser understands, if it is one."""
    if isinstance(call, str):
        return call
    inner = call.get("function") if isinstance(call, dict) else None
    custom = call.get("custom") if isinstance(call, dict) else None
    if isinstance(custom, dict):  # whose input is a text as it is
        call = {"name": custom.get("name"), "arguments": {TEXT: custom.get("input")}}
    elif isinstance(inner, dict):
        call = {**call, "function": _with_arguments(inner)}
    elif isinstance(call, dict):
        call = _with_arguments(call)
    return json.dumps(call, ensure_ascii=False, default=str)


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """The call with its arguments under the name that the parser knows; those that are missing or empty are none."""
    names = [name for name in ARGUMENTS if call.get(name) not in (None, "")]
    if len(names) > 1:  # not for us to choose: the parser refuses it
        return call
    arguments = call[names[0]] if names else {}
    return {key: value for key, value in call.items() if key not in ARGUMENTS} | {"arguments": arguments}


def _as_released(text: str, case: Case, profile: Reference) -> str:
    """The answer's calls as the released scorer reads them."""
    answer = parse_answer(text, case.tools)
    return profile.renderer.answer(answer.calls, answer.text) if answer.calls else text
