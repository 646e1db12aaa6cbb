"""What `init_model` writes, against transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.errors import UserError
from tl_jax.model.directory import CheckpointError
from tl_jax.model.hf import load_hf
from tl_jax.model.random_model import init_model


def make_tokenizer(words: int) -> transformers.PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(words - 3))])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def test_tiny_model_of_a_tokenizer(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(300)
    config = init_model("tiny", tokenizer, tmp_path / "out", seed=3)
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (300, 1, 2)

    loaded_config, params = load_hf(tmp_path / "out")
    assert loaded_config == config
    leaves = flatten_dict(params, sep=".")
    for path, leaf in leaves.items():
        values = np.asarray(leaf)
        if "norm" in path:
            assert (values == 1).all()
        else:
            assert abs(values.mean()) < 1e-3
            assert values.std() == pytest.approx(0.02, rel=0.05)
    assert not np.array_equal(leaves["layers.gate"][0], leaves["layers.gate"][1])
    assert not np.array_equal(leaves["layers.gate"], leaves["layers.up"])

    model, problems = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(problems.values())
    assert 0.6e6 < model.num_parameters() < 1.2e6
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again("w7 </s>")["input_ids"] == tokenizer("w7 </s>")["input_ids"]


def test_the_llama_2_tokenizer_comes_along(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(shared_data / "tokenizer" / "llama2.model")
    config = init_model("tiny", tokenizer, tmp_path / "out", dtype="bfloat16")
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (32000, 1, 2)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "Assistant: getPapersByKeywords(query = 'tool learning') </s>\né中"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.decode(again(text)["input_ids"]) == tokenizer.decode(tokenizer(text)["input_ids"])
    with pytest.raises(CheckpointError, match=r"preset 'codellama-34b' has room"):
        init_model("codellama-34b", _with_extra_token(tokenizer), tmp_path / "large")


def _with_extra_token(tokenizer: transformers.PreTrainedTokenizerBase) -> transformers.PreTrainedTokenizerBase:
    tokenizer.add_tokens(["<one-more>"])
    return tokenizer


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(20)
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        init_model("tiny", tokenizer, tmp_path / out, seed=seed, dtype="bfloat16")
    a, b, c = ((tmp_path / out / "model.safetensors").read_bytes() for out in "abc")
    assert a == b
    assert a != c
    assert {str(value.dtype) for value in load_file(tmp_path / "a" / "model.safetensors").values()} == {"bfloat16"}


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"32017 tokens.*'codellama-7b' has room for 32016"):
        init_model("codellama-7b", make_tokenizer(32017), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_preset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown preset 'CodeLlama-7b'; did you mean 'codellama-7b'"):
        init_model("CodeLlama-7b", make_tokenizer(20), tmp_path / "out")
    with pytest.raises(UserError, match="known: tiny"):
        init_model("gpt-4", make_tokenizer(20), tmp_path / "out")
