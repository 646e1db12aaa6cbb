"""Text -> tokens in pieces: control tokens only where the format put them, and no seams where a text is cut.

A tokenizer's own ``__call__`` cannot do this: it turns "</s>" in a user's message into the token that ends a turn, and
encodes the second half of a text as if it opened one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise, takewhile
from operator import itemgetter
from typing import Any, NamedTuple, cast

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tl_jax.data.seams import lines, splits_at_line_ends
from tl_jax.data.tokenizer_file import no_panic
from tl_jax.errors import UserError

_CACHED_CHARACTERS = 1 << 23
"""Of segments whose tokens are remembered; at four characters to a token about 25 MB of tokens."""


class EncodeError(UserError):
    """A text or a tokenizer for which exact supervision is impossible."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters ``[start, end)``: one control token (``token`` is its id), or plain text."""

    start: int
    end: int
    token: int | None = None
    opens: bool = False
    """Whether a tokenizer that puts a blank before a text does so here."""


class Tokens(NamedTuple):
    """What a text is encoded as; read only, for it may be handed out again."""

    ids: np.ndarray
    """int32 [n]"""
    offsets: np.ndarray
    """int32 [n, 2]: the characters that each token stands for."""


class SegmentTokenizer:
    """A fast tokenizer taken apart.

    ``first`` and ``rest`` make no control tokens of a text, whatever it says. ``first`` treats its input as the
    beginning of a text, ``rest`` as a continuation: without the blank that Llama's tokenizers put before a text.
    Control tokens are the special ones and those that the chat template writes (``<tool_call>``).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        template = _templates(tokenizer)
        control = {
            token["content"]: token
            for token in spec["added_tokens"]
            if token["special"] or (token["content"].strip() and token["content"] in template)
        }
        ordinary = [token for token in spec["added_tokens"] if token["content"] not in control]
        # Control tokens stay in the list, as special ones, which are not looked for: without them the library would
        # number the others anew.
        added = [token | {"special": token["content"] in control} for token in spec["added_tokens"]]
        spec |= {"added_tokens": added, "post_processor": None, "truncation": None, "padding": None}
        _forbid(spec["model"], set(control))
        self.first = backend(spec, tokenizer.name_or_path)
        edited = {part: _without_prefix(spec[part]) for part in ("normalizer", "pre_tokenizer")}
        prefixed = spec | edited != spec
        self.rest = backend(spec | edited, tokenizer.name_or_path) if prefixed else self.first
        self.by_line = splits_at_line_ends(spec | {"added_tokens": ordinary}, prefixed=prefixed)
        self._known: dict[tuple[str, bool], Tokens] = {}
        self._known_characters = 0
        self._ids: dict[str, int] = {content: token["id"] for content, token in control.items()}
        self._never = set(self._ids.values()) - {tokenizer.unk_token_id}
        longest_first = sorted(control.values(), key=lambda token: -len(token["content"]))
        self._pattern = re.compile("|".join(map(_token_pattern, longest_first)) or r"(?!)")
        self._prefix_after_control = self._prefixes_after_control(tokenizer.backend_tokenizer)
        self.bos = _opening(tokenizer.backend_tokenizer)
        self._eos: int | None = tokenizer.eos_token_id
        self._name = tokenizer.name_or_path
        self._check(tokenizer)

    def pieces(self, text: str, cuts: Sequence[int], untrusted: Sequence[tuple[int, int]]) -> list[Piece]:
        """Cuts ``text`` at the sorted positions ``cuts`` and at every control token outside the ``untrusted`` spans."""
        pieces: list[Piece] = []
        for start, end in pairwise(cuts):
            position, after_control = start, bool(pieces) and pieces[-1].token is not None
            for found in self._control(text, start, end, untrusted):
                if position < found.start:
                    pieces.append(Piece(position, found.start, opens=self._opens(position, after_control)))
                pieces.append(found)
                position, after_control = found.end, True
            if position < end:
                pieces.append(Piece(position, end, opens=self._opens(position, after_control)))
        return pieces

    @property
    def eos(self) -> int:
        """The id of EOS.

        Raises:
            EncodeError: the tokenizer names none.
        """
        if self._eos is None:
            raise EncodeError(
                f"tokenizer {self._name!r} names no EOS token, which ends every answer; "
                'set "eos_token" in its tokenizer_config.json'
            )
        return self._eos

    def encode(self, text: str, opens: bool) -> Tokens:
        """Tokens of plain text; offsets count from its beginning.

        Raises:
            EncodeError: the vocabulary itself turns ordinary text into a control token.
        """
        return joined(self.segments(text, opens))

    def segments(self, text: str, opens: bool, start: int = 0) -> Iterator[tuple[Tokens, int]]:
        """The parts that a text can be encoded in, each with where it begins; offsets count from there.

        Args:
            start: where the text begins.

        Raises:
            EncodeError: as `encode`.
        """
        for line in lines(text) if self.by_line else [text]:
            yield self._segment(line, opens), start
            start, opens = start + len(line), False

    def _segment(self, text: str, opens: bool) -> Tokens:
        """Tokens of a text that is encoded in one go, or was before."""
        known = self._known.get((text, opens))
        if known is not None:
            return known
        with no_panic(self._name):
            encoding = (self.first if opens else self.rest).encode(text, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        if not self._never.isdisjoint(ids):
            raise EncodeError(
                f"the tokenizer makes a control token of ordinary text: {text[:60]!r}; use another tokenizer"
            )
        flat = np.fromiter(chain.from_iterable(offsets), np.int32, 2 * len(offsets))
        tokens = Tokens(np.array(ids, np.int32), flat.reshape(-1, 2))
        if self._known_characters > _CACHED_CHARACTERS:
            self._known.clear()
            self._known_characters = 0
        self._known[text, opens] = tokens
        self._known_characters += len(text)
        return tokens

    def _control(self, text: str, start: int, end: int, untrusted: Sequence[tuple[int, int]]) -> Iterator[Piece]:
        """The control tokens in ``[start, end)`` that lie wholly outside the sorted ``untrusted`` spans."""
        for stretch in _gaps(start, end, untrusted):
            for match in self._pattern.finditer(text, *stretch):
                yield Piece(*match.span(), token=self._ids[match[match.lastindex or 0]])

    def _opens(self, position: int, after_control: bool) -> bool:
        return position == 0 or (after_control and self._prefix_after_control)

    def _prefixes_after_control(self, backend: Tokenizer) -> bool:
        """Whether the tokenizer puts its blank after control tokens too (Llama's older ones do)."""
        mark = next(iter(self._ids), None)
        if mark is None or self.rest is self.first:
            return False
        after = backend.encode(f"{mark}a", add_special_tokens=False).ids[1:]
        return after == self.first.encode("a").ids != self.rest.encode("a").ids

    def _check(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """A text cut in two must give tokens of the same text."""
        head, tail = "a:", "b\n  c"
        text = self.first.decode([*self.encode(head, opens=True).ids, *self.encode(tail, opens=False).ids])
        if not text.endswith(head + tail):
            raise EncodeError(
                f"tokenizer {tokenizer.name_or_path!r} changes a text that is encoded in two parts ({head + tail!r} "
                f"becomes {text!r}), so prompts would differ from what was trained on; use a BPE tokenizer"
            )


def joined(parts: Iterable[tuple[Tokens, int]]) -> Tokens:
    """The tokens of a text of its parts, each with where it begins."""
    tokens, starts = zip(*parts, strict=True)
    if len(tokens) == 1 and not starts[0]:
        return cast(Tokens, tokens[0])
    sizes = [len(part.ids) for part in tokens]
    shifted = np.concatenate([part.offsets for part in tokens])
    shifted += np.repeat(np.array(starts, np.int32), sizes)[:, None]
    return Tokens(np.concatenate([part.ids for part in tokens]), shifted)


@lru_cache(maxsize=16)
def segment_tokenizer(tokenizer: PreTrainedTokenizerFast) -> SegmentTokenizer:
    """The parts of ``tokenizer``, made once."""
    with no_panic(tokenizer.name_or_path):
        return SegmentTokenizer(tokenizer)


def backend(spec: dict[str, Any], name: str) -> Tokenizer:
    """A tokenizer from the JSON of its parts, for which special tokens are ordinary text; ``name`` is for the error.

    Raises:
        UserError: the parts do not fit together.
    """
    try:
        made = Tokenizer.from_str(json.dumps(spec))
    except Exception as error:  # all that the library raises
        problem = " ".join(str(error).split())[:300]
        raise UserError(f"{name}: the tokenizer is broken: without its control tokens it says {problem}") from error
    for token in spec["added_tokens"]:
        if made.token_to_id(token["content"]) != token["id"]:
            raise UserError(f"{name}: the tokenizer is broken: the id of {token['content']!r} is not {token['id']}")
    made.encode_special_tokens = True
    return made


def _templates(tokenizer: PreTrainedTokenizerFast) -> str:
    """The text of all chat templates; there may be several, by name."""
    found = tokenizer.chat_template or ""
    return "\n".join(map(str, found.values())) if isinstance(found, dict) else str(found)


def _opening(backend: Tokenizer) -> tuple[int, ...]:
    """Ids that ``__call__`` puts before every text: BOS or nothing."""
    encoding = backend.encode("a", add_special_tokens=True)
    return tuple(
        token
        for token, special in takewhile(itemgetter(1), zip(encoding.ids, encoding.special_tokens_mask, strict=True))
    )


def _token_pattern(token: dict[str, Any]) -> str:
    """A control token, with the blanks around it that some tokenizers count as part of it."""
    blanks = {True: r"\s*", False: ""}
    return f"{blanks[token['lstrip']]}({re.escape(token['content'])}){blanks[token['rstrip']]}"


def _forbid(model: dict[str, Any], contents: set[str]) -> None:
    """Removes the merges that would spell a control token."""
    if "merges" in model:
        joined = ((m, m.replace(" ", "", 1) if isinstance(m, str) else "".join(m)) for m in model["merges"])
        model["merges"] = [merge for merge, result in joined if result not in contents]


def _without_prefix(node: Any) -> Any:
    """A normalizer's or pre-tokenizer's JSON without the step that puts a blank before a text."""
    if node is None or node["type"] == "Prepend":
        return None
    if node["type"] == "Sequence":
        key = "normalizers" if "normalizers" in node else "pretokenizers"
        parts = [_without_prefix(part) for part in node[key]]
        return {**node, key: [part for part in parts if part is not None]}
    if node["type"] == "Metaspace":
        return {
            "type": "Metaspace",
            "replacement": node["replacement"],
            "prepend_scheme": "never",
            "split": node.get("split", True),
        }
    if node["type"] == "ByteLevel":
        return {**node, "add_prefix_space": False}
    return node


def _gaps(start: int, end: int, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The stretches of ``[start, end)`` that no span touches; the spans are sorted by their start."""
    for span_start, span_end in spans:
        if span_end <= start:
            continue
        if span_start >= end:
            break
        if start < span_start:
            yield start, span_start
        start = max(start, span_end)
    if start < end:
        yield start, end
