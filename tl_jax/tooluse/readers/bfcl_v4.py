"""BFCL v4 (https://gorilla.cs.berkeley.edu/leaderboard.html): single-turn, live and multi-turn categories; and v3.

A question is ``{id, question: [[messages] of each turn], function: [tools]}``; the id begins with the category. What is
accepted lies in a file of the same name in ``possible_answer``: ``{id, ground_truth}`` with, for each call,
``{name: {argument: [accepted values]}}``, where ``""`` means that the argument may be left out and an object lists the
accepted values of each key. Questions to which no function fits, or any does, have no answers.

Questions of several turns have ``involved_classes`` and ``initial_config`` instead of functions; the documents of the
classes' functions lie in ``multi_turn_func_doc`` beside the file or in the package `bfcl-eval`. Their answers are, for
each turn, Python calls. The case is the first turn; the others stand in ``meta.turns``, each with the messages and the
tools that come with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from tl_jax.tooluse.bfcl.categories import BfclCategory, category_of
from tl_jax.tooluse.bfcl.check import written_type
from tl_jax.tooluse.bfcl.literals import Language, natural, write
from tl_jax.tooluse.bfcl.package import CLASSES, INSTALL, documents
from tl_jax.tooluse.environments.base import UserTurn
from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.bfcl import answers_beside, gold_call
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.rows import Place, Report, read_rows
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.schema import Call, Case, DataError, GoldKind, Message, Tool

SUITE = "bfcl_v4"
MAX_ACCEPTED = 1_000
"""Values that an object with several values for each of its keys may stand for."""
MORE_TOOLS = "From now on you have these tools as well: {tools}\nPlease go on with what I asked for."
"""What the user says in a turn without a message, when functions come that were held back."""

_AGENTIC = ("web_search_", "memory_")
_MULTI_TURN = ("initial_config", "involved_classes", "missed_function", "excluded_function", "path")
_HINT = "Written as {language} code, as a text: a value of type {kind}."
_SPELLINGS = (write, natural)
_LANGUAGES: Mapping[Language, str] = {"java": "Java", "javascript": "JavaScript"}


def read(path: Path, report: Report | None) -> Iterator[Case]:
    """Cases.

    Raises:
        DataError: also where the file of answers cannot be read.
    """
    answers = answers_beside(path)
    return read_rows(path, lambda row, place: [_case(row, place, answers)], report)


def _case(row: Any, place: Place, answers: Mapping[str, Mapping[str, Any]] | None) -> Case:
    with Fields(row) as fields:
        identity = fields.take("id", kind=str)
        if identity.startswith(_AGENTIC):
            raise DataError(
                "is of BFCL's agentic part, which needs the web and paid services: it is not read", field="id"
            )
        category = category_of(identity) or BfclCategory(identity.rpartition("_")[0], "")
        turns = [_messages(turn, where) for turn, where in fields.each("question")]
        if not turns or not turns[0]:
            raise DataError("has no message in its first turn", field="question")
        answer = fields.take("ground_truth", kind=list, default=None)
        tools = tuple(_tool(value, where, category.language) for value, where in fields.each("function"))
        several = fields.keep(*_MULTI_TURN)
    if answer is None and answers is not None and category.rule in ("calls", "episode"):
        if identity not in answers:
            raise DataError(f"{identity!r} has no answer in the file of answers", field="id")
        answer = Fields(answers[identity]).take("ground_truth", kind=list)
    meta: dict[str, Any] = {"category": category.name}
    if several or len(turns) > 1:
        tools, meta["turns"] = _episode(turns, several, tools, place)
        meta |= several
    if answer is not None:
        meta["gold_source"] = answer
    gold, kind = _gold(answer, tools, category, [*tools, *_later_tools(meta)])
    return Case(identity, tools, turns[0], gold, kind, SUITE, category.name, meta)


def _messages(turn: Any, where: str) -> tuple[Message, ...]:
    if not isinstance(turn, list):
        raise DataError("must be a list of messages", field=where)
    return tuple(Message.from_json(value, f"{where}[{i}]") for i, value in enumerate(turn))


def _tool(value: Any, where: str, language: Language) -> Tool:
    parameters = Fields(value, where).take("parameters", kind=dict)
    schema = json_schema(parameters)
    if language != "python" and isinstance(parameters.get("properties"), dict):
        named = parameters["properties"].items()
        schema["properties"] = {name: _as_code(spec, language) for name, spec in named}
    return Tool.from_json({**value, "parameters": schema}, where)


def _as_code(spec: Any, language: Language) -> Any:
    """The schema of a value that is written as code: a text. How its type was written is kept."""
    if not isinstance(spec, dict) or not isinstance(spec.get("type"), str):
        return spec
    kept = {word: value for word, value in spec.items() if word not in ("type", "items", "properties", "required")}
    described = {f"x-{word}": spec[word] for word in ("type", "items", "properties", "required") if word in spec}
    items = spec["items"].get("type") if isinstance(spec.get("items"), dict) else None
    hint = _HINT.format(language=_LANGUAGES[language], kind=f"{spec['type']} of {items}" if items else spec["type"])
    return {**kept, "type": "string", **described, "description": f"{spec.get('description', '')} {hint}".strip()}


def _episode(
    turns: list[tuple[Message, ...]], several: Mapping[str, Any], tools: tuple[Tool, ...], place: Place
) -> tuple[tuple[Tool, ...], list[dict[str, Any]]]:
    """The tools of the first turn, and the later turns as they stand in ``meta``."""
    row = Fields(several)
    for name, where in row.each("involved_classes"):
        tools += _tools_of(name, where, place.path)
    held_back = _held_back(row.take("missed_function", kind=dict, default={}))
    later = []
    for number, messages in enumerate(turns[1:], 1):
        new = tuple(tool for tool in tools if held_back.get(tool.name) == number)
        if not messages:
            messages = (_tells(new, f"question[{number}]"),)
        later.append(UserTurn(messages, new).to_json())
    return tuple(tool for tool in tools if tool.name not in held_back), later


def _held_back(missed: Mapping[str, Any]) -> dict[str, int]:
    """Function -> the turn, from 0, with which it comes."""
    found: dict[str, int] = {}
    for turn, names in missed.items():
        if not turn.isdigit() or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError("must be {number of a turn: [functions that come with it]}", field="missed_function")
        found |= {name: int(turn) for name in names}
    return found


def _tells(new: tuple[Tool, ...], where: str) -> Message:
    """What the user says in a turn without a message: which functions there are from now on."""
    if not new:
        raise DataError("has no message, and no function comes with it", field=where)
    shown = [{"name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in new]
    return Message("user", MORE_TOOLS.format(tools=json.dumps(shown, ensure_ascii=False)))


def _tools_of(name: Any, where: str, path: Path) -> tuple[Tool, ...]:
    if not isinstance(name, str) or not name.isidentifier():  # it names a file: a path from the data is no class
        raise DataError("must be the name of a class", field=where)
    file = documents(name, path)
    if file is not None:
        return _documented(file)
    if name in CLASSES:
        raise DataError(f"the functions of {name} are described in {INSTALL.split()[-2]}: {INSTALL}", field="function")
    remark(f"the class {name!r} is none of BFCL's: its functions are not known")
    return ()


@lru_cache(maxsize=32)
def _documented(file: Path) -> tuple[Tool, ...]:
    return tuple(read_rows(file, lambda row, place: [_tool(row, "", "python")]))


def _later_tools(meta: Mapping[str, Any]) -> list[Tool]:
    return [Tool.from_json(tool) for turn in meta.get("turns", ()) for tool in turn["tools"]]


def _gold(
    answer: list[Any] | None, tools: tuple[Tool, ...], category: BfclCategory, known: list[Tool]
) -> tuple[tuple[tuple[Call, ...], ...], GoldKind]:
    """What is right, as our own rows say it; ``known`` are the tools of all turns."""
    if category.rule == "no_call":
        return ((),), "alternatives"
    if category.rule == "any_call":
        return tuple((Call(tool.name, wild=tuple(tool.properties)),) for tool in tools), "alternatives"
    if answer is None:
        remark("no file of answers: there is nothing to compare with")
        return (), "none"
    if answer and all(isinstance(turn, list) for turn in answer):
        made = [
            [gold_call(source, tuple(known), f"ground_truth[{i}][{j}]") for j, source in enumerate(turn)]
            for i, turn in enumerate(answer)
        ]
        return (tuple(made[0]),), "sequence" if made[0] else "alternatives"
    read = [_accepting(call, f"ground_truth[{i}]", tools, category.language) for i, call in enumerate(answer)]
    return (tuple(read),), "parallel" if len(read) > 1 else "alternatives"


def _accepting(value: Any, where: str, tools: tuple[Tool, ...], language: Language) -> Call:
    """The gold call with everything that is accepted: the first value of each argument, and others beside."""
    if not isinstance(value, dict) or len(value) != 1:
        raise DataError("must be one call: {name: {argument: [accepted values]}}", field=where)
    ((name, listed),) = value.items()
    where = f"{where}.{name}"
    if not isinstance(listed, dict):
        raise DataError("must be {argument: [accepted values]}", field=where)
    tool = next((tool for tool in tools if tool.name == name), Tool(name))
    arguments, accepted, optional = {}, {}, []
    for argument, values in listed.items():
        if not isinstance(values, list):
            raise DataError("must be a list of accepted values", field=f"{where}.{argument}")
        schema = tool.properties.get(argument, {})
        right = _plain(values, schema, language, f"{where}.{argument}")
        may_be_left_out = "" in values and argument not in tool.required
        if right and not (may_be_left_out and values[0] == ""):
            arguments[argument], *right = right
            optional += [argument] if may_be_left_out else []
        if right:
            accepted[argument] = right
    return Call(name, arguments, accepted=accepted, optional=tuple(optional))


def _plain(values: list[Any], schema: Mapping[str, Any], language: Language, where: str) -> list[Any]:
    """The values that a call may give, each as it would be given; ``""`` is one only where it is a text."""
    kind = written_type(schema)
    items = schema.get("x-items", {}).get("type")
    found: list[Any] = []
    for value in values:
        if value == "" and kind not in ("string", "String", "any"):
            continue
        for option in _objects(value, where):
            spelt = [option] if language == "python" else [spell(option, language, kind, items) for spell in _SPELLINGS]
            for one in spelt:
                if not any(type(one) is type(other) and one == other for other in found):
                    found.append(one)
    return found


def _objects(value: Any, where: str) -> list[Any]:
    """The value, or every object that it stands for if it lists several values for each key."""
    if isinstance(value, dict):
        choices = [[(key, item) for item in _listed(items)] for key, items in value.items()]
        options = ([pair for pair in pairs if pair[1] != ""] for pairs in _combined(choices, where))
        return [dict(pairs) for pairs in options]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [list(items) for items in _combined([_objects(item, where) for item in value], where)]
    return [value]


def _listed(items: Any) -> list[Any]:
    return items if isinstance(items, list) else [items]


def _combined(choices: list[list[Any]], where: str) -> list[tuple[Any, ...]]:
    count = 1
    for options in choices:
        count *= len(options)
    if count > MAX_ACCEPTED:
        raise DataError(f"stands for {count} values, more than {MAX_ACCEPTED}", field=where)
    return list(product(*choices))


def _recognises(row: Mapping[str, Any]) -> bool:
    """A row whose answers are lists of accepted values, and no executable one."""
    if "question" not in row or "messages" in row or not ("function" in row or "involved_classes" in row):
        return False
    answer = row.get("ground_truth")
    if isinstance(answer, list) and answer:
        return not isinstance(answer[0], str)
    identity = str(row.get("id", ""))
    return not identity.startswith(("exec_", "rest_"))


FORMAT = Format(
    name="bfcl_v4",
    description="BFCL v4 and v3: single-turn, live and multi-turn categories, see [bfcl.md](bfcl.md); "
    "what is accepted from the `possible_answer` file beside",
    recognises=_recognises,
    cases=read,
    is_companion=lambda path: "possible_answer" in str(path),
    source="https://gorilla.cs.berkeley.edu/leaderboard.html",
)
