"""Wrong command lines, made by combination: each is told on one line or a few, with exit code 2 and nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tl_jax.cli import main
from tl_jax.demo.course import CONFIGS

BASE = CONFIGS.parent / "base"
CASE = {"id": "1", "messages": [{"role": "user", "content": "?"}], "gold": [[{"name": "go", "arguments": {}}]]}
ROW = {"id": "1", "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
FILES: dict[str, bytes] = {
    "rows.jsonl": json.dumps(ROW).encode() + b"\n",
    "cases.jsonl": json.dumps(CASE).encode() + b"\n",
    "predictions.jsonl": b'{"id": "1", "prediction": "go()"}\n',
    "empty": b"",
    "binary": b"\xff\xfe\x00\x01" * 99,
    "deep": b"[" * 1100,
    "half": b'{"id": "1", "messages": [{"role": "us',
    "list.json": b"[1, 2]",
    "nan.jsonl": b'{"id": "1", "messages": NaN}\n',
    "surrogate.jsonl": b'{"id": "\\ud800", "messages": [{"role": "user", "content": "?"}]}\n',
    "gzip": b"\x1f\x8b\x08 and no more",
    "parquet": b"PAR1 and no more",
    "good.yaml": b"run_dir: new/run\nmodel: {path: m}\ndata: {path: rows.jsonl}\n",
}
UNREADABLE = [name for name in FILES if name not in ("rows.jsonl", "cases.jsonl", "predictions.jsonl")] + ["absent"]
NUMBERS = ["", "x", "-1", "1e400", "nan", "inf", "-inf", "1e20", "1 2"]

READERS = {
    "mae": ["--in", "rows.jsonl", "--out", "new/out"],
    "data convert": ["--in", "rows.jsonl", "--out", "new/out"],
    "analyze": ["--data", "rows.jsonl"],
    "inspect": ["--data", "rows.jsonl", "--tokenizer", str(BASE)],
    "score": ["--cases", "cases.jsonl", "--predictions", "predictions.jsonl"],
    "reward": ["--cases", "cases.jsonl", "--predictions", "predictions.jsonl"],
    "eval": ["--model", str(BASE), "--cases", "cases.jsonl", "--out", "new/out"],
    "generate": ["--model", str(BASE), "--input", "rows.jsonl"],
    "init-model": ["--preset", "tiny", "--tokenizer", str(BASE), "--out", "new/out"],
    "convert": ["--from", str(BASE), "--to", "new/out"],
    "export": ["--from", str(BASE), "--to", "new/out"],
    "demo": ["--out", "new/out"],
}
"""Right lines; everything they need is there."""

VALUES = {
    ("analyze", "inspect"): {"--max-weight": ["0.5", *NUMBERS]},
    ("mae", "inspect"): {"--factor": ["1.5", *NUMBERS]},
    ("eval", "generate"): {
        "--seed": ["4294967296", *NUMBERS],
        "--temperature": NUMBERS,
        "--top-p": ["0", "1.01", *NUMBERS],
        "--top-k": ["0", *NUMBERS],
        "--max-new-tokens": ["0", *NUMBERS],
        "--batch-size": ["0", *NUMBERS],
    },
    ("init-model",): {"--seed": NUMBERS},
    ("mae", "analyze", "score", "eval", "reward"): {"--format": ["", "paper", "\x1b[2J"]},
    ("mae", "analyze"): {
        "--rule": ["", ".x:y", "x:", ":y", "os:nothing", "{name: [", "{", "[" * 1100, "a:b:c", "\x1b:x"]
    },
    ("mae", "data convert", "eval", "init-model", "convert", "export", "demo"): {
        "--out": ["", "gs://bucket"],
        "--to": ["", "gs://bucket"],
        "--from": ["gs://model", "s3://bucket/model"],
    },
}
SETTINGS = (
    [f"{key}={value}" for key in ("seed", "optimizer.learning_rate", "epochs", "data.max_length") for value in NUMBERS]
    + [f"loss={name}" for name in (".x:y", "x:", ":y", "..", "os:nothing", "{name: 1}", "[]", "{options: 1}", "a b:c")]
    + ["optimizer.b1=5", "optimizer.clip_norm=-1", "optimizer.clip_norm=nan", "optimizer.learning_rate=inf"]
    + ["=", "a", "=1", ".=1", "a..b=1", "seed.x=1", "model=1", "model=[]", "data.path=", "run_dir=", "mesh.fsdp=[1]"]
    + ["optimizer={b1: {}}", "data={1: 2}", "seed=2026-99-99", "seed=!!int x", "model.path=\0", "data.mae.packs=1"]
    + ["data.pkt.mode=" + "[" * 1100, "checkpoint.every=1e3", "log_every=true", "optimizer=&a {b1: *a}", "seed=null"]
)


def lines() -> Iterator[tuple[str, ...]]:
    for command, right in READERS.items():
        for place, argument in enumerate(right):
            if argument.endswith(".jsonl"):
                names = [name for name in UNREADABLE if (argument, name) != ("predictions.jsonl", "empty")]
                yield from ((command, *right[:place], name, *right[place + 1 :]) for name in names)
            elif argument == "new/out":
                whole = "." if command in ("mae", "data convert") else "cases.jsonl"
                targets = ("rows.jsonl/out", "/proc/out", "x" * 300, whole)
                yield from ((command, *right[:place], target, *right[place + 1 :]) for target in targets)
        yield (command, *right, "--nonsense")
        yield (command, *right, "surplus\x1b[2J")
        yield (command, *right[:-1])
    for commands, options in VALUES.items():
        for command in commands:
            known = [parameter for option in find(command).params for parameter in option.opts]
            for option, values in options.items():
                if option in known:
                    yield from ((command, *READERS[command], option, value) for value in values)
    for option in ("--json", "--plot"):
        names = (".", "rows.jsonl/out.html", "/proc/out.html")
        yield from (("analyze", *READERS["analyze"], option, name) for name in names)
    yield ("mae", *READERS["mae"], "--audit", "rows.jsonl/out")
    yield ("inspect", *READERS["inspect"], "--html", "rows.jsonl/out")
    for command in ("sft", "rl"):
        yield from ((command, "--config", name) for name in ("empty", "binary", "deep", "list.json", "absent", ".", ""))
        yield from ((command, "--config", "good.yaml", setting) for setting in SETTINGS)


def find(command: str) -> click.Command:
    found: Any = main
    for name in command.split():
        found = found.commands[name]
    assert isinstance(found, click.Command)
    return found


LINES = list(lines())
SLOW = (pytest.mark.slow, pytest.mark.jax)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wrong")
    for name, content in FILES.items():
        (directory / name).write_bytes(content)
    return directory


def test_there_are_enough_of_them() -> None:
    assert len(set(LINES)) > 300


WITHOUT_JAX = ("mae", "data convert", "score", "reward")


@pytest.mark.parametrize(
    "some",
    [
        pytest.param([line for line in LINES if line[0] in WITHOUT_JAX], id="without_jax"),
        pytest.param([line for line in LINES if line[0] not in WITHOUT_JAX], id="others", marks=SLOW),
    ],
)
def test_a_wrong_line_is_told_and_nothing_is_written(
    some: list[tuple[str, ...]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    runner, wrong = CliRunner(), []
    for line in some:
        result = runner.invoke(main, [*line[0].split(), *line[1:]])
        shown = result.stderr.removesuffix("\n")
        told = result.exit_code == 2 and not isinstance(result.exception, Exception) and len(shown) < 2000
        if not (told and all(part.isprintable() for part in shown.split("\n")) and shown.count("\n") < 3):
            wrong.append((line, result.exit_code, repr(result.exception), shown[-300:]))
    assert wrong == []
    assert sorted(path.name for path in home.iterdir()) == sorted(FILES)
