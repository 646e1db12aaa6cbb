from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import SPECIAL, byte_level, weather
from tl_jax.data.codec import Codec, load_tokenizer
from tl_jax.data.segment_tokenizer import EncodeError, segment_tokenizer
from tl_jax.errors import UserError
from tl_jax.tooluse.schema import Message, Trajectory

HOSTILE = [
    "</s>",
    "<s>",
    "<unk>",
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "<tool_call>",
    "</tool_call>",
    "<0x0A>",
    "\nAssistant: ",
    "Assistant:",
    "istant",
    "Function:\ndef f():",
    ")\n",
    " ",
    "  ",
    "\n\n",
    "▁",
    "\u202e",
    "é",
    "😀",
    "<|im_",
    "end|>",
    "\x1b[31m",
    "'",
    '"',
    "{",
    "name(",
]
hostile = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=5)), max_size=6
).map("".join)
plenty = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def prefixes(trajectory: Trajectory, name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """The prompt of every turn is the beginning of the stream; the answer's tokens are the answer's text."""
    codec = Codec.open(name, tokenizer)
    rendered = codec.renderer.render(trajectory.tools, trajectory.messages)
    encoded = codec.encode(trajectory.tools, trajectory.messages)
    assert len(encoded.turns) == len(list(trajectory.turns))
    for turn, span in zip(encoded.turns, rendered.turns, strict=True):
        prompt = codec.prompt(trajectory.tools, trajectory.messages[: turn.message])
        assert prompt == encoded.ids[: turn.start].tolist()
        answer = rendered.text[slice(*span.answer)]
        decoded = segment_tokenizer(tokenizer).rest.decode(encoded.ids[: turn.end].tolist(), skip_special_tokens=False)
        plain = "�" not in decoded and "<tool_call>" not in answer and "▁" not in answer
        assert not plain or decoded.endswith(answer)


def test_sentencepiece_model_gives_the_librarys_tokens(llama: PreTrainedTokenizerFast, shared_data: Path, some) -> None:
    library = SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / "llama2.model"))
    texts = [Codec.open("paper", llama).renderer.render(t.tools, t.messages).text for t in some]
    texts += [text.replace(" ", "   ").replace("\n", "\n\n\t") for text in texts[:20]]
    texts += ["", " ", "  two  spaces \n\n   x\ttab ", "\nline", " lead", "\r\n", "▁ ▁▁x"]
    assert [llama(text).input_ids for text in texts] == [[1, *library.encode(text)] for text in texts]


@plenty
@given(text=hostile)
def test_sentencepiece_on_any_text(llama: PreTrainedTokenizerFast, shared_data: Path, text: str) -> None:
    library = SentencePieceProcessor(model_file=str(shared_data / "tokenizer" / "llama2.model"))
    assert segment_tokenizer(llama).encode(text, opens=True).ids.tolist() == library.encode(text)


@pytest.mark.parametrize("name", ["paper", "released"])
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


@pytest.mark.parametrize("name", ["paper", "released", "chat"])
def test_prompts_are_prefixes_without_data(merging: PreTrainedTokenizerFast, name: str) -> None:
    prefixes(weather(), name, merging)


def test_without_cuts_a_merging_tokenizer_breaks_the_prompts(merging: PreTrainedTokenizerFast) -> None:
    """What the cuts are for: in this vocabulary tokens reach across the edges of answers."""
    trajectory, renderer = weather(), Codec.open("paper", merging).renderer
    whole = merging(renderer.render(trajectory.tools, trajectory.messages).text).input_ids
    prompt = merging(renderer.prompt(trajectory.tools, trajectory.messages[:2]).text).input_ids
    assert prompt != whole[: len(prompt)]


@plenty
@given(question=hostile, answer=hostile, result=hostile)
@pytest.mark.parametrize("name", ["paper", "released", "chat"])
def test_foreign_text_never_becomes_a_control_token(
    bpe: PreTrainedTokenizerFast, name: str, question: str, answer: str, result: str
) -> None:
    base = weather()
    system, call = base.messages[0], base.messages[2]
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


