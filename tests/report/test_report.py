"""``tl-jax report``: what is found in directories, the curves, and a page in which no text of a run becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from tl_jax.cli import main
from tl_jax.config import RlConfig, SftConfig, load_config, to_yaml
from tl_jax.report.curves import MOST, Line, chart, shares, thinned
from tl_jax.report.page import to_html
from tl_jax.report.record import find, read_run

EVIL = "</pre><script>alert(1)</script>\x1b[31m"


def write_run(home: Path, kind: Any = RlConfig, *overrides: str, rows: int = 3) -> Path:
    home.mkdir(parents=True)
    config = load_config(kind, [], [f"run_dir={home}", "model.path=m", "data.path=d", *overrides])
    (home / "config.yaml").write_text(to_yaml(config))
    start = {"started": "2026-11-26T03:00:00+00:00", "tl_jax": "0.1.0", "packages": {"jax": "0.10.2"}}
    (home / "environment.json").write_text(json.dumps({"starts": [start | {"devices": {"kind": "cpu", "count": 8}}]}))
    logged = [
        {"step": n, "time": 1795662000.0 + n, "reward": n / 10, "odd": 7.0, "outcome/correct": n / 4, "eval_TS": None}
        | {"outcome/wrong_tool": 1 - n / 4}
        for n in range(1, rows + 1)
    ]
    logged[-1] |= {"eval_reward": 0.5, "eval_reward_before": -0.25}
    (home / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
    samples = [
        {"step": n, "id": f"case-{n}", "turn": 0, "prediction": f"go({n})", "finished": True, "reward": -2.0}
        | {"explanation": f"because {n}", "results": []}
        for n in range(1, rows + 1)
    ]
    (home / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    now = "2026-11-26T03:00:01+00:00"
    lines = ["12 of 13 decision points", "warning: two words are odd", "step 1/3  reward 0.1", "later"]
    (home / "log.txt").write_text("".join(f"{now} {line}\n" for line in lines))
    return home


def write_evaluation(home: Path, **more: Any) -> Path:
    home.mkdir(parents=True)
    scores = {"TS": 50.0, "PI": 25.0, "CF": 12.5}
    intervals = {f"{name}_interval": [value - 5, value + 5] for name, value in scores.items()}
    summary = {"cases": 40, **scores, **intervals, "errors": {"correct": 5, "wrong_tool": 35}, "suites": {}} | more
    (home / "summary.json").write_text(json.dumps(summary))
    (home / "settings.json").write_text(json.dumps({"model": "runs/that"}))
    return home


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def shown(html: str) -> str:
    """The text that a reader sees, in one line."""
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    parser.feed(html.split("</style>")[1])
    return " ".join(" ".join(parts).split())


def test_a_folder_of_runs_and_evaluations_is_one_page(tmp_path: Path) -> None:
    write_run(tmp_path / "ppo")
    write_run(tmp_path / "sft", SftConfig, "optimizer.learning_rate=0.5")
    write_evaluation(tmp_path / "eval" / "after", suites={"toolalpaca": {}, "rotbench": {"cases": 3, "TS": 1.0}})
    result = run(tmp_path)
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'report.html'}: open it in a browser\n")
    html = (tmp_path / "report.html").read_text()
    seen = shown(html)
    assert "reinforcement, gae" in seen
    assert "8 x cpu" in seen
    assert "tl_jax 0.1.0, jax 0.10.2" in seen
    assert "ppo: reward 0.3" in seen  # a line of the legend with its last value
    assert "50.0 [45.0, 55.0]" in seen
    assert "rotbench 3" in seen
    assert "case-3 go(3) -2.00 because 3" in seen
    assert "warning: two words are odd" in seen
    assert "optimizer.learning_rate" in seen
    assert not re.search(r"(src|href)=|<script|https?://(?!www.w3.org)", html)


def test_curves_begin_with_what_was_found_before_training(tmp_path: Path) -> None:
    record = read_run(write_run(tmp_path / "run"))
    assert record.points("reward") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert record.points("eval_reward") == [(0, -0.25), (3, 0.5)]
    assert record.points("eval_TS") == []  # it was no number


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    home = write_run(tmp_path / "run")
    with (home / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "rew')
    (home / "environment.json").write_text("{half")
    (home / "samples.jsonl").unlink()
    record = read_run(home)
    assert len(record.rows) == 3
    assert record.faults == ["environment.json: is broken", "metrics.jsonl: 1 lines could not be read"]
    seen = shown(to_html(find((home,))))
    assert "metrics.jsonl: 1 lines could not be read" in seen


def test_rows_of_no_step_and_broken_evaluations_are_told(tmp_path: Path) -> None:
    home = write_run(tmp_path / "run")
    (home / "metrics.jsonl").write_text('\ufeff{"step": 1, "loss": 1.0}\r\n{"loss": 2.0}\n{"step": "3"}\n{"step": 4\n')
    record = read_run(home)
    assert record.points("loss") == [(1, 1.0)]
    without = "metrics.jsonl: 2 lines have no 'step' that is a whole number from 0 on"
    assert record.faults == [without, "metrics.jsonl: 1 lines could not be read"]
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "summary.json").write_text("{half")
    assert "summary.json: is broken" in shown(to_html(find((tmp_path / "eval",))))


@pytest.mark.parametrize("broken", ["config.yaml", "environment.json", "metrics.jsonl", "samples.jsonl", "log.txt"])
@pytest.mark.parametrize(
    "content", ["", "[1, 2]", '{"starts": 3}', '{"starts": [{"devices": 1, "started": 5}]}', "\0\xff", '{"step": 1}']
)
def test_no_content_of_a_file_keeps_the_page_from_being_made(tmp_path: Path, broken: str, content: str) -> None:
    home = write_run(tmp_path / "run")
    (home / broken).write_bytes(content.encode("latin-1"))
    assert "<h1>run</h1>" in to_html(find((home,)))


HUGE = "1" + 400 * "0"


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e400", HUGE, "1e300", '"x"', "[]", "null", "true"])
def test_what_is_no_number_is_left_out(tmp_path: Path, value: str) -> None:
    home = write_run(tmp_path / "run", rows=2)
    names = ("time", "reward", "reward_before", "outcome/correct", "eval_outcome/wrong_tool")
    with (home / "metrics.jsonl").open("a") as file:
        figures = ", ".join(f'"{name}": {value}' for name in names)
        file.write(f'{{"step": 3, {figures}}}\n{{"step": {value}, "reward": 9}}\n')
    with (home / "samples.jsonl").open("a") as file:
        file.write(f'{{"step": 2, "id": "odd", "reward": {value}, "turn": {value}, "results": {value}}}\n')
    write_evaluation(tmp_path / "eval")
    odd = f'"TS": {value}, "TS_interval": [{value}, 2], "cases": {value}, "errors": {{"a": {value}, "b": 1}}'
    (tmp_path / "eval" / "summary.json").write_text(f"{{{odd}}}")
    write_evaluation(tmp_path / "suite")
    (tmp_path / "suite" / "summary.json").write_text(f'{{"accuracy": {value}, "cases": 5}}')
    found = find((tmp_path,))
    assert found.runs[0].points("reward") == [(1, 0.1), (2, 0.2)]
    html = to_html(found)
    assert "odd ?" in shown(html)  # what it earned
    assert not re.search(r'(points|c?[xy]\d?|style)="[^"]*(nan|inf)', html)


def test_a_log_may_hold_anything(tmp_path: Path) -> None:
    home = write_run(tmp_path / "run")
    now = "2026-11-26T03:00:01+00:00"
    (home / "log.txt").write_text(f"warning:\n{now} \n│ case-1 │ warning: said by a model │\n{now} warning: ours\n")
    told = to_html(find((home,))).split('<ul class="told">')[1].split("</ul>")[0]
    assert told == "<li>run: warning: ours</li>"


def test_a_run_in_a_run_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "run")
    write_run(tmp_path / "run" / "run", SftConfig)
    monkeypatch.chdir(tmp_path)
    seen = shown(to_html(find((Path("run"),))))
    assert "reinforcement, gae" in seen
    assert "supervised" in seen


def test_outcomes_of_fixed_cases_are_shares_of_a_whole(tmp_path: Path) -> None:
    home = write_run(tmp_path / "run")
    rows = [
        {"step": 1, "eval_outcome/wrong_tool": 0.75, "eval_outcome/correct": 0.25},
        {
            "step": 2,
            "eval_outcome/correct": 1.0,
            "eval_outcome/correct_before": 0.5,
            "eval_outcome/hallucinated_before": 0.5,
        },
    ]
    (home / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = to_html(find((home,)))
    drawn = html.split("What became of the answers to fixed cases")[1].split("</section>")[0]
    areas = re.findall(r'points="(.*?)"><title>(.*?)</title>', drawn)
    assert [name for _, name in areas] == ["correct", "wrong tool", "hallucinated"]
    assert all(len(points.split()) == 6 for points, _ in areas)  # steps 0, 1 and 2, there and back
    assert "more metrics" not in html


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    home = write_run(tmp_path / "run", RlConfig, "reward=paper")
    config = (home / "config.yaml").read_text()
    (home / "config.yaml").write_text(config.replace("model:\n  path: m", f"model:\n  path: {json.dumps(EVIL)}"))
    sample = {"step": 1, "id": EVIL, "prediction": EVIL, "explanation": EVIL, "results": [EVIL], "reward": EVIL}
    (home / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    (home / "metrics.jsonl").write_text(json.dumps({"step": 1, EVIL: 1.0, f"outcome/{EVIL}": 1.0}) + "\n")
    (home / "log.txt").write_text(f"2026-11-26T03:00:01+00:00 warning: {EVIL}\n")
    write_evaluation(tmp_path / "eval", errors={EVIL: 3}, suites={EVIL: {"cases": EVIL}, "b": {"TS": EVIL}}, cases=EVIL)
    html = to_html(find((tmp_path,)))
    assert "<script" not in html
    assert "\x1b" not in html
    assert html.count("&lt;script&gt;") >= 10


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty")
    assert result.exit_code == 2
    assert "neither a run (config.yaml and metrics.jsonl or log.txt) nor an evaluation (summary.json)" in result.output
    write_run(tmp_path / "run")
    assert "say with --out which file to write" in run(tmp_path / "run", tmp_path / "run").output
    assert run(tmp_path / "run", tmp_path / "run", "--out", tmp_path / "p.html").exit_code == 0
    assert shown((tmp_path / "p.html").read_text()).count("case-1") == 1  # named twice, shown once


def test_settings_are_told_where_they_differ_and_where_they_are_not_the_default(tmp_path: Path) -> None:
    write_run(tmp_path / "a", RlConfig, "algorithm.estimator=grpo", "group_size=4", "seed=3")
    write_run(tmp_path / "b", RlConfig, "algorithm.estimator=rloo", "group_size=4", "seed=3")
    first, second = find((tmp_path,)).runs
    assert {"algorithm.estimator", "group_size", "seed", "model.path"} <= first.changed.keys()
    assert "algorithm.gamma" not in first.changed
    differing = to_html(find((tmp_path,))).split("in which the runs differ")[1].split("that are not the default")[0]
    assert re.findall(r"<tr><td>([^<]*)</td>", differing) == ["run_dir", "algorithm.estimator"]
    assert first.settings["algorithm.gamma"] == second.settings["algorithm.gamma"]


def test_lines_lie_where_their_values_are() -> None:
    drawn = chart("loss", [Line("loss", [(0, 4.0), (10, 2.0), (20, 3.0)])])
    svg = ElementTree.fromstring(re.search(r"<svg viewBox=\"0 0 460.*?</svg>", drawn, re.S).group())  # type: ignore[union-attr]
    line = svg.find("polyline")
    assert line is not None
    (x0, y0), (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in line.attrib["points"].split())
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 < y2 < y1  # down is less
    assert y1 - y2 == pytest.approx(y2 - y0, abs=0.2)
    ticks = {
        float(one.text or ""): float(one.attrib["y"]) - 4
        for one in svg.findall("text")
        if "step" not in (one.text or "")
    }
    assert ticks[3.0] == pytest.approx(y2, abs=0.1)
    assert chart("nothing", [Line("loss", [])]) == ""


@pytest.mark.parametrize("value", [0.0, 5.0, -1e-9, 1e30])
def test_a_line_that_never_moves_has_a_picture(value: float) -> None:
    assert "nan" not in chart("flat", [Line("flat", [(1, value), (2, value)])])
    assert "<circle" in chart("one", [Line("one", [(1, value)])])


def test_long_runs_are_averaged_and_that_is_said() -> None:
    points = [(float(n), float(n % 2)) for n in range(10 * MOST)]
    assert len(thinned(points)) <= MOST
    assert {y for _, y in thinned(points)} == {0.5}
    assert thinned(points[:MOST]) == points[:MOST]
    assert "each point the mean of 10 logged ones" in chart("loss", [Line("loss", points)])


def test_areas_of_shares_fill_the_whole() -> None:
    drawn = shares("run", ["right", "wrong"], {1: [0.25, 0.75], 2: [0.5, 0.5]})
    areas = [
        [tuple(map(float, pair.split(","))) for pair in found.split()] for found in re.findall(r'points="(.*?)"', drawn)
    ]
    heights = [
        [below[1] - above[1] for above, below in zip(area[:2], reversed(area[2:]), strict=True)] for area in areas
    ]
    whole = [sum(column) for column in zip(*heights, strict=True)]
    assert whole[0] == pytest.approx(whole[1], abs=0.3)
    assert heights[0][0] / whole[0] == pytest.approx(0.25, abs=0.01)
    assert shares("run", [], {}) == ""
