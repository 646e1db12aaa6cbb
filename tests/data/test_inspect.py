from __future__ import annotations

import io
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import failing, weather
from tl_jax.config import PktConfig
from tl_jax.data.encode import renderer_for
from tl_jax.data.inspect import inspect_trajectory, to_html, to_terminal, visible
from tl_jax.data.supervision import supervise
from tl_jax.tooluse.feedback import apply_mae
from tl_jax.tooluse.schema import Message, Trajectory

BOLD_RED, BIDI = "\x1b[31m", "\u202e"


class Spans(HTMLParser):
    """The page's elements and its text, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.kinds: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.kinds.append(dict(attrs).get("class") or "")
        assert {name for name, _ in attrs} <= {"class", "title", "lang", "charset"}

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
    trajectory, renderer = failing(), renderer_for(name, bpe)
    view = inspect_trajectory(trajectory, bpe, name)
    marked, _ = apply_mae(trajectory, "paper", "all")
    example = supervise(marked, renderer, bpe, PktConfig())
    assert "".join(token.text for token in view.tokens) == renderer.render(marked.tools, marked.messages).text
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
    view = inspect_trajectory(muted, bpe)
    assert view.turns[2].note == "weight 0 in the data"
    assert "2 of 3 turns are targets" in view.summary


def test_page_is_self_contained_and_shows_everything(bpe: PreTrainedTokenizerFast) -> None:
    view = inspect_trajectory(hostile(), bpe)
    page = to_html(view)
    found = Spans(page)
    assert set(found.tags) <= {"html", "head", "meta", "title", "style", "body", "h1", "p", "span", "main"}
    assert "http" not in page
    assert BOLD_RED not in page
    assert BIDI not in page
    assert found.kinds.count("key") == 1 + sum(token.kind == "key" for token in view.tokens)  # 1 in the legend
    assert found.kinds.count("plain") == 1 + sum(token.kind == "plain" for token in view.tokens)
    assert [kind for kind in found.kinds if kind.startswith("turn")] == ["turn not", "turn", "turn"]
    everything = "".join(found.text)
    assert "<script>alert(1)</script> \\u{1b}[31mred\\u{202e}" in everything
    assert "weights divided by" in everything
    assert "Bonn" in everything


def test_terminal_shows_turns_and_reasons(bpe: PreTrainedTokenizerFast) -> None:
    shown = terminal(inspect_trajectory(hostile(), bpe), context=10_000)
    assert "message 2: blocked, parameter_hallucination" in shown
    assert "message 5: target" in shown
    assert "key tokens" in shown
    assert BOLD_RED not in shown
    assert BIDI not in shown
    assert "[bold]x[/bold]" in shown  # not taken for markup
    assert "30 and 9 degrees." in shown


def test_long_contexts_are_shortened(bpe: PreTrainedTokenizerFast) -> None:
    base = weather()
    messages = list(base.messages)
    messages[1] = Message("user", "x" * 5000)
    view = inspect_trajectory(replace(base, messages=tuple(messages)), bpe)
    shown = terminal(view, context=200)
    assert "characters ..." in shown
    assert shown.count("x") < 400
    assert to_html(view).count("x") >= 5000


def test_visible_leaves_ordinary_text_alone() -> None:
    ordinary = "Ünïcode 中文 😀 ▁ \n\t<>&"
    assert visible(ordinary) == ordinary
    assert visible("\x00\r\u2028\ud800") == "\\u{0}\\u{d}\\u{2028}\\u{d800}"


def test_reference_mode_shows_its_own_weights(llama: PreTrainedTokenizerFast) -> None:
    view = inspect_trajectory(weather(), llama, "released", pkt=PktConfig(mode="reference"))
    assert view.settings == "format released, mae paper, pkt reference"
    assert max(token.raw for token in view.tokens) > 1
