"""``tl-jax compare``: paired differences, what changed, and which files do not belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tl_jax.cli import main
from tl_jax.errors import UserError
from tl_jax.evaluation import comparison
from tl_jax.evaluation.comparison_files import compare_files
from tl_jax.evaluation.comparison_page import to_html
from tl_jax.tooluse.intervals import exact_p, paired_interval

TOOLS = [
    {"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    for name in ("weather", "map")
]
RIGHT, VALUE, TOOL, MADE_UP = "weather(city='Oslo')", "weather(city='Rome')", "map(city='Oslo')", "train(city='Oslo')"
CHANGES = [(RIGHT, RIGHT)] * 4 + [(RIGHT, VALUE)] * 2 + [(VALUE, RIGHT)] * 5 + [(TOOL, MADE_UP)] + [(TOOL, VALUE)] * 4


def write(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answers(path: Path, texts: Mapping[str, str], **settings: object) -> Path:
    """A directory as ``eval`` leaves it, where there are settings."""
    if settings:
        path.mkdir()
        (path / "settings.json").write_text(json.dumps(settings))
    write(path / "predictions.jsonl" if settings else path, [{"id": id, "prediction": t} for id, t in texts.items()])
    return path


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    gold = [[{"name": "weather", "arguments": {"city": "Oslo"}}]]
    rows = [
        {"id": f"c{n}", "suite": f"s{n % 2}", "tools": TOOLS, "messages": [{"role": "user", "content": "?"}]}
        for n in range(len(CHANGES))
    ]
    return write(tmp_path / "cases.jsonl", [row | {"gold": gold} for row in rows])


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    a, b = ({f"c{n}": change[side] for n, change in enumerate(CHANGES)} for side in (0, 1))
    return answers(tmp_path / "a.jsonl", a), answers(tmp_path / "b.jsonl", b)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_differences_are_those_of_the_same_cases(cases: Path, sides: tuple[Path, Path]) -> None:
    compared = compare_files(*sides, cases)
    cf, ts = compared.figures["CF"], compared.figures["TS"]
    assert (cf.a, cf.b, cf.difference) == pytest.approx((37.5, 56.25, 18.75))
    assert (cf.higher_a, cf.higher_b, cf.interval, cf.p) == (2, 5, paired_interval(5, 2, 16), exact_p(5, 2))
    assert (ts.higher_a, ts.higher_b, ts.a, ts.b) == (0, 4, 68.75, 93.75)
    assert not cf.sure
    assert ts.sure
    reward = compared.figures["reward"]
    assert (reward.higher_a, reward.higher_b) == (3, 9)  # a made-up tool costs more than a wrong one
    assert reward.interval[0] < reward.difference < reward.interval[1]


def test_outcomes_are_counted_and_followed(cases: Path, sides: tuple[Path, Path]) -> None:
    compared = compare_files(*sides, cases)
    assert list(compared.errors)[:2] == ["correct", "wrong_value"]
    assert sum(one.a for one in compared.errors.values()) == pytest.approx(100)
    assert sum(one.difference for one in compared.errors.values()) == pytest.approx(0)
    assert compared.errors["wrong_tool"].higher_a == 5
    assert dict(compared.moves) == {
        ("correct", "wrong_value"): 2,
        ("wrong_value", "correct"): 5,
        ("wrong_tool", "hallucinated_tool"): 1,
        ("wrong_tool", "wrong_value"): 4,
    }
    assert {change: len(pairs) for change, pairs in compared.changed.items()} == {
        "better": 9,
        "worse": 3,
        "otherwise": 0,
    }
    assert [cases for cases, _ in compared.suites.values()] == [8, 8]
    assert sum(figures["CF"].higher_b for _, figures in compared.suites.values()) == 5


def test_exchanged_sides_give_the_opposite(cases: Path, sides: tuple[Path, Path]) -> None:
    there, back = compare_files(*sides, cases), compare_files(*reversed(sides), cases)
    for name, one in there.figures.items():
        other = back.figures[name]
        assert (one.difference, one.p, one.higher_a) == (-other.difference, other.p, other.higher_b)
    assert len(there.changed["better"]) == len(back.changed["worse"])


def test_another_fault_of_the_same_worth_is_a_change(cases: Path, tmp_path: Path) -> None:
    a = answers(tmp_path / "a.jsonl", {"c0": TOOL, "c1": RIGHT})
    b = answers(tmp_path / "b.jsonl", {"c0": MADE_UP, "c1": RIGHT})
    compared = compare_files(a, b, cases, profile="binary")
    assert [pair.case.id for pair in compared.changed["otherwise"]] == ["c0"]
    assert len(compared.pairs) == 2  # what neither answers is no part of it


def test_directories_say_what_they_answer(cases: Path, tmp_path: Path) -> None:
    a = answers(tmp_path / "a", {"c0": RIGHT}, cases=str(cases), model="m", dtype="float32")
    (a / "settings.json").write_text("\ufeff" + (a / "settings.json").read_text())  # somebody's editor
    inner = tmp_path / "run"
    inner.mkdir()
    answers(inner / "eval", {"c0": VALUE}, cases=str(cases), model="n", dtype="bfloat16")
    compared = compare_files(a, inner)
    assert compared.figures["CF"].difference == -100
    unanswered = "15 of 16 cases are answered by neither"
    assert compared.notes == (unanswered, "made with different settings: dtype")
    answers(inner / "other", {"c0": VALUE}, cases=str(cases))
    with pytest.raises(UserError, match=r"run: holds several evaluations; name one of them: .*run/eval, .*run/other"):
        compare_files(a, inner)
    other = answers(tmp_path / "b", {"c0": RIGHT}, cases="others.jsonl")
    with pytest.raises(UserError, match=r"a/pred.* answers the cases of .*cases.jsonl, .*b/pred.* those of others.jso"):
        compare_files(a, other)
    assert compare_files(a, other, cases).figures["CF"].difference == 0
    suite = answers(tmp_path / "suite", {"c0": RIGHT}, cases="bfcl_v4")
    with pytest.raises(UserError, match=r"suite/predictions.jsonl answers a suite, .*: compare --suite bfcl_v4"):
        compare_files(suite, suite)
    with pytest.raises(UserError, match=r"others.jsonl: the cases of .* are not there; name them with --cases"):
        compare_files(other, other)


@pytest.mark.parametrize("content", ['{"model": ', "[]", '{"model": "\\ud800"}', '{"temperature": NaN}', "\x80"])
def test_settings_that_are_broken_are_told(cases: Path, tmp_path: Path, content: str) -> None:
    """What is half of a character could not be printed; and what cannot be read may have named other cases."""
    a = answers(tmp_path / "a", {"c0": RIGHT}, cases=str(cases))
    b = answers(tmp_path / "b", {"c0": RIGHT}, cases=str(cases))
    (b / "settings.json").write_bytes(content.encode("latin-1"))
    told = run(a, b, "--json")
    assert told.exit_code == 2
    assert re.fullmatch(
        r"tl-jax: .*b/settings.json: is broken, so .*; name \S*b/predictions.jsonl itself, and --cases\n", told.output
    )
    assert run(a, b / "predictions.jsonl", "--cases", cases, "--json").exit_code == 0


def test_what_does_not_belong_together_is_told(cases: Path, sides: tuple[Path, Path], tmp_path: Path) -> None:
    few = answers(tmp_path / "few.jsonl", {"c0": RIGHT, "c14": RIGHT})
    told = r"a.jsonl answers 14 cases that .*few.jsonl does not, as 'c1'; --common compares those that both answer"
    with pytest.raises(UserError, match=told):
        compare_files(sides[0], few, cases)
    compared = compare_files(sides[0], few, cases, common=True)
    assert (len(compared.pairs), compared.left_out, compared.notes) == (2, 14, ())
    assert compare_files(few, few, cases).notes == ("14 of 16 cases are answered by neither",)
    with pytest.raises(UserError, match="nothing beside it says which cases it answers; name them with --cases"):
        compare_files(*sides)
    with pytest.raises(UserError, match=r"few.jsonl and .*none.jsonl: no case that both answer has anything"):
        compare_files(few, answers(tmp_path / "none.jsonl", {"c1": RIGHT}), cases, common=True)
    stray = answers(tmp_path / "stray.jsonl", {"c0": RIGHT, "z": RIGHT})
    with pytest.raises(UserError, match=r"stray.jsonl: id: 1 predictions belong to no case of .*cases.jsonl"):
        compare_files(sides[0], stray, cases)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no predictions.jsonl; make one with tl-jax eval --out"):
        compare_files(sides[0], tmp_path / "empty", cases)


def test_the_command_prints_and_writes_the_same(cases: Path, sides: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    shown = run(*sides, "--cases", cases, "--html", page, "--show", 2)
    assert shown.exit_code == 0, shown.output
    assert "+18.8" in shown.output
    assert "9 cases better in B:" in shown.output
    assert "... and 7 more" in shown.output
    found = json.loads(run(*sides, "--cases", cases, "--json").output)
    assert found["differences"]["CF"]["interval"] == list(paired_interval(5, 2, 16))
    assert found["errors"]["wrong_value"]["higher_a"] == 5
    assert found["suites"]["s0"]["cases"] == 8
    assert len(found["changed"]) == 12 == page.read_text().count("<details>")
    assert {row["change"] for row in found["changed"]} == {"better", "worse"}
    assert run(*sides).exit_code == 2


def test_what_is_drawn_is_drawn_once(
    cases: Path, sides: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of thousands of cases the interval of a mean takes seconds; tables, page and JSON show the same one."""
    drawn: list[int] = []

    def mean_interval(values: Sequence[float]) -> tuple[float, float]:
        drawn.append(len(values))
        return 0.0, 1.0

    monkeypatch.setattr(comparison, "mean_interval", mean_interval)
    assert run(*sides, "--cases", cases, "--html", tmp_path / "page.html").exit_code == 0
    assert drawn == [16]


HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\" onload='x'"
TAGS = "html head meta title style body h1 h2 p div table tr th td span i u b details summary dl dt dd pre"


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs if tag != "meta"}


def test_no_text_becomes_markup_or_steers_the_terminal(tmp_path: Path) -> None:
    """Ids, suites, questions, gold calls, answers and settings are anybody's."""
    gold = [[{"name": "weather", "arguments": {"city": HOSTILE}}]]
    rows = [
        {"id": f"{HOSTILE}{n}", "suite": f"{HOSTILE}{n}", "tools": TOOLS, "gold": gold}
        | {"messages": [{"role": "user", "content": HOSTILE}]}
        for n in range(2)
    ]
    cases = write(tmp_path / "cases.jsonl", rows)
    a = answers(tmp_path / "a", {row["id"]: HOSTILE for row in rows}, cases=str(cases), model=HOSTILE)
    b = answers(tmp_path / "b", {row["id"]: f"weather(city={HOSTILE!r})" for row in rows}, cases=str(cases))
    page = to_html(compare_files(a, b))
    found = Elements(page)
    assert found.names <= set(TAGS.split())
    assert found.attributes <= {"lang", "class", "style"}
    assert not any(reference in page for reference in ("http", "url(", "@import", "src=", "href"))
    shown = run(a, b).output
    assert "2 cases better in B" in shown
    for text in (page, shown):
        assert not {"\x1b", "\u202e"} & set(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    widths = [float(width) for width in re.findall(r"(?:left|width):([\d.-]+)%", page)]
    assert all(0 <= width <= 100 for width in widths)
