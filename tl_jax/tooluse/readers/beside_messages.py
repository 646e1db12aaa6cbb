"""What rows have beside messages and tools: what a request asked for, its answer, what a chat template is handed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tl_jax.tooluse.fields import Fields, left_out
from tl_jax.tooluse.readers.embedded import is_tool
from tl_jax.tooluse.readers.fields import literal
from tl_jax.tooluse.readers.message_fields import role_named
from tl_jax.tooluse.schema import DataError

if TYPE_CHECKING:
    from tl_jax.tooluse.readers.message_reader import MessageReader


def answered(messages: Any, row: Fields) -> tuple[Any, str]:
    """The messages, and after them what an API answered, as logs have it beside the request; and where that stands.

    Raises:
        DataError: several answers, or one beside messages that end with an answer.
    """
    where, values = row.at("choices"), row.take("choices", default=[])
    if not isinstance(values, list) or not all(isinstance(value, dict) and "message" in value for value in values):
        left_out(where, "is no list of an API's answers, each with its message")
        return messages, ""
    answers = [(value, f"{where}[{i}]") for i, value in enumerate(values)]
    if len(answers) > 1:
        raise DataError(f"holds {len(answers)} answers, of which one is to be learnt", field=where)
    if not answers or not isinstance(messages, list):
        return messages, ""
    if messages and isinstance(messages[-1], dict) and role_named(str(messages[-1].get("role"))) == "assistant":
        raise DataError("the messages end with an answer already", field=where)
    ((value, at),) = answers
    with Fields(value, at) as choice:
        choice.keep("index", "logprobs")
        why = choice.keep("finish_reason", "stop_reason")
        return [*messages, {**why, **choice.take("message", kind=dict)}], choice.taken


def shown(row: Fields, reader: MessageReader, system: str) -> str:
    """Takes what a row hands to its chat template: tools, and SmolLM3's system text.

    Args:
        system: that of the row.

    Returns:
        Either system text.

    Raises:
        DataError: tools as Python code, or two system texts.
    """
    if "chat_template_kwargs" not in row:
        return system
    with Fields(row.take("chat_template_kwargs"), row.taken) as given:
        reader.offer(given, "xml_tools", "tools")
        if given.take("python_tools", default=None):
            raise DataError("are code, which is not read; write them as JSON in tools", field=given.taken)
        given.keep("enable_thinking", "thinking", "reasoning_effort", "add_generation_prompt")
        said = given.take("custom_instructions", kind=str, default="")
        if said and system and said != system:
            raise DataError("is a system text, and the row has another one", field=given.taken)
        return said or system


def offer_noted(notes: Mapping[str, Any], reader: MessageReader) -> None:
    """Offers the tools that a row only notes in its ``metadata``, an object or the JSON text of one.

    Notes may say anything: what else stands under ``tools`` there, such as names, is a note like others.
    """
    noted = notes.get("metadata", notes)
    if reader.tools or not noted:
        return
    if isinstance(noted, str) and '"tools"' in noted:
        try:
            noted = literal(noted, "metadata")
        except DataError:
            return
    tools = noted.get("tools") if isinstance(noted, dict) else None
    if isinstance(tools, list) and tools and all(map(is_tool, tools)):
        reader.offer(Fields({"tools": tools}, "metadata"), "tools")
