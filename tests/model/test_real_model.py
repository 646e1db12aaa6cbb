"""Against transformers on real weights, where they are: from examples/smollm2/get_model.py, or at ``$REAL_MODEL``."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

from tests.model.tiny import forward, unpacked
from tl_jax.config import SamplingConfig
from tl_jax.config.model import Loops
from tl_jax.inference.engine import Ends
from tl_jax.inference.generate import generate
from tl_jax.inference.serving import for_generation
from tl_jax.model.config import LlamaConfig
from tl_jax.model.hf import export_hf, load_hf
from tl_jax.model.hf.tensors import SINGLE_FILE
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import Params

pytestmark = pytest.mark.slow

COUNTRIES = (
    "France Japan Peru Kenya Norway Egypt Chile India Cuba Italy Spain Ghana China Iran Nepal Mali Oman Fiji Togo"
)
TEXTS = [f"The capital of {name} is" for name in COUNTRIES.split()] + ["def add(a, b):\n    return"]
NEW = 8


class Reference(NamedTuple):
    """What transformers makes of `TEXTS`."""

    prompts: list[list[int]]
    logits: np.ndarray
    """of the first tokens of each, as many as the shortest has"""
    answers: list[list[int]]


@pytest.fixture(scope="module")
def model_dir() -> Path:
    path = Path(os.environ.get("REAL_MODEL", Path(__file__).parents[2] / "models/smollm2"))
    if not (path / SINGLE_FILE).is_file():
        pytest.skip(f"no real model at {path}")
    return path


def first(prompts: list[list[int]]) -> np.ndarray:
    return np.array([prompt[: min(map(len, prompts))] for prompt in prompts], np.int32)


@pytest.fixture(scope="module")
def reference(model_dir: Path) -> Reference:
    """The model is gone from memory afterwards."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    answers = []
    with torch.inference_mode():
        logits = model(torch.tensor(first(prompts))).logits.numpy()
        for prompt in prompts:
            ids = torch.tensor([prompt])
            seen = torch.ones_like(ids)
            out = model.generate(ids, attention_mask=seen, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
            answers.append(out[0, len(prompt) :].tolist())
    del model
    gc.collect()
    return Reference(prompts, logits, answers)


@pytest.fixture(scope="module")
def ours(model_dir: Path, reference: Reference) -> Iterator[tuple[LlamaConfig, Params]]:
    yield load_hf(model_dir)
    gc.collect()


def test_logits_are_those_of_transformers(reference: Reference, ours: tuple[LlamaConfig, Params]) -> None:
    config, params = ours
    tokens = first(reference.prompts)
    found = np.asarray(forward(make_graphdef(config, dtype=jnp.float32), params, *unpacked(tokens)))
    assert np.abs(found - reference.logits).max() < 1e-3
    assert (found.argmax(-1) == reference.logits.argmax(-1)).all()


def test_greedy_answers_are_those_of_transformers(reference: Reference, ours: tuple[LlamaConfig, Params]) -> None:
    config, params = ours
    model = for_generation(make_graphdef(config, dtype=jnp.float32, loops=Loops(training=False)), params)
    sampling = SamplingConfig(max_new_tokens=NEW, temperature=0.0)
    generation = generate(model, reference.prompts, sampling, jax.random.key(0), Ends((), 0))
    assert generation.tokens.tolist() == reference.answers


def test_export_writes_the_same_tensors(model_dir: Path, ours: tuple[LlamaConfig, Params], tmp_path: Path) -> None:
    config, params = ours
    export_hf(params, config, model_dir, tmp_path / "out")
    with safe_open(model_dir / SINGLE_FILE, "np") as before, safe_open(tmp_path / "out" / SINGLE_FILE, "np") as after:
        assert set(after.keys()) == set(before.keys())
        for name in before.keys():  # noqa: SIM118  # it is no mapping
            np.testing.assert_array_equal(after.get_tensor(name), before.get_tensor(name))
