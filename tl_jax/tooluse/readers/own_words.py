"""What a prompt says beside its tools: the user's own words.

Sentences that say how to write calls are left out, as every renderer says that itself. They are told by what the
prompts of known templates say and by what an order to write calls has, narrowly: a sentence too many in a prompt does
less harm than a rule of the user's that is gone. Those left out are counted and named.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from typing import Any

from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.embedded import called, embedded

LEFT_OUT = "sentence of a system text left out: it says how to write calls, which every renderer says itself"

GLAIVE = r"You are a helpful assistant with access to the following functions\.|Use them if required\b"
"""What Glaive's prompts say of their tools."""
_EXAMPLE, _VALUE = "\x01", "\x02"
"""What stands in place of an example of a call, and of other JSON, while sentences are looked at."""

_PHRASES = re.compile(
    # tags, tokens and examples of calls
    rf"{_EXAMPLE}|</?(?:[a-z]+:)?(?:(?:available_)?tools?(?:_?(?:calls?|responses?|results?|definitions))?"
    r"|functions?(?:_?(?:calls?|responses?|results?))?|parameters?|arg_(?:key|value)|invoke)>"
    r"|<(?:function|parameter|invoke)(?:=| name=)|<\|/?tool_calls?\|>|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|\[\w+\(\w+=|>>>\$\{|recipient=="
    # headings
    r"|\A#+ (?:tools|functions)\s*\Z|\A(?:(?:here|these) are )?(?:the )?available (?:tools|functions)\s*:"
    r"|\bhere (?:is|are) (?:a |the )?(?:list of |set of )?(?:available |possible )?(?:tools|functions) "
    r"|\byou have access to the following (?:functions|tools)\b|\bsupported function definitions"
    rf"|{GLAIVE}"
    # Hermes, Qwen, MiniMax
    r"|\bfunction calling (?:ai )?model\b|\bfunction signatures within\b|\bpydantic model json schema\b"
    r"|\Ayou (?:may |can )?call (?:(?:one or more|any of the) )?(?:functions|tools)(?: below| to assist with\b|\s*[.:])"
    r"|\bassumptions about what values to plug into\b"
    # ToolACE, xLAM
    r"|\bcomposing functions\b|\bset of possible functions\b|\binvoke any of the functions?\b"
    r"|\bmake one or more function/tool calls\b|\breturn the function call(?:\(s\))?(?: in\b|\.)"
    r"|\bfunctions can be used, point it out\b|\blacks the parameters required by the function\b|\Aalso point it out\b"
    r"|\bno other text must be included\b|\bnot include any other text in the response\b"
    r"|\bmake the tool calls an empty list\b"
    # DeepSeek
    r"|\uff5c(?:DSML|tool\u2581)|`tool_call_(?:name|arguments)`|\bformat for tool use\b|\bmultiple tool calls, chain\b"
    r"|\binvoke (?:functions|tools) by writing an? "
    # Llama, functionary
    r"|\Ado not use variables\.?\s*\Z|\bexecuting available function|\bentire function call reply on one line\b"
    r"|\bfunction calls must follow the specified format\b|\brequired parameters must be specified\b",
    re.IGNORECASE,
)
"""What the prompts of known templates say of how calls are written."""
_ORDER = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:return|respond|reply|output|write|put|format|use)\b[^;]{0,80}?(?:json|\bxml\b)",
        r"\b(?:function|tool)s? (?:calls?|arguments?)\b",
    )
)
"""What an order to write calls in some format has, all of it."""
_INTRODUCTION = re.compile(
    r"\b(?:the|this)(?: \w+)? format\b|\bas follows:\Z|\A\W*(?:important|where):\Z", re.IGNORECASE
)
"""What a sentence that ends with a colon has, if it may say how to write calls: it does if what comes next does."""
_RULE = re.compile(
    r"\bnever\b|\bafter (?:an?|the|each|every|any)\b|\b(?:do not|don't|must not) (?:show|tell|reveal|mention)\b"
    r"|\b(?:results?|outputs?|responses?) (?:of|from)\b|\bfail(?:s|ed|ure)?\b",
    re.IGNORECASE,
)
"""What a rule has that a user made: it is about what becomes of calls and results."""
_MADE_UP = re.compile(r"func|tool|name", re.IGNORECASE)
"""What the names of tools have in examples: ``func_name1``."""
_SENTENCE = re.compile(r"[^\n]*?(?:[.!?:](?=\s|$)|\n|$)\s*", re.DOTALL)
_TAG, _TAG_END = re.compile(r"<tool_call>\s*(?=[\[{]|<[^/])"), "</tool_call>"
_SHAPE = re.compile(r"\{(?>[^{}\n]*?function[ _-]name)[^{}\n]*\}", re.IGNORECASE)
"""``{"name": <function-name>, "arguments": <args-json-object>}``"""


