"""vLLM itself: the same tokens and log-probabilities as our own engine, before and after new weights.

    TL_JAX_VLLM=/path/to/vllm python -m pytest tests/inference/test_vllm.py

starts that program; vLLM wants an environment of its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tiny import write_model
from tests.training.helpers import TINY
from tl_jax.config import SamplingConfig
from tl_jax.config.engine import EngineConfig
from tl_jax.inference.engine import Ends
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.inference.json_server import EngineError, JsonServer
from tl_jax.inference.openai_engine import Export, OpenAIEngine
from tl_jax.model.hf import export_hf
from tl_jax.model.llama import make_graphdef, merge
from tl_jax.model.parameters import init_params

VLLM = os.environ.get("TL_JAX_VLLM")
START_SECONDS = 300
MODEL = replace(TINY, vocab_size=320, hidden_size=128, num_heads=2, num_kv_heads=1, head_dim=64)
"""Heads of a size that vLLM has kernels for."""
PROMPTS = [[3, 4, 5, 6], [7, 8], [3, 4, 5, 6], list(range(3, 40))]
ENDS = Ends((TINY.eos_token_id, 50), 0)  # type: ignore[arg-type]
OPTIONS = {
    "host": "127.0.0.1",
    "dtype": "float32",
    "max-model-len": "128",
    "served-model-name": "policy",
    "logprobs-mode": "processed_logprobs",
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not VLLM, reason="TL_JAX_VLLM names no vLLM")]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIEngine]:
    """Asks a vLLM that began with other weights than any test's."""
    home = tmp_path_factory.mktemp("vllm")
    write_model(home, ["Where is Place 7?"])  # for its tokenizer
    export_hf(init_params(MODEL, jax.random.key(99)), MODEL, home / "tokenizer", home / "first", "float32")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    environment = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
    with (home / "log").open("w") as log:
        options = [f"--{name}={value}" for name, value in {**OPTIONS, "port": port}.items()]
        command = [str(VLLM), "serve", str(home / "first"), "--enforce-eager", *options]
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield _asking(f"http://127.0.0.1:{port}", started, home)
    finally:
        started.terminate()
        started.wait(30)


def _asking(url: str, started: subprocess.Popen[bytes], home: Path) -> OpenAIEngine:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            with JsonServer(url) as server:
                server.get("/v1/models", 5.0)
            break
        except EngineError:
            log = (home / "log").read_text()[-2000:]
            assert started.poll() is None and time.monotonic() < until, log  # noqa: PT018
            time.sleep(1)
    export = Export(home / "engine", home / "tokenizer", "float32")
    return OpenAIEngine(EngineConfig(name="openai", url=url), MODEL, export)


def test_tokens_log_probs_and_new_weights(engine: OpenAIEngine) -> None:
    ours = InProcessEngine(make_graphdef(MODEL, dtype=jnp.float32), MODEL)
    greedy = SamplingConfig(max_new_tokens=16, temperature=0.0)
    for seed in range(3):  # a prompt that was read with the last weights must be read again
        params = init_params(MODEL, jax.random.key(seed))
        ours.update(params)
        engine.update(params)
        expected = ours.generate(PROMPTS, greedy, jax.random.key(0), ENDS)
        made = engine.generate(PROMPTS, greedy, jax.random.key(0), ENDS)
        np.testing.assert_array_equal(made.tokens, expected.tokens)
        np.testing.assert_array_equal(made.finished, expected.finished)
        np.testing.assert_allclose(made.logprobs, expected.logprobs, atol=1e-4)


def test_what_is_drawn_has_the_probability_that_it_says(engine: OpenAIEngine) -> None:
    """At a temperature; our own model reads what was drawn, and finds the same log-probabilities."""
    params, temperature = init_params(MODEL, jax.random.key(4)), 0.7
    engine.update(params)
    sampling, key = SamplingConfig(max_new_tokens=16, temperature=temperature), jax.random.key(1)
    made = engine.generate(PROMPTS, sampling, key, ENDS)
    again = engine.generate(PROMPTS, sampling, key, ENDS)
    np.testing.assert_array_equal(made.tokens, again.tokens)
    assert (made.tokens[0] != made.tokens[2]).any()
    model = merge(make_graphdef(MODEL, dtype=jnp.float32), params)
    for row, prompt in enumerate(PROMPTS):
        length = int(made.lengths[row])
        tokens = made.tokens[row, :length]
        read = jnp.asarray([[*prompt, *tokens]])
        logits = model(read, jnp.arange(read.shape[1])[None], jnp.ones_like(read))[0, len(prompt) - 1 : -1]
        found = jax.nn.log_softmax(logits / temperature)[np.arange(length), tokens]
        np.testing.assert_allclose(made.logprobs[row, :length], found, atol=1e-4)
