"""What a prompt lists as tools, and what only looks like it: the rest is the user's, and stays."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.growth import grows_linearly
from tests.tooluse.readers.helpers import LOOKUP, lines, turns
from tests.tooluse.readers.prompts import names, read
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.readers.embedded import HALF_CHARACTER
from tl_jax.tooluse.readers.own_words import LEFT_OUT
from tl_jax.tooluse.readers.texts import OTHER_TOOLS
from tl_jax.tooluse.readers.tool_prompts import UNREAD, offered
from tl_jax.tooluse.schema import DataError, Message, Tool

EMPTY = {"type": "object", "properties": {}}
NAMED = "<tools><function><name>f</name>"
FIND = {"name": "find", "description": "Finds.", "parameters": EMPTY}
GET = "// Get it.\ntype get = () => any;"
F, G = json.dumps(LOOKUP), json.dumps(FIND)
LISTED = "You have access to the following tools:\n\n"
LLAMA = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    'answers the given prompt.\n\nRespond in the format {"name": function name, "parameters": dictionary of argument '
    f"name and its value}}.Do not use variables.\n\n{json.dumps(LOOKUP, indent=4)}\n\n{json.dumps(FIND, indent=4)}\n\n"
)


@pytest.mark.parametrize(
    "text",
    [
        f"Translate the following tools to YAML, they are JSON now:\n[{G}]",
        f"Explain the following functions in JSON: {G} What do they do?",
        f"Given the following functions, say what they do: {G}",
        f"Given the following tools in JSON, write a test.\n<tools>[{G}]</tools>",
        LLAMA.strip(),  # the user says nothing
    ],
)
def test_what_a_user_asks_about_tools_stays(tmp_path: Path, text: str) -> None:
    found, notes = read(tmp_path, "user", text)
    assert (found.tools, found.messages[0]) == ((), Message("user", text))
    assert not notes.remarks


def test_the_users_words_after_tools_handed_over_stay_as_they_are(tmp_path: Path) -> None:
    for own in (
        "What is a function call in JSON?",
        'Translate "Respond in this format." to French.\n\nKeep [f(a=1)] as it is.',
    ):
        found, _ = read(tmp_path, "user", LLAMA + own)
        assert (names(found), found.messages[0]) == (["lookup", "find"], Message("user", own))


NO_TOOLS = [
    'The user: {"name": "Bob", "parameters": {"type": "VIP"}}. Be kind.',
    'To look something up say {"name": "lookup", "parameters": {}} and nothing else.',
    'To look something up say {"name": "lookup", "parameters": {"key": "A"}} and nothing else.',
    'Say [{"name": "lookup", "parameters": {"key": "A"}}, {"name": "find", "parameters": {}}].',
    '{"name": "lookup", "parameters": {"place": {"city": "Oslo"}}}',
    '{"name": "Bob", "parameters": "none", "description": "A user."}',
    '{"type": "function", "function": {"name": "lookup", "parameters": {"key": "A"}}}',
]


@pytest.mark.parametrize("tools", [None, [LOOKUP]], ids=["no tools", "tools"])
@pytest.mark.parametrize("text", NO_TOOLS)
def test_objects_with_a_name_that_are_no_tools(tmp_path: Path, text: str, tools: Any) -> None:
    found, notes = read(tmp_path, "system", text, tools)
    assert (found.messages[0], len(found.tools)) == (Message("system", text), len(tools or ()))
    assert not notes.remarks


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
        {"name": "f", "parameters": {"type": "object"}},
        {"name": "f", "input_schema": {"type": "dict", "properties": {}}},
        {"name": "f", "parameters": {"properties": {}}},
        {"name": "f", "description": "Does f.", "parameters": {}},
        {"name": "f", "description": "Does f.", "parameters": {"a": {"type": "string", "description": "The a."}}},
        {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": {}}},
    ],
)
def test_what_is_a_tool_without_a_tag(tmp_path: Path, tool: dict[str, Any]) -> None:
    for written in (tool, [tool], [tool, {"name": "g", "parameters": {}}]):
        found, _ = read(tmp_path, "system", f"Tools: {json.dumps(written)}. Be kind.")
        assert names(found)[0] == "f"
        assert found.messages[0].content.endswith("Be kind.")


def test_a_call_before_a_tool_is_none(tmp_path: Path) -> None:
    call = '{"name": "lookup", "parameters": {"word": "A"}}'
    found, notes = read(tmp_path, "system", f"Tools:\n{G}\nBe kind.\n{call}\n{F}")
    assert (names(found), found.messages[0].content.split()) == (["find", "lookup"], ["Tools:", "Be", "kind."])
    assert notes.remarks == {LEFT_OUT: 1}


BROKEN = json.dumps([LOOKUP, {"name": 5}])
HALF = r'{"name": "find", "description": "\ud83d", "parameters": {"type": "object", "description": "\ud83d"}}'


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        (f"Tools: {BROKEN}", None),
        (f"Tools: {BROKEN}", [LOOKUP]),
        (f"<tools>{BROKEN}</tools>", [LOOKUP]),
        ("You write code.\nnamespace functions {\n  export function add(a: number) {}\n}", [LOOKUP]),
        ("You write code.\nnamespace functions {\n  export function add(a: number) {}\n}", None),
        ("namespace functions {\ntype f = (_: string) => any;\n}", None),
    ],
)
def test_a_list_that_cannot_be_read_stays_text_and_is_counted(tmp_path: Path, text: str, tools: Any) -> None:
    for unknown in ("error", "drop"):
        found, notes = read(tmp_path, "system", text, tools, unknown=unknown)
        assert (found.messages[0], len(found.tools)) == (Message("system", text), len(tools or ()))
        assert notes.remarks == {f"messages[].content: {UNREAD}": 1}
        assert ", such as 'messages[0].content: tools" in notes.lines()[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"Tools: [{HALF}, {F}]", [HALF_CHARACTER]),
        (f"{LISTED}### f\nDescription: F.\n\nParameters: {HALF}", [f"messages[].content: {UNREAD}", HALF_CHARACTER]),
        (r'namespace functions {type f = (_: {a: "\ud83d"}) => any;}', [f"messages[].content: {UNREAD}"]),
    ],
)
def test_half_a_character_in_a_list_is_counted_and_the_list_stays_text(
    tmp_path: Path, text: str, told: list[str]
) -> None:
    found, notes = read(tmp_path, "system", text)
    assert (found.messages[0], found.tools) == (Message("system", text), ())
    assert notes.remarks == dict.fromkeys(told, 1)


def test_a_list_between_tags_has_to_be_read(tmp_path: Path) -> None:
    open_and_broken = f"<tools>\n[{F}]\n</tools>\n<tools>[{{</tools>"
    for text in (f"<tools>{BROKEN}</tools>", open_and_broken, f"<tools>\n{HALF}\n{F}\n</tools>"):
        with pytest.raises(DataError, match=r"data\.jsonl:1: messages\[0\]\.content: tools"):
            read(tmp_path, "system", text)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        (f"<tools>[{F}]</tools>\n<tools>[{G}]</tools>", ""),
        (f"Tools: [{F}]\nAdmin tools: [{G}]", "Tools: \n\nAdmin tools:"),
        (f"Tools:\n{F}\nMore:\n{G}\n{F}", "Tools:\n\nMore:"),
        (f"<tools>\n<tool>{F}</tool>\n</tools> Be kind. <tools>\n<tool>{G}</tool>\n</tools>", "Be kind."),
        (f"I name <tools> here. Be kind.\n<tools>\n{F}\n{G}\n</tools>", "Be kind."),
        (f"<tools>[{F}, {G}]", ""),
        (f"<tools>[{F}] Be kind. <tools>{G} Be brief.", "Be kind. \nBe brief."),
    ],
)
def test_every_list_of_a_prompt(text: str, own: str) -> None:
    found, words = offered(text, "x")
    assert [tool.name for tool in found] == ["lookup", "find"]
    assert words.split() == own.split()


def test_json_beside_tools_is_no_sentence(tmp_path: Path) -> None:
    plans = 'Plans: [{"name": "Gold. For you", "call": "JSON"}, {"name": "Silver"}]\nFunctions of Ann: {"name": "it"}.'
    found, notes = read(tmp_path, "system", f"{plans}\n<tools>[{F}]</tools>")
    assert (names(found), found.messages[0].content, dict(notes.remarks)) == (["lookup"], plans, {})


@pytest.mark.parametrize("text", [f"Be kind.\n<tools>[{F}]</tools>", f"Be kind.\n[{F}]"])
def test_tools_of_the_row_and_other_ones_of_the_same_name(tmp_path: Path, text: str) -> None:
    found, notes = read(tmp_path, "system", text, [LOOKUP])
    assert (found.messages[0].content, dict(notes.remarks)) == ("Be kind.", {})
    same = {**LOOKUP, "parameters": {**LOOKUP["parameters"], "additionalProperties": False}}
    assert read(tmp_path, "system", text, [same])[0].messages[0].content == "Be kind."
    for other in ({**LOOKUP, "parameters": EMPTY}, {**LOOKUP, "description": "Asks Ann."}):
        found, notes = read(tmp_path, "system", text, [other])
        assert (found.messages[0].content, dict(notes.remarks)) == (text, {OTHER_TOOLS: 1})
        assert found.tools == (Tool.from_json(other),)


GPT_OSS = """# Tools

