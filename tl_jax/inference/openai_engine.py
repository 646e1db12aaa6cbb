"""The engine that asks a server with OpenAI's completions: vLLM, SGLang, or what speaks as they do.

Prompts go there as tokens, and tokens come back with the log-probability of each, so that nothing is tokenised twice.
New weights are written as a Hugging Face directory, which the server is told to read. What the server says is checked
before anything is learnt from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from tl_jax.config import Dtype, SamplingConfig
from tl_jax.config.engine import DIRECTORY, RELOADS, EngineConfig
from tl_jax.inference.engine import SILENT, Ends, Generation, Listener
from tl_jax.inference.json_server import EngineError, JsonServer
from tl_jax.inference.room import check_prompts
from tl_jax.model.config import LlamaConfig
from tl_jax.model.hf import export_hf
from tl_jax.model.parameters import Params
from tl_jax.training.distributed import agreed
from tl_jax.training.stop import Interrupted

COMPLETIONS, MODELS = "/v1/completions", "/v1/models"
GREETING_SECONDS = 10.0
"""For a server to say which models it has."""
GLANCE_SECONDS = 0.5
"""How often whoever waits for a server looks whether the run is to end."""
REPLY_BYTES, TOKEN_BYTES = 1 << 16, 1 << 10
"""A reply is at most so long, and so much longer for each token of prompt and answer; servers say about 200 bytes of
each."""

UNSURE = 0.05
"""Nats: a first token that is likelier than this says little of how its probability was made."""
SAME = 1e-4
"""Nats between log-probabilities of one token, computed twice."""
LEAST = float(np.finfo(np.float32).min)
"""Log-probabilities are finite as float32."""


@dataclass(frozen=True)
class Export:
    """How weights are written for a server."""

    directory: Path
    """two directories lie in it: the weights that the server has, and those before or after them"""
    tokenizer_dir: Path
    dtype: Dtype


class OpenAIEngine:
    """An `Engine` at the other end of HTTP. Only the main process talks to it.

    Args:
        config: where the server is, and what is asked of it.
        model: of the weights.
        export: how they are written.
        halts: whether the run is to end. Nothing waits for the server then; what it was asked is dropped.
    """

    def __init__(
        self, config: EngineConfig, model: LlamaConfig, export: Export, halts: Callable[[], bool] = lambda: False
    ) -> None:
        assert config.url is not None
        self._config, self._url, self._export, self.model = config, config.url, export, model
        self._halts = halts
        self._name: str = agreed(self._ask_name)
        self._updates, self._trusted = 0, False

    def update(self, params: Params) -> None:
        """See `Engine.update`: writes the weights and has the server read them.

        Raises:
            UserError: they cannot be written, or the server does not read them.
            Interrupted: the run is to end.
        """
        whole = params if jax.process_count() == 1 else multihost_utils.process_allgather(params, tiled=True)
        self._unless_halted(lambda: self._publish(whole))

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        key: jax.Array,
        ends: Ends,
        listener: Listener = SILENT,
        numbers: Sequence[int] | None = None,
    ) -> Generation:
        """See `Engine.generate`. The seed of a request comes of ``key`` and its number; whether equal seeds give equal
        answers is up to the server. ``logprobs`` are those that the server says it drew by.

        Raises:
            GenerationError: see `check_prompts`.
            EngineError: the server is not there, or its replies are no answers.
            Interrupted: the run is to end.
        """
        check_prompts(self.model, prompts, sampling.max_new_tokens)
        words = np.asarray(jax.random.key_data(key)).tobytes()
        bodies = [
            self._request(prompt, sampling, _seed(words, number), ends)
            for prompt, number in zip(prompts, numbers or range(len(prompts)), strict=True)
        ]
        listener.before_batch()
        said = self._unless_halted(lambda: self._ask(bodies, ends))
        return _generation(said, sampling.max_new_tokens, ends)

    def conversations(self) -> AbstractContextManager[None]:
        """See `Engine.conversations`: each prompt is sent whole, and the server decides what it keeps."""
        return nullcontext()

    def release(self) -> None:
        """See `Engine.release`: the memory is the server's."""

    def _ask_name(self) -> str:
        """What requests are to call the model."""
        with JsonServer(self._url) as server:
            listed = server.get(MODELS, GREETING_SECONDS)
        rows = listed.get("data") if isinstance(listed, dict) else None
        names = [row["id"] for row in rows or () if isinstance(row, dict) and isinstance(row.get("id"), str)]
        if self._config.model in names:
            return str(self._config.model)
        if self._config.model is None and len(names) == 1:
            return names[0]
        wrong = "says of no model" if not names else f"has {', '.join(map(repr, names[:5]))}"
        raise EngineError(f"{self._url}{MODELS}: the server {wrong}; name the one to be asked: engine.model")

    def _unless_halted(self, ask: Callable[[], Any]) -> Any:
        """What ``ask`` gives in the main process, in every process.

        Raises:
            Interrupted: in every process, because the main one did not wait for it.
        """

        def asked() -> list[Any] | None:
            try:
                return [ask()]
            except Interrupted:
                return None

        if (found := agreed(asked)) is None:
            raise Interrupted
        return found[0]

    def _publish(self, params: Params) -> None:
        """Writes the weights in place of those before the last, and has the server read them."""
        directory = (self._export.directory / f"weights-{self._updates % 2}").resolve()
        export_hf(params, self.model, self._export.tokenizer_dir, directory, self._export.dtype)
        self._updates += 1
        for path, body in RELOADS[self._config.reload].requests:
            (reply,) = self._post(path, [_with_directory(body, str(directory))])
            if isinstance(reply, dict) and reply.get("success") is False:
                raise EngineError(f"{self._url}{path}: the server did not read {directory}")

    def _request(self, prompt: Sequence[int], sampling: SamplingConfig, seed: int, ends: Ends) -> dict[str, Any]:
        """Every setting that a model's own defaults could change is said."""
        return {
            "model": self._name,
            "prompt": list(map(int, prompt)),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p or 1.0,
            "top_k": sampling.top_k or -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "seed": seed,
            "stop_token_ids": list(ends.eos_ids),
            "logprobs": 1,
            "return_token_ids": True,
        }

    def _ask(self, bodies: Sequence[dict[str, Any]], ends: Ends) -> list[Any]:
        """Tokens and log-probabilities of every answer."""
        if not self._trusted:
            self._trusted = self._reports_what_it_draws_by(bodies[0])
        return self._post(COMPLETIONS, bodies, lambda body, reply: self._answer(body, reply, ends))

    def _post(
        self, path: str, bodies: Sequence[Any], read: Callable[[Any, Any], Any] = lambda body, reply: reply
    ) -> list[Any]:
        """What ``read`` makes of each body and the server's reply to it. They are asked side by side.

        Raises:
            EngineError: of the first request that fails; the others are broken off.
            Interrupted: the run is to end; all are broken off.
        """
        with (
            ThreadPoolExecutor(min(self._config.requests, len(bodies))) as pool,
            JsonServer(self._url) as server,
        ):

            def ask(body: Any) -> Any:
                return read(body, server.post(path, body, self._config.seconds, _longest_reply(body)))

            asked = [pool.submit(ask, body) for body in bodies]
            try:
                while True:
                    done, waiting = wait(asked, GLANCE_SECONDS, FIRST_EXCEPTION)
                    for future in done:
                        future.result()  # raises what it did
                    if not waiting:
                        return [future.result() for future in asked]
                    if self._halts():
                        raise Interrupted
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _reports_what_it_draws_by(self, body: dict[str, Any]) -> bool:
        """Whether log-probabilities change with the temperature and filters, or the server does not let us see it.

        Raises:
            EngineError: they do not change.
        """
        plain = {**body, "temperature": 1.0, "top_p": 1.0, "top_k": -1}
        if body == plain or not body["temperature"]:
            return False  # to be seen when it matters
        said = [self._post(COMPLETIONS, [{**one, "max_tokens": 1}])[0] for one in (body, plain)]
        drawn, without = map(_likeliest, said)
        if drawn is None or without is None:
            return True
        if without > -UNSURE:
            return False
        if abs(drawn - without) < SAME:
            raise EngineError(
                f"{self._url}{COMPLETIONS}: the server's log-probabilities are those before temperature, top_k and "
                "top_p, and not those that it draws by; start vLLM with --logprobs-mode processed_logprobs, or use "
                "sampling.temperature=1 without top_k and top_p"
            )
        return True

    def _answer(self, body: dict[str, Any], reply: Any, ends: Ends) -> list[Any]:
        try:
            return list(read_answer(reply, body["prompt"], body["max_tokens"], self.model.vocab_size, ends))
        except ValueError as error:
            raise EngineError(f"{self._url}{COMPLETIONS}: {error}") from None


