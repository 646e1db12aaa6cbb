"""A SentencePiece model (``tokenizer.model``) as a fast tokenizer.

Merges are ordered by the pieces' scores, which is SentencePiece's own rule: `transformers` orders them by id, and then
splits runs of spaces in Llama's vocabulary differently. The result is compared with the `sentencepiece` library before
it is handed out.
"""

from __future__ import annotations

from pathlib import Path

from sentencepiece import SentencePieceProcessor
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges

from tl_jax.errors import UserError

_PROBES = (
    "Function:\ndef get_advice(slip_id:str):\n    ",
    " two  spaces\n\n\tand   three ",
    "get_advice(id = '12') \nOut:",
    "é中😀 ﬁ Ａ\u00a0½ e\u0301",
    "x<s>y</s><unk><0x0A>",
)


def load_sentencepiece(path: Path) -> PreTrainedTokenizerFast:
    """Converts the BPE model in file ``path``. Tokens are the library's, and ``<s>`` opens every text.

    Raises:
        UserError: not a SentencePiece model, or one whose text normalisation or algorithm this does not cover.
    """
    try:
        library = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: not a SentencePiece model: {' '.join(str(error).split())}") from None
    tokenizer = _convert(library)
    for probe in _PROBES:
        if tokenizer.encode(probe, add_special_tokens=False).ids != library.encode(probe):
            raise UserError(
                f"{path}: this SentencePiece model is not plain BPE as Llama's is (it splits {probe!r} otherwise); "
                "give the tokenizer as a directory with tokenizer.json"
            )
    special = {"unk": library.unk_id(), "bos": library.bos_id(), "eos": library.eos_id()}
    names = {f"{name}_token": library.id_to_piece(index) for name, index in special.items() if index >= 0}
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names.values()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


def _convert(library: SentencePieceProcessor) -> Tokenizer:
    pieces = [library.id_to_piece(index) for index in range(library.vocab_size())]
    written = [
        i for i in range(len(pieces)) if not (library.is_control(i) or library.is_unknown(i) or library.is_byte(i))
    ]
    merges = generate_merges({pieces[i]: i for i in written}, {pieces[i]: library.get_score(i) for i in written})
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    unknown = pieces[library.unk_id()]
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = library.encode("a", out_type=str)[0].startswith("▁")  # one dummy space opens the text
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if prefix else space
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    if library.bos_id() >= 0:
        bos = library.id_to_piece(library.bos_id())
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, library.bos_id())]
        )
    return tokenizer
