"""Amazon Bedrock's Converse API and its tuning files: blocks by name, such as ``toolUse`` and ``toolResult``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields, left_out
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, identity, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import ENCRYPTED, as_lines, message_weight
from tl_jax.tooluse.readers.nulls import is_padded, without_nulls
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import specified
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_BLOCKS = ("toolUse", "toolResult", "reasoningContent")
"""Blocks that no other API has."""
_SETTINGS = (
    *("modelId", "inferenceConfig", "additionalModelRequestFields", "additionalModelResponseFieldPaths"),
    *("guardrailConfig", "performanceConfig", "promptVariables", "requestMetadata", "schemaVersion", "serviceTier"),
    *("stopReason", "usage", "metrics", "trace", "additionalModelResponseFields", "ResponseMetadata", "outputConfig"),
)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row, and after it what the API answered, if the row has that as ``output``."""
    with Fields(row) as fields:
        system = fields.take("system", default="")
        system = system if isinstance(system, str) else "".join(_texts(system, "system"))
        turns = fields.each("messages")
        if "output" in fields:
            with Fields(fields.take("output"), "output") as output:
                turns.append((output.take("message"), "output.message"))
        padded = is_padded([value for value, _ in turns])
        offered = _tools(fields, padded)
        beside = around(fields, place.name, "bedrock", *_SETTINGS)
    dialogue = Dialogue()
    for value, where in turns:
        _message(value, where, dialogue, by_name(offered), padded)
    dialogue.ended(beside.meta)
    return [dialogue.trajectory(beside, offered, system, "messages")]


def _message(value: Any, where: str, dialogue: Dialogue, offered: Mapping[str, Tool], padded: bool) -> None:
    with Fields(value, where) as fields:
        role = fields.take("role", kind=str)
        blocks = fields.take("content", default=[])
        weight = message_weight(fields, role)
    if role not in ("user", "assistant", "system"):
        raise DataError(f"unknown role {role!r}; expected user or assistant", field=f"{where}.role")
    blocks = [{"text": blocks}] if isinstance(blocks, str) else blocks
    if not isinstance(blocks, list):
        raise DataError(f"must be a list of blocks, not {type(blocks).__name__}", field=f"{where}.content")
    turn, answered = AssistantTurn(), False
    for index, block in enumerate(blocks):
        at = f"{where}.content[{index}]"
        with Fields(block, at) as fields:
            if "toolResult" in fields and role == "user":
                if turn.texts:
                    dialogue.add(Message("user", "".join(turn.texts), weight=weight), where)
                    turn = AssistantTurn()
                _result(Fields(fields.take("toolResult"), f"{at}.toolResult"), dialogue, padded)
                answered = True
            elif "toolUse" in fields and role == "assistant":
                turn.calls.append(_call(Fields(fields.take("toolUse"), f"{at}.toolUse"), offered, padded))
            elif "reasoningContent" in fields and role == "assistant":
                turn.reasoning += _thought(Fields(fields.take("reasoningContent"), f"{at}.reasoningContent"))
            else:
                for text in _text(fields):
                    turn.text(text)
    if role == "assistant":
        dialogue.add(turn.message(weight), where)
    elif turn.texts or not answered:
        dialogue.add(Message("user" if role == "user" else "system", "".join(turn.texts), weight=weight), where)


def _call(block: Fields, offered: Mapping[str, Tool], padded: bool) -> Call:
    with block:
        name, known_as = block.take("name", kind=str), identity(block, "toolUseId")
        given = call_arguments(block, offered.get(name), padded, "input")
        block.keep("type")  # a tool that Amazon runs
    return Call(name, given, id=known_as)


def _result(block: Fields, dialogue: Dialogue, padded: bool) -> None:
    with block:
        known_as = identity(block, "toolUseId")
        status = block.take("status", default="success")
        if status not in ("success", "error"):
            raise DataError(f"must be 'success' or 'error', not {status!r}", field=block.at("status"))
        said = []
        for value, where in block.each("content"):
            with Fields(value, where) as part:
                is_value = "json" in part or ("json" in value and not part)  # null is a value here, too
                said += [plain(part.take("json", default=None), padded)] if is_value else _text(part)
        block.keep("type")
    dialogue.result(as_lines(said), block.at("toolUseId"), known_as, error=status == "error")


def _thought(block: Fields) -> list[str]:
    with block:
        if block.take("redactedContent", default=None):
            remark(ENCRYPTED)
        if "reasoningText" not in block:
            return []
        with Fields(block.take("reasoningText"), block.taken) as text:
            text.keep("signature")
            return [text.take("text", kind=str)]


def _texts(blocks: Any, where: str) -> list[str]:
    """The texts of blocks that hold nothing else."""
    texts = []
    for value, at in Fields({"blocks": blocks}, where).each("blocks"):
        with Fields(value, at.replace(".blocks", "")) as block:
            texts += _text(block)
    return texts


def _text(block: Fields) -> list[str]:
    """The text of a block; none of one that says where a prompt may be cached.

    Raises:
        DataError: it holds something else, such as a picture.
    """
    if block.keep("cachePoint"):
        return []
    if "text" in block:
        return [block.take("text", kind=str)]
    if "guardContent" in block:
        with Fields(block.take("guardContent"), block.taken) as guarded, Fields(guarded.take("text"), "text") as text:
            text.keep("qualifiers")
            return [text.take("text", kind=str)]
    if "citationsContent" in block:
        with Fields(block.take("citationsContent"), block.taken) as cited:
            cited.keep("citations")
            return _texts(cited.take("content", default=[]), f"{block.taken}.content")
    raise DataError("only blocks of text, toolUse, toolResult and reasoningContent can be read", field=block.where)


def _tools(row: Fields, padded: bool) -> list[Tool]:
    """The tools of ``toolConfig``, each in its ``toolSpec`` with the schema in ``inputSchema.json``."""
    found = list[Tool]()
    with Fields(row.take("toolConfig", "tool_config", default={}), "toolConfig") as config:
        items = config.each("tools")
        config.keep("toolChoice")
    for value, where in items or row.each("tools"):
        with Fields(value, where) as item:
            if "systemTool" in item:
                item.take("systemTool")
                left_out(item.taken, "is a tool that Amazon runs itself: no model has it elsewhere")
            elif not item.keep("cachePoint"):
                spec = item.take("toolSpec", kind=dict)
                found.append(specified(without_nulls(spec) if padded else spec, item.taken))
    return found


def _recognises(row: Mapping[str, Any]) -> bool:
    """Tools in ``toolConfig``, or a block that only this API has."""
    messages = row.get("messages")
    if not isinstance(messages, list):
        return False
    contents = [item.get("content") for item in messages if isinstance(item, dict)]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    own = any(isinstance(block, dict) and any(block.get(name) for name in _BLOCKS) for block in blocks)
    if own or isinstance(row.get("toolConfig"), dict) or "bedrock" in str(row.get("schemaVersion")):
        return True
    system = row.get("system")  # in blocks that say no type, as Anthropic's calls and results do
    typed = any(isinstance(block, dict) and "type" in block for block in blocks)
    return not typed and isinstance(system, list) and bool(system) and all(_is_text(block) for block in system)


def _is_text(value: Any) -> bool:
    return isinstance(value, dict) and "text" in value and "type" not in value


FORMAT = Format(
    name="bedrock",
    description="Amazon Bedrock's Converse API and its tuning files: `system`, `toolConfig`, `messages` of blocks "
    "(`toolUse`, `toolResult`, `reasoningContent`), and `output`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
)
