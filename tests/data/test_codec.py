from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import SPECIAL, byte_level, hostile, plenty, prefixes, weather
from tl_jax.data.codec import Codec
from tl_jax.data.segment_tokenizer import EncodeError
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.errors import UserError
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.rewards.writable import why_unwritable
from tl_jax.tooluse.schema import Call, Case, Message, Trajectory
from tl_jax.tooluse.text.parse import parse_answer
from tl_jax.tooluse.text.render import PaperRenderer


@pytest.mark.parametrize("name", ["paper", "paper_full", "released"])
def test_stream_is_what_the_tokenizer_makes_of_the_whole_text(llama: PreTrainedTokenizerFast, some, name: str) -> None:
    """Cutting at the answers leaves no seam; BOS and EOS are where the model was trained to see them."""
    for trajectory in some:
        encoded = Codec.open(name, llama).encode(trajectory.tools, trajectory.messages)
        assert encoded.ids.tolist() == [*llama(encoded.text).input_ids, llama.eos_token_id]


@pytest.mark.parametrize("name", ["paper", "released"])
def test_prompts_are_prefixes_llama(llama: PreTrainedTokenizerFast, some, name: str) -> None:
    for trajectory in some:
        prefixes(trajectory, name, llama)


@pytest.mark.parametrize("name", ["paper", "released"])
@pytest.mark.parametrize("kind", ["bpe", "merging"])
def test_prompts_are_prefixes_byte_level(request, some, kind: str, name: str) -> None:
    for trajectory in some:
        prefixes(trajectory, name, request.getfixturevalue(kind))


@pytest.mark.parametrize("half", [0, 1])
def test_prompts_are_prefixes_chat(
    bpe: PreTrainedTokenizerFast, merging: PreTrainedTokenizerFast, some, half: int
) -> None:
    short = sorted(some, key=lambda trajectory: len(trajectory.messages))[:50]
    for trajectory in short[half::2]:
        prefixes(trajectory, "chat", (bpe, merging)[half])


@pytest.mark.parametrize("name", ["paper", "paper_full", "released", "chat"])
def test_prompts_are_prefixes_without_data(merging: PreTrainedTokenizerFast, name: str) -> None:
    prefixes(weather(), name, merging)


MISTRAL = """{%- for message in messages %}
{%- if message.role == 'assistant' %}{{ message.content }}
{%- for call in message.tool_calls or [] %}[TOOL_CALLS]{{ call.function.name }}[ARGS]
{{- call.function.arguments | tojson }}
{%- endfor %}{{ eos_token }}
{%- else %}[INST]{{ message.content }}[/INST]{% endif %}
{%- endfor %}"""


def test_special_tokens_of_calls_are_heard() -> None:
    """Without them ``[TOOL_CALLS]f[ARGS]{"a": 1}`` would be ``f{"a": 1}``, which is no call."""
    tokenizer = byte_level([str(weather().to_json())], use_regex=True)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]"]})
    tokenizer.chat_template = MISTRAL
    codec, calls = Codec.open("chat", tokenizer), (Call("f", {"a": "[ARGS]"}), Call("g"))
    written = codec.writer.answer(calls)
    assert written == '[TOOL_CALLS]f[ARGS]{"a": "[ARGS]"}[TOOL_CALLS]g[ARGS]{}'
    assert parse_answer(written).calls == calls


@pytest.mark.parametrize("special", ["bos_token", "eos_token", "unk_token", "pad_token"])
def test_special_tokens_within_an_answer_are_heard(llama: PreTrainedTokenizerFast, special: str) -> None:
    """``find_city(name = 'Os<s>lo')`` earned 1: what a policy writes between, it would learn to write."""
    token = getattr(llama, special) or llama.eos_token
    call = Call("find_city", {"name": "Oslo"})
    case = Case("1", (), (Message("user", "?"),), ((call,),))
    codec = Codec.open("paper", llama)
    before, after = (llama(part, add_special_tokens=False).input_ids for part in ("find_city(name = 'Os", "lo') "))
    right = codec.answer([*before, *after])
    assert score(right.replace(" lo", "lo"), case).value == 1
    said = codec.answer([*before, llama.convert_tokens_to_ids(token), *after])
    assert token in said
    assert score(said, case).value < 1


