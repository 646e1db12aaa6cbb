"""What a tool, a call, a message, a trajectory and an evaluation case are.

The JSON shapes are OpenAI's (a tool is a name, a description and a JSON schema; an assistant message may carry
``tool_calls``), flattened the way `docs/formats.md` shows. Everything is validated on the way in: a wrong or unknown
field raises `DataError`, which names file, line, field and what was expected. Other names and shapes for the same
things are the business of `tl_jax.tooluse.readers`; a tool, which every format has, is read in all of its shapes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast, get_args

from tl_jax.errors import DataError
from tl_jax.tooluse import strict_json
from tl_jax.tooluse.fields import Fields, row_id
from tl_jax.tooluse.json_schema import checked, flat
from tl_jax.tooluse.schema_types import all_properties, all_required

__all__ = ["Call", "Case", "DataError", "GoldKind", "Message", "Role", "Tool", "Trajectory", "decision_points"]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
_ROLES: tuple[str, ...] = get_args(Role)
GoldKind: TypeAlias = Literal["alternatives", "sequence", "parallel", "open", "none"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; ``parameters`` is a JSON schema of type ``object``.

    ``extra`` holds what else a file says about it (`TOOL_EXTRAS`): it is kept, and no prompt shows it.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """Parameter name -> its JSON schema, in the order of the definition."""
        return all_properties(self.parameters)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters a call must give."""
        return all_required(self.parameters)

    @property
    def signature(self) -> tuple[str, ...]:
        """Parameter names in the order of a Python signature: the required ones first, in the order of ``required``."""
        properties = self.properties
        required = [name for name in dict.fromkeys(self.required) if name in properties]
        return (*required, *[name for name in properties if name not in required])

    @classmethod
    def from_json(cls, value: Any, where: str = "tool") -> Tool:
        """Reads every shape that tools have: flat, or OpenAI's ``{"type": "function", "function": {...}}``.

        The schema is called ``parameters``, ``input_schema`` or ``inputSchema``; it may also be the parameters by name,
        or stand at the tool's own level, and ``required`` beside it.
        """
        with Fields(value, where) as outer:
            if "function" in outer and "name" not in outer:
                outer.expect("type", "function")
                extra = outer.keep(*TOOL_EXTRAS, prefix="x-")
                with Fields(outer.take("function"), f"{where}.function") as inner:
                    tool = cls._of(inner)
                return cls(tool.name, tool.description, tool.parameters, {**extra, **tool.extra})
            return cls._of(outer)

    @classmethod
    def _of(cls, fields: Fields) -> Tool:
        name = fields.take("name", kind=str)
        if not name.strip():
            raise DataError("is empty", field=fields.at("name"))
        description = fields.take("description", kind=str, default="")
        where = fields.at("parameters", "input_schema", "inputSchema")
        if "properties" in fields:  # the schema's words stand among the tool's
            where = fields.where
            schema: Any = {"type": "object", **fields.keep("properties", "required", "additionalProperties", "$defs")}
        else:
            schema = fields.take("parameters", "input_schema", "inputSchema", default=None) or {}
        fields.expect("type", "function", "object", "custom")
        if isinstance(schema, str):
            schema = _read(schema, where)
        if isinstance(schema, dict) and flat(schema):
            schema = {"type": "object", "properties": schema}
        parameters = checked(schema, where)
        required = fields.take("required", kind=list, default=None)
        if required is not None:
            if parameters.get("required", required) != required:
                raise DataError("says something else than 'required' in the schema", field=fields.at("required"))
            parameters = checked({**parameters, "required": required}, fields.where)
        return cls(name, description, parameters, fields.keep(*TOOL_EXTRAS, prefix="x-"))

    def to_json(self) -> dict[str, Any]:
        shown = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {**shown, **self.extra}


def _read(text: str, where: str) -> Any:
    """What a JSON text says; an empty one nothing."""
    if not text.strip():
        return {}
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise DataError(f"is not JSON: {error}", field=where) from None


