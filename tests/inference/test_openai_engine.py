"""The engine at the other end of HTTP: the same tokens as our own, weights that follow, nothing wrong that is taken."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.inference.completions_server import CompletionsServer
from tests.inference.test_slots import ENDS, GRAPHDEF, MODEL, PARAMS
from tl_jax.config import SamplingConfig
from tl_jax.config.engine import EngineConfig
from tl_jax.inference.engine import Listener
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.inference.json_server import EngineError
from tl_jax.inference.openai_engine import Export, OpenAIEngine, _likeliest, read_answer
from tl_jax.inference.room import GenerationError
from tl_jax.model.parameters import init_params
from tl_jax.training.stop import Interrupted

PROMPTS = [[3, 4, 5], [6, 7], [3, 4, 5], [8, 9, 10, 11]]
KEY = jax.random.key(5)
NEW = 6


def engine_for(
    server: CompletionsServer, home: Path, halts: Callable[[], bool] = lambda: False, **options: Any
) -> OpenAIEngine:
    (home / "tokenizer").mkdir(exist_ok=True)
    config = EngineConfig(name="openai", url=server.url, **options)
    return OpenAIEngine(config, MODEL, Export(home / "engine", home / "tokenizer", "float32"), halts)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CompletionsServer, OpenAIEngine]]:
    """A server with the weights of `PARAMS`, and the engine that gave them to it."""
    with CompletionsServer() as server:
        engine = engine_for(server, tmp_path_factory.mktemp("served"))
        engine.update(PARAMS)
        yield server, engine


def test_answers_are_those_of_our_own_engine(served: tuple[CompletionsServer, OpenAIEngine]) -> None:
    greedy = SamplingConfig(max_new_tokens=NEW, temperature=0.0)
    ours = InProcessEngine(GRAPHDEF, MODEL)
    ours.update(PARAMS)
    expected = ours.generate(PROMPTS, greedy, KEY, ENDS)
    made = served[1].generate(PROMPTS, greedy, KEY, ENDS)
    for name in ("tokens", "lengths", "finished"):
        np.testing.assert_array_equal(getattr(made, name), getattr(expected, name))
    np.testing.assert_allclose(made.logprobs, expected.logprobs, atol=1e-5)
    assert made.tokens.dtype == expected.tokens.dtype
    assert made.logprobs.dtype == expected.logprobs.dtype


def test_key_and_number_decide_what_is_drawn(served: tuple[CompletionsServer, OpenAIEngine]) -> None:
    server, engine = served
    sampling = SamplingConfig(max_new_tokens=NEW, temperature=1.5)
    first = engine.generate(PROMPTS, sampling, KEY, ENDS)
    with engine.conversations():
        alone = engine.generate(PROMPTS[2:], sampling, KEY, ENDS, numbers=[2, 3])
    other = engine.generate(PROMPTS, sampling, jax.random.key(6), ENDS)
    np.testing.assert_array_equal(alone.tokens, first.tokens[2:])
    seeds = [{one["seed"] for one in server.asked[-10:-6]}, {one["seed"] for one in server.asked[-4:]}]
    assert [len(found) for found in seeds] == [4, 4]
    assert not seeds[0] & seeds[1]
    assert (first.tokens != other.tokens).any()
    assert (first.tokens[0] != first.tokens[2]).any()  # one prompt, two numbers


def test_every_setting_that_a_server_has_defaults_for_is_said(served: tuple[CompletionsServer, OpenAIEngine]) -> None:
    server, engine = served
    engine.generate(PROMPTS[:1], SamplingConfig(max_new_tokens=NEW, top_k=3, top_p=0.5), KEY, ENDS)
    asked = dict(server.asked[-1])
    del asked["seed"]
    assert asked == {
        "model": "policy",
        "prompt": PROMPTS[0],
        "max_tokens": NEW,
        "temperature": 1.0,
        "top_p": 0.5,
        "top_k": 3,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": [1, 2],
        "logprobs": 1,
        "return_token_ids": True,
    }


def test_the_server_has_the_weights_of_the_last_update(tmp_path: Path) -> None:
    greedy = SamplingConfig(max_new_tokens=NEW, temperature=0.0)
    with CompletionsServer() as server:
        engine, made = engine_for(server, tmp_path), []
        for seed in range(3):
            params = init_params(MODEL, jax.random.key(seed))
            engine.update(params)
            made.append(engine.generate(PROMPTS, greedy, KEY, ENDS))
            ours = InProcessEngine(GRAPHDEF, MODEL)
            ours.update(params)
            np.testing.assert_array_equal(made[-1].tokens, ours.generate(PROMPTS, greedy, KEY, ENDS).tokens)
        assert (made[0].logprobs != made[1].logprobs).any()
        assert [path.name for path in server.directories] == ["weights-0", "weights-1", "weights-0"]
        assert sorted(path.name for path in (tmp_path / "engine").iterdir()) == ["weights-0", "weights-1"]
        assert server.paths[1:3] == ["/collective_rpc", "/reset_prefix_cache"]  # what was read with the old ones


def test_sglang_is_told_by_its_own_request(tmp_path: Path) -> None:
    replies: list[Any] = [{"success": True}, {"success": False, "message": "no"}]

    def alter(path: str, reply: Any) -> tuple[int, Any]:
        return 200, replies.pop(0) if path == "/update_weights_from_disk" else reply

    with CompletionsServer(alter) as server:
        engine = engine_for(server, tmp_path, reload="sglang")
        engine.update(PARAMS)
        assert server.paths[1:] == ["/update_weights_from_disk"]
        with pytest.raises(EngineError, match=r"did not read .*weights-1"):
            engine.update(PARAMS)


def test_which_model_is_asked(tmp_path: Path) -> None:
    names = ["policy"]

    def alter(path: str, reply: Any) -> tuple[int, Any]:
        return 200, {"data": [{"id": name} for name in names]}

    with CompletionsServer(alter) as server:
        with pytest.raises(EngineError, match=r"the server has 'policy'; name the one to be asked: engine\.model"):
            engine_for(server, tmp_path, model="other")
        names.append("other")
        with pytest.raises(EngineError, match="the server has 'policy', 'other'"):
            engine_for(server, tmp_path)
        engine_for(server, tmp_path, model="other")
        names.clear()
        with pytest.raises(EngineError, match="says of no model"):
            engine_for(server, tmp_path)


def test_prompts_that_have_no_answer(served: tuple[CompletionsServer, OpenAIEngine]) -> None:
    sampling = SamplingConfig(max_new_tokens=NEW)
    wrong = [([], "no prompts"), ([[]], "no tokens"), ([[3] * 10_000], "prompt 0 has 10000 tokens")]
    for prompts, message in (*wrong, ([[3], [3, 24]], "prompt 1 has a token id outside the model's vocabulary of 24")):
        with pytest.raises(GenerationError, match=message):
            served[1].generate(prompts, sampling, KEY, ENDS)


@pytest.mark.parametrize(("silent", "update"), [("/v1/completions", False), ("/collective_rpc", True)])
def test_a_run_that_is_to_end_does_not_wait_for_a_server(tmp_path: Path, silent: str, update: bool) -> None:
    """Which may take `engine.seconds`, ten minutes, for each."""
    over, began = threading.Event(), list[float]()

    def alter(path: str, reply: Any) -> tuple[int, Any]:
        if path == silent:
            began.append(time.monotonic())
            over.wait(120)
        return 200, reply

    with CompletionsServer(alter) as server:
        engine = engine_for(server, tmp_path, halts=lambda: bool(began), requests=2)
        if not update:
            engine.update(PARAMS)
        sampling = SamplingConfig(max_new_tokens=NEW)
        with pytest.raises(Interrupted):
            engine.update(PARAMS) if update else engine.generate(PROMPTS, sampling, KEY, ENDS)
        assert time.monotonic() - began[0] < 10
        over.set()
    assert len(server.asked) <= 2  # what had not begun never does


def test_whoever_listens_is_asked_before_the_server_is(served: tuple[CompletionsServer, OpenAIEngine]) -> None:
    server, engine = served
    asked = len(server.asked)

    def look() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        engine.generate(PROMPTS, SamplingConfig(max_new_tokens=NEW), KEY, ENDS, Listener(look))
    assert len(server.asked) == asked


def test_a_server_that_says_far_more_than_it_was_asked_is_refused(tmp_path: Path) -> None:
    def alter(path: str, reply: Any) -> tuple[int, Any]:
        return 200, {**reply, "more": "x" * 100_000} if path == "/v1/completions" else reply

    with CompletionsServer(alter) as server:
        engine = engine_for(server, tmp_path)
        engine.update(PARAMS)
        with pytest.raises(EngineError, match="the reply is longer than 73 KiB"):
            engine.generate(PROMPTS[:1], SamplingConfig(max_new_tokens=NEW), KEY, ENDS)


@pytest.mark.parametrize("processed", [True, False])
def test_a_server_that_reports_the_models_probabilities_is_refused(tmp_path: Path, processed: bool) -> None:
    """As vLLM does by default: of no use where a temperature makes others of them."""

    class Reporting(CompletionsServer):
        def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
            reply = super()._completion(body)
            likeliest = -0.4 if processed and body["temperature"] != 1 else -0.9
            reply["choices"][0]["logprobs"]["top_logprobs"] = [{"a": -3.0, "b": likeliest}]
            return reply

    with Reporting() as server:
        engine = engine_for(server, tmp_path)
        engine.update(PARAMS)
        for temperature in (0.0, 1.0):  # where both are the same, or nothing is learnt from them
            engine.generate(PROMPTS, SamplingConfig(max_new_tokens=NEW, temperature=temperature), KEY, ENDS)
        sampling = SamplingConfig(max_new_tokens=NEW, temperature=0.7)
        if processed:
            for _ in range(2):
                engine.generate(PROMPTS, sampling, KEY, ENDS)
            assert len(server.asked) == 4 * len(PROMPTS) + 2  # it is asked once
            assert [one["temperature"] for one in server.asked[8:10]] == [0.7, 1.0]
        else:
            with pytest.raises(EngineError, match=r"not those that it draws by; start vLLM with --logprobs-mode"):
                engine.generate(PROMPTS, sampling, KEY, ENDS)


GOOD = {"token_ids": [4, 5, 1], "logprobs": {"token_logprobs": [-0.5, 0, -2.0]}, "prompt_token_ids": [3, 4]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_ids": None}, "no token ids; the server has to know return_token_ids"),
        ({"logprobs": None}, "no log-probabilities"),
        ({"logprobs": {"token_logprobs": [-0.5, -1.0]}}, "3 tokens and not as many log-probabilities"),
        ({"logprobs": {"token_logprobs": [-0.5, None, -1.0]}}, "not as many log-probabilities"),
        ({"logprobs": {"token_logprobs": [-0.5, math.nan, -1.0]}}, "not as many log-probabilities"),
        ({"logprobs": {"token_logprobs": [-0.5, 0.7, -1.0]}}, "not as many log-probabilities"),
        ({"logprobs": {"token_logprobs": [-0.5, -(10**400), -1.0]}}, "not as many log-probabilities"),
        ({"logprobs": {"token_logprobs": [-0.5, -1e39, -1.0]}}, "not as many log-probabilities"),  # -inf in float32
        ({"token_ids": [4, 24, 1]}, "outside the vocabulary of 24: the server has another model"),
        ({"token_ids": [4, -1, 1]}, "outside the vocabulary"),
        ({"token_ids": [4, True, 1]}, "outside the vocabulary"),
        ({"token_ids": ["4", "5", "1"]}, "outside the vocabulary"),
        ({"token_ids": [], "logprobs": {"token_logprobs": []}}, "0 tokens, where 1 to 4"),
        ({"token_ids": [4] * 5, "logprobs": {"token_logprobs": [-1.0] * 5}}, "5 tokens, where 1 to 4"),
        ({"token_ids": [4, 5, 6]}, "cut off after 3 of 4 tokens"),
        ({"token_ids": [4, 2, 1]}, "goes on behind token 2, which ends an answer"),
        ({"prompt_token_ids": [0, 3, 4]}, "read other tokens than it was asked with"),
    ],
)
def test_a_reply_that_is_no_answer_is_refused(change: dict[str, Any], message: str) -> None:
    assert read_answer({"choices": [GOOD]}, [3, 4], 4, 24, ENDS) == ([4, 5, 1], [-0.5, 0.0, -2.0])
    with pytest.raises(ValueError, match=message):
        read_answer({"choices": [{**copy.deepcopy(GOOD), **change}]}, [3, 4], 4, 24, ENDS)


@pytest.mark.parametrize("said", [None, [], {"a": "x"}, {"a": -(10**400)}, {}], ids=str)
def test_what_says_nothing_of_the_likeliest_token(said: Any) -> None:
    assert _likeliest({"choices": [{"logprobs": {"top_logprobs": [{"a": -3, "b": -0.5}]}}]}) == -0.5
    assert _likeliest({"choices": [{"logprobs": {"top_logprobs": [said]}}]}) is None


@pytest.mark.parametrize("reply", [None, [], {}, {"choices": {}}, {"choices": []}, {"choices": [3]}, "x"])
def test_a_reply_of_another_shape_is_refused(reply: Any) -> None:
    with pytest.raises(ValueError, match="holds no answer"):
        read_answer(reply, [3], 4, 24, ENDS)
