"""What a tool, a call, a message, a trajectory and an evaluation case are.

The JSON shapes are OpenAI's (a tool is a name, a description and a JSON schema; an assistant message may carry
``tool_calls``), flattened the way `docs/formats.md` shows. Everything is validated on the way in: a wrong field
raises `DataError`, which names file, line, field and what was expected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast, get_args

from tl_jax.errors import UserError

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
GoldKind: TypeAlias = Literal["alternatives", "sequence", "parallel", "none"]


class DataError(UserError):
    """Bad input data. ``str(error)`` reads ``file:line: field: what is wrong``."""

    def __init__(self, problem: str, *, path: str = "", line: int | None = None, field: str = "") -> None:
        self.problem, self.path, self.line, self.field = problem, path, line, field
        place = f"{path}:{line}" if path and line is not None else path or (f"line {line}" if line is not None else "")
        super().__init__(": ".join(part for part in (place, field, problem) if part))

    def at(self, path: str, line: int | None) -> DataError:
        """The same error with the file and line it was found at."""
        return DataError(self.problem, path=path, line=line, field=self.field)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; ``parameters`` is a JSON schema of type ``object``."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """Parameter name -> its JSON schema, in the order of the definition."""
        return cast("Mapping[str, Mapping[str, Any]]", self.parameters.get("properties") or {})

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters a call must give."""
        return tuple(self.parameters.get("required") or ())

    @property
    def signature(self) -> tuple[str, ...]:
        """Parameter names in the order of a Python signature: the required ones first, in the order of ``required``."""
        required = tuple(name for name in dict.fromkeys(self.required) if name in self.properties)
        return required + tuple(name for name in self.properties if name not in required)

    @classmethod
    def from_json(cls, value: Any, where: str = "tool") -> Tool:
        """Accepts the flat shape and OpenAI's ``{"type": "function", "function": {...}}``."""
        row = _object(value, where)
        if "function" in row and "name" not in row:
            where = f"{where}.function"
            row = _object(row["function"], where)
        parameters = _object(row.get("parameters") or {}, f"{where}.parameters")
        properties = _object(parameters.get("properties") or {}, f"{where}.parameters.properties")
        for name, spec in properties.items():
            _object(spec, f"{where}.parameters.properties.{name}")
        required = parameters.get("required") or []
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise DataError("must be a list of parameter names", field=f"{where}.parameters.required")
        return cls(_text(row, "name", where), _text(row, "description", where, default=""), parameters)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call. ``wild`` names the arguments whose value is not compared (gold calls only)."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    wild: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any, where: str = "call") -> Call:
        """Accepts ``{name, arguments}``; arguments are an object (OpenAI's JSON string is the reader's business)."""
        row = _object(value, where)
        arguments = _object(row.get("arguments") or {}, f"{where}.arguments")
        wild = row.get("wild") or []
        if not isinstance(wild, list) or not all(isinstance(name, str) for name in wild):
            raise DataError("must be a list of argument names", field=f"{where}.wild")
        return cls(_text(row, "name", where), arguments, tuple(wild))

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.name, "arguments": dict(self.arguments)}
        return row | {"wild": list(self.wild)} if self.wild else row


@dataclass(frozen=True, slots=True)
class Message:
    """One message. An assistant message is a *turn*: text, calls, or text followed by calls.

    ``weight`` scales the turn's loss, as in OpenAI's fine-tuning format: 0 keeps the turn as context only (what MAE
    does to erroneous calls), ``None`` means 1 and is allowed on assistant messages only.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[Call, ...] = ()
    name: str | None = None
    weight: float | None = None

    @classmethod
    def from_json(cls, value: Any, where: str = "message") -> Message:
        row = _object(value, where)
        role = _text(row, "role", where)
        if role not in get_args(Role):
            raise DataError(
                f"unknown role {role!r}; expected one of {', '.join(get_args(Role))}", field=f"{where}.role"
            )
        calls = row.get("tool_calls") or []
        if not isinstance(calls, list):
            raise DataError("must be a list of calls", field=f"{where}.tool_calls")
        if role != "assistant" and (calls or row.get("weight") is not None):
            raise DataError(f"only an assistant message has tool_calls or weight, this one is {role!r}", field=where)
        weight = row.get("weight")
        if weight is not None and (
            isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf")
        ):
            raise DataError(f"must be a finite number >= 0, not {weight!r}", field=f"{where}.weight")
        parsed = tuple(Call.from_json(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls))
        content = "" if row.get("content") is None else _text(row, "content", where)
        name = None if row.get("name") is None else _text(row, "name", where)
        return cls(cast(Role, role), content, parsed, name, None if weight is None else float(weight))

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            row["name"] = self.name
        if self.tool_calls:
            row["tool_calls"] = [call.to_json() for call in self.tool_calls]
        if self.weight is not None:
            row["weight"] = self.weight
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
        return cls(**_common(_object(value, "row")))

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
    once), ``none`` (nothing to compare with).
    """

    id: str
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    gold: tuple[tuple[Call, ...], ...] = ()
    gold_kind: GoldKind = "alternatives"
    suite: str = ""
    split: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Any) -> Case:
        row = _object(value, "row")
        gold = row.get("gold") or []
        if not isinstance(gold, list) or not all(isinstance(alternative, list) for alternative in gold):
            raise DataError("must be a list of alternatives, each a list of calls", field="gold")
        kind = row.get("gold_kind", "alternatives")
        if kind not in get_args(GoldKind):
            raise DataError(
                f"unknown kind {kind!r}; expected one of {', '.join(get_args(GoldKind))}", field="gold_kind"
            )
        parsed = tuple(
            tuple(Call.from_json(call, f"gold[{i}][{j}]") for j, call in enumerate(alternative))
            for i, alternative in enumerate(gold)
        )
        return cls(**_common(row), gold=parsed, gold_kind=kind, split=_text(row, "split", "row", default=""))

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


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that trajectories and cases share."""
    tools, messages = row.get("tools") or [], row.get("messages")
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise DataError("must be a list of tools", field="tools")
    if not isinstance(messages, list) or not messages:
        raise DataError("must be a non-empty list of messages", field="messages")
    return {
        "id": str(row["id"]) if row.get("id") is not None else _missing("id"),
        "tools": tuple(Tool.from_json(tool, f"tools[{i}]") for i, tool in enumerate(tools)),
        "messages": tuple(Message.from_json(message, f"messages[{i}]") for i, message in enumerate(messages)),
        "suite": _text(row, "suite", "row", default=""),
        "meta": _object(row.get("meta") or {}, "meta"),
    }


def _missing(name: str) -> str:
    raise DataError("is missing", field=name)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where)
    return value


def _text(row: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    where = name if where == "row" else f"{where}.{name}"
    value = row.get(name)
    if value is None:
        if default is None:
            raise DataError("is missing", field=where)
        return default
    if not isinstance(value, str):
        raise DataError(f"must be text, not {type(value).__name__}", field=where)
    return value
