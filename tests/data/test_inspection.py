from __future__ import annotations

import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import failing, weather
from tl_jax.cli import main
from tl_jax.config import MaeConfig, PktConfig
from tl_jax.data.codec import Codec
from tl_jax.data.inspection.inspect import inspect_trajectory, to_html, to_terminal
from tl_jax.data.inspection.view import TokenView
from tl_jax.tooluse.mae.apply import apply_mae
from tl_jax.tooluse.schema import Message, Trajectory
from tl_jax.visible import visible

BOLD_RED, BIDI = "\x1b[31m", "\u202e"
HEAD = [
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width">',
]


class Spans(HTMLParser):
    """The page's elements and its text, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.kinds: list[str] = []
        self.text: list[str] = []
        self.metas: list[str] = []
        self.feed(page)
        assert self.metas == HEAD

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.kinds.append(dict(attrs).get("class") or "")
        if tag == "meta":
            self.metas.append(self.get_starttag_text() or "")
        else:
            assert {name for name, _ in attrs} <= {"class", "title", "lang"}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def hostile() -> Trajectory:
    base = failing()
    messages = list(base.messages)
    messages[1] = Message("user", f"<script>alert(1)</script> {BOLD_RED}red{BIDI} [bold]x[/bold] \" onload='x'")
    return replace(base, messages=tuple(messages))


def terminal(view, **options) -> str:
    console = Console(file=io.StringIO(), width=120, highlight=False, color_system=None)
    to_terminal(view, console, **options)
    return console.file.getvalue()


@pytest.mark.parametrize("name", ["paper", "chat"])
def test_tokens_are_the_text_and_the_weights_of_training(bpe: PreTrainedTokenizerFast, name: str) -> None:
    trajectory, codec = failing(), Codec.open(name, bpe)
    view = inspect_trajectory(trajectory, codec)
    marked, _ = apply_mae(trajectory, "paper", "all")
    example = codec.supervise(marked, PktConfig())
    assert "".join(token.text for token in view.tokens) == codec.renderer.render(marked.tools, marked.messages).text
    assert [token.weight for token in view.tokens if token.target] == [w for w in example.weights.tolist() if w]
    stops = [token for token in view.tokens if token.kind == "stop"]
    assert [token.text or token.mark for token in stops] == ["<|endoftext|>" if name == "paper" else "<|im_end|>"] * 2
    keys = [token for token in view.tokens if token.kind == "key"]
    assert keys
    assert all(token.raw >= 1 and "decides" in token.why for token in keys)
    assert [(turn.message, turn.target) for turn in view.turns] == [(2, False), (5, True), (8, True)]
    assert "parameter_hallucination" in view.turns[0].note
    blocked = [token for token in view.tokens if token.kind == "blocked"]
    assert "I look it up." in "".join(token.text for token in blocked)
    assert not any(token.target for token in blocked)


def test_weight_zero_in_the_data_is_said_so(bpe: PreTrainedTokenizerFast) -> None:
    base = weather()
    muted = replace(base, messages=(*base.messages[:8], replace(base.messages[8], weight=0.0)))
    view = inspect_trajectory(muted, Codec.open("paper", bpe))
    assert view.turns[2].note == "no target: weight 0 in the data"
    assert "2 of 3 turns are targets" in view.summary


def test_a_down_weighted_error_is_a_target_and_says_why(bpe: PreTrainedTokenizerFast) -> None:
    """Against the numbers of the undisturbed trajectory: the same weights, times the factor."""
    view = inspect_trajectory(failing(), Codec.open("paper", bpe), mae=MaeConfig(factor=0.25))
    full = inspect_trajectory(failing(), Codec.open("paper", bpe), mae=MaeConfig(rule="none"))
    turn, whole = view.turns[0], full.turns[0]
    assert turn.target
    assert (turn.share, whole.share) == (0.25, 1)
    assert turn.verdict == "target, loss x 0.25"
    assert "down-weighted, parameter_hallucination (detector" in turn.note
    assert whole.why == ""
    assert turn.normaliser == whole.normaliser
    weights = [[t.weight for t in v.tokens if t.message == 2 and t.target] for v in (view, full)]
    assert weights[0] == pytest.approx([weight / 4 for weight in weights[1]])
    assert "down-weighted" in to_html(view)
    assert "3 of 3 turns are targets" in view.summary


@pytest.mark.parametrize("mode", ["none", "paper", "reference"])
def test_numbers_of_a_turn_are_those_of_its_tokens(bpe: PreTrainedTokenizerFast, mode: str) -> None:
    for name in ("paper", "chat"):
        view = inspect_trajectory(weather(), Codec.open(name, bpe), pkt=PktConfig(mode=mode))
        for turn, tokens in view.answers():
            assert turn.tokens == len(tokens) - 1
            assert tokens[-1].kind == "stop"
            assert turn.normaliser == pytest.approx(sum(token.raw for token in tokens))
            assert [token.weight for token in tokens] == pytest.approx([t.raw / turn.normaliser for t in tokens])
            keys = [token for token in tokens if token.kind == "key"]
            assert len(keys) == len(turn.keys)
            assert {token.raw for token in keys} == ({turn.key_weight} if keys else set())
            assert turn.loss_on_keys == pytest.approx(sum(token.weight for token in keys))
        assert [turn.calls for turn in view.turns] == [("get_weather",), ("get_weather", "get"), ()]


TAGS = "html head meta title style body h1 h2 p ul li table thead tbody tr th td main div details summary span b i br"


def test_page_is_self_contained_and_shows_everything(bpe: PreTrainedTokenizerFast) -> None:
    view = inspect_trajectory(hostile(), Codec.open("paper", bpe))
    page = to_html(view)
    found = Spans(page)
    assert set(found.tags) <= set(TAGS.split())
    assert not any(reference in page for reference in ("http", "url(", "@import", "src=", "href"))
    assert BOLD_RED not in page
    assert BIDI not in page
    for kind in ("key", "plain", "stop", "blocked"):
        once = sum(token.kind == kind for token in view.tokens)
        lined_up = sum(token.kind == kind for _, tokens in view.answers() for token in tokens[:11])
        assert found.kinds.count(f"t {kind}") == 1 + once + lined_up  # 1 in the legend
    assert [kind for kind in found.kinds if kind.startswith("note")] == ["note no", "note", "note"]
    everything = "".join(found.text)
    assert "<script>alert(1)</script> \\u{1b}[31mred\\u{202e}" in everything
    assert "weights divided by" in everything
    assert "blocked, parameter_hallucination" in everything
    assert "Bonn" in everything


def test_ids_roles_and_names_are_harmless_too(bpe: PreTrainedTokenizerFast) -> None:
    base = hostile()
    messages = list(base.messages)
    messages[3] = replace(messages[3], name=f"<b>{BIDI}{BOLD_RED}")
    view = inspect_trajectory(
        replace(base, id=f"<i>{BIDI}{BOLD_RED}", messages=tuple(messages)), Codec.open("paper", bpe)
    )
    for shown in (to_html(view), terminal(view)):
        assert not {BIDI, "\x1b"} & set(shown)
    assert set(Spans(to_html(view)).tags) <= set(TAGS.split())
    assert "<i>\\u{202e}" in "".join(Spans(to_html(view)).text)


def test_tokens_on_their_own_show_their_blanks() -> None:
    assert TokenView(" a\tb\n\x1b", 0, "plain").shown == "␣a⇥b↵\\u{1b}"
    assert TokenView("", 0, "stop", mark="</s>").shown == "</s>"


def test_terminal_lines_up_the_answers(bpe: PreTrainedTokenizerFast) -> None:
    """Token n of every turn begins in the column headed n, its weight below it."""
    view = inspect_trajectory(weather(), Codec.open("paper", bpe))
    lines = terminal(view).split("\n")
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("message"))
    columns = [lines[start].index(f"{n} ", 12) for n in range(4)]
    for row, (turn, tokens) in enumerate(view.answers()):
        text, weights = lines[start + 2 + 2 * row], lines[start + 3 + 2 * row]
        assert text.split()[0] == str(turn.message)
        for column, token in zip(columns, tokens, strict=False):
            assert text[column:].startswith(token.shown[:8])
            assert weights[column:].startswith(f"{token.raw:.3g}")


def test_terminal_shows_turns_and_reasons(bpe: PreTrainedTokenizerFast) -> None:
    shown = terminal(inspect_trajectory(hostile(), Codec.open("paper", bpe)), context=10_000)
    assert "message 2, assistant: no target: blocked, parameter_hallucination" in shown
    assert "message 5, assistant: target" in shown
    assert "key tokens" in shown
    assert BOLD_RED not in shown
    assert BIDI not in shown
    assert "[bold]x[/bold]" in shown  # not taken for markup
    assert "30 and 9 degrees." in shown


def test_long_contexts_are_shortened(bpe: PreTrainedTokenizerFast) -> None:
    base = weather()
    messages = list(base.messages)
    messages[1] = Message("user", "x" * 5000)
    view = inspect_trajectory(replace(base, messages=tuple(messages)), Codec.open("paper", bpe))
    shown = terminal(view, context=200)
    assert "characters ..." in shown
    assert shown.count("x") < 400
    assert to_html(view).count("x") >= 5000


def test_visible_leaves_ordinary_text_alone() -> None:
    ordinary = "Ünïcode 中文 😀 ▁ \n\t<>&"
    assert visible(ordinary) == ordinary
    assert visible("\x00\r\u2028\ud800") == "\\u{0}\\u{d}\\u{2028}\\u{d800}"


def test_reference_mode_shows_its_own_weights(llama: PreTrainedTokenizerFast) -> None:
    view = inspect_trajectory(weather(), Codec.open("released", llama), pkt=PktConfig(mode="reference"))
    assert view.settings == "Format released, MAE paper (every error x 0), PKT reference (weights up to 9)"
    assert max(token.raw for token in view.tokens) > 1


def test_command_with_a_rule_of_ones_own(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """``--mae`` takes a dotted path: here one that finds an error in every result."""
    bpe.save_pretrained(str(tmp_path / "tokenizer"))
    (tmp_path / "data.jsonl").write_text(json.dumps(weather().to_json()))
    (tmp_path / "strict_rule.py").write_text("def anything(result):\n    return 'bad_value'\n")
    command = ["inspect", "--data", str(tmp_path / "data.jsonl"), "--tokenizer", str(tmp_path / "tokenizer")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = CliRunner().invoke(main, [*command, "--mae", "strict_rule:anything", "--html", "page.html"])
    assert done.exit_code == 0, done.output
    assert "1 of 3 turns are targets" in done.output
    assert "blocked, bad_value (detector strict_rule:anything)" in (tmp_path / "page.html").read_text()
    assert CliRunner().invoke(main, [*command, "--mae", "strict"]).exit_code == 2


def test_command_takes_the_settings_of_mae(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """``--block``, ``--factor`` and ``--pack`` as in ``tl-jax mae``."""
    bpe.save_pretrained(str(tmp_path / "tokenizer"))
    (tmp_path / "data.jsonl").write_text(json.dumps(failing().to_json()))
    command = ["inspect", "--data", str(tmp_path / "data.jsonl"), "--tokenizer", str(tmp_path / "tokenizer")]

    def shown(*options: str) -> str:
        done = CliRunner().invoke(main, [*command, *options])
        assert done.exit_code == 0, done.output
        return done.output

    assert "blocked, parameter_hallucination" in shown()
    assert "down-weighted, parameter_hallucination" in shown("--factor", "0.3", "--block", "caller")
    assert "parameter_hallucination" not in shown("--pack", "http", "--pack", "languages")
    for wrong in (["--factor", "2"], ["--pack", "htpp"], ["--max-weight", "0.5"]):
        done = CliRunner().invoke(main, [*command, *wrong])
        assert done.exit_code == 2
        assert done.output.count("\n") == 1