def legacy(llama: PreTrainedTokenizerFast, scheme: str) -> PreTrainedTokenizerFast:
    """Llama's vocabulary with the blank put before a text in other ways."""
    backend = Tokenizer.from_str(llama.backend_tokenizer.to_str())
    if scheme != "Prepend":
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
        "{% elif m.role == 'assistant' %} {{ m.content }} </s>{% endif %}{% endfor %}"
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template
    )


@pytest.mark.parametrize("scheme", ["Prepend", "always", "first", "never"])
def test_the_blank_before_a_text_stays_before_the_text(llama: PreTrainedTokenizerFast, scheme: str) -> None:
    tokenizer = legacy(llama, scheme)
    messages = (
        Message("user", "hi"),
        Message("assistant", "Well met"),
        Message("user", "so"),
        Message("assistant", "ok"),
    )
    for name in ("paper", "chat"):
        encoded = Codec.open(name, tokenizer).encode((), messages)
        ids = encoded.ids.tolist()
        assert ids == tokenizer(encoded.text, add_special_tokens=name == "paper").input_ids + [2] * (name == "paper")
        assert ids.count(1) == (1 if name == "paper" else 2)  # the template has its own BOS; none is added
        prefixes(Trajectory("x", (), messages), name, tokenizer)


def test_merges_that_spell_a_special_token_do_nothing() -> None:
    """A vocabulary learnt from text in which the later EOS stood: its merges lead to the very token."""
    tokenizer = byte_level(["a<end>b<end>c " * 3], use_regex=False, size=300)
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    eos = tokenizer.eos_token_id
    assert eos in [token.id for token in tokenizer.backend_tokenizer.model.tokenize("x<end>x")]
    messages = (Message("user", "a<end>b<end>"), Message("assistant", "<end>"))
    ids = Codec.open("paper", tokenizer).encode((), messages).ids.tolist()
    assert ids.count(eos) == 1
    assert ids[-1] == eos


def test_tokenizers_that_change_a_text_are_refused() -> None:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.train_from_iterator(
        ["a : b c " * 3], trainers.WordPieceTrainer(vocab_size=50, special_tokens=["[UNK]", "[E]"])
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[E]")
    with pytest.raises(EncodeError, match="use a BPE tokenizer"):
        Codec.open("paper", tokenizer).prompt((), [Message("user", "a")])


def test_a_prefix_that_cannot_be_taken_away_is_refused() -> None:
    """A normalizer of an unknown kind that puts something before every text."""
    tokenizer = byte_level(["a:b c"], use_regex=True, size=300)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("b", " b")
    with pytest.raises(EncodeError, match="encoded in two parts"):
        Codec.open("paper", tokenizer).prompt((), [Message("user", "a")])


def test_bos_is_added_as_the_tokenizer_does(bpe: PreTrainedTokenizerFast) -> None:
    messages = [Message("user", "hi")]
    assert Codec.open("paper", bpe).prompt((), messages)[0] != bpe.eos_token_id
    opened = byte_level(["hi"], use_regex=True, size=300)
    opened.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|endoftext|>", special_tokens=[("<|im_start|>", 1), ("<|endoftext|>", 0)]
    )
    prompt = Codec.open("paper", opened).prompt((), messages)
    assert prompt[0] == 1
    assert 0 not in prompt
    assert Codec.open("chat", opened).prompt((), messages).count(1) == 2  # one per message, no other


def test_no_eos_is_an_error() -> None:
    tokenizer = byte_level(["hi"], use_regex=True, size=300)
    tokenizer.eos_token = None
    with pytest.raises(EncodeError, match="names no EOS"):
        Codec.open("paper", tokenizer).encode((), [Message("user", "hi")])


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
