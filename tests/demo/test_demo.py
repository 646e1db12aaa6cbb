"""The demo: its parts alone, the base model it ships, and everything once from end to end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

import tl_jax
from tests.processes import SELDOM
from tests.xla_flags import xla_flags
from tl_jax.cli import main
from tl_jax.config import RlConfig, SftConfig, WorldConfig, load_config, to_yaml
from tl_jax.data.codec import Codec
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.demo.base import echoes, lessons
from tl_jax.demo.course import BASE, OWN_DATA, Size
from tl_jax.demo.data import write_cases, write_data
from tl_jax.demo.domains import domains
from tl_jax.demo.run import MARKED, run_demo
from tl_jax.demo.session import Demo
from tl_jax.demo.tokenizer import VOCABULARY, train_tokenizer
from tl_jax.demo.world import generate
from tl_jax.demo.world_files import write_jsonl
from tl_jax.errors import UserError
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Message
from tl_jax.tooluse.text.render import PaperRenderer

SMALL = Size(WorldConfig(train=20, new_values=6, new_domains=4), cases=300)


# --- base model -------------------------------------------------------------------------------------------------------


def test_a_word_has_the_same_tokens_in_a_request_a_call_and_a_name() -> None:
    tokenizer = load_tokenizer(BASE)
    for word, number in (("velora", "472"), ("forecast", "30")):
        alone = tokenizer.tokenize(word)
        for text in (f"to {word}?", f"f(city = '{word}')", f"get_{word}_x", f'{{"{word}": 1}}'):
            tokens = tokenizer.tokenize(text)
            assert any(tokens[i : i + len(alone)] == alone for i in range(len(tokens))), text
        assert tokenizer.tokenize(f"({number})").count(number[0]) == 1


def test_the_tokenizer_writes_every_text_back() -> None:
    tokenizer = train_tokenizer(PaperRenderer().text(t.tools, t.messages) for t in generate(0, 50, "base"))
    assert len(tokenizer) <= VOCABULARY
    for text in ("get_x(q = 'a b', n = 3) \n", "Zürich 北京 \t tabs\n\n  \u00e9", "MixedCaseHTTPServer2x"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def test_shipped_base_is_small_and_its_template_is_the_papers() -> None:
    assert sum(file.stat().st_size for file in BASE.iterdir()) < 8_000_000
    trajectory = next(iter(generate(3, 1, "train")))
    names = {"user": "User", "assistant": "Assistant", "tool": "Output"}
    renderer = PaperRenderer()
    messages = [
        {"role": names[m.role], "content": renderer.answer(m.tool_calls, m.content)} for m in trajectory.messages
    ]
    text = AutoTokenizer.from_pretrained(BASE).apply_chat_template(messages, tokenize=False)
    assert text == renderer.text((), trajectory.messages)


def test_a_prompt_of_the_demo_is_a_prefix_of_what_is_trained() -> None:
    codec = Codec.open("paper", BASE)
    for trajectory in generate(4, 10, "values"):
        whole = codec.encode(trajectory.tools, trajectory.messages).ids.tolist()
        for index, _ in trajectory.turns:
            prompt = codec.prompt(trajectory.tools, trajectory.messages[:index])
            assert whole[: len(prompt)] == prompt


def test_pretraining_reads_nothing_of_the_demos_domains() -> None:
    tools = {tool for group in ("known", "unseen") for domain in domains(group) for tool in domain.actions}  # type: ignore[arg-type]
    for lesson in lessons(scale=0.02):
        for trajectory in lesson.trajectories():
            assert not tools & {tool.name for tool in trajectory.tools}


def test_an_echo_repeats_what_was_said() -> None:
    for words in (False, True):
        for trajectory in echoes(0, 20, words):
            assert trajectory.messages[0].content == trajectory.messages[1].content != ""


# --- stages -----------------------------------------------------------------------------------------------------------


def test_own_data_is_split_by_id_and_nothing_is_lost(tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    write_jsonl(own, generate(9, 80, "train"))
    demo = Demo(tmp_path / "out", own, SMALL, OWN_DATA)
    write_data(demo)
    train, held_out = (list(read_trajectories(tmp_path / "out/data" / f)) for f in ("train.jsonl", "held_out.jsonl"))
    assert train
    assert held_out
    assert not {t.id for t in train} & {t.id for t in held_out}
    assert {t.id for t in train + held_out} == {t.id for t in read_trajectories(own)}
    write_jsonl(own, list(generate(9, 80, "train"))[::-1])
    write_data(demo)
    assert {t.id for t in read_trajectories(tmp_path / "out/data/held_out.jsonl")} == {t.id for t in held_out}


def test_only_the_calls_of_own_data_are_targets(tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    write_jsonl(own, generate(9, 80, "train"))
    write_data(Demo(tmp_path / "out", own, SMALL, OWN_DATA))
    before = {t.id: t for t in read_trajectories(own)}
    for file in ("train.jsonl", "held_out.jsonl"):
        for trajectory in read_trajectories(tmp_path / "out/data" / file):
            assert [replace(message, weight=None) for message in trajectory.messages] == [
                *before[trajectory.id].messages
            ]
            for _, turn in trajectory.turns:
                assert turn.weight == (None if turn.tool_calls else 0)


def test_own_data_too_long_for_the_small_model_is_told_at_once(tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    long = Message("user", "and " * 3000)
    write_jsonl(own, (replace(t, messages=(long, *t.messages[1:])) for t in generate(9, 80, "train")))
    demo = Demo(tmp_path / "out", own, SMALL, OWN_DATA)
    write_data(demo)
    with pytest.raises(UserError, match=r"own\.jsonl: .* tokens"):
        write_cases(demo)


def test_the_full_demo_asks_at_least_300_decision_points_of_both_kinds(tmp_path: Path) -> None:
    demo = Demo(tmp_path, None, Size(WorldConfig(train=1)))
    write_data(demo)
    write_cases(demo)
    cases = [json.loads(line) for line in (tmp_path / "data/cases.jsonl").read_text().splitlines()]
    assert len(cases) >= 300
    assert {case["suite"] for case in cases} == {"known tools, new values", "unseen domains"}


def test_a_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        run_demo(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_only_what_a_demo_made_is_erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_jax.demo.run.write_data", lambda demo: sys.exit("erased"))
    out, data = tmp_path / "out", tmp_path / "out/data/own.jsonl"
    data.parent.mkdir(parents=True)
    data.write_text("mine")
    for marker, other, told in (
        ("my notes", "data", "holds something else"),
        (MARKED, "thesis", r"holds something else \(thesis\)"),
    ):
        (out / "demo.txt").write_text(marker)
        (out / other).mkdir(exist_ok=True)
        with pytest.raises(UserError, match=told):
            run_demo(out)
    (out / "thesis").rmdir()
    with pytest.raises(UserError, match=r"would be erased, and .*own\.jsonl is in it"):
        run_demo(out, data)
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(data.parent)
        with pytest.raises(UserError, match="would be erased, and the working directory is in it"):
            run_demo(out)
    assert data.read_text() == "mine"
    with pytest.raises(SystemExit, match="erased"):
        run_demo(out)
    assert os.listdir(out) == ["demo.txt"]


@pytest.mark.slow
def test_everything_once(tmp_path: Path) -> None:
    """In a process of its own: the other tests run on eight fake devices, the demo on one.

    And from a copy of the package, far from the repository: an installed wheel holds nothing else.
    """
    shutil.copytree(Path(tl_jax.__file__).parent, tmp_path / "tl_jax")
    script = (
        f"{SELDOM}; import sys; from pathlib import Path; from tl_jax.demo.run import MARKED, run_demo\n"
        "from tl_jax.demo.course import QUICK\n"
        "run_demo(Path(sys.argv[1]), size=QUICK)"
    )
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)],
        env={**os.environ, "XLA_FLAGS": xla_flags()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    commands = [shlex.split(line)[2:] for line in done.stdout.splitlines() if line.startswith("$ tl-jax ")]
    assert [command[0] for command in commands] == ["mae", "eval", "sft", "eval", "rl", "eval", "export"]
    for name, *arguments in commands:
        given = main.commands[name].make_context(name, arguments).params
        if name in ("sft", "rl"):
            config = load_config(SftConfig if name == "sft" else RlConfig, given["files"], given["overrides"])
            assert to_yaml(config) == (config.run_dir / "config.yaml").read_text()
        if name == "eval":
            settings = json.loads((given["out"] / "settings.json").read_text())
            assert all(settings[key] == given[key] for key in ("renderer", "dtype", "max_new_tokens", "temperature"))
    for row in ("before", "after SFT", "after PPO"):
        assert row in done.stdout
    assert "transformers loads" in done.stdout
    assert (out / "model" / "model.safetensors").is_file()
    assert json.loads((out / "eval/after_PPO/summary.json").read_text())["cases"] == 16
