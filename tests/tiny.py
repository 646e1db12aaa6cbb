"""A tiny model and small data as files, for fixtures and for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.training.helpers import TINY
from tl_jax.model.hf import export_hf
from tl_jax.model.llama import init_params


def write_model(home: Path, texts: Iterable[str], context: int = TINY.max_position_embeddings) -> Path:
    """A random model in Hugging Face format, with a small byte-level tokenizer trained on ``texts``; its directory.

    It reads up to ``context`` tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<unk>", "<s>", "</s>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )
    fast.save_pretrained(home / "tokenizer")
    config = replace(TINY, vocab_size=320, max_position_embeddings=context)
    export_hf(init_params(config, jax.random.key(3)), config, home / "tokenizer", home / "hf")
    return home / "hf"


def write_trajectories(file: Path) -> Path:
    """Sixteen trajectories of one or two calls, some of which fail at first."""
    properties = {"name": {"type": "string", "description": "its name"}}
    parameters = {"type": "object", "properties": properties, "required": ["name"]}
    tool = {"name": "find_city", "description": "Finds a city.", "parameters": parameters}
    other = {**tool, "name": "find_country", "description": "Finds a country."}
    rows = []
    for index in range(16):
        call = {"name": ("find_city", "find_country")[index % 2], "arguments": {"name": f"Place {index}"}}
        asked = [{"role": "user", "content": f"Where is Place {index}?"}]
        wrong = {"role": "assistant", "tool_calls": [{"name": "find_town", "arguments": {"name": f"Place {index}"}}]}
        failed = {"role": "tool", "content": '{"error": "no tool called find_town"}'}
        found = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": f"row {index * 7}"}]
        answer = {"role": "assistant", "content": f"In row {index * 7}."}
        messages = asked + ([wrong, failed] if index % 3 == 0 else []) + found + [answer]
        rows.append({"id": f"t{index}", "tools": [tool, other], "messages": messages})
    return _write(file, rows)


def write_recordings(file: Path) -> Path:
    """Eight trajectories of two calls each, which even a tiny model learns to make."""
    tools = [{"name": name, "description": ""} for name in ("find_city", "find_country")]
    rows = []
    for index in range(8):
        messages: list[dict[str, Any]] = [{"role": "user", "content": f"Where is Place {index}?"}]
        for tool in tools:
            messages.append({"role": "assistant", "tool_calls": [{"name": tool["name"], "arguments": {}}]})
            messages.append({"role": "tool", "content": f"row {index * 7}"})
        rows.append({"id": f"t{index}", "tools": tools, "messages": messages})
    return _write(file, rows)


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
