"""BFCL's own checkers, from the package `bfcl-eval`, and answers made of gold ones that they are asked about."""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

from tl_jax.tooluse.bfcl.categories import BfclCategory
from tl_jax.tooluse.bfcl.package import data_folder
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.parse import bind, parse_answer

MODEL = "model"
"""No model of BFCL's list: its functions keep their dots."""
THROUGH_API = "function-calling-model"
"""Neither; its functions have ``_`` for them."""


@lru_cache
def _ast_checker() -> ModuleType:
    """The module, without the libraries of every vendor, which it would import for the list of models."""
    stub = ModuleType("bfcl_eval.constants.model_config")
    stub.MODEL_CONFIG_MAPPING = {  # type: ignore[attr-defined]
        name: SimpleNamespace(underscore_to_dot=name == THROUGH_API) for name in (MODEL, THROUGH_API)
    }
    sys.modules.setdefault(stub.__name__, stub)
    from bfcl_eval.eval_checker.ast_eval import ast_checker

    return ast_checker


@lru_cache(maxsize=2)
def questions(category: BfclCategory) -> dict[str, dict[str, Any]]:
    """The raw questions of a category by id, with their answers."""
    folder = data_folder()
    rows = [json.loads(line) for line in (folder / category.file).read_text(encoding="utf-8").splitlines()]
    answers = folder / "possible_answer" / category.file
    if answers.is_file():
        given = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
        for row, answer in zip(rows, given, strict=True):
            row["ground_truth"] = answer["ground_truth"]
    return {row["id"]: row for row in rows}


def accepts(calls: Sequence[Call], row: Mapping[str, Any], category: BfclCategory, model: str = MODEL) -> bool:
    """What BFCL's AST checker says of calls. Where it raises an error, they are not right."""
    from bfcl_eval.constants.enums import Language

    output = [{call.name: deepcopy(dict(call.arguments))} for call in calls]
    arguments = (row["function"], output, row["ground_truth"], Language(category.language), category.name)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return bool(_ast_checker().ast_checker(*arguments, model)["valid"])
    except (KeyError, TypeError, AttributeError, ValueError, NotImplementedError):
        return False


def accepts_episode(turns: Sequence[Sequence[Sequence[str]]], row: Mapping[str, Any], name: str) -> bool:
    """What BFCL's checker of states and results says of an episode: for each turn, the calls of each answer.

    Args:
        name: of the run, which must not come twice: its classes are kept under it.
    """
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker

    made = [[list(calls) for calls in turn] for turn in turns]
    category = row["id"].rpartition("_")[0]
    return bool(multi_turn_checker(made, row["ground_truth"], deepcopy(dict(row)), category, name)["valid"])


def other_episodes(case: Case, seed: int) -> Iterator[tuple[str, list[list[Call]]]]:
    """Episodes of a case, as the calls of each turn: the gold ones, and others made of them."""
    random_ = random.Random(f"{case.id} {seed}")
    known = {tool.name: tool for tool in case.tools}
    known |= {row["name"]: Tool.from_json(row) for turn in case.meta["turns"] for row in turn["tools"]}
    turns = []
    for sources in case.meta["gold_source"]:
        read = [parse_answer(source) for source in sources]
        turns.append([bind(one.calls[0], one.positional[0], known[one.calls[0].name]) for one in read])
    yield "gold", turns
    places = [(i, j) for i, turn in enumerate(turns) for j in range(len(turn))]
    for i, j in random_.sample(places, min(3, len(places))):
        before, turn, after = turns[:i], turns[i], turns[i + 1 :]
        call, rest = turn[j], [*turn[:j], *turn[j + 1 :]]
        yield "call left out", [*before, rest, *after]
        yield "turn left out", [*before, [], *after]
        yield "call twice", [*before, [*turn, call], *after]
        yield "another order", [*before, turn[::-1], *after]
        yield "unknown function", [*before, [Call("fly"), *turn], *after]
        if after:
            yield "call in the next turn", [*before, rest, [call, *after[0]], *after[1:]]
        for name, value in list(call.arguments.items())[:1]:
            other = Call(call.name, {**call.arguments, name: f"{value} x" if isinstance(value, str) else 7})
            yield "value changed", [*before, [*turn[:j], other, *turn[j + 1 :]], *after]


