"""SentencePiece models as fast tokenizers, against the library itself."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from sentencepiece import SentencePieceProcessor
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import hostile, plenty
from tl_jax.data.codec import Codec
from tl_jax.data.segment_tokenizer import segment_tokenizer


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
