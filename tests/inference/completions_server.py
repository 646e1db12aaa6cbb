"""A server with OpenAI's completions as vLLM has them, weights read anew included, around this package's own sampling.

It stands in for vLLM where that is not installed; `test_vllm.py` asks the real one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp

from tl_jax.config import SamplingConfig
from tl_jax.inference.engine import Ends
from tl_jax.inference.in_process import InProcessEngine
from tl_jax.model.hf import load_hf
from tl_jax.model.llama import make_graphdef


class CompletionsServer:
    """Answers with the weights of the directory that it was told of last.

    Args:
        alter: is given the path and the reply to each request, and returns the status and the reply that are sent.
    """

    def __init__(self, alter: Callable[[str, Any], tuple[int, Any]] | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.directories: list[Path] = []
        self._alter = alter or (lambda path, reply: (200, reply))
        self._engine: InProcessEngine | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> CompletionsServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, path: str, body: Any) -> Any:
        with self._lock:
            self.paths.append(path)
            if path == "/v1/models":
                return {"data": [{"id": "policy"}]}
            if path == "/collective_rpc":
                assert body["method"] == "reload_weights"
                self.directories.append(Path(body["kwargs"]["weights_path"]))
                config, params = load_hf(self.directories[-1], param_dtype="float32")
                self._engine = InProcessEngine(make_graphdef(config, dtype=jnp.float32), config)
                self._engine.update(params)
                return {"results": [None]}
            return self._completion(body) if path == "/v1/completions" else None

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        assert self._engine is not None
        sampling = SamplingConfig(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_k=None if body["top_k"] < 1 else body["top_k"],
            top_p=body["top_p"],
        )
        made = self._engine.generate(
            [body["prompt"]], sampling, jax.random.key(body["seed"]), Ends(tuple(body["stop_token_ids"]))
        )
        length, drawn = int(made.lengths[0]), made.logprobs if made.drawn_logprobs is None else made.drawn_logprobs
        choice = {
            "index": 0,
            "text": "",
            "token_ids": made.tokens[0, :length].tolist(),
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": drawn[0, :length].tolist()},
            "finish_reason": "stop" if made.finished[0] else "length",
        }
        return {"choices": [choice]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(outer.reply(self.path, None))

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"] or 0))
                self._send(outer.reply(self.path, json.loads(content) if content else None))

            def _send(self, reply: Any) -> None:
                status, reply = outer._alter(self.path, reply)
                data = b"" if reply is None else reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with suppress(ConnectionError):  # of a client that waits no longer
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
