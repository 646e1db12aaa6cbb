"""``tl-jax robustness``: which file is which level, the figures of each, and the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from tl_jax import demo
from tl_jax.addresses import place_of
from tl_jax.cli import main
from tl_jax.errors import UserError
from tl_jax.evaluation.robustness import Robustness, levels_of, read_levels
from tl_jax.evaluation.robustness_page import to_html
from tl_jax.tooluse.intervals import bootstrap_interval
from tl_jax.tooluse.readers.rotbench import LEVELS

BASE = Path(demo.__file__).parent / "base"
TOOLS = [{"name": "go", "parameters": {"type": "object", "properties": {"where": {"type": "string"}}}}]
RIGHT, VALUE, TOOL = "go(where='home')", "go(where='away')", "stay(where='home')"
ANSWERS = {"clean": [RIGHT, RIGHT, RIGHT, VALUE], "union": [RIGHT, TOOL, TOOL, VALUE]}


def write_cases(path: Path, split: str, count: int = 4) -> Path:
    gold = [[{"name": "go", "arguments": {"where": "home"}}]]
    rows = [
        {"id": f"rotbench/{split}/{n:04d}", "suite": "rotbench", "split": split, "tools": TOOLS, "gold": gold}
        | {"messages": [{"role": "user", "content": "go home"}]}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {level: write_cases(tmp_path / f"{number}.jsonl", level) for number, level in enumerate(ANSWERS)}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["robustness", *map(str, arguments)])


@pytest.mark.jax
def test_each_level_is_evaluated_in_a_directory_of_its_own(files: dict[str, Path], tmp_path: Path) -> None:
    """All answers are there already, so that the model's weights are not needed."""
    from tl_jax.evaluation.answering import GREEDY
    from tl_jax.evaluation.answers import settings_of

    out = tmp_path / "out"
    for level, answers in ANSWERS.items():
        (out / level).mkdir(parents=True)
        (out / level / "settings.json").write_text(json.dumps(settings_of(BASE, str(files[level].resolve()), GREEDY)))
        rows = [{"id": f"rotbench/{level}/{n:04d}", "prediction": text} for n, text in enumerate(answers)]
        (out / level / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(*reversed(files.values()), "--model", BASE, "--out", out)
    assert done.exit_code == 0, done.output
    assert [line.split("│")[1].split()[0] for line in done.stdout.splitlines() if "│" in line] == [*ANSWERS]
    found = read_levels(out)
    assert [(level, one["TS"], one["CF"]) for level, one in found.levels.items()] == [
        ("clean", 100.0, 75.0),
        ("union", 50.0, 25.0),
    ]
    assert found.levels["union"]["CF_interval"] == list(bootstrap_interval(1, 4))
    assert (out / "robustness.html").read_text() == to_html([found])
    again = run(*files.values(), "--model", BASE, "--out", out, "--beside", out)
    assert again.exit_code == 0, again.output
    assert (out / "robustness.html").read_text() == to_html([found, found])


def test_a_file_says_which_level_it_is(files: dict[str, Path], tmp_path: Path) -> None:
    heavy = write_cases(tmp_path / "heavy.jsonl", "heavy")
    assert levels_of([files["union"], heavy, files["clean"]]) == {
        "clean": files["clean"],
        "heavy": heavy,
        "union": files["union"],
    }
    other = write_cases(tmp_path / "other.jsonl", "test")
    with pytest.raises(UserError, match=r"other.jsonl: its cases are not those of one noise level of RoTBench \(clean"):
        levels_of([other])
    twice = write_cases(tmp_path / "twice.jsonl", "clean")
    with pytest.raises(UserError, match=r"twice.jsonl: is of the noise level 'clean', and so is .*0.jsonl"):
        levels_of([files["clean"], twice])
    third = write_cases(tmp_path / "third.jsonl", "third_turn_slight")
    assert list(levels_of([third])) == ["slight"]
    with pytest.raises(UserError, match=r"0.jsonl, .*third.jsonl: are of different turns"):
        levels_of([files["clean"], third])


def test_the_levels_are_those_of_the_benchmarks_files(shared_data: Path) -> None:
    files = [shared_data / "eval" / f"rotbench_{level}.jsonl" for level in ("slight", "clean")]
    assert list(levels_of(files)) == ["clean", "slight"]


def figures(**shares: float) -> dict[str, Any]:
    intervals = {f"{name}_interval": [max(share - 10, 0), min(share + 10, 100)] for name, share in shares.items()}
    return {"cases": 9, **shares, **intervals}


def results(**others: object) -> str:
    """A file of one level, with something odd in it."""
    return json.dumps({"levels": {"clean": figures(TS=50, PI=20, CF=10) | others}})


def test_one_that_was_brought_from_a_bucket_is_called_by_its_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = place_of("gs://a-bucket/earlier", "files")
    place.mkdir(parents=True)
    (place / "robustness.json").write_text(results())
    assert read_levels(place).name == "gs://a-bucket/earlier"


ODD = [
    results(CF=1000),
    results(CF="10"),
    results(CF=10**400),
    results(CF=True),
    results(CF=[10]),
    results(CF_interval=["0", "20"]),
    results(CF_interval="05"),
    results(cases=float("inf")),
    results(cases="9"),
    results(cases=-1),
]


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"levels": {"loud": {}}}', '{"levels": {"clean": {"cases": 1, "TS": 1}}}', "[" * 100_000, *ODD],
)
def test_results_that_are_broken_are_told(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"robustness.json: cannot be read: No such file.*--out writes it"):
        read_levels(tmp_path)
    (tmp_path / "robustness.json").write_text(content)
    with pytest.raises(UserError, match=r"robustness.json: is broken; make it anew"):
        read_levels(tmp_path)


def test_lines_stand_where_the_figures_say_and_nothing_becomes_markup() -> None:
    hostile = "<script>alert(1)</script>\x1b[31m"
    levels = {level: figures(TS=100 - 20 * n, PI=50, CF=0) for n, level in enumerate(LEVELS)}
    page = to_html([Robustness(hostile, levels), Robustness("b", {"clean": levels["clean"]})])
    HTMLParser().feed(page)
    assert "<script" not in page
    assert "\x1b" not in page
    assert not any(reference in page for reference in ("http", "url(", "@import", "src=", "href"))
    charts = [ElementTree.fromstring(drawing) for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    assert [chart.get("aria-label", "").split()[0] for chart in charts] == ["Tool", "Parameter", "Content"]
    lines = [chart.findall("polyline")[0].get("points", "") for chart in charts]
    heights = [[float(point.split(",")[1]) for point in line.split()] for line in lines]
    steps = [after - before for before, after in zip(heights[0], heights[0][1:], strict=False)]
    assert steps == pytest.approx([steps[0]] * 4, abs=0.11)
    assert heights[0][0] < heights[1][0] < heights[2][0]
    assert heights[2][0] - heights[0][0] == pytest.approx(5 * steps[0], abs=0.2)
    assert [len(chart.findall("circle")) for chart in charts] == [6, 6, 6]