def own_words(text: str, names: Container[str] = ()) -> str:
    """A prompt without the sentences that say how to write calls, which are counted.

    Args:
        names: of the tools: what calls them is an example.

    Example:
        >>> own_words("Be kind. For each function call, return a JSON object. Never speak of tool calls in JSON.")
        'Be kind. Never speak of tool calls in JSON.'
    """
    masked = [match for match in _SENTENCE.finditer(_masked(text, names)) if match[0]]
    left_out, following = list[bool](), False
    for match in reversed(masked):
        following = _says_how(match[0]) or (following and _introduces(match[0]))
        left_out.append(following)
    kept = list[str]()
    for match, gone in zip(masked, reversed(left_out), strict=True):
        sentence = text[match.start() : match.end()]
        if gone:
            remark(LEFT_OUT, sentence)
        else:
            kept.append(sentence)
    return "".join(kept).strip()


def _says_how(sentence: str) -> bool:
    """Whether a sentence says how to write calls."""
    if not _PHRASES.search(sentence) and not all(pattern.search(sentence) for pattern in _ORDER):
        return False
    return not _RULE.search(sentence)


def _introduces(sentence: str) -> bool:
    """Whether a sentence announces something that may be how to write calls."""
    said = sentence.rstrip()
    return said.endswith(":") and bool(_INTRODUCTION.search(said))


def _masked(text: str, names: Container[str]) -> str:
    """The text with marks, as many as it has characters, in place of JSON and of examples of calls."""
    text = _marked(text, ((start, end, _EXAMPLE) for start, end in _tagged(text)))
    text = _SHAPE.sub(lambda shape: _EXAMPLE * len(shape[0]), text)
    text = _marked(text, _values(text, names))
    return _marked(text, _values(text.replace("'", '"'), names)) if "{'" in text else text  # as Python writes it


def _marked(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """The text with the mark of each span in place of its characters."""
    parts, position = [], 0
    for start, end, mark in spans:
        parts += [text[position:start], mark * (end - start)]
        position = end
    return "".join((*parts, text[position:]))


def _tagged(text: str) -> Iterator[tuple[int, int]]:
    """Where examples of calls stand in their tags."""
    end = 0
    for opening in _TAG.finditer(text):
        if opening.start() >= end:
            closing = text.find(_TAG_END, opening.end())
            if closing < 0:
                return
            end = closing + len(_TAG_END)
            yield opening.start(), end


def _values(text: str, names: Container[str]) -> Iterator[tuple[int, int, str]]:
    """Where JSON stands, and the mark of what it is."""
    for value, start, end in embedded(text):
        values = value if isinstance(value, list) else [value]
        yield start, end, _EXAMPLE if all(_is_example(item, names) for item in values) else _VALUE


def _is_example(value: Any, names: Container[str]) -> bool:
    """Whether a value is a call of one of the tools, or of a made-up one; or the schema of calls in Hermes' prompt."""
    name = called(value)
    if name is None:
        return isinstance(value, dict) and value.get("title") == "FunctionCall"
    return name in names or bool(_MADE_UP.search(name))