## functions

namespace functions {

//
Get it.
Returns a number:
  1 or 2.

type get = (_: {
// The key.
One of: these.
key: string,
// How.
"so" | "so": both.
how?: "a" | "b", // default: a,
kind?:
 | "x"
 | "y",
limit?: number, // default: 10,
all: Record<string, number[]>,
when: Date,
}) => any;

// The time
type now = () => any;

} // namespace functions
Be kind."""


def test_what_gpt_oss_is_shown(tmp_path: Path) -> None:
    found, notes = read(tmp_path, "system", GPT_OSS)
    assert found.messages[0] == Message("system", "Be kind.")
    get, now = found.tools
    assert (get.description, now.description) == ("Get it.\nReturns a number:\n1 or 2.", "The time")
    assert get.parameters == {
        "type": "object",
        "properties": {
            "key": {"type": "string", "description": "The key.\nOne of: these."},
            "how": {"type": "string", "enum": ["a", "b"], "description": 'How.\n"so" | "so": both.', "default": "a"},
            "kind": {"type": "string", "enum": ["x", "y"]},
            "limit": {"type": "number", "default": 10},
            "all": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "number"}}},
            "when": {"x-type": "Date"},
        },
        "required": ["key", "all", "when"],
    }
    assert set(notes.remarks) == {LEFT_OUT}


def test_every_namespace_of_a_prompt() -> None:
    found, words = offered(f"namespace functions {{\n{GET}\n}}\nBe kind.\nnamespace functions {{\n{GET}\n}}", "x")
    assert ([tool.name for tool in found], words) == (["get"], "Be kind.")
    assert offered("Write:\nnamespace functions {}", "x") == ((), "Write:\nnamespace functions {}")


def test_a_prompt_of_toolace_with_tools_beside(tmp_path: Path) -> None:
    row = {
        "system": f"Be kind. [{G}]",
        "tools": [LOOKUP],
        "conversations": turns(("user", "Hi."), ("assistant", "Hi.")),
    }
    (found,) = read_trajectories(lines(tmp_path / "data.jsonl", row), "toolace")
    assert (names(found), found.messages[0].content) == (["lookup"], row["system"])


PIECES = (
    " tool",
    "<tool",
    "the format " * 15,
    "<tool_call>{",
    '{"name": "arguments" ',
    "<tools>[",
    "{'a': 1}}",
    '[{"a":',
    "namespace functions {",
)


@pytest.mark.parametrize("piece", PIECES)
def test_no_prompt_costs_more_than_its_length(piece: str) -> None:
    def read(text: str) -> None:
        with contextlib.suppress(DataError):
            offered(text, "x")

    assert grows_linearly(read, lambda count: f"[{F}]" + piece * count + "\n[TOOL_CALLS]", 200)


def test_tools_in_tags_of_their_own_say_all_of_their_schema(tmp_path: Path) -> None:
    said = (
        "<tools><function><name>f</name><description>If a <b>.</description><parameters>"
        '<parameter><name>type</name><type>["string", "null"]</type><enum>["a", null]</enum><minLength>1</minLength>'
        "</parameter><additionalProperties>false</additionalProperties></parameters></function></tools>"
    )
    found, _ = read(tmp_path, "system", said)
    schema = {"type": ["string", "null"], "enum": ["a", None], "minLength": 1}
    parameters = {"type": "object", "properties": {"type": schema}, "additionalProperties": False}
    assert found.tools == (Tool("f", "If a <b>.", parameters),)
    for broken, problem in (
        (said.replace("</tools>", ""), "<tools> is not closed"),
        (said.replace("<name>type</name>", ""), "a <parameter> has no <name>"),
        (said.replace("</tools>", "<function></function></tools>"), "a <function> has no <name>"),
        (said.replace("<name>f</name>", "<name> </name>"), "a <function> has no <name>"),
    ):
        with pytest.raises(DataError, match=rf"messages\[0\]\.content: tools: {problem}"):
            read(tmp_path, "system", broken)


@pytest.mark.parametrize(("kind", "value"), [("string", "5"), ("integer", 5)])
def test_a_default_in_tags_is_of_its_type(kind: str, value: Any) -> None:
    parameter = f"<parameter><name>a</name><type>{kind}</type><default>5</default></parameter>"
    ((found,), _) = offered(
        f"<tools><function><name>f</name><parameters>{parameter}</parameters></function></tools>", "x"
    )
    assert found.properties["a"] == {"type": kind, "default": value}


STYLE = "### Style\nDescription: terse\nParameters: {}\n\n"


@pytest.mark.parametrize(
    ("text", "own", "tools"),
    [
        (f"{STYLE}Be polite.", None, []),
        (f"{STYLE}Tools: [{F}]", f"{STYLE}Tools:", ["lookup"]),
        (f"{LISTED}[{F}]\n\n{STYLE}Be polite.", None, ["lookup"]),
        (f"{LISTED}{STYLE.replace('{}', json.dumps(EMPTY))}Be polite.", "Be polite.", ["Style"]),
        (f"{LISTED}{STYLE.replace('Style', 'How to speak')}Be polite.", None, []),
        (f"{LISTED}{STYLE.replace('{}', json.dumps({'a': 1}))}Be polite.", None, []),
        ("Explain. Qwen writes <tools> <function> and </tools>.", None, []),
        (
            f"Write <tools><function></tools> never. Tools: [{F}]",
            "Write <tools><function></tools> never. Tools:",
            ["lookup"],
        ),
        ("Qwen writes <tools>\n<function> for each.", None, []),
    ],
)
def test_words_that_look_like_tools_in_words(text: str, own: str | None, tools: list[str]) -> None:
    found, words = offered(text, "x")
    assert [tool.name for tool in found] == tools
    if tools != ["lookup"] or own is not None:
        assert words == (text if own is None else own)


@pytest.mark.parametrize(
    "form",
    [
        "<tools>{}<function>", f"{NAMED}{{}}</tools>", f"{NAMED}<a>{{}}</function></tools>",
        f"{NAMED}<parameters>{{}}</parameters></function></tools>",
        LISTED + "### f\nDescription: {}", LISTED + "### f\nDescription: x{}Parameters: {{",
        "{}\n### f\nParameters: {{",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "part",
    [
        " ", "\n", "<function>", "<tools><function>", NAMED, "<a><b>", "<a@>", "\n### f\nDescription: ",
        "access to the following tools: ### f\nDescription: ",
    ],
)  # fmt: skip
def test_long_prompts_of_tags_and_headings(form: str, part: str) -> None:
    def read_it(text: str) -> None:
        with contextlib.suppress(DataError):
            offered(text, "x")

    def many(count: int) -> str:
        return form.format("".join(part.replace("@", str(number)) for number in range(count)))

    assert grows_linearly(read_it, many, 1000)
