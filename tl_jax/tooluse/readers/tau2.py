"""tau2-bench (https://github.com/sierra-research/tau2-bench): simulations in which the user calls tools as well.

A file of results is ``{info, tasks, simulations: [{id, task_id, messages, reward_info}]}``; a row may also be one
simulation, or its messages with ``tools`` and ``id``. The assistant never sees what the user calls: these calls and
their results are kept in ``meta.user_calls`` and stand in no prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.dialogue import Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, identity
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import message_weight
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, Report, read_rows
from tl_jax.tooluse.readers.tool_lists import tools
from tl_jax.tooluse.readers.toolbox import beside, calls_of, inferred
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Role, Tool, Trajectory

USER_CALLS = "call of the user's, which the assistant never sees: kept in meta.user_calls"

_ABOUT_A_MESSAGE = (
    *("turn_idx", "timestamp", "cost", "usage", "raw_data", "generation_time_seconds", "context_truncation"),
    *("chunk_id", "is_final_chunk", "contains_speech", "source", "utterance_ids", "turn_taking_action"),
    *("speech_effects", "source_effects", "channel_effects", "audio_format", "audio_path", "audio_script_gold"),
)
"""What a simulation notes about how a message came about."""
_ABOUT_A_SIMULATION = (
    *("task_id", "trial", "reward_info", "reward", "termination_reason", "agent_cost", "user_cost", "start_time"),
    *("end_time", "duration", "mode", "ticks", "effect_timeline", "review", "user_only_review", "speech_environment"),
    *("auth_classification", "hallucination_retries_used", "domain", "task", "info"),
)


def read(path: Path, report: Report | None) -> Iterator[Trajectory]:
    """Trajectories. Where neither the file nor one beside it has tools, the whole file is held in memory."""
    found = read_rows(path, trajectories, report)
    known = beside(path)
    if known is not None:
        yield from (replace(item, tools=item.tools or known) for item in found)
        return
    everything = list(found)
    made = inferred(call for item in everything if not item.tools for call in calls_of(item.messages))
    for item in everything:
        plain = item.tools or not made
        yield item if plain else replace(item, tools=made, meta={**item.meta, "tools": "inferred from the calls"})


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """Every simulation in a row."""
    with Fields(row) as fields:
        if "simulations" not in fields:
            return [_simulation(fields, "", place.name, None, "")]
        fields.keep("timestamp", "tasks")
        policy, known = _environment(fields.take("info", kind=dict, default={}))
        found: list[Trajectory] = []
        for value, where in fields.each("simulations"):
            with Fields(value, where) as simulation:
                found.append(_simulation(simulation, where, f"{place.name}#{len(found)}", known, policy))
        return found


def _environment(info: Mapping[str, Any]) -> tuple[str, tuple[Tool, ...] | None]:
    """The policy and the tools that all simulations of a file share, as far as it has them."""
    environment = info.get("environment_info") or {}
    if not isinstance(environment, dict):
        raise DataError("must be a JSON object", field="info.environment_info")
    policy, defined = environment.get("policy") or "", environment.get("tool_defs") or {}
    if not isinstance(policy, str) or not isinstance(defined, (dict, list)):
        raise DataError("must have a text as policy and tools by name", field="info.environment_info")
    where = "info.environment_info.tool_defs"
    named = defined.items() if isinstance(defined, dict) else enumerate(defined)
    return policy, tuple(_signature(value, f"{where}.{key}") for key, value in named) or None


def _signature(value: Any, where: str) -> Tool:
    """A tool as tau2 describes it: ``{name, doc, params, returns}``; or in any other shape."""
    if not isinstance(value, dict) or "params" not in value:
        return Tool.from_json(value, where)
    with Fields(value, where) as fields:
        name, doc = fields.take("name", kind=str), fields.take("doc", kind=str, default="")
        schema = fields.take("params", kind=dict, default={})
        returns = fields.keep("returns")
    return Tool.from_json({"name": name, "description": doc, "parameters": schema, **returns}, where)


def _simulation(fields: Fields, where: str, name: str, known: tuple[Tool, ...] | None, policy: str) -> Trajectory:
    own = fields.take("tools", "tool_defs", default=None)
    offered = tools(own, fields.at("tools")) if own else known or ()
    policy = policy or fields.take("policy", kind=str, default="")
    turns = fields.each("messages")
    beside_it = around(fields, name, "tau2", *_ABOUT_A_SIMULATION)
    reader = _Messages(by_name(offered), is_padded([value for value, _ in turns]))
    for value, at in turns:
        reader.read(value, at)
    if reader.of_the_user:
        beside_it.meta["user_calls"] = reader.of_the_user
    return reader.dialogue.trajectory(beside_it, offered, policy, f"{where}.messages".lstrip("."))


@dataclass
class _Messages:
    """Reads messages, one after another."""

    offered: Mapping[str, Tool]
    padded: bool
    dialogue: Dialogue = field(default_factory=Dialogue)
    of_the_user: list[dict[str, Any]] = field(default_factory=list)
    """The calls that the user made, and their results."""

    def read(self, value: Any, where: str) -> None:
        with Fields(value, where) as fields:
            role = fields.take("role", kind=str)
            if role not in ("system", "user", "assistant", "tool"):
                raise DataError(f"unknown role {role!r}", field=f"{where}.role")
            if fields.take("is_audio", default=False):
                raise DataError("is sound: only text can be read", field=f"{where}.is_audio")
            content = fields.take("content", kind=str, default="")
            weight = message_weight(fields, role)
            fields.keep(*_ABOUT_A_MESSAGE)
            made = [self._call(call, at, role) for call, at in fields.each("tool_calls")]
            several = fields.each("tool_messages") if role == "tool" else []
            if role == "tool" and not several:
                self._result(fields, content, where)
        for item, at in several:
            self.read(item, at)
        if role == "user":
            for call in made:
                remark(USER_CALLS)
                self.of_the_user.append({"before_message": len(self.dialogue.messages), **call.to_json()})
        if role != "tool" and not (role == "user" and made and not content):
            calls = () if role == "user" else tuple(made)
            self.dialogue.add(Message(cast(Role, role), content, calls, weight=weight), where)

    def _call(self, value: Any, where: str, role: str) -> Call:
        with Fields(value, where) as fields:
            name, known_as = fields.take("name", kind=str), identity(fields, "id")
            given = call_arguments(fields, self.offered.get(name), self.padded, "arguments")
            requestor = fields.take("requestor", kind=str, default=role)
            fields.expect("type", "function", "tool_call")
        if requestor != role:
            raise DataError(f"is {requestor!r}, in a message of {role!r}", field=f"{where}.requestor")
        return Call(name, given, id=known_as)

    def _result(self, fields: Fields, content: str, where: str) -> None:
        known_as = identity(fields, "id", "tool_call_id")
        requestor = fields.take("requestor", kind=str, default="assistant")
        error, name = fields.take("error", kind=bool, default=False), fields.take("name", kind=str, default=None)
        if requestor == "user":
            result = {"result": content, "id": known_as, "error": error}
            self.of_the_user.append({key: item for key, item in result.items() if item not in (None, False)})
        else:
            self.dialogue.result(content, f"{where}.id", known_as, name, error)


def _recognises(row: Mapping[str, Any]) -> bool:
    """Simulations, or messages of which one says who requested a call."""
    simulations = row.get("simulations")
    if isinstance(simulations, list):
        return bool(simulations) and all(isinstance(item, dict) and "messages" in item for item in simulations)
    messages = row.get("messages")
    items = [item for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    calls = [call for item in items if isinstance(item.get("tool_calls"), list) for call in item["tool_calls"]]
    return any(isinstance(item, dict) and item.get("requestor") is not None for item in [*items, *calls])


FORMAT = Format(
    name="tau2",
    description="tau2-bench: `simulations` of a results file, or rows of `messages` whose calls say their `requestor`; "
    "the user's calls are no part of the prompt",
    recognises=_recognises,
    trajectories=read,
    source="https://github.com/sierra-research/tau2-bench",
)
