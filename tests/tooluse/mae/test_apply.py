"""MAE: the paper rule on messages as tools write them, and what happens to the turns that are blocked."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.errors import UserError
from tl_jax.tooluse.mae.apply import CALLER, PACKS, Category, Finding, apply_mae, blocked_turns, find_error
from tl_jax.tooluse.schema import Call, Message, Trajectory

RESULTS = [
    "",
    "No errors were found",
    "No errors were found.",
    '{"error": null}',
    '{"error": "", "errors": [], "data": 3}',
    '{"error": false, "error_code": 0, "error_message": "none"}',
    "{'error': None, 'value': [1, 2]}",
    '{"error": "", "response": "{\'temperature\': 21}"}',
    '{"status": {"error_code": 0, "error_message": null}, "data": [{"id": 270}]}',
    '{"mean": 3.25, "error": 0.5}',
    '{"mean": 3.25, "error": 2}',
    '{"error": 0.25}',
    "Invalid input is what this chapter of the handbook is about. " * 8,
    "Terror attacks in 1998",
    "He is. Not defined by",
    "not supported by critics",
    "{'related_searches': {'images': []}, 'results': []}",
    '{"status": "success", "message": "Invalid parameter names are listed in the manual"}',
    '{"code": 200, "message": "ok"}',
    '{"code": 404, "city": "Atlanta"}',
    '{"order": {"status": "failed"}, "id": 3}',
    '{"sender": "bob", "message": "Error: I forgot the milk"}',
    '{"message": {"type": "notice", "text": "No advice slips found matching that search term."}}',
    '[{"status_code": 200, "error": ""}, {"status_code": 400, "error": "Invalid Domain"}]',
    "The Forbidden City is a palace",
    "Unknown Artist",
    "Margin of error: 3%",
    "Locked",
    "404",
    "失败是成功之母",
    "Timeout is a film of 2022",
    "'ja'",
    '{"status": "failed", "payment": 3, "amount": 20}',
    "{\"error\": \"Message error...\", \"response\": \"{'results': [{'title': 'Trial and error'}], 'total': 1}\"}",
    '{"error": "Unauthorized error...", "response": {"title": "Unauthorized", "artist": "X", "year": 1999}}',
    "{\"error\": \"Message error...\", \"response\": \"{'results': [{'title': 'Trial and error', 'text': 'It was...",
    "[{'title': 'Error 404', 'year': 2011}, {'title': 'Invalid date', 'ye...",
    "Missing persons: 3",
    "Failed: 3, passed: 10",
    "Errors: 0, warnings: 2",
    "[Command finished with exit code 0]",
    "ECONN is a name of economics",
    "No credentials are needed for this API",
    "All required fields are there, none is missing",
    "Errors: none",
    "Errors: 0 warnings: 2",
    "Errors: None found.",
    "Failed: none",
    "Missing: []",
    "Human error in processing orders: a review",
    "Missing 3 required courses for graduation",
    "No credentials were found in the scanned files.",
    "The request timeout has been set to 60 seconds",
    "The connection closed successfully.",
    "Required fields: name, email. Missing: none",
    "Required fields present, none missing.",
    "errors: []\nwarnings: []",
    "Process finished with exit code 0",
    "Query returned 0 rows",
    "There are no seats left on this flight",
    "There is no tool for this screw in the set",
    "Only 3 left in stock",
    "Please provide feedback on our site",
    "The page explains what to do about 404 Not Found and about TypeError: f() got an unexpected keyword argument.",
    "Result: failed",
    "Results: errors: 2, passed: 3",
    "Output: 404",
    "Tool output: The Forbidden City is a palace",
    'Result: {"error": null, "value": 3}',
    "`Error: x` is what it prints where `f` fails, and `g`",
    "```\nfile not found: the film\n```\nis what it says",
    "Files not found: none",
    "File not found: 0",
    "1. How to fix 'connection error' in Python\n2. NameError: name 'x' is not defined - what it means\n" * 10,
]

ERRORS = [
    ("TypeError: f() got an unexpected keyword argument 'x'", Category.PARAMETER_HALLUCINATION),
    ("list_properties() got an unexpected keyword argument 'resultSize'", Category.PARAMETER_HALLUCINATION),
    ("f() takes 1 positional argument but 2 were given", Category.PARAMETER_HALLUCINATION),
    ("Unknown parameter: 'keyword'", Category.PARAMETER_HALLUCINATION),
    ("f() missing 1 required positional argument: 'x'", Category.MISSING_PARAMETER),
    ('{"detail": [{"loc": ["q"], "msg": "field required"}]}', Category.MISSING_PARAMETER),
    ("Please specify a date and try again. You can use get_today_date.", Category.MISSING_PARAMETER),
    ("缺少参数 city", Category.MISSING_PARAMETER),
    ("NameError: name 'x' is not defined", Category.TOOL_HALLUCINATION),
    ("name 'yahoo_image_search' is not defined", Category.TOOL_HALLUCINATION),
    ('{"error": "No such function name: search_b"}', Category.TOOL_HALLUCINATION),
    ('{"isError": true, "content": [{"type": "text", "text": "Unknown tool: g"}]}', Category.TOOL_HALLUCINATION),
    ("Error: payment method not found", Category.BAD_VALUE),
    ("Invalid parameter", Category.BAD_VALUE),
    ("404 Not Found", Category.BAD_VALUE),
    ("'<' not supported between instances of 'str' and 'int'", Category.BAD_VALUE),
    ("{'message': 'genre must be an integer: Thriller'}", Category.BAD_VALUE),
    ("{'title': 'Bad Request', 'status': 400, 'traceId': '|b1da66ad'}", Category.BAD_VALUE),
    ("{'success': False, 'message': 'Tracking information not found'}", Category.BAD_VALUE),
    ('{"status_code": 200, "response": [{"status_code": 400, "error": "Invalid Domain"}]}', Category.BAD_VALUE),
    ('Traceback (most recent call last):\n  File "a.py", line 1\nValueError: bad', Category.BAD_VALUE),
    ("Rate limit exceeded", Category.ENVIRONMENT),
    ("HTTP 503", Category.ENVIRONMENT),
    ('{"status": "failure", "code": 401, "message": "You are not authorized."}', Category.ENVIRONMENT),
    ('{"error": "Timeout error...Read timed out.", "response": ""}', Category.ENVIRONMENT),
    ('{"error": "", "response": "{\\"error\\": \\"connection error.\\"}"}', Category.ENVIRONMENT),
    ('"<html><head><title>Forbidden</title></head><body>Access is denied.</body></html>"', Category.ENVIRONMENT),
    ("请求超时", Category.ENVIRONMENT),
    ("bash: line 1: jq: command not found", Category.BAD_VALUE),
    ("1 validation error for get_weather: city: Field required", Category.MISSING_PARAMETER),
    ("Additional properties are not allowed ('town' was unexpected)", Category.PARAMETER_HALLUCINATION),
    ("MCP error -32602: Invalid arguments for tool get_weather", Category.BAD_VALUE),
    ("Tool 'weather' does not exist. Available tools: get_weather", Category.TOOL_HALLUCINATION),
    ("Unknown action fly_home", Category.TOOL_HALLUCINATION),
    ("unknown tool get_wether", Category.TOOL_HALLUCINATION),
    ("no such tool: get_wether", Category.TOOL_HALLUCINATION),
    ("There is no tool called get_wether.", Category.TOOL_HALLUCINATION),
    ("Error: there is no tool called network_check", Category.TOOL_HALLUCINATION),
    ('{"error": "No function named \'search\'"}', Category.TOOL_HALLUCINATION),
    ("Error: TypeError: f() got an unexpected keyword argument 'x'", Category.PARAMETER_HALLUCINATION),
    ("Error: TypeError: f() missing 1 required positional argument: 'x'", Category.MISSING_PARAMETER),
    ("Error: TimeoutError: f() took more than 5 seconds", Category.ENVIRONMENT),
    ("Error: ValueError: bad", Category.BAD_VALUE),
    ("Error: NameError: name 'f' is not defined", Category.TOOL_HALLUCINATION),
    ("<tool_error>city is unknown</tool_error>", Category.BAD_VALUE),
    ("date should be in YYYY-MM-DD format", Category.BAD_VALUE),
    ("ERROR 1064 (42000): You have an error in your SQL syntax", Category.UNKNOWN_ERROR),
    ("Your session has expired. Please log in again.", Category.ENVIRONMENT),
    ("The service is currently unavailable", Category.ENVIRONMENT),
    ('{"error": "Unsubscribed error...", "response": {"message": "Not this API."}}', Category.ENVIRONMENT),
    ('{"error": "Message error...", "response": "<html>no data</html>"}', Category.UNKNOWN_ERROR),
    (
        '{"error": "Rate limit exceeded: too many calls in the last minute, the plan allows 10 ca...',
        Category.ENVIRONMENT,
    ),
    ("系统繁忙，请稍后再试", Category.ENVIRONMENT),
    ("调用失败", Category.UNKNOWN_ERROR),
    ("10个请求失败", Category.UNKNOWN_ERROR),
    ('{"錯誤": "請求逾時"}', Category.ENVIRONMENT),
    ("Unknown error", Category.UNKNOWN_ERROR),
    ('{"error": "UNKNOWN_ERROR"}', Category.UNKNOWN_ERROR),
    ("An unexpected error occurred.", Category.UNKNOWN_ERROR),
    ("Unexpected error: invalid date", Category.BAD_VALUE),
    ("Error in executing get_weather: no such city", Category.BAD_VALUE),
    ("missing 1 required positional argument: 'city'", Category.MISSING_PARAMETER),
    ("Required parameter missing: city", Category.MISSING_PARAMETER),
    ("Required argument 'city' not provided", Category.MISSING_PARAMETER),
    ("Expected string, received number", Category.BAD_VALUE),
    ("No replacement was performed, old_str `x` did not appear verbatim in /a.py.", Category.UNKNOWN_ERROR),
    ("String to replace not found in file.", Category.BAD_VALUE),
    ('near "FORM": syntax error', Category.UNKNOWN_ERROR),
    ("[Command finished with exit code 1]", Category.UNKNOWN_ERROR),
    ("Error POSTing to endpoint (HTTP 400): bad city", Category.BAD_VALUE),
    ("ECONNREFUSED 127.0.0.1:80", Category.ENVIRONMENT),
    ("The operation has timed out.", Category.ENVIRONMENT),
    ("No API key provided", Category.ENVIRONMENT),
    ("JSON decode error", Category.UNKNOWN_ERROR),
    ("thread 'main' panicked at src/main.rs:2:5", Category.UNKNOWN_ERROR),
    ("Errors: 1. No connection to the server", Category.ENVIRONMENT),
    ('{"status": "fail"}', Category.UNKNOWN_ERROR),
    ('{"error": "Message error..."}', Category.UNKNOWN_ERROR),
    ("'related_searches'", Category.UNKNOWN_ERROR),
    ("Tool output:\nError: no such key", Category.BAD_VALUE),
    ("Result: Error: no such key", Category.BAD_VALUE),
    ("Observation: TypeError: f() got an unexpected keyword argument 'x'", Category.PARAMETER_HALLUCINATION),
    ('Function response: {"error": "no such key"}', Category.BAD_VALUE),
    ("`Error: no such key`", Category.BAD_VALUE),
    ("```json\nError: no such key\n```", Category.BAD_VALUE),
    ('```json\n{"error": "no such key"}\n```\n', Category.BAD_VALUE),
    ("File not found: /tmp/x", Category.BAD_VALUE),
    ("There was an error: no such key", Category.BAD_VALUE),
]


@pytest.mark.parametrize("result", RESULTS)
def test_results_are_no_errors(result: str) -> None:
    assert find_error(result, "paper") is None


@pytest.mark.parametrize(("result", "category"), ERRORS)
def test_errors_and_whose_fault(result: str, category: Category) -> None:
    finding = find_error(result, "paper")
    assert finding is not None
    assert finding.category == category
    assert finding.rule
    assert finding.evidence.split(":")[0] in result


def test_a_quoted_argument_is_what_is_left_of_a_key_error() -> None:
    translate = Call("translate", {"text": "cat", "language": "da"})
    assert find_error("'da'", calls=[translate]) is not None
    assert find_error("'kat'", calls=[translate]) is None
    assert find_error("da", calls=[translate]) is None
    assert [b.message for b in blocked_turns(conversation(Message("assistant", "", (translate,)), tool("'da'")))] == [1]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["error", "status", "code", "message", "response", "x"]), inner, max_size=4),
    ),
    max_leaves=10,
)


@pytest.mark.fuzz
@given(
    st.one_of(st.text(), json_values.map(json.dumps), json_values.map(repr), st.text("([{'\"\\-:,Error", max_size=300))
)
def test_foreign_results_never_raise(result: str) -> None:
    find_error(result, "paper")
    find_error(result, "reference")


@pytest.mark.parametrize(
    "result", ["[" * 50_000, "-" * 50_000 + "1", '{"error":' * 5_000, "(" * 50_000, "'" * 50_000, "{'a," * 20_000]
)
def test_deep_and_long_results(result: str) -> None:
    assert find_error(result, "paper") is None


# --- packs, rules of one's own ---------------------------------------------------------------------------------------

PACK_ERRORS = {
    "fields": '{"status": "error", "message": "?"}',
    "messages": "Rate limit exceeded",
    "python": "f() got an unexpected keyword argument 'x'",
    "http": "HTTP 503",
    "languages": "调用失败",
    "toolbench": '{"error": "Timeout error...", "response": ""}',
    "tau_bench": "Error: user not found",
}


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_finds_its_own_errors(pack: str) -> None:
    finds = {name for name, result in PACK_ERRORS.items() if find_error(result, packs=(pack,))}
    overlaps = {
        "fields": {"toolbench"},
        "messages": {"toolbench", "tau_bench"},
        "python": {"tau_bench"},  # an exception called Error
    }
    assert finds == {pack} | overlaps.get(pack, set())


def test_an_envelope_is_opened_for_every_pack() -> None:
    result = '{"error": "", "response": "name \'f\' is not defined"}'
    assert find_error(result, packs=("python",)) is not None
    assert find_error(result, packs=("http",)) is None


def test_unknown_packs_are_named() -> None:
    with pytest.raises(UserError, match=r"toolbanch.*known: .*toolbench"):
        find_error("", packs=("toolbanch",))


def own_rule(result: str) -> Finding | Category | str | bool | None:
    """What a user may write."""
    answers = {"a": Category.ENVIRONMENT, "b": "bad_value", "c": Finding(Category.BAD_VALUE, "mine", "c"), "d": True}
    return answers.get(result)


OWN = f"{__name__}:own_rule"


def test_a_rule_of_ones_own() -> None:
    assert find_error("Error: no", OWN) is None
    assert find_error("a", OWN) == Finding(Category.ENVIRONMENT, OWN, "a")
    assert find_error("b", OWN) == Finding(Category.BAD_VALUE, OWN, "b")
    assert find_error("c", OWN) == Finding(Category.BAD_VALUE, "mine", "c")
    with pytest.raises(UserError, match=r"own_rule: returned True; .* bad_value"):
        find_error("d", OWN)
    trajectory = conversation(calling("f"), tool("a"), calling("f"), tool("b"), calling("f"), tool("Error: no"))
    assert [block.message for block in blocked_turns(trajectory, OWN)] == [1, 3]
    assert [block.message for block in blocked_turns(trajectory, OWN, "caller")] == [3]
    with pytest.raises(UserError, match="no module 'nowhere'"):
        blocked_turns(trajectory, "nowhere:rule")


# --- turns -----------------------------------------------------------------------------------------------------------


def conversation(*messages: Message) -> Trajectory:
    return Trajectory("t", (), (Message("user", "go"), *messages))


def tool(content: str) -> Message:
    return Message("tool", content)


def calling(*names: str) -> Message:
    return Message("assistant", tool_calls=tuple(Call(name) for name in names))


def test_all_results_of_a_turn_count_for_paper_and_the_next_message_for_reference() -> None:
    first_fine = conversation(calling("f", "g"), Message("tool", "3"), Message("tool", "ConnectionError: x"))
    assert [block.message for block in blocked_turns(first_fine, "paper")] == [1]
    assert blocked_turns(first_fine, "reference") == []


def test_only_a_tool_result_can_prove_an_error() -> None:
    trajectory = conversation(calling("f"), Message("user", "Error: that is not what I wanted"), calling("f"))
    assert blocked_turns(trajectory, "paper") == []
    (block,) = blocked_turns(trajectory, "reference")
    assert (block.message, block.finding.rule) == (1, "followed by a user message")
    (block,) = blocked_turns(conversation(calling("f"), calling("g")), "reference")
    assert block.finding.rule == "followed by an assistant message"


def test_callers_faults_can_be_blocked_alone() -> None:
    trajectory = conversation(
        calling("f"),
        Message("tool", "Read timed out"),
        Message("tool", "Error: it broke"),
        calling("g"),
        Message("tool", "Request timed out"),
        Message("tool", "Invalid date"),
        calling("h"),
        Message("tool", "h() missing 1 required positional argument: 'x'"),
    )
    assert [block.message for block in blocked_turns(trajectory, "paper")] == [1, 4, 7]
    blocks = blocked_turns(trajectory, "paper", "caller")
    assert [block.message for block in blocks] == [4, 7]
    assert all(block.finding.category in CALLER for block in blocks)
    blocks = blocked_turns(trajectory, "paper", "environment")
    assert [(block.message, block.finding.category) for block in blocks] == [(1, "environment"), (4, "environment")]
    with pytest.raises(UserError, match="block must be one of all, caller, environment, not 'tool'"):
        blocked_turns(trajectory, block="tool")  # type: ignore[arg-type]


def test_apply_sets_the_weight_of_blocked_turns_and_nothing_else() -> None:
    trajectory = conversation(calling("f"), Message("tool", "Error: no"), calling("f"), Message("tool", "3"))
    marked, blocks = apply_mae(trajectory, "paper")
    assert [message.weight for message in marked.messages] == [None, 0.0, None, None, None]
    assert [block.message for block in blocks] == [1]
    assert [m.to_json() | {"weight": 0} for m in marked.messages] == [
        m.to_json() | {"weight": 0} for m in trajectory.messages
    ]
    assert apply_mae(trajectory, "none") == (trajectory, [])


def test_a_factor_scales_what_the_data_says() -> None:
    turns = [replace(calling("f"), weight=weight) for weight in (None, 0.5, 0.0, 2.0)]
    messages = [message for turn in turns for message in (turn, tool("Error: no"))]
    marked, _ = apply_mae(conversation(*messages, calling("f"), tool("3")), factor=0.25)
    assert [message.weight for _, message in marked.turns] == [0.25, 0.125, 0.0, 0.5, None]


@pytest.mark.parametrize(("rule", "block"), [("papper", "all"), ("paper", "callers")])
def test_unknown_rule_or_block(rule: Any, block: Any) -> None:
    with pytest.raises(ValueError, match=r"papper|callers"):
        blocked_turns(conversation(), rule, block)


def test_real_trajectories(shared_data: Path) -> None:
    """Every error tau-bench reports begins with "Error:"; the other suites were read by hand."""
    blocked: Counter[str] = Counter()
    expected: Counter[str] = Counter({"toolbench_ex": 16, "tooltalk": 1})
    with (shared_data / "train" / "permissive_1018.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            trajectory = Trajectory.from_json(json.loads(line))
            blocked[trajectory.suite] += len(blocked_turns(trajectory, "paper"))
            if trajectory.suite == "tau_airline":
                expected["tau_airline"] += sum(message.content.startswith("Error:") for message in trajectory.messages)
    assert +blocked == expected


def test_real_tool_results(shared_data: Path) -> None:
    """RoTBench's third turns, read by hand: 8 false hits of the reference cues, and 15 errors that they miss."""
    rows = json.loads((shared_data / "raw" / "rotbench" / "Third_Turn_clean.json").read_text(encoding="utf-8"))
    results = [turn["value"] for row in rows for turn in row["conversations"] if turn["from"] == "function"]
    found = Counter((bool(find_error(r, "paper")), bool(find_error(r, "reference"))) for r in results)
    assert found == {(True, True): 38, (True, False): 15, (False, True): 8, (False, False): 72}
