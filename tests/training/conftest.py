"""A tiny random Llama in float32, in memory and as a directory, shared by the tests of training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.training.helpers import TINY
from tl_jax.config import SftConfig, load_config
from tl_jax.model.hf import export_hf
from tl_jax.model.llama import init_params, make_graphdef


@pytest.fixture(scope="session")
def graphdef() -> Any:
    return make_graphdef(TINY, dtype=jnp.float32)


@pytest.fixture
def params() -> Any:
    return init_params(TINY, jax.random.key(7))


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory, data_file: Path) -> Path:
    """A tiny random model with a small byte-level tokenizer, in Hugging Face format."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<unk>", "<s>", "</s>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(data_file.read_text().splitlines(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )
    home = tmp_path_factory.mktemp("model")
    fast.save_pretrained(home / "tokenizer")
    config = replace(TINY, vocab_size=320)
    export_hf(init_params(config, jax.random.key(3)), config, home / "tokenizer", home / "hf")
    return home / "hf"


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    file = tmp_path_factory.mktemp("data") / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="session")
def make_sft_config(model_dir: Path, data_file: Path) -> Callable[..., SftConfig]:
    """Makes the configuration of a run of a few steps in float32; ``a__b=1`` overrides ``a.b``."""

    def make(run_dir: Path, **overrides: Any) -> SftConfig:
        settings: dict[str, Any] = {
            "run_dir": run_dir,
            "model.path": model_dir,
            "model.dtype": "float32",
            "data.path": data_file,
            "data.max_length": 512,
            "data.batch_size": 4,
            "mesh.fsdp": 1,
            "mesh.data": -1,
            "steps": 6,
            "log_every": 2,
            "checkpoint.every": 4,
            "optimizer.learning_rate": 1e-3,
        }
        settings |= {name.replace("__", "."): value for name, value in overrides.items()}
        return load_config(SftConfig, [], [f"{key}={value}" for key, value in settings.items()])

    return make


@pytest.fixture
def sft_config(make_sft_config: Callable[..., SftConfig], tmp_path: Path) -> Callable[..., SftConfig]:
    """`make_sft_config` with a run directory of the test's own."""
    return lambda **overrides: make_sft_config(**{"run_dir": tmp_path / "run", **overrides})