def test_what_the_vocabulary_has_no_tokens_for_cannot_be_said(llama: PreTrainedTokenizerFast) -> None:
    words = ["User", "Assistant", ":", ".", "f", "(", ")", "a", "=", "'", "b", "c", "<unk>"]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    poor = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token=".")
    case = Case("1", (), (Message("user", "?"),), ((Call("f", {"a": "名"}),),))
    assert why_unwritable(case, Codec.open("paper", llama).writer) == ""
    assert why_unwritable(case, PaperRenderer()) == ""
    assert why_unwritable(case, Codec.open("paper", poor).writer)


def test_without_cuts_a_merging_tokenizer_breaks_the_prompts(merging: PreTrainedTokenizerFast) -> None:
    """What the cuts are for: in this vocabulary tokens reach across the edges of answers."""
    trajectory, renderer = weather(), Codec.open("paper", merging).renderer
    whole = merging(renderer.render(trajectory.tools, trajectory.messages).text).input_ids
    prompt = merging(renderer.prompt(trajectory.tools, trajectory.messages[:2]).text).input_ids
    assert prompt != whole[: len(prompt)]


@pytest.mark.fuzz
@plenty
@given(question=hostile, answer=hostile, result=hostile, key=hostile)
@pytest.mark.parametrize("name", ["paper", "released", "chat"])
def test_foreign_text_never_becomes_a_control_token(
    bpe: PreTrainedTokenizerFast, name: str, question: str, answer: str, result: str, key: str
) -> None:
    base = weather()
    system = base.messages[0]
    call = Message("assistant", "I look.", (Call("get_weather", {key: question, "city": "Bonn"}),), name=key)
    messages = (system, Message("user", question), call, Message("tool", result), Message("assistant", answer))
    trajectory = Trajectory("h", base.tools, messages)
    codec = Codec.open(name, bpe)
    rendered = codec.renderer.render(trajectory.tools, trajectory.messages)
    encoded = codec.encode(trajectory.tools, trajectory.messages)
    control = {bpe.convert_tokens_to_ids(token) for token in (*SPECIAL, "<tool_call>", "</tool_call>")}
    untrusted = [span for span in rendered.untrusted if span[0] < span[1]]
    for token, (start, end) in zip(encoded.ids.tolist(), encoded.offsets.tolist(), strict=True):
        if token in control and start < end:
            assert not any(start < foreign_end and foreign_start < end for foreign_start, foreign_end in untrusted)
    found = [token for token in encoded.ids.tolist() if token in control]
    expected = 2 * 5 + 2 if name == "chat" else 1  # each message's two, the call's two; or EOS
    assert len(found) == expected
    prefixes(trajectory, name, bpe)


@pytest.mark.fuzz
@plenty
@given(question=hostile, answer=hostile)
def test_foreign_text_never_becomes_a_control_token_llama(
    llama: PreTrainedTokenizerFast, question: str, answer: str
) -> None:
    trajectory = Trajectory("h", (), (Message("user", question), Message("assistant", answer), Message("user", "x")))
    ids = Codec.open("paper", llama).encode((), trajectory.messages).ids.tolist()
    assert [i for i, token in enumerate(ids) if token in (0, 1, 2)] == [0, len(ids) - 1]
    prefixes(trajectory, "paper", llama)


