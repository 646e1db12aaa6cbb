"""Settings of requests beside messages, and what only has the name of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.chat import DONE, USER
from tests.tooluse.readers.helpers import LOOKUP, read_one
from tl_jax.tooluse.readers.settings import NO_SETTING
from tl_jax.tooluse.schema import DataError


def test_what_older_requests_and_ollamas_ask_for_is_kept(tmp_path: Path) -> None:
    asked = {"function_call": "auto", "keep_alive": "5m", "think": True}
    assert read_one(tmp_path, {"messages": [USER, DONE], **asked}).meta == asked
    for form in ("json", LOOKUP["parameters"]):
        of_ollama = {"model": "qwen", "options": {"num_ctx": 9, "stop": ["."]}, "format": form}
        assert read_one(tmp_path, {"messages": [USER, DONE], **of_ollama}).meta == of_ollama


@pytest.mark.parametrize("field", [{"options": {"A": "a pet", "B": "a cat"}}, {"options": ["a"]}, {"format": "chatml"}])
def test_fields_with_the_names_of_ollamas_settings(tmp_path: Path, field: dict[str, Any]) -> None:
    for beside in ({}, {"model": "qwen"}):
        with pytest.raises(DataError, match=rf"data\.jsonl:1: {next(iter(field))}: unknown field"):
            read_one(tmp_path, {"messages": [USER, DONE], **beside, **field})
    with pytest.raises(DataError, match=r"options: unknown field"):
        read_one(tmp_path, {"messages": [USER, DONE], "options": {"num_ctx": 9}})


def test_what_requests_and_answers_say_of_themselves_is_kept(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": None}, "tier": "default"}
    said = {"n": 1, "user": "u-1", "stop": ["\n", "END"], "object": "chat.completion", "store": False, "usage": usage}
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"description": "What to say."}}}
    also = {"logit_bias": {"50256": -100}, "logprobs": True, "top_logprobs": 2, "response_format": form}
    assert read_one(tmp_path, {"messages": [USER, DONE], **said, **also}).meta == {**said, **also}
    beside = {"conversation": {"id": "c"}, "reasoning": {"effort": "low", "summary": "auto"}, "text": {"format": form}}
    row = {"input": [USER], "output": [{"type": "message", **DONE}], "user": "u-1", **beside}
    assert read_one(tmp_path, row).meta == {"user": "u-1", **beside}


_TURNS = [{"role": "user", "content": "And then?"}]
_CONTENT: list[dict[str, Any]] = [
    *({name: _TURNS} for name in ("user", "n", "stop", "object", "store", "usage", "logprobs", "response_format")),
    {"user": {"text": "And then?"}},
    {"usage": {"text": "For pets and cats."}},
    {"stop": [{"name": "Main Street"}]},
    {"n": "two"},
    {"user": 42},
    {"stop": 5},
    {"store": "Harrods"},
    {"object": "a red ball"},
    {"verbosity": "Say it in a few words."},
    {"usage": {"text": "用于宠物"}},
    {"function_call": {"name": "lookup", "arguments": "{}"}},
]


@pytest.mark.parametrize("field", _CONTENT)
def test_content_with_the_name_of_a_setting_is_named(tmp_path: Path, field: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=rf"data\.jsonl:1: {next(iter(field))}: {NO_SETTING}"):
        read_one(tmp_path, {"messages": [USER, DONE], **field})


@pytest.mark.parametrize("name", ["conversation", "prompt", "text", "user", "reasoning", "error", "include"])
def test_content_beside_the_items_of_the_responses_api_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"data\.jsonl:1: {name}: {NO_SETTING}"):
        read_one(tmp_path, {"input": [USER], "output": [{"type": "message", **DONE}], name: _TURNS})


@pytest.mark.parametrize("turns", [_TURNS, [{"from": "human", "value": "And then?"}], ["Hi.", "And then?"]])
def test_turns_describe_no_row(tmp_path: Path, turns: Any) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:1: turns: holds turns of a conversation"):
        read_one(tmp_path, {"messages": [USER, DONE], "turns": turns})
    assert read_one(tmp_path, {"messages": [USER, DONE], "turns": 2}).meta == {"turns": 2}
