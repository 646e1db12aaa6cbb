"""`tl-jax analyze`: the figures reach the terminal, the JSON and the plot, and a plot is what its name says."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from tests.data.helpers import byte_level, failing, weather
from tl_jax.cli import main
from tl_jax.errors import UserError
from tl_jax.evaluation.analysis_report import Report, write_plot
from tl_jax.evaluation.charts import Bar, Chart, to_html
from tl_jax.tooluse.analysis import analyse


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "two.jsonl"
    path.write_text("".join(json.dumps(t.to_json()) + "\n" for t in (weather(), failing())))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["analyze", *(str(argument) for argument in arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_terminal_and_json(data: Path, tmp_path: Path) -> None:
    shown = run("--data", data, "--json", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["trajectories"], found["calling_turns"], found["tokens"]) == (2, 4, None)
    assert found["errors"]["turns_by_category"] == {"parameter_hallucination": 1}
    assert found["errors"]["next_step"]["same tool, new arguments"] == 1
    assert re.search(r"parameter_hallucination +1 +25\.0 +1 +50\.0", shown)
    assert re.search(r"next: same tool, new arguments +1 of 1 \(100\.0 %\)", shown)
    assert re.search(r"turns in a trajectory +3\.0 +3 ", shown)


def test_with_a_tokenizer_everything_is_in_the_page(data: Path, tmp_path: Path) -> None:
    byte_level([str(weather().to_json())] * 3, use_regex=True).save_pretrained(tmp_path / "tokenizer")
    out, page = tmp_path / "out.json", tmp_path / "plot.html"
    shown = run("--data", data, "--tokenizer", tmp_path / "tokenizer", "--json", out, "--plot", page)
    tokens = json.loads(out.read_text())["tokens"]
    assert f"{100 * tokens['key_share']:.1f} %" in shown
    text = page.read_text()
    assert "25.0 % of the calls were answered by an error" in text
    assert f"Key tokens: {100 * tokens['key_share']:.0f} % of a call" in text
    assert not re.search(r"(?:src|href)=|url\(|@import|<script", text)


def test_the_page_is_well_formed_and_nothing_in_it_becomes_markup() -> None:
    hostile = "<script>&\"'"
    charts = [Chart(hostile, hostile, (Bar(hostile, 0.5, hostile),), kind) for kind in ("rows", "columns")]
    page = to_html(hostile, hostile, charts)
    assert "<script" not in page
    HTMLParser().feed(page)
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label") == hostile
        assert hostile in [node.text for node in root]


def test_bars_are_as_long_as_their_shares() -> None:
    bars = tuple(Bar(str(share), share, "") for share in (0.25, 0.5, 1.0))
    rows, columns = (to_html("", "", [Chart("", "", bars, kind)]) for kind in ("rows", "columns"))
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="[\d.]+" rx="2.5" fill="#4a', rows)]
    heights = [float(height) for height in re.findall(r'height="([\d.]+)" rx="2.5" fill="#4a', columns)]
    for sizes in (widths, heights):
        assert [size / sizes[-1] for size in sizes] == pytest.approx([0.25, 0.5, 1.0], abs=0.01)


def test_a_png_is_an_image(data: Path, tmp_path: Path) -> None:
    run("--data", data, "--plot", tmp_path / "plot.png")
    header = (tmp_path / "plot.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[16:20]) > 1000  # its width


def test_what_cannot_be_drawn_is_said_in_one_line(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report("x.jsonl", analyse([weather()]))
    with pytest.raises(UserError, match=r"plot\.pdf: .*\.html or \.png"):
        write_plot(report, tmp_path / "plot.pdf")
    early = CliRunner().invoke(main, ["analyze", "--data", str(data), "--plot", "plot.pdf"])
    assert (early.exit_code, early.stdout) == (2, "")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"needs matplotlib \(pip install 'tl-jax\[report\]'\); plot\.html does not"):
        write_plot(report, tmp_path / "plot.png")


def test_no_errors_and_no_calls_are_drawn_too(tmp_path: Path) -> None:
    write_plot(Report("empty.jsonl", analyse([])), tmp_path / "plot.html")
    assert "<svg" in (tmp_path / "plot.html").read_text()