def test_special_tokens_of_the_template_are_recognised(bpe: PreTrainedTokenizerFast) -> None:
    trajectory = weather()
    codec = Codec.open("chat", bpe)
    encoded = codec.encode(trajectory.tools, trajectory.messages)
    assert encoded.ids.tolist() == bpe(encoded.text, add_special_tokens=False).input_ids
    assert {turn.stop for turn in encoded.turns} == {bpe.convert_tokens_to_ids("<|im_end|>")}
    assert all(encoded.ids[turn.end] == turn.stop for turn in encoded.turns)
    assert codec.stop_ids == (bpe.convert_tokens_to_ids("<|im_end|>"), bpe.eos_token_id)
    assert Codec.open("paper", bpe).stop_ids == (bpe.eos_token_id,)


@pytest.mark.parametrize("name", ["paper", "released", "chat"])
def test_owners_and_names(bpe: PreTrainedTokenizerFast, name: str) -> None:
    trajectory = weather()
    codec = Codec.open(name, bpe)
    rendered = codec.renderer.render(trajectory.tools, trajectory.messages)
    encoded = codec.encode(trajectory.tools, trajectory.messages)
    for (start, _), owner in zip(encoded.offsets, encoded.message, strict=True):
        begun = [i for i, span in enumerate(rendered.messages) if span[0] <= start]
        assert owner == (begun[-1] if begun else -1)
    for turn in encoded.turns:
        calls = trajectory.messages[turn.message].tool_calls
        assert len(calls) == len(turn.calls)
        for call, span in zip(calls, turn.calls, strict=True):
            assert call.name in bpe.decode(encoded.ids[slice(*span.name)].tolist())
            assert rendered.text.count(span.before + call.name + span.after) >= 1
            assert turn.start <= span.name[0] < span.name[1] <= turn.end


def test_lone_surrogates_are_a_clear_error(bpe: PreTrainedTokenizerFast) -> None:
    with pytest.raises(EncodeError, match="surrogate"):
        Codec.open("paper", bpe).prompt((), [Message("user", "a\ud800")])


def test_load_tokenizer_from_directories(bpe: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    bpe.save_pretrained(str(tmp_path / "bpe"))
    loaded = load_tokenizer(tmp_path / "bpe")
    assert loaded("Assistant: get_weather(city = 'x')").input_ids == bpe("Assistant: get_weather(city = 'x')").input_ids
    assert loaded.chat_template == bpe.chat_template
    assert loaded.eos_token_id == bpe.eos_token_id


def test_load_tokenizer_from_a_sentencepiece_directory(
    llama: PreTrainedTokenizerFast, shared_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "llama2.model").write_bytes((shared_data / "tokenizer" / "llama2.model").read_bytes())
    loaded = load_tokenizer(tmp_path)
    loaded.save_pretrained(str(tmp_path / "saved"))
    again = load_tokenizer(tmp_path / "saved")
    text = " a  b\n</s>é"
    assert loaded(text).input_ids == again(text).input_ids == llama(text).input_ids


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ([], "holds neither"),
        (["a.model", "b.model"], "holds neither"),
        (["a.model"], "not a SentencePiece model"),
        (["tokenizer.json"], "cannot be read"),
    ],
)
def test_load_tokenizer_errors(tmp_path: Path, files: Sequence[str], match: str) -> None:
    for name in files:
        (tmp_path / name).write_text("rubbish")
    with pytest.raises(UserError, match=match):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="no such tokenizer"):
        load_tokenizer(tmp_path / "missing")


def test_a_token_without_an_embedding_is_named(bpe: PreTrainedTokenizerFast) -> None:
    codec = Codec.open("paper", bpe)
    ids = [codec.prompt((), [Message("user", "north")]), []]
    codec.check_ids(ids, max(ids[0]) + 1, "MODEL")
    text = bpe.convert_ids_to_tokens(max(ids[0]))
    with pytest.raises(UserError, match=rf"the token {re.escape(repr(text))} has the id {max(ids[0])}, and MODEL has "):
        codec.check_ids(ids, max(ids[0]), "MODEL")
