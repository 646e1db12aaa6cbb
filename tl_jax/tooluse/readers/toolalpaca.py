"""ToolAlpaca's test sets (https://github.com/tangqiaoyu/ToolAlpaca): eval_real.json and eval_simulated.json.

Every row is an API: its functions in words (``Function_Description``), ``Instructions`` and, for each of these,
``Golden_Answers``: calls made one after another. The real ones hold keys of somebody's accounts (``Authentication``):
each is replaced by ``***`` as the file is read. The question says so in the authors' words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import arguments
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.openapi import described_function, described_operation, operations
from tl_jax.tooluse.readers.rows import Place, Report, attempt, read_rows
from tl_jax.tooluse.schema import Call, Case, DataError, Message, Tool
from tl_jax.tooluse.secrets import MASK, replace_all

_REFERENCE = re.compile(r"(?<=[:\[,])\s{0,9}(\$\{[^{}\"]{0,200}\})")
_MAX_REPAIRED = 5_000
_OPTIONAL = "[Optional]"


_DESCRIBES = (*("Category", "Introduction", "Description", "Link", "API", "NLDocumentation", "OpenAPI", "Instances"),)
"""What else a row says about its API, in words or in another form."""


@dataclass(frozen=True)
class _Api:
    """A row without its keys. ``recovered`` names tools that only the OpenAPI document describes."""

    place: Place
    name: str | None
    components: str
    instructions: list[Any]
    answers: list[Any]
    tools: dict[str, Tool]
    recovered: list[str]
    auth_args: list[str]


def read(path: Path, report: Report | None) -> Iterator[Case]:
    """Cases, numbered through the file; an instruction that cannot be read does not spoil its API's others."""
    prefix = f"toolalpaca/{path.stem.removeprefix('eval_')}"
    number = 0
    for api in read_rows(path, lambda row, place: [_api(row, place)], report):
        for index in range(len(api.instructions)):
            yield from attempt(partial(_cases, api, index, f"{prefix}/{number:04d}"), api.place, report)
            number += 1


def _api(row: Any, place: Place) -> _Api:
    login = Fields(row).take("Authentication", kind=dict, default={})
    row, _ = replace_all(row, [str(secret) for secret in login.values() if len(str(secret)) > 3])
    with Fields(row) as fields:
        fields.keep("Authentication", *_DESCRIBES)
        name, described = fields.take("Name", default=None), dict(fields.take("Function_Description", kind=dict))
        instructions, answers = fields.take("Instructions", kind=list), fields.take("Golden_Answers", kind=list)
        projection = fields.take("Function_Projection", kind=dict, default={})
        documentation = fields.take("Documentation", default=None)
    if len(instructions) != len(answers):
        raise DataError("must be as many as Instructions", field="Golden_Answers")
    components = str(described.pop("components", None) or "").strip()
    tools = {key: described_function(key, text, f"Function_Description.{key}") for key, text in described.items()}
    known = [list(target) for target in projection.values() if isinstance(target, list)]
    missing = {
        key: described_operation(key, operation)
        for (target, method), (key, operation) in (operations(documentation) if known else {}).items()
        if [target, method] not in known and key not in tools
    }
    return _Api(place, name, components, instructions, answers, {**tools, **missing}, list(missing), list(login))


def _cases(api: _Api, index: int, identity: str) -> list[Case]:
    """The case that an instruction is. A step marked optional makes two alternatives, with all such steps or none."""
    question = api.instructions[index]
    if not isinstance(question, str):
        raise DataError("must be text", field=f"Instructions[{index}]")
    if api.auth_args:
        question += "\nAuthentication information: " + " ".join(f"{name}={MASK}" for name in api.auth_args)
    where = f"Golden_Answers[{index}]"
    steps = api.answers[index]
    if not isinstance(steps, list) or not steps:
        raise DataError("must be a list of calls", field=where)
    made = [_step(step, api.auth_args, f"{where}[{i}]") for i, step in enumerate(steps)]
    whole = tuple(call for call, _, _ in made)
    needed = tuple(call for call, optional, _ in made if not optional)
    meta: dict[str, Any] = {
        "api": api.name,
        "api_index": api.place.index,
        "index": index,
        "auth_args": api.auth_args,
        "components": api.components,
    }
    meta |= {"tools_recovered": api.recovered} if api.recovered else {}
    meta |= {"gold_repaired": True} if any(repaired for _, _, repaired in made) else {}
    gold = (whole, needed) if needed and needed != whole else (whole,)
    suite, split, _ = identity.split("/")
    tools = tuple(api.tools.values())
    return [Case(identity, tools, (Message("user", question),), gold, "sequence", suite, split, meta)]


def _step(step: Any, auth_args: list[str], where: str) -> tuple[Call, bool, bool]:
    """A gold call, whether it may be left out, and whether brackets had to be added to its arguments."""
    with Fields(step, where) as fields:
        name, written = fields.take("Action", kind=str), fields.take("Action_Input")
    where, repaired = f"{where}.Action_Input", False
    try:
        values = arguments(written, where)
    except DataError:
        if not isinstance(written, str) or len(written) > _MAX_REPAIRED:
            raise
        quoted = _REFERENCE.sub(r' "\1"', written)  # ${id from search}: what an earlier call returns
        values, repaired = arguments(_closed(quoted), where), _closed(quoted) != quoted
    wild = tuple(key for key, value in values.items() if "${" in str(value))
    values = {key: MASK if key in auth_args else value for key, value in values.items()}
    return Call(name.removeprefix(_OPTIONAL).strip(), values, wild), name.startswith(_OPTIONAL), repaired


def _closed(text: str) -> str:
    """The text with the closing brackets that are missing from it."""
    pairs = {"{": "}", "[": "]"}
    expected: list[str] = []
    result, quoted, escaped = "", False, False
    for character in text:
        if not quoted and character in pairs:
            expected.append(pairs[character])
        elif not quoted and character in expected:
            while (closer := expected.pop()) != character:
                result += closer
        quoted ^= character == '"' and not escaped
        escaped = character == "\\" and not escaped
        result += character
    return result + "".join(reversed(expected))


FORMAT = Format(
    name="toolalpaca",
    description="ToolAlpaca's `eval_real.json` and `eval_simulated.json`; the keys in them are masked as they are read",
    recognises=has("Function_Description", "Instructions", without="messages"),
    cases=read,
    masks_keys=True,
    source="https://github.com/tangqiaoyu/ToolAlpaca",
)
