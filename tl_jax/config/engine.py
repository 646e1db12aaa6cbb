"""What writes the answers of rollouts, and how another server gets the weights it writes them with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from tl_jax.config.base import AnyPath, Choice, Node, Real, Whole
from tl_jax.registry import Registry

DIRECTORY = "<directory>"
"""Stands in a request for the directory of the weights."""


@dataclass(frozen=True)
class Reload:
    """The requests that make a server read its weights anew."""

    name: str
    server: str
    """whose requests these are, and how it is started so that it takes them"""
    requests: tuple[tuple[str, dict[str, Any] | None], ...]
    """paths and bodies of the POST requests, one after another"""


KvCacheDtype: TypeAlias = Literal["auto", "bfloat16", "int8"]
"""Of the keys and values of what a model has read; auto = that of the computation."""

RELOADS = Registry(
    "kind of reloading",
    [
        Reload(
            "vllm",
            "vLLM and its plugins (tpu-inference), with `VLLM_SERVER_DEV_MODE=1` in the environment",
            (
                ("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": DIRECTORY}}),
                ("/reset_prefix_cache", None),
            ),
        ),
        Reload(
            "sglang",
            "SGLang",
            (("/update_weights_from_disk", {"model_path": DIRECTORY, "flush_cache": True}),),
        ),
    ],
    columns={
        "`engine.reload`": lambda reload: f"`{reload.name}`",
        "server": lambda reload: reload.server,
        "requests": lambda reload: ", ".join(f"`POST {path}`" for path, _ in reload.requests),
    },
)

IN_PROCESS = ("name", "kv_cache_dtype")
"""Settings that are not of a server."""


class EngineConfig(Node):
    """What writes the answers of rollouts, see docs/engines.md"""

    name: Literal["in_process", "openai"] = Field(
        "in_process",
        description="in_process = this run's devices; openai = a server with OpenAI's completions, such as vLLM",
    )
    kv_cache_dtype: KvCacheDtype = Field(
        "auto",
        description="dtype of keys and values while answers are written, with name=in_process; auto = model.dtype; "
        "int8 = half the memory of bfloat16",
    )
    url: str | None = Field(None, description="of the server, such as http://127.0.0.1:8000")
    model: str | None = Field(None, description="what requests call the model; null = the only one that the server has")
    reload: Annotated[str, Choice(RELOADS)] = Field("vllm", description="how the server is told of new weights")
    directory: AnyPath | None = Field(
        None, description="where new weights are written for the server, which has to see it; null = RUN/engine"
    )
    requests: Whole = Field(64, ge=1, description="answers that are asked for at the same time")
    seconds: Real = Field(600.0, gt=0, description="how long an answer or a reload may take, all tries together")

    @field_validator("url")
    @classmethod
    def _is_a_servers(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            found = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        except ValueError:
            found = False
        if not found or set(url) & set("@?# ") or not url.isascii() or not url.isprintable():
            raise ValueError("is not the address of a server; write it as http://127.0.0.1:8000")
        return url.rstrip("/").removesuffix("/v1")

    @model_validator(mode="after")
    def _settings_are_of_this_engine(self) -> EngineConfig:
        if self.name == "openai" and self.url is None:
            raise ValueError("name=openai asks a server; set url, such as http://127.0.0.1:8000")
        if self.name == "in_process":
            settings = {key: field.default for key, field in type(self).model_fields.items() if key not in IN_PROCESS}
            of_server = [key for key, default in settings.items() if getattr(self, key) != default]
            if of_server:  # what equals its default may come from the settings that a run has written down
                keys = ", ".join(of_server)
                raise ValueError(f"{keys}: of a server, which nothing asks; set name=openai, or leave it out")
        if self.name == "openai" and self.kv_cache_dtype != "auto":
            raise ValueError(
                f"kv_cache_dtype={self.kv_cache_dtype} is for name=in_process; give it to the server, and leave it out "
                "here"
            )
        return self