def read_answer(
    reply: Any, prompt: Sequence[int], max_new_tokens: int, vocab_size: int, ends: Ends
) -> tuple[list[int], list[float]]:
    """Tokens and log-probabilities of a reply, which is found right or refused.

    Args:
        reply: of a server, as JSON.
        prompt: what it was asked.
        max_new_tokens: how long the answer may be.
        vocab_size: how many tokens the model knows.
        ends: what may end an answer.

    Raises:
        ValueError: saying what is wrong with it, in one line.
    """
    choices = reply.get("choices") if isinstance(reply, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise ValueError("the reply holds no answer (choices)")
    tokens, logprobs = choice.get("token_ids"), choice.get("logprobs")
    if not isinstance(tokens, list):
        raise ValueError("the reply has no token ids; the server has to know return_token_ids, as vLLM and SGLang do")
    logprobs = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(logprobs, list):
        raise ValueError("the reply has no log-probabilities (logprobs.token_logprobs)")
    if not all(type(token) is int and 0 <= token < vocab_size for token in tokens):
        raise ValueError(f"the answer has tokens outside the vocabulary of {vocab_size}: the server has another model")
    if len(logprobs) != len(tokens) or not all(map(_is_logprob, logprobs)):
        raise ValueError(f"the answer has {len(tokens)} tokens and not as many log-probabilities")
    if choice.get("prompt_token_ids") not in (None, list(prompt)):
        raise ValueError("the server read other tokens than it was asked with; it has to take prompts as token ids")
    if not 1 <= len(tokens) <= max_new_tokens:
        raise ValueError(f"the answer has {len(tokens)} tokens, where 1 to {max_new_tokens} were asked for")
    if early := [token for token in tokens[:-1] if token in ends.eos_ids]:
        raise ValueError(
            f"the answer goes on behind token {early[0]}, which ends an answer; the server has to know stop_token_ids"
        )
    if tokens[-1] not in ends.eos_ids and len(tokens) < max_new_tokens:
        raise ValueError(
            f"the answer was cut off after {len(tokens)} of {max_new_tokens} tokens, without one that ends an answer; "
            "the server has to have room for prompt and answer, and to give the last token back"
        )
    return tokens, [min(float(value), 0.0) for value in logprobs]


def _likeliest(reply: Any) -> float | None:
    """The log-probability of the likeliest first token, where a reply says it."""
    try:
        return max(map(float, reply["choices"][0]["logprobs"]["top_logprobs"][0].values()))
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return None


def _is_logprob(value: Any) -> bool:
    return type(value) in (int, float) and LEAST < value < 1e-3  # 0, to rounding


def _longest_reply(body: Any) -> int:
    """Bytes that the reply to a request may have: what its answer needs, many times over, and no more of a hostile
    server's."""
    tokens = len(body["prompt"]) + body["max_tokens"] if isinstance(body, dict) and "max_tokens" in body else 0
    return REPLY_BYTES + TOKEN_BYTES * tokens


def _with_directory(body: Any, directory: str) -> Any:
    """A request with the directory in its place."""
    if isinstance(body, dict):
        return {name: _with_directory(value, directory) for name, value in body.items()}
    return directory if body == DIRECTORY else body


def _seed(key: bytes, number: int) -> int:
    """Of one request, below 2^31: a server draws an answer by it, whatever stands beside it."""
    return int.from_bytes(hashlib.sha256(key + int(number).to_bytes(8)).digest()[:4]) >> 1


def _generation(said: Sequence[Sequence[Any]], width: int, ends: Ends) -> Generation:
    """The answers side by side."""
    tokens = np.full((len(said), width), ends.pad_id, np.int32)
    logprobs = np.zeros(tokens.shape, np.float32)
    for row, (ids, values) in enumerate(said):
        tokens[row, : len(ids)], logprobs[row, : len(ids)] = ids, values
    lengths = np.array([len(ids) for ids, _ in said], np.int32)
    finished = np.isin(tokens[np.arange(len(said)), lengths - 1], ends.eos_ids)
    return Generation(tokens, logprobs, lengths, finished)
