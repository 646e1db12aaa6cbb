"""Files to read, and one small row of every foreign format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def lines(path: Path, *rows: Any) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def document(path: Path, value: Any) -> Path:
    """A JSON file over many lines."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return path


def tool(name: str, *required: str, **properties: str) -> dict[str, Any]:
    """A tool whose parameters are ``name="type"``."""
    schema = {key: {"type": kind, "description": f"The {key}."} for key, kind in properties.items()}
    parameters = {"type": "object", "properties": schema, "required": list(required)}
    return {"name": name, "description": f"Does {name}.", "parameters": parameters}


ASK, FINISH = tool("ask_to_user", "question", question="string"), tool("finish", "answer", answer="string")


def prompt(tools: list[Any]) -> str:
    """A system prompt as RoTBench and ToolEyes have it."""
    example = 'The "Action Input" needs to provide a dict similar to {parameter_1: value_1}.'
    return f"{example}\nYou have access of the following tools:\n{json.dumps(tools)}\n\nLet's Begin!"


def action(name: str, arguments: Any, thought: str = "") -> str:
    return f"Thought:{thought}\nAction: {name}\nAction Input: {json.dumps(arguments)}"


def turns(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"from": speaker, "value": value} for speaker, value in pairs]


LOOKUP = tool("lookup", "word", word="string", limit="integer")
ROTBENCH = {
    "id": "Turn 1: What does it mean?",
    "conversations": turns(
        ("system", prompt([LOOKUP, ASK, FINISH])),
        ("user", "What does it mean?\nBegin!\n"),
        (
            "assistant",
            [action("lookup", {"word": "it", "limit": "None"}), action("ask_to_user", {"question": "What?"})],
        ),
    ),
    "scenario": "TG",
}
TOOLEYES = {**ROTBENCH, "conversations": ROTBENCH["conversations"][:2], "path": "ToolEyes/Tool_Library/Words/Words"}  # type: ignore[index]
BFCL = {
    "id": "exec_parallel_3",
    "question": [[{"role": "user", "content": "Mean of 1 and 2, and of 3?"}]],
    "function": [
        {
            "name": "mean",
            "description": "Mean.",
            "parameters": {
                "type": "dict",
                "properties": {"numbers": {"type": "array", "items": {"type": "float"}}, "digits": {"type": "float"}},
                "required": ["numbers"],
            },
        }
    ],
    "ground_truth": ["mean([1, 2])", "mean(numbers=[3.0, -1], digits=1/4)"],
}
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
TOOLBENCH = {
    "win": True,
    "answer_generation": {
        "valid_data": True,
        "query": "Find a dog.",
        "function": [{**LOOKUP, "parameters": {**LOOKUP["parameters"], "optional": []}}],
        "train_messages": [
            [],
            [
                {"role": "system", "content": "You are AutoGPT."},
                {"role": "user", "content": "\nFind a dog.\nBegin!\n"},
                {"role": "assistant", "content": "I look it up."},
                {
                    "role": "assistant",
                    "content": None,
                    "function_call": {"name": "lookup", "arguments": '{\n "word": "dog"\n}'},
                },
                {"role": "function", "name": "lookup", "content": '{"error": "", "response": "a pet"}'},
                {"role": "assistant", "content": None, "function_call": {"name": "Finish", "arguments": "{}"}},
            ],
        ],
    },
}
TOOLLLAMA = {
    "id": "Step 4: Find a dog.",
    "conversations": turns(
        (
            "system",
            f"Thought:\nAction\nAction Input:\nSpecifically, you have access to the following APIs: {[LOOKUP]!r}",
        ),
        ("user", "\nFind a dog.\nBegin!\n"),
        ("assistant", "\nThought: \nAction: lookup\nAction Input: {}"),
        ("function", "word is missing"),
        ("assistant", "\nThought: Again.\nAction: lookup\nAction Input: {'word': 'dog'}"),
    ),
}
APIBANK = {
    "requirement": " Wake me. ",
    "response": "Done.",
    "apis": [
        {
            "api_name": "ToolSearcher",
            "input": {"keywords": "alarm"},
            "output": {
                "api_name": "ToolSearcher",
                "output": {
                    "name": "AddAlarm",
                    "description": "Adds.",
                    "input_parameters": {
                        "time": {"type": "str", "description": "When."},
                        "days": {"type": "list(int)"},
                    },
                },
                "exception": None,
            },
        },
        {
            "api_name": "AddAlarm",
            "input": {"time": "7:00", "days": [1]},
            "output": {"api_name": "AddAlarm", "output": {"id": 1}, "exception": None},
        },
    ],
}
TAU_BENCH = {
    "task_id": 3,
    "trial": 1,
    "reward": 0.0,
    "info": {},
    "traj": [
        {"role": "system", "content": "Policy."},
        {"role": "user", "content": "Cancel it."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "cancel", "arguments": '{"id": "X1"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "name": "cancel", "content": "Error: not found"},
        {"role": "assistant", "content": "It does not exist."},
    ],
}
TOOLTALK = {
    "conversation_id": "1",
    "apis_used": ["Login"],
    "scenario": "A day.",
    "conversation": [
        {"index": 0, "role": "user", "text": "Log me in."},
        {
            "index": 1,
            "role": "assistant",
            "text": "You are in.",
            "apis": [
                {
                    "request": {"api_name": "Login", "parameters": {"user": "a"}},
                    "response": None,
                    "exception": "Unknown user",
                },
                {
                    "request": {"api_name": "Login", "parameters": {"user": "b", "n": 2}},
                    "response": {"ok": True},
                    "exception": None,
                },
            ],
        },
    ],
}
GLAIVE = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
    + json.dumps(LOOKUP, indent=4)
    + "\n"
    + json.dumps(FINISH),
    "chat": "USER: What's a dog's life?\n\n\nASSISTANT: <functioncall> "
    '{"name": "lookup", "arguments": \'{"word": "dog\'s life", "limit": 2}\'} <|endoftext|>\n\n\n'
    'FUNCTION RESPONSE: {"meaning": "USER: none"}\n\n\nASSISTANT: No idea. <|endoftext|>\n\n\n',
}
HERMES = {
    "id": "h1",
    "conversations": turns(
        (
            "system",
            f"You call functions. <tools> {[{'type': 'function', 'function': LOOKUP}]!r} </tools> Use <tool_call>.",
        ),
        ("human", "What is a dog?"),
        (
            "gpt",
            "I look.\n<tool_call>\n{'name': 'lookup', 'arguments': {'word': 'dog'}}\n</tool_call>\n<tool_call>\n"
            '{"arguments": {"word": "cat"}, "name": "lookup"}\n</tool_call>',
        ),
        (
            "tool",
            '<tool_response>\n{"name": "lookup", "content": {"is": "a pet"}}\n</tool_response>\n'
            "<tool_response>\nno\n</tool_response>",
        ),
        ("gpt", "A pet."),
    ),
}
LLAMA_FACTORY = {
    "tools": json.dumps([LOOKUP]),
    "system": "Be brief.",
    "conversations": turns(
        ("human", "What is a dog?"),
        ("gpt", "I look."),
        ("function_call", '{"name": "lookup", "arguments": {"word": "dog"}}'),
        ("observation", '{"is": "a pet"}'),
        ("gpt", "A pet."),
    ),
}
XLAM = {
    "id": 7,
    "query": "What are a dog and a cat?",
    "tools": json.dumps(
        [
            {
                "name": "lookup",
                "description": "Finds.",
                "parameters": {
                    "word": {"description": "It.", "type": "str"},
                    "limit": {"description": "How many.", "type": "int, optional"},
                    "kinds": {"description": "Which.", "type": "List[str]", "default": "noun"},
                },
            }
        ]
    ),
    "answers": json.dumps([{"name": "lookup", "arguments": {"word": word}} for word in ("dog", "cat")]),
}

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "apibank": [APIBANK],
    "bfcl": [BFCL],
    "glaive": [GLAIVE],
    "rotbench": [ROTBENCH],
    "sharegpt": [HERMES, LLAMA_FACTORY],
    "tau-bench": [TAU_BENCH],
    "toolalpaca": [TOOLALPACA],
    "toolbench": [TOOLBENCH, TOOLLLAMA],
    "tooleyes": [TOOLEYES],
    "tooltalk": [TOOLTALK],
    "xlam": [XLAM],
}
"""Format -> rows of it. A file of any of them is called ``clean.jsonl``, as RoTBench needs it."""