def perturbed(case: Case, seed: int) -> Iterator[tuple[str, tuple[Call, ...]]]:
    """Answers to a case: the gold one, and others made of it, each with what was done."""
    calls, random_ = case.gold[0], random.Random(f"{case.id} {seed}")
    yield "gold", calls
    if len(calls) > 1:
        yield "another order", tuple(random_.sample(calls, len(calls)))
        yield "call left out", calls[1:]
        yield "call twice", (calls[0], *calls[:-1])
    yield "call added", (*calls, calls[0])
    at = random_.randrange(len(calls))

    def with_call(call: Call) -> tuple[Call, ...]:
        return (*calls[:at], call, *calls[at + 1 :])

    call = calls[at]
    yield "function renamed", with_call(Call(call.name + "_x", call.arguments))
    if len(case.tools) > 1:
        yield "another function", with_call(Call(random_.choice(case.tools).name, call.arguments))
    yield "argument added", with_call(Call(call.name, {**call.arguments, "extra_x": 1}))
    tool = next((tool for tool in case.tools if tool.name == call.name), None)
    unused = [name for name in (tool.properties if tool else ()) if name not in call.arguments]
    for name in unused[:2]:
        for value in ("", *call.accepted.get(name, ())[:1]):
            yield "optional argument given", with_call(Call(call.name, {**call.arguments, name: value}))
    for name, value in call.arguments.items():
        yield "argument left out", with_call(Call(call.name, {n: v for n, v in call.arguments.items() if n != name}))
        for kind, other in (*_others(value, random_), *(("other accepted value", o) for o in call.values(name)[1:4])):
            yield kind, with_call(Call(call.name, {**call.arguments, name: other}))


def _others(value: Any, random_: random.Random) -> Iterator[tuple[str, Any]]:
    """Values like and unlike this one."""
    yield "null", None
    yield "type changed", json.dumps(value) if not isinstance(value, str) else [value]
    match value:
        case bool():
            yield "value changed", not value
            yield "number for boolean", int(value)
        case int():
            yield "value changed", value + 1
            yield "float for integer", float(value)
            yield "boolean for number", bool(value)
        case float():
            yield "value changed", value * 2 + 1
            if value.is_integer():
                yield "integer for float", int(value)
        case str():
            yield "value changed", value + " x"
            yield "case", value.swapcase()
            yield "punctuation", value.replace(" ", "") if " " in value else f"{value[:1]}-{value[1:]},"
            yield "quotes", f'"{value}"'
            yield "empty text", ""
            yield from _other_literals(value)
        case list():
            yield "empty list", []
            yield "list: one element more", [*value, *value[:1]]
            yield "list: another order", value[::-1]
            for i in range(min(2, len(value))):
                for kind, other in _others(value[i], random_):
                    yield f"list: {kind}", [*value[:i], other, *value[i + 1 :]]
            yield "list of floats", [float(v) if type(v) is int else v for v in value]
        case dict():
            yield "empty object", {}
            yield "object: key added", {**value, "extra_x": 1}
            for key in list(value)[:2]:
                yield "object: key left out", {k: v for k, v in value.items() if k != key}
                for kind, other in _others(value[key], random_):
                    yield f"object: {kind}", {**value, key: other}


def _other_literals(text: str) -> Iterator[tuple[str, str]]:
    """Other ways in Java and JavaScript."""
    kind = "literal"
    if text.lstrip("-").rstrip("LfFn").replace(".", "", 1).isdigit():
        number = text.rstrip("LfFn")
        yield from ((kind, number + end) for end in ("", "L", "l", "f", "n", ".0"))
    if text in ("true", "false"):
        yield from ((kind, form) for form in (text.title(), f'"{text}"'))
    if text.startswith("new "):
        yield kind, text.replace(", ", ",")
        yield kind, text.replace('"', "'")
        yield kind, text.replace('"', "")
        yield kind, text.replace("{", "{ ").replace("}", " }")
        yield kind, text.replace("Array", "List", 1)
        if "asList" in text:
            inner = text[text.index("asList(") + 7 : -2].split(", ")
            yield kind, "new ArrayList<>() {{ " + " ".join(f"add({item});" for item in inner) + " }}"
            yield kind, "Arrays.asList(" + ", ".join(inner) + ")"
            yield kind, "new ArrayList<>()"
    if text.startswith("["):
        yield kind, text.replace('"', "'")
        yield kind, f"new Array({text[1:-1]})"
        yield kind, f"[{text}]"
        yield kind, text.replace(", ", " , ")
    if text.startswith("{"):
        yield kind, text.replace('"', "'")
        yield kind, text.replace('"', "")
        yield kind, text.replace("{", '{"', 1).replace(":", '":', 1)
        yield kind, text + " "
