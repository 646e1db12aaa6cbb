"""Executable categories of BFCL (https://github.com/ShishirPatil/gorilla): exec simple, multiple, parallel and both.

The questions are ``{id, question: [[messages]], function: [tools]}``. The gold calls, ``{id, ground_truth: [Python
calls]}``, lie in a file beside them: of the same name in a folder ``possible_answer`` in or next to theirs, or with
``possible_answer_`` before the name. Rows of older releases hold ``ground_truth`` themselves.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.rows import Place, Report, read_rows
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.schema import Call, Case, DataError, Message, Tool
from tl_jax.tooluse.text.parse import bind, parse_answer

_ANSWER = ("ground_truth", "execution_result_type")
"""What a row of answers says, and a row of older releases itself."""
_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def read(path: Path, report: Report | None) -> Iterator[Case]:
    """Cases.

    Raises:
        DataError: also where the file of answers cannot be read.
    """
    answers = answers_beside(path) or {}
    return read_rows(path, lambda row, place: [_case(row, place, answers)], report)


def answers_beside(path: Path) -> dict[str, dict[str, Any]] | None:
    """Question id -> row of the file of answers; None where there is no such file."""
    candidates = (
        path.parent / "possible_answer" / path.name,
        path.parent.parent / "possible_answer" / path.name,
        path.with_name(f"possible_answer_{path.name}"),
    )
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    return dict(read_rows(found, lambda row, place: [_answer(row)])) if found else None


def _answer(row: Any) -> tuple[str, dict[str, Any]]:
    with Fields(row) as fields:
        return fields.take("id", kind=str), fields.keep(*_ANSWER)


def _case(row: Any, place: Place, answers: dict[str, dict[str, Any]]) -> Case:
    with Fields(row) as fields:
        identity = fields.take("id", kind=str)
        answer = {**answers.get(identity, {}), **fields.keep(*_ANSWER)}
        turns = fields.take("question", kind=list)
        if len(turns) != 1 or not isinstance(turns[0], list) or not turns[0]:
            raise DataError("must be one turn: a list of one list of messages", field="question")
        messages = tuple(Message.from_json(item, f"question[0][{i}]") for i, item in enumerate(turns[0]))
        tools = tuple(_tool(item, where) for item, where in fields.each("function"))
        fields.keep("execution_result")  # what the calls return: they are compared, not run
    if answer.get("ground_truth") is None:
        raise DataError(f"{identity!r} has no ground_truth, neither here nor in a possible_answer file", field="id")
    sources = Fields(answer).take("ground_truth", kind=list)
    gold = tuple(gold_call(source, tools, f"ground_truth[{i}]") for i, source in enumerate(sources))
    split, _, number = identity.rpartition("_")
    meta = {
        "index": place.index,
        "source_id": identity,
        "gold_source": sources,
        "execution_result_type": answer.get("execution_result_type"),
    }
    name = f"{number:0>4}" if split else identity
    return Case(f"bfcl/{split}/{name}", tools, messages, (gold,), "parallel", "bfcl", split, meta)


def _tool(value: Any, where: str) -> Tool:
    parameters = Fields(value, where).take("parameters", kind=dict)
    return Tool.from_json({**value, "parameters": json_schema(parameters)}, where)


def gold_call(source: Any, tools: tuple[Tool, ...], where: str) -> Call:
    """A gold call; arguments without a name are named after the tool's parameters."""
    if not isinstance(source, str):
        raise DataError(f"must be a Python call as text, not {type(source).__name__}", field=where)
    answer = parse_answer(source)
    if answer.problem:
        answer = parse_answer(_calculated(source))
    if answer.problem or len(answer.calls) != 1:
        raise DataError(f"must be one Python call: {answer.problem or 'there are several'}", field=where)
    call, positional = answer.calls[0], answer.positional[0]
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if positional and not tool:
        raise DataError(f"arguments without a name, and no tool {call.name!r} to name them after", field=where)
    return bind(call, positional, tool) if tool else call


def _calculated(source: str) -> str:
    """The call with the arithmetic in its arguments done: some answers say ``p=1/6`` or ``amount=500*500``."""
    try:
        return ast.unparse(_Calculator().visit(ast.parse(source.strip(), mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError, ArithmeticError):
        return source


class _Calculator(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """The number that ``a + b``, ``a - b``, ``a * b`` or ``a / b`` of two numbers is."""
        self.generic_visit(node)
        match node:
            case ast.BinOp(
                left=ast.Constant(value=int() | float() as a), right=ast.Constant(value=int() | float() as b)
            ):
                if type(node.op) in _OPERATORS:
                    return ast.copy_location(ast.Constant(_OPERATORS[type(node.op)](a, b)), node)
        return node


FORMAT = Format(
    name="bfcl",
    description="BFCL's executable categories; the gold calls from the `possible_answer` file beside",
    recognises=has("question", "function", without="messages"),
    cases=read,
    is_companion=lambda path: "possible_answer" in str(path),
    source="https://github.com/ShishirPatil/gorilla",
)
