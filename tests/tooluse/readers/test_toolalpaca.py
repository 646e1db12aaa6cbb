"""ToolAlpaca's test sets."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import document
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.schema import Call, Case, DataError

TOOLALPACA = {
    "Name": "Words",
    "Authentication": {"api_key": "k1234567890"},
    "Function_Description": {
        "lookup": 'Finds a word.\nParameters: {"api_key": "Required. string. The key.", '
        '"word": "Required. string. It.", "kind": "string. One of: [noun, verb]. Which."}'
        "\nOutput: Yes.\n - Format: json\n - Structure: {}",
        "components": "",
    },
    "Function_Projection": {"lookup": ["/lookup", "get"]},
    "Documentation": json.dumps(
        {
            "paths": {
                "/lookup": {"get": {"summary": "Finds a word."}},
                "/words/{id}/more": {
                    "get": {
                        "summary": "More of it.",
                        "parameters": [{"name": "id", "required": True, "schema": {"type": "integer"}}],
                    },
                    "post": {
                        "operationId": "addMore",
                        "requestBody": {
                            "content": {
                                "application/json": {
                                    "schema": {"properties": {"text": {"type": "string"}}, "required": ["text"]}
                                }
                            }
                        },
                    },
                },
            }
        }
    ),
    "Instructions": ["Look up dog.", "More of it, please."],
    "Golden_Answers": [
        [{"Action": "lookup", "Action_Input": '{"api_key": "k1234567890", "word": "dog"}'}],
        [
            {"Action": "[Optional]lookup", "Action_Input": '{"api_key": "other", "word": "it"'},
            {"Action": "words_id_more_get", "Action_Input": '{"id": ${id from lookup}}'},
        ],
    ],
}

EXAMPLES = [TOOLALPACA]


def read(tmp_path: Path, *apis: Any, **options: Any) -> list[Case]:
    return list(read_cases(document(tmp_path / "eval_real.json", list(apis)), "toolalpaca", **options))


def test_a_whole_api(tmp_path: Path) -> None:
    first, second = read(tmp_path, TOOLALPACA)
    assert (first.id, second.id) == ("toolalpaca/real/0000", "toolalpaca/real/0001")
    assert first.messages[0].content == "Look up dog.\nAuthentication information: api_key=***"
    assert first.gold == ((Call("lookup", {"api_key": "***", "word": "dog"}),),)
    assert first.gold_kind == "sequence"
    lookup, get, post = first.tools
    assert (lookup.description, lookup.required) == ("Finds a word.", ("api_key", "word"))
    assert lookup.properties["kind"] == {
        "type": "string",
        "enum": ["noun", "verb"],
        "description": "One of: [noun, verb]. Which.",
        "x-spec": "string. One of: [noun, verb]. Which.",
    }
    assert get.to_json() == {
        "name": "words_id_more_get",
        "description": "More of it.",
        "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
    }
    assert (post.name, post.required) == ("addMore", ("text",))
    assert first.meta["tools_recovered"] == ["words_id_more_get", "addMore"]


def test_optional_steps_references_and_missing_brackets(tmp_path: Path) -> None:
    case = read(tmp_path, TOOLALPACA)[1]
    needed = Call("words_id_more_get", {"id": "${id from lookup}"}, ("id",))
    assert case.gold == ((Call("lookup", {"api_key": "***", "word": "it"}), needed), (needed,))
    assert case.meta["gold_repaired"] is True


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"s": ["EUR", "GBP"}', {"s": ["EUR", "GBP"]}),
        ('{"s": ["EUR", {"a": "}]"', {"s": ["EUR", {"a": "}]"}]}),
        ('{"ids": [${a}, ${b from f}], "t": "x"}', {"ids": ["${a}", "${b from f}"], "t": "x"}),
        ("{'s': 'a', 'n': None}", {"s": "a", "n": None}),
        ({"s": "a"}, {"s": "a"}),
        ("", {}),
    ],
)
def test_arguments(tmp_path: Path, written: Any, arguments: dict[str, Any]) -> None:
    api = {**TOOLALPACA, "Instructions": ["x"], "Golden_Answers": [[{"Action": "f", "Action_Input": written}]]}
    assert read(tmp_path, api)[0].gold[0][0].arguments == arguments


def test_no_key_is_left_anywhere(tmp_path: Path) -> None:
    api = {**TOOLALPACA, "Instructions": ["My key is k1234567890.", "More."]}
    api["Function_Description"] = {"f": 'Use k1234567890.\nParameters: {"a": "string. As in k1234567890."}'}
    assert "k1234567890" not in json.dumps([case.to_json() for case in read(tmp_path, api)])


def test_a_bad_answer_spoils_only_its_own_case(tmp_path: Path) -> None:
    golden = TOOLALPACA["Golden_Answers"]
    bad = {**TOOLALPACA, "Golden_Answers": [[{"Action": "lookup", "Action_Input": "{x"}], golden[1]]}  # type: ignore[index]
    errors: list[DataError] = []
    cases = read(tmp_path, bad, TOOLALPACA, on_error="skip", report=errors.append)
    assert [case.id[-1] for case in cases] == ["1", "2", "3"]
    assert [error.field for error in errors] == ["[0].Golden_Answers[0][0].Action_Input"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"Golden_Answers": []}, "Golden_Answers: must be as many as Instructions"),
        ({"Golden_Answers": [[], []]}, r"Golden_Answers\[0\]: must be a list of calls"),
        ({"Golden_Answers": [[{"Action": 3}], []]}, r"Golden_Answers\[0\]\[0\]\.Action: must be text, not int"),
        ({"Function_Description": {"f": "Does f."}}, r"Function_Description\.f: must be text with a line 'Parameters"),
        (
            {"Function_Description": {"f": "F.\nParameters: {a"}},
            r"Function_Description\.f: Parameters: is neither JSON",
        ),
        ({"Instructions": [1, 2]}, r"Instructions\[0\]: must be text"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=r"eval_real\.json: \[1\]\." + problem):
        read(tmp_path, TOOLALPACA, {**TOOLALPACA, **change})


def test_real_cases_written_in_the_raw_form_come_back(tmp_path: Path, shared_data: Path) -> None:
    """Functions in words and keys in the questions; the last three APIs' keys are made up here."""
    rows = [json.loads(line) for line in (shared_data / "eval" / "toolalpaca.jsonl").open(encoding="utf-8")]
    apis = []
    for _, group in itertools.groupby(rows, key=lambda row: row["meta"]["api_index"]):
        cases = list(group)
        meta = cases[0]["meta"]
        described = [tool for tool in cases[0]["tools"] if tool["name"] not in meta.get("tools_recovered", [])]
        key = f"key-{meta['api_index']}-0123"
        api = {
            "Name": meta["api"],
            "Authentication": dict.fromkeys(meta["auth_args"], key),
            "Function_Description": {tool["name"]: in_words(tool) for tool in described}
            | {"components": meta["components"]},
            "Function_Projection": {tool["name"]: [f"/{tool['name']}", "get"] for tool in described},
            "Documentation": json.dumps({"paths": dict(map(as_path, cases[0]["tools"]))}),
            "Instructions": [case["messages"][0]["content"].partition("\nAuthentication")[0] for case in cases],
            "Golden_Answers": [
                [
                    {"Action": call["name"], "Action_Input": json.dumps(call["arguments"]).replace("***", key)}
                    for call in case["gold"][0]
                ]
                for case in cases
            ],
        }
        apis.append(api)
    for found, row in zip(read(tmp_path, *apis), rows, strict=True):
        expected = Case.from_json(row)
        assert (found.id, found.tools, found.messages) == (expected.id, expected.tools, expected.messages)
        assert (found.gold, found.gold_kind) == (expected.gold, expected.gold_kind)
        known = {
            key: value for key, value in expected.meta.items() if key not in ("repo", "commit", "path", "gold_repaired")
        }
        assert dict(found.meta) == known


def in_words(tool: dict[str, Any]) -> str:
    specs = {name: spec["x-spec"] for name, spec in tool["parameters"]["properties"].items()}
    return f"{tool['description']}\nParameters: {json.dumps(specs)}\nOutput: {tool['x-output']}"


def as_path(tool: dict[str, Any]) -> tuple[str, Any]:
    required = tool["parameters"]["required"]
    parameters = [
        {
            "name": name,
            "description": spec["description"],
            "required": name in required,
            "schema": {"type": spec["type"]},
        }
        for name, spec in tool["parameters"]["properties"].items()
    ]
    operation = {"operationId": tool["name"], "summary": tool["description"], "parameters": parameters}
    return f"/{tool['name']}", {"get": operation}
