"""No text of a file, a model or a tool steers the terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from tests.test_layers import FILES
from tl_jax.addresses import place_of
from tl_jax.cli import main
from tl_jax.errors import DataError
from tl_jax.terminal import SafeConsole
from tl_jax.visible import in_one_line, visible

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\r[red]:smile:[/red]"


@pytest.mark.fuzz
@given(st.text(st.characters()))
def test_what_is_visible_steers_nothing_and_fits_any_terminal(text: str) -> None:
    shown = visible(text)
    assert not {character for character in shown if ord(character) < 32 or 127 <= ord(character) < 160} - {"\n", "\t"}
    assert not set(shown) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")
    shown.encode()
    assert visible(shown) == shown
    assert "\n" not in in_one_line(text)


def test_a_console_shows_text_as_it_is() -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, width=200, force_terminal=True, color_system=None)
    table = Table(EVIL, title=EVIL)
    table.add_row(EVIL)
    table.add_row(Text(EVIL))
    for shown in (EVIL, Text(EVIL), table):
        console.print(shown)
    console.rule(EVIL)
    assert not set(out.getvalue()) & set("\x1b\x07\x9b\u202e\r")
    assert out.getvalue().count("[red]:smile:[/red]") == 7


def test_copies_of_what_is_in_a_bucket_are_called_by_their_addresses() -> None:
    out, place = io.StringIO(), place_of("gs://a-bucket/made", "out")
    console, table = SafeConsole(file=out, width=200), Table(f"{place}/a")
    table.add_row(f"{place}/b")
    console.print(f"{place}/c", table)
    assert re.findall(r"\S+/[abc]\b", out.getvalue()) == [f"gs://a-bucket/made/{name}" for name in "cab"]


def test_an_error_is_one_line_whatever_the_field_is_called(tmp_path: Path) -> None:
    assert str(DataError("bad\nworse", path="a\x1b", line=3, field=EVIL)).count("\n") == 0
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"id": "a", EVIL + "\n": 1, "messages": [{"role": "user", "content": "?"}]}))
    result = CliRunner().invoke(main, ["mae", "--in", str(source), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert r"\u{1b}]0;owned\u{7}" in result.output
    assert result.output.removesuffix("\n").isprintable()


def test_ids_and_faults_are_shown_as_text(tmp_path: Path) -> None:
    tools = [{"name": "go", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}}]
    cases = tmp_path / "cases.jsonl"
    rows = [
        {"id": f"{EVIL}{n}", "tools": tools, "messages": [{"role": "user", "content": "?"}]}
        | {"gold": [[{"name": EVIL, "arguments": {}}]], "suite": EVIL}
        for n in range(2)
    ]
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = tmp_path / "predictions.jsonl"
    answers.write_text(json.dumps({"id": EVIL + "0", "prediction": EVIL}) + "\n")
    for command in ("score", "reward"):
        result = CliRunner().invoke(main, [command, "--cases", str(cases), "--predictions", str(answers)])
        assert result.exit_code == 0, result.output
        assert not set(result.output) & set("\x1b\x07\x9b\u202e\r"), result.output


PRINTING = re.compile(r"^(?!.*>>>).*(?<![\w.])(print|Console)\(|\.s?echo\(", re.MULTILINE)


def test_all_printing_goes_through_one_module() -> None:
    found = {file.name for file in FILES if PRINTING.search(file.read_text(encoding="utf-8"))}
    assert found == {"terminal.py"}