TOOL_EXTRAS = (
    *("strict", "title", "category", "version", "tags", "annotations", "examples", "input_examples"),
    *("outputSchema", "output_schema", "output", "returns", "return", "response", "responses"),
    *("cache_control", "defer_loading", "allowed_callers", "eager_input_streaming", "icons", "execution", "_meta"),
)
"""What files say about a tool beside name, description and parameters: MCP, OpenAI, Anthropic, BFCL, ToolACE.

Fields that begin with ``x-`` are kept as well.
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call.

    ``id`` tells which result is its own (`Message.call_id`). Two calls that say the same are equal, whatever their ids.
    The rest is said of gold calls only: what else than ``arguments`` is right. ``arguments`` is what a renderer writes.

    Args:
        wild: arguments whose value is not compared. One that ``arguments`` lacks may be given or not.
        accepted: argument -> other values that are as good. One that ``arguments`` lacks may be given or not.
        optional: arguments that may be left out.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    wild: tuple[str, ...] = ()
    id: str | None = field(default=None, compare=False)
    accepted: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Every argument that a right call may have."""
        return tuple(dict.fromkeys((*self.arguments, *self.accepted, *self.wild)))

    def values(self, name: str) -> tuple[Any, ...]:
        """The right values of an argument, what a renderer writes first; none where any is right.

        Example:
            >>> Call("open", {"mode": "r"}, accepted={"mode": ["read"]}).values("mode")
            ('r', 'read')
        """
        own = (self.arguments[name],) if name in self.arguments else ()
        return (*own, *self.accepted.get(name, ()))

    @classmethod
    def from_json(cls, value: Any, where: str = "call") -> Call:
        """Accepts what `to_json` writes; arguments are an object."""
        with Fields(value, where) as fields:
            name = fields.take("name", kind=str)
            arguments = fields.take("arguments", kind=dict, default={})
            known_as = fields.take("id", kind=str, default=None)
            return cls(name, arguments, id=known_as, **latitude(fields, arguments))

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.name, "arguments": dict(self.arguments)}
        if self.wild:
            row["wild"] = list(self.wild)
        if self.accepted:
            row["accepted"] = {name: list(values) for name, values in self.accepted.items()}
        if self.optional:
            row["optional"] = list(self.optional)
        if self.id is not None:
            row["id"] = self.id
        return row


def latitude(fields: Fields, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a gold call that say what else is right, as arguments of `Call`.

    Raises:
        DataError: not of the shape that `Call.to_json` writes, or ``optional`` names no argument.
    """
    wild = fields.take("wild", kind=list, default=[])
    if not all(isinstance(name, str) for name in wild):
        raise DataError("must be a list of argument names", field=fields.at("wild"))
    accepted = fields.take("accepted", kind=dict, default={})
    for name, values in accepted.items():
        if not isinstance(values, list):
            raise DataError("must be a list of values", field=f"{fields.at('accepted')}.{name}")
    optional = fields.take("optional", kind=list, default=[])
    for i, name in enumerate(optional):
        if name not in arguments:
            raise DataError(f"{name!r} is none of the arguments", field=f"{fields.at('optional')}[{i}]")
    return {"wild": tuple(wild), "accepted": accepted, "optional": tuple(optional)}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. An assistant message is a *turn*: text, calls, or text followed by calls.

    Args:
        name: the tool that a tool message comes from, or who speaks.
        weight: of an assistant message: scales the turn's loss, as in OpenAI's fine-tuning format: 0 keeps the turn as
            context only (what MAE does to erroneous calls), None means 1.
        call_id: of a tool message: the `Call.id` of the call that it answers.
        error: of a tool message: its environment said that the call failed.
        reasoning: of an assistant message: what the model thought before it answered. No part of the answer.
        refusal: of an assistant message: why it does not answer, as OpenAI's models say it. No part of the answer.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[Call, ...] = ()
    name: str | None = None
    weight: float | None = None
    call_id: str | None = None
    error: bool = False
    reasoning: str | None = None
    refusal: str | None = None

    @classmethod
    def from_json(cls, value: Any, where: str = "message") -> Message:
        """Accepts what `to_json` writes."""
        with Fields(value, where) as fields:
            role = fields.take("role", kind=str)
            content = fields.take("content", kind=str, default="")
            calls = tuple(Call.from_json(call, at) for call, at in fields.each("tool_calls"))
            name = fields.take("name", kind=str, default=None)
            weight = loss_weight(fields.take("weight", default=None), fields.at("weight"))
            call_id = fields.take("call_id", kind=str, default=None)
            error = fields.take("error", kind=bool, default=False)
            reasoning = fields.take("reasoning", kind=str, default=None)
            refusal = fields.take("refusal", kind=str, default=None)
        message = cls(cast(Role, role), content, calls, name, weight, call_id, error, reasoning, refusal)
        message.check(where)
        return message

    def check(self, where: str) -> None:
        """Raises `DataError` for an unknown role, a call without a name, or a field that this role cannot have."""
        if self.role not in _ROLES:
            raise DataError(f"unknown role {self.role!r}; expected one of {', '.join(_ROLES)}", field=f"{where}.role")
        for index, call in enumerate(self.tool_calls):
            if not call.name.strip():
                raise DataError("is empty", field=f"{where}.tool_calls[{index}].name")
        if self.role != "assistant":
            if self.tool_calls or self.weight is not None:
                raise DataError(
                    f"only an assistant message has tool_calls or weight, this one is {self.role!r}", field=where
                )
            if self.reasoning is not None or self.refusal is not None:
                raise DataError(
                    f"only an assistant message has reasoning or refusal, this one is {self.role!r}", field=where
                )
        if self.role != "tool" and (self.call_id is not None or self.error):
            raise DataError(f"only a tool message has call_id or error, this one is {self.role!r}", field=where)

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            row["name"] = self.name
        if self.tool_calls:
            row["tool_calls"] = [call.to_json() for call in self.tool_calls]
        if self.weight is not None:
            row["weight"] = self.weight
        if self.call_id is not None:
            row["call_id"] = self.call_id
        if self.error:
            row["error"] = True
        if self.reasoning is not None:
            row["reasoning"] = self.reasoning
        if self.refusal is not None:
            row["refusal"] = self.refusal
        return row


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A recorded episode to learn from: the tools offered and every message."""

    id: str
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    suite: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def turns(self) -> Iterator[tuple[int, Message]]:
        """(index, message) of every assistant message."""
        return ((i, m) for i, m in enumerate(self.messages) if m.role == "assistant")

    @classmethod
    def from_json(cls, value: Any) -> Trajectory:
        """Accepts what `to_json` writes."""
        with Fields(value) as fields:
            return cls(**_common(fields))

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "suite": self.suite,
            "tools": [tool.to_json() for tool in self.tools],
            "messages": [message.to_json() for message in self.messages],
            "meta": dict(self.meta),
        }


