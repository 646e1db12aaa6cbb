"""Tokenizers whose files are broken or hostile: an error of one line, no panic and no end of the process."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tests.thoroughness import examples
from tl_jax.data import tokenizer_file
from tl_jax.data.codec import Codec
from tl_jax.data.segment_tokenizer import backend
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.errors import UserError

SPECIAL = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
NOWHERE = {"SpecialToken": {"id": "x", "type_id": 0}}
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
Change = Callable[[dict[str, Any]], None]


def at(*path: Any, value: Any) -> Change:
    def change(spec: dict[str, Any]) -> None:
        for part in path[:-1]:
            spec = spec[part]
        spec[path[-1]] = value

    return change


PADDING = {"direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}
BROKEN: dict[str, Change] = {
    "no model": at("model", value=None),
    "an unknown model": at("model", "type", value="Perfect"),
    "ids below 0": at("model", "vocab", value={"a": -1}),
    "ids beyond 32 bits": at("model", "vocab", value={"a": 2**33}),
    "ids beyond 31 bits": at("model", "vocab", value={"a": 0, "b": 2**31}),
    "merges of nothing": at("model", "merges", value=[["zz", "yy"]]),
    "a panic while it is read or used": at("model", "continuing_subword_prefix", value="AAAA"),
    "a token that is nowhere": at(
        "post_processor", value={**SPECIAL, "single": [{"SpecialToken": {"id": "x", "type_id": 0}}]}
    ),
    "deep": at("normalizer", value=json.loads('{"a":' * 200 + "1" + "}" * 200)),
    "a broken pattern": at(
        "pre_tokenizer", value={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
    ),
}


@pytest.fixture
def write(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> Callable[[Change], Path]:
    """The tokenizer's directory with its file changed."""
    bpe.save_pretrained(str(tmp_path / "tokenizer"))
    spec = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())

    def changed(change: Change) -> Path:
        other = copy.deepcopy(spec)
        change(other)
        (tmp_path / "tokenizer" / "tokenizer.json").write_text(json.dumps(other))
        return tmp_path / "tokenizer"

    return changed


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_broken_files(write: Callable[[Change], Path], change: Change) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json: ") as error:
        load_tokenizer(write(change))
    assert "\n" not in str(error.value)


def test_parts_that_do_not_fit_without_the_control_tokens(bpe: PreTrainedTokenizerFast) -> None:
    """Found by the test below, with two tokens of one id: the library raises an exception of no kind."""
    spec = json.loads(bpe.backend_tokenizer.to_str())
    spec["model"]["merges"].append(["zz", "yy"])
    with pytest.raises(UserError, match=r"DIR: the tokenizer is broken: without its control tokens it says .*zz"):
        backend(spec, "DIR")


ODD: Any = st.one_of(
    st.sampled_from([None, True, -1, 0, 1, 2**31, 2**33, 1e308, "", "x", "(", "BPE", "Metaspace", [], [[]], {}]),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value but the value itself; of a long list or table the first entries."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in itertools.islice(inner, 20):
        yield (*way, key)
        yield from places(one, (*way, key))


@pytest.mark.fuzz
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere(write: Callable[[Change], Path], data: st.DataObject) -> None:
    """A tokenizer that can be used, or an error of one line."""

    def change(spec: dict[str, Any]) -> None:
        for _ in range(data.draw(st.integers(1, 2))):
            way = data.draw(st.sampled_from(list(places(spec))))
            at(*way, value=data.draw(ODD))(spec)

    directory, told = write(change), ""
    try:
        Codec.open("paper", load_tokenizer(directory)).segments.encode("a city in the north", opens=True)
    except UserError as error:
        told = str(error)
    assert "\n" not in told


@pytest.mark.parametrize("strategy", [{"Fixed": 2**40}, {"Fixed": 2**62}])
def test_padding_and_truncation_are_not_listened_to(write: Callable[[Change], Path], strategy: Any) -> None:
    """The first of these would end the process: no memory of that size is to be had."""

    def change(spec: dict[str, Any]) -> None:
        spec["padding"] = {**PADDING, "strategy": strategy}
        spec["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}

    loaded = load_tokenizer(write(change))
    text = "a city in the north"
    assert loaded.decode(loaded(text).input_ids) == text
    assert len(Codec.open("paper", loaded).segments.encode(text, opens=True).ids) > 2


@pytest.mark.parametrize("cut", [0, 1, 100, 2000])
def test_cut_off(write: Callable[[Change], Path], cut: int) -> None:
    file = write(lambda spec: None) / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"tokenizer\.json: cannot be read"):
        load_tokenizer(file.parent)


def test_size(write: Callable[[Change], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_file, "MAX_BYTES", 1_000_000)
    directory = write(lambda spec: None)
    load_tokenizer(directory)
    with (directory / "tokenizer.json").open("ab") as file:
        file.write(b" " * 1_000_000)
    with pytest.raises(UserError, match=r"tokenizer\.json: larger than 1 MB"):
        load_tokenizer(directory)


def test_a_panic_later_on_names_the_tokenizer() -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    told = "DIR: the tokenizer is broken and failed inside of its library: index out of"
    with pytest.raises(UserError, match=told), tokenizer_file.no_panic("DIR"):
        raise panic("index out of\nrange")
    with pytest.raises(KeyboardInterrupt), tokenizer_file.no_panic("DIR"):
        raise KeyboardInterrupt
