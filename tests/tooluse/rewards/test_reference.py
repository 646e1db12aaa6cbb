"""The released scorer's reward, against a restatement of its rules that reads the text letter by letter."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tl_jax.tooluse.rewards.reference import grade_text
from tl_jax.tooluse.rewards.score import explain, score
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.tooluse.text.render import PaperRenderer, ReleasedRenderer

# --- the rules, restated without a regular expression -----------------------------------------------------------------


def restated(completion: str, gold: str, prompt: str) -> float:
    turn = prompt[prompt.rindex("Assistant:") + len("Assistant:") :].strip()
    pieces = (prompt + completion).split("### Response:")
    answer = pieces[-1] if len(pieces) > 1 and pieces[-1] else completion
    predicted, wanted = first_brackets(answer), first_brackets(gold)
    if predicted is None or wanted is None:
        return -2.0
    tools = defined_tools(prompt)
    name, arguments = predicted[0], quoted_arguments(predicted[1])
    gold_name, gold_arguments = wanted[0], quoted_arguments(wanted[1])
    if name != "" and name not in tools:
        return -2.0
    if name != gold_name:
        return -1.5
    known = tools.get(name if turn == "" else turn)
    hallucinated = known is not None and any(key not in known for key in arguments)
    redundant = known is not None and any(key in known and key not in gold_arguments for key in arguments)
    missing = any(key not in arguments for key in gold_arguments)
    table = {
        (True, True, True): -1.8,
        (True, True, False): -1.3,
        (True, False, True): -1.3,
        (False, True, True): -1.0,
        (True, False, False): -0.8,
        (False, True, False): -0.5,
        (False, False, True): -0.5,
    }
    return table.get((hallucinated, redundant, missing), 1.0 if arguments == gold_arguments else -0.25)


def first_brackets(text: str) -> tuple[str, str] | None:
    """What stands before and in the first brackets: from the beginning of the line, up to the first that closes."""
    opening = text.find("(")
    closing = text.find(")", opening + 1)
    if opening < 0 or closing < 0:
        return None
    return text[text.rfind("\n", 0, opening) + 1 : opening].strip(), text[opening + 1 : closing]


def quoted_arguments(text: str) -> dict[str, str]:
    found, at = {}, 0
    while at < len(text):
        end = at
        while end < len(text) and is_word(text[end]):
            end += 1
        if end == at:
            at += 1
            continue
        key, at = text[at:end], end
        equals = skip_space(text, at)
        quote = skip_space(text, equals + 1)
        if text[equals : equals + 1] == "=" and text[quote : quote + 1] == "'" and "'" in text[quote + 1 :]:
            close = text.index("'", quote + 1)
            found[key], at = text[quote + 1 : close], close + 1
    return found


def defined_tools(prompt: str) -> dict[str, list[str]]:
    found, at = {}, prompt.find("def")
    while at >= 0:
        start = skip_space(prompt, at + 3)
        end = start
        while end < len(prompt) and not prompt[end].isspace() and prompt[end] != "(":
            end += 1
        close = prompt.find("):", end + 1)
        if start > at + 3 and end > start and prompt[end : end + 1] == "(" and close >= 0:
            pieces = prompt[end + 1 : close].split(",")
            found[prompt[start:end]] = [part.strip() for piece in pieces for part in piece.split(":")[:-1]]
            at = prompt.find("def", close + 2)
        else:
            at = prompt.find("def", at + 1)
    return found


def is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


# --- what is generated ------------------------------------------------------------------------------------------------

TOOLS = tuple(
    Tool(name, "Finds (things): def of a word.", {"type": "object", "properties": properties, "required": required})
    for name, properties, required in (
        ("search", {"query": {"type": "string"}, "limit": {"type": "integer"}}, ["query"]),
        ("search_all", {"query": {"type": "string"}}, []),
        ("get-room", {"where": {"type": "object"}, "when": {"type": ["string", "null"]}}, ["where", "when"]),
        ("now", {}, []),
        ("finish", {"answer": {"type": "string"}}, ["answer"]),
    )
)
TEXTS = ("love", "hate", "12:30", "a, b", "", "1")
VALUES = (*TEXTS, *TEXTS, *TEXTS, "it's", "(", "see (fig. 1)", 1, -2.5, True, None, ["a"], {"k": "v"})
NAMES = ("query", "limit", "where", "when", "keyword")
PIECES = (
    "(",
    ")",
    "'",
    '"',
    "=",
    ",",
    ":",
    " ",
    "\n",
    "search",
    "now()",
    "query='love'",
    "limit = '5'",
    "finish(answer = 'x')",
    "def f(x): ",
    "def search(query:str, hidden:int):",
    "### Response:",
    "Assistant:",
    "-> str",
    "\t",
    "é",
    "_",
    "\\'",
)
USERS = (
    "Hello.",
    "def hack(x): ",
    "def search(query: str, keyword: str):\n",
    "Answer after ### Response:",
    "undef a (b):",
    "def t(when: str = '12:30', f: Callable[[int], str]) -> str:\ndef u(a: int):",
    "Assistant: now",
    "def  g(a,b:int):",
)


def mutated(text: str, draw: random.Random) -> str:
    for _ in range(draw.randrange(4)):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(PIECES) + text[at + draw.randrange(3) :]
    return text


def drawn_call(draw: random.Random) -> Call:
    tool = draw.choice(TOOLS)
    names = [name for name in (*tool.properties, draw.choice(NAMES)) if draw.random() < 0.7]
    return Call(tool.name, {name: draw.choice(VALUES) for name in names})


def near(call: Call, draw: random.Random) -> Call:
    arguments = {name: value if draw.random() < 0.8 else draw.choice(VALUES) for name, value in call.arguments.items()}
    for _ in range(draw.randrange(3)):
        arguments[draw.choice(NAMES)] = draw.choice(VALUES)
    if arguments and draw.random() < 0.5:
        del arguments[draw.choice(list(arguments))]
    return Call(call.name, arguments)


def test_equal_to_the_restatement() -> None:
    """On 4,000 predictions: calls near the gold call, other calls and debris, in both formats."""
    draw, outcomes = random.Random(15), Counter[float]()
    for number in range(4_000):
        profile = draw.choice(["reference", "reference-released"])
        renderer = PaperRenderer() if profile == "reference" else ReleasedRenderer()
        gold = drawn_call(draw)
        tools = tuple(tool for tool in TOOLS if draw.random() < (0.95 if tool.name == gold.name else 0.6))
        example = Case(str(number), tools, (Message("user", draw.choice(USERS)),), ((gold,),))
        said = renderer.answer([draw.choice([gold, near(gold, draw), near(gold, draw), drawn_call(draw)])])
        prediction = mutated(said, draw) if draw.random() < 0.3 else said
        prompt = renderer.prompt(tools, example.messages).text
        expected = restated(prediction, renderer.answer([gold]), prompt)
        assert score(prediction, example, profile).value == expected, (prompt, gold, prediction)
        outcomes[expected] += 1
    assert outcomes.keys() == {-2.0, -1.5, -1.8, -1.3, -1.0, -0.8, -0.5, -0.25, 1.0}
    assert min(outcomes.values()) >= 10


def test_equal_to_the_restatement_on_debris() -> None:
    """On 4,000 texts that no renderer writes, prompts included; some name the tool, and the answer is its arguments."""
    draw = random.Random(16)
    for _ in range(4_000):
        parts = ["".join(draw.choice((*PIECES, *USERS)) for _ in range(draw.randrange(7))) for _ in range(3)]
        prompt = f"{parts[0]}\nAssistant:{draw.choice(['', '', ' search', ' f', ' nothing'])}"
        prediction, gold = (draw.choice(["", "(", "search(", "f("]) + part for part in parts[1:])
        assert grade_text(prediction, gold, prompt).value == restated(prediction, gold, prompt), (
            prompt,
            gold,
            prediction,
        )


# --- its known faults -------------------------------------------------------------------------------------------------


def case(*gold: Call, user: str = "?") -> Case:
    return Case("c", TOOLS, (Message("user", user),), (gold,), "parallel" if len(gold) > 1 else "alternatives")


LOVE = case(Call("search", {"query": "love"}))


@pytest.mark.parametrize(
    ("prediction", "example", "value"),
    [
        ("search(query = 'love', limit = 9, nonsense = 3) ", LOVE, 1.0),  # numbers are not seen
        ('search(query = "love") ', LOVE, -0.5),  # nor is double-quoted text
        ("finish(answer = 'nonsense :)')", case(Call("finish", {"answer": "fine :)"})), 1.0),
        ("finish(answer = 'see (fig 1) WRONG')", case(Call("finish", {"answer": "see (fig 1) right"})), 1.0),
        ("search(keyword = 'love') ", LOVE, -1.3),
        ("search(keyword = 'love', limit = '5') ", LOVE, -1.8),
        ("search(query = 'love') and so on\nfinish()", LOVE, 1.0),
        ("I think:\nsearch(query = 'love')", LOVE, 1.0),
        ("I think: search(query = 'love')", LOVE, -2.0),
        ("hack(x = '1')", case(Call("search", {"query": "love"}), user="def hack(x): "), -1.5),
        ("search(query = 'love'", LOVE, -2.0),
        ("finish()### Response:search(query = 'love')", LOVE, 1.0),
        ("search(query = 'love')", case(), -2.0),  # no call needed: every answer fails
        ("No.", case(), -2.0),
        ("search(query = 'love')\nbanana", case(Call("search", {"query": "love"}), Call("now")), 1.0),
    ],
)
def test_known_faults_are_kept(prediction: str, example: Case, value: float) -> None:
    assert score(prediction, example, "reference").value == value


def test_answers_to_several_cases_in_turns() -> None:
    """The text of a case that is kept is not that of the next one, equal tools or not."""
    others = Tool("search", "", {"properties": {"word": {"type": "string"}}})
    hate, alone = case(Call("search", {"query": "hate"})), Case("c", (others,), LOVE.messages, LOVE.gold)
    found = [
        score("search(query = 'love') ", example, "reference").value for example in (LOVE, hate, alone, LOVE, LOVE)
    ]
    assert found == [1.0, -0.25, -0.8, 1.0, 1.0]


def test_in_the_released_format_any_argument_is_right() -> None:
    assert score('search(query="banana")', LOVE, "reference-released").value == 1
    assert score('search(query="banana")', LOVE, "reference").value == -0.5


def test_defaults_and_return_types_confuse_it() -> None:
    def outcome(prediction: str, definition: str) -> float:
        return grade_text(prediction, "f(a = 'x')", f"{definition}\nAssistant:").value

    assert outcome("f(a = 'x', b = 'y')", "def f(a:str, b):") == -0.8  # untyped parameters vanish
    assert outcome("f(a = 'x', b = 'y')", "def f(a:str, b:str):") == -0.5
    assert outcome("f(a = 'x')", "def f(a:str) -> str:\ndef g():") == 1
    assert grade_text("g()", "g()", "def f(a:str) -> str:\ndef g():\nAssistant:").value == -2  # swallowed
    assert grade_text("f(c = 'x')", "f(c = 'x')", "def f(a: Callable[[int], str]=g(1, c: 2):\nAssistant:").value == 1


def test_a_prompt_may_name_the_tool() -> None:
    prompt = "def f(a:str):\ndef g(b:str):\nAssistant: f"
    assert grade_text("(a = 'x')", "(a = 'x')", prompt).value == 1
    assert grade_text("(b = 'x')", "(a = 'x')", prompt).value == -1.3
    with pytest.raises(ValueError, match="Assistant:"):
        grade_text("f()", "f()", "def f():")


def test_it_explains_itself() -> None:
    found = explain("search(keyword = 'love') ", LOVE, "reference")
    assert (found.category, found.arguments) == ("hallucinated_parameter", ("keyword", "query"))
    assert str(found) == "hallucinated_parameter: 'keyword'; missing_parameter: 'query': -0.8 -0.5 = -1.3"
    assert str(explain("search(query = 'hate') ", LOVE, "reference")) == "wrong_value: 'query': -0.25"
    assert str(explain("search(query = 'love') ", LOVE, "reference")) == "correct: +1"
    assert (
        str(explain("finish(answer = 'love') ", LOVE, "reference")) == "wrong_tool: 'finish' instead of 'search': -1.5"
    )
