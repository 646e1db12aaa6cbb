"""Chat templates that rewrite the past, drop text or need tools: examples, windows, key tokens, `inspect`."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import byte_level, failing, weather
from tests.tooluse.text.templates import STYLES
from tl_jax.cli import main
from tl_jax.config import DataConfig, PktConfig
from tl_jax.data.analysis import TokenAnalyser
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.inspection.inspect import inspect_trajectory, to_html, to_terminal
from tl_jax.data.windows import split
from tl_jax.tooluse.schema import Message, Trajectory
from tl_jax.tooluse.text.template_choice import TemplateChoice

REWRITING = ["qwen_3", "hermes_3", "mistral_3", "deepseek_r1"]
DROPPING = (
    "{% for t in tools %}{{ t | tojson }}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_level([str(weather().to_json())] * 3, use_regex=True)


def codec(tokenizer: PreTrainedTokenizerFast, template: str) -> Codec:
    tokenizer.chat_template = template
    return Codec.open("chat", tokenizer)


def write(path: Path, *rows: Trajectory) -> Path:
    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("style", REWRITING)
def test_every_target_has_an_example_after_its_own_prompt(tokenizer: PreTrainedTokenizerFast, style: str) -> None:
    chat, trajectory = codec(tokenizer, STYLES[style].template), weather()
    passes = chat.passes(trajectory)
    assert [len(part.messages) - 1 for part, _ in passes] == [2, 5, 8]
    for part, encoded in passes:
        index = len(part.messages) - 1
        example = chat.supervise(part, PktConfig(), encoded)
        assert [found.message for found in example.targets] == [index]
        prompt = chat.prompt(trajectory.tools, trajectory.messages[:index])
        assert encoded.ids[: example.targets[0].predict_from + 1].tolist() == prompt
        assert example.turns == 1
        assert example.weights.sum() == pytest.approx(1)
        names = [call.name for call in trajectory.messages[index].tool_calls]
        said = [tokenizer.decode(encoded.ids[slice(*call.name)].tolist()) for call in encoded.turns[-1].calls]
        assert all(name in text for name, text in zip(names, said, strict=True))
        assert bool(example.targets[0].keys) == bool(names)


def test_a_turn_that_is_no_target_has_no_example(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    chat = codec(tokenizer, STYLES["qwen_3"].template)
    dataset = build_dataset(DataConfig(path=write(tmp_path / "f.jsonl", failing()), max_length=4096), chat)
    assert (dataset.report.by_turn, dataset.report.examples, dataset.report.blocked.total()) == (1, 2, 1)


@pytest.mark.parametrize("overlong", ["drop_context", "skip"])
def test_long_ones_are_divided_or_skipped(tokenizer: PreTrainedTokenizerFast, tmp_path: Path, overlong: str) -> None:
    base = weather()
    talk = [
        one
        for i in range(6)
        for one in (Message("user", f"{i}? " + "ab " * 40), Message("assistant", f"answer {i} " + "cd " * 20))
    ]
    trajectory = replace(base, tools=(), messages=(Message("system", "S"), *talk))
    chat = codec(tokenizer, STYLES["mistral_3"].template)
    config = DataConfig(path=write(tmp_path / "l.jsonl", trajectory), max_length=400, overlong=overlong, pack=False)
    dataset = build_dataset(config, chat)
    report = dataset.report
    assert report.by_turn == 1
    assert report.targets + report.skipped_turns == report.turns == 6
    if overlong == "skip":
        assert report.skipped_turns > 0
        return
    assert report.skipped_turns == 0
    assert report.dropped_context_turns > 0
    said = [example.labels[example.weights > 0].tolist() for row in dataset.rows for example in row.examples]
    assert sorted(tokenizer.decode(ids)[:9] for ids in said) == [f" answer {i}"[:9] for i in range(6)]
    for part, encoded in chat.passes(trajectory)[-1:]:
        (window,) = split(part, encoded, chat, PktConfig(), 400).examples
        assert len(window.tokens) <= 400


def test_inspect_shows_one_example_after_another(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = codec(tokenizer, STYLES["qwen_3"].template)
    view = inspect_trajectory(failing(), chat)
    assert "rewrites the past: 2 examples" in view.notes[0]
    assert [(turn.message, turn.target) for turn in view.turns] == [(2, False), (5, True), (8, True)]
    passes = chat.passes(replace(failing(), messages=tuple(weightless(failing()))))
    assert "".join(token.text for token in view.tokens) == "".join(encoded.text for _, encoded in passes)
    for turn, tokens in view.answers():
        assert bool(tokens) == turn.target
    console = Console(file=io.StringIO(), width=120)
    to_terminal(view, console)
    assert "rewrites the past" in console.file.getvalue()
    assert "rewrites the past" in to_html(view)


def weightless(trajectory: Trajectory) -> list[Message]:
    return [replace(m, weight=0.0) if index == 2 else m for index, m in enumerate(trajectory.messages)]


def test_analyze_counts_what_is_trained(tokenizer: PreTrainedTokenizerFast) -> None:
    analyser = TokenAnalyser(codec(tokenizer, STYLES["qwen_3"].template))
    analyser.add(weather())
    assert analyser.result.calling_turns == 2


def test_text_that_is_dropped_beside_calls_is_counted(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    chat = codec(tokenizer, DROPPING)
    report = build_dataset(DataConfig(path=write(tmp_path / "d.jsonl", weather()), max_length=4096), chat).report
    assert report.dropped_texts == 1
    assert any("1 messages have text that the chat template does not write" in line for line in report.lines())
    view = inspect_trajectory(weather(), chat)
    assert view.notes == ("The chat template does not write the text of message 2, or a part of it: 'I look it up.'",)


@pytest.fixture
def directory(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A tokenizer with two templates."""
    tokenizer.chat_template = {
        "default": STYLES["smol_lm"].template,
        "tool_use": STYLES["qwen_3"].template,
        "coder": STYLES["qwen_3_coder"].template,
    }
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_inspect_names_a_template_and_tells_it_something(directory: Path, tmp_path: Path) -> None:
    assert (directory / "additional_chat_templates" / "tool_use.jinja").is_file()
    data = write(tmp_path / "w.jsonl", weather())
    command = ["inspect", "--data", str(data), "--tokenizer", str(directory), "--renderer", "chat"]

    def shown(*more: str) -> str:
        result = CliRunner().invoke(main, [*command, *more], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output

    assert "rewrites the past" in shown()  # there are tools: tool_use
    assert "<function=get_weather>" in shown("--chat-template", "coder")
    prompt = Codec.open("chat", directory).prompt((), [Message("user", "hi")])
    assert Codec.open("chat", directory, TemplateChoice("default")).prompt((), [Message("user", "hi")]) == prompt
    result = CliRunner().invoke(main, [*command, "--chat-template", "tool_us"])
    assert result.exit_code == 2
    assert "did you mean 'tool_use'?" in result.output
    result = CliRunner().invoke(main, [*command, "--template-arg", "tools=1"])
    assert "'tools' is no word that a chat template can be told" in result.output
    result = CliRunner().invoke(main, [*command[:-1], "paper", "--template-arg", "thinking=1"])
    assert "the format 'paper' uses none" in result.output
    assert "write key=value" in CliRunner().invoke(main, [*command, "--template-arg", "thinking"]).output
