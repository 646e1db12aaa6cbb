"""Opening a tokenizer, whatever its files say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from tl_jax.data.spm import load_sentencepiece
from tl_jax.errors import UserError

MAX_BYTES = 200 * 1000**2
"""Of a tokenizer.json; that of Gemma, with 256,000 tokens, has 33 MB."""
MAX_ID = 2**31 - 1
_PROBES = ("", "a", "Hello, world 12\n\n\té中😀 <s>x</s> f(a = 'b')")


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer in directory ``path`` (tokenizer.json), or the SentencePiece model there or in file ``path``.

    Whether it pads or cuts texts off by itself is not listened to.

    Raises:
        UserError: nothing there that can be read.
    """
    path = Path(path)
    if path.is_file():
        return load_sentencepiece(path)
    if not path.is_dir():
        raise UserError(
            f"{path}: no such tokenizer; give a directory with tokenizer.json or a SentencePiece .model file"
        )
    if (path / "tokenizer.json").is_file():
        return _load_json(path)
    models = sorted(path.glob("*.model"))
    if len(models) != 1:
        raise UserError(f"{path}: holds neither tokenizer.json nor exactly one SentencePiece .model file")
    return load_sentencepiece(models[0])


def _load_json(directory: Path) -> PreTrainedTokenizerFast:
    file = directory / "tokenizer.json"
    if file.stat().st_size > MAX_BYTES:
        raise UserError(f"{file}: larger than {MAX_BYTES // 1000**2} MB, which no tokenizer is")
    with no_panic(str(file)):
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(str(directory))
            backend = tokenizer.backend_tokenizer
            # What it says of padding could ask for all memory there is, and the library then ends the process.
            backend.no_padding()
            backend.no_truncation()
            for text in _PROBES:
                backend.decode(backend.encode(text).ids)
            most = max(tokenizer.get_vocab().values(), default=0)
        except Exception as error:  # the library raises whatever its JSON reader or Rust part meets
            raise UserError(f"{file}: cannot be read: {' '.join(str(error).split())[:300]}") from error
    if most > MAX_ID:
        raise UserError(f"{file}: has a token with the id {most}; ids are counted in 32 bits")
    return tokenizer


@contextmanager
def no_panic(tokenizer: str) -> Iterator[None]:
    """Makes a panic of the library's Rust part, which no ``except Exception`` catches, an error of the file.

    Raises:
        UserError: instead of a PanicException.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        problem = " ".join(str(error).split())[:200]
        raise UserError(f"{tokenizer}: the tokenizer is broken and failed inside of its library: {problem}") from None
