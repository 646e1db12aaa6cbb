"""Texts in parts: the blank before a text, control tokens, BOS and EOS, and tokenizers that cannot do it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import byte_level, prefixes
from tl_jax.data.codec import Codec
from tl_jax.data.segment_tokenizer import EncodeError, SegmentTokenizer
from tl_jax.tooluse.schema import Message, Trajectory

SPECIAL = ["<|end|>", "<|turn|>", "<|pad|>"]
ORDINARY = ["<|fim_prefix|>", "<|fim_suffix|>", "<|file_sep|>"]
LAYOUTS = {
    "special first": [*SPECIAL, *ORDINARY],
    "special last": [*ORDINARY, *SPECIAL],
    "by turns": [token for pair in zip(ORDINARY, SPECIAL, strict=True) for token in pair],
}


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


@pytest.mark.parametrize("in_vocabulary", [(), SPECIAL, SPECIAL[:1], ORDINARY, ORDINARY[1:2]], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_added_tokens_keep_their_ids(layout: str, in_vocabulary: Sequence[str]) -> None:
    """Whether they are special or not, and wherever they stand: in the model's own vocabulary or after it."""
    backend = Tokenizer.from_str(byte_level(["so"], use_regex=True, size=300).backend_tokenizer.to_str())
    spec = json.loads(backend.to_str()) | {"added_tokens": []}
    gap = max(spec["model"]["vocab"].values()) + 7
    spec["model"]["vocab"] |= {content: gap + 3 * number for number, content in enumerate(in_vocabulary)}
    backend = Tokenizer.from_str(json.dumps(spec))
    for content in LAYOUTS[layout]:
        backend.add_tokens([AddedToken(content, special=content in SPECIAL, normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=SPECIAL[0])
    segments = SegmentTokenizer(tokenizer)
    for text in [f"go {token} on" for token in ORDINARY]:
        assert segments.encode(text, opens=True).ids.tolist() == tokenizer(text, add_special_tokens=False).input_ids
    said = "".join(f"a{token}b {other}" for token, other in zip(SPECIAL, ORDINARY, strict=True))
    ordinary = tokenizer(said, add_special_tokens=False, split_special_tokens=True).input_ids
    assert segments.encode(said, opens=False).ids.tolist() == ordinary
    assert not {tokenizer.convert_tokens_to_ids(token) for token in SPECIAL} & {*ordinary}


def test_a_control_token_of_the_template_is_ordinary_where_a_user_writes_it() -> None:
    """It is not special for the library, and the tokens after it keep their ids all the same."""
    tokenizer = byte_level(["so"], use_regex=True, size=300)
    tokenizer.add_tokens(ORDINARY)
    encoded = Codec.open("chat", tokenizer).encode((), [Message("user", f"Is <tool_call> {ORDINARY[1]}?")])
    ids, known = encoded.ids.tolist(), tokenizer.convert_tokens_to_ids
    assert known("<tool_call>") not in ids
    assert ids.count(known(ORDINARY[1])) == 1
    assert tokenizer.decode(ids) == encoded.text