@dataclass(frozen=True, slots=True)
class Case:
    """A question with its gold answers: the messages up to the decision and the acceptable calls.

    ``gold`` is a tuple of alternatives, each a tuple of calls. How they are read depends on ``gold_kind``:
    ``alternatives`` (any one call is right), ``sequence`` (calls made one after another), ``parallel`` (calls made at
    once), ``open`` (calls still to be made: any of them, one or several at once), ``none`` (nothing to compare with).
    """

    id: str
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    gold: tuple[tuple[Call, ...], ...] = ()
    gold_kind: GoldKind = "alternatives"
    suite: str = ""
    split: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_gold(self) -> bool:
        """Whether there is something to compare an answer with; that no call is right, an empty alternative, is."""
        return self.gold_kind != "none" and bool(self.gold)

    @classmethod
    def from_json(cls, value: Any) -> Case:
        """Accepts what `to_json` writes."""
        with Fields(value) as fields:
            parsed = gold_calls(fields.take("gold", default=None) or [], Call.from_json)
            kind = gold_kind(fields)
            return cls(**_common(fields), gold=parsed, gold_kind=kind, split=fields.take("split", kind=str, default=""))

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "suite": self.suite,
            "split": self.split,
            "tools": [tool.to_json() for tool in self.tools],
            "messages": [message.to_json() for message in self.messages],
            "gold": [[call.to_json() for call in alternative] for alternative in self.gold],
            "gold_kind": self.gold_kind,
            "meta": dict(self.meta),
        }


def decision_points(trajectory: Trajectory) -> Iterator[Case]:
    """Every turn that makes a call and is a target (weight not 0), as a case: its context and its calls as gold."""
    for index, message in trajectory.turns:
        if message.tool_calls and message.weight != 0:
            kind: GoldKind = "parallel" if len(message.tool_calls) > 1 else "alternatives"
            yield Case(
                f"{trajectory.id}#{index}",
                trajectory.tools,
                trajectory.messages[:index],
                (message.tool_calls,),
                kind,
                trajectory.suite,
                meta=trajectory.meta,
            )


def gold_calls(value: Any, read: Callable[[Any, str], Call]) -> tuple[tuple[Call, ...], ...]:
    """The alternatives in a field ``gold``, whose calls ``read`` reads from a value and where it stands."""
    if not isinstance(value, list) or not all(isinstance(alternative, list) for alternative in value):
        raise DataError("must be a list of alternatives, each a list of calls", field="gold")
    return tuple(
        tuple(read(call, f"gold[{i}][{j}]") for j, call in enumerate(alternative))
        for i, alternative in enumerate(value)
    )


def gold_kind(fields: Fields) -> GoldKind:
    """The field ``gold_kind`` of a row."""
    kind = fields.take("gold_kind", default="alternatives")
    if kind not in get_args(GoldKind):
        raise DataError(f"unknown kind {kind!r}; expected one of {', '.join(get_args(GoldKind))}", field="gold_kind")
    return cast(GoldKind, kind)


def loss_weight(value: Any, where: str) -> float | None:
    """The weight of a turn's loss; None as it is.

    Raises:
        DataError: it is no finite number from 0 on.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise DataError(f"must be a finite number >= 0, not {value!r}", field=where)
    return float(value)


def _common(fields: Fields) -> dict[str, Any]:
    """The fields that trajectories and cases share."""
    tools = fields.take("tools", default=None) or []
    if not isinstance(tools, list):
        raise DataError("must be a list of tools", field="tools")
    messages = fields.take("messages", default=None)
    if not isinstance(messages, list) or not messages:
        raise DataError("must be a non-empty list of messages", field="messages")
    return {
        "id": row_id(fields),
        "tools": tuple(Tool.from_json(tool, f"tools[{i}]") for i, tool in enumerate(tools)),
        "messages": tuple(Message.from_json(message, f"messages[{i}]") for i, message in enumerate(messages)),
        "suite": fields.take("suite", kind=str, default=""),
        "meta": fields.take("meta", kind=dict, default={}),
    }
