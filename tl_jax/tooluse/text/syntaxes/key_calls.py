"""Calls in tags with a key and a value for each argument: GLM, Hunyuan from version 3 on, LongCat.

Values are read as those in other tags, see `xml_calls`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import product

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes.attempts import either, marked, special
from tl_jax.tooluse.text.syntaxes.base import NAME, Offer, Parsed, Problem, Syntax, expect, section
from tl_jax.tooluse.text.syntaxes.xml_calls import ArgumentTags, as_text, tagged_arguments

_OPEN = ":opensource"
"""What the tags of Hunyuan's published models end with."""
_HEAD = re.compile(rf"<((?:longcat_)?)tool_call((?:{_OPEN})?)>([^<]*)(?:<tool_sep(?:{_OPEN})?>)?")
_NAME = re.compile(NAME)
_TAGS = {
    (prefix, suffix): ArgumentTags(
        re.compile(rf"<{prefix}arg_key{suffix}>([^<>]+)</{prefix}arg_key{suffix}>\s*<{prefix}arg_value{suffix}>"),
        f"</{prefix}arg_value{suffix}>",
    )
    for prefix, suffix in product(("", "longcat_"), ("", _OPEN))
}


def _read(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """A name alone is a call without arguments, where it stands as the template writes it or is offered."""
    head = _HEAD.match(text, position)
    if not head:
        raise Problem(f"expected <tool_call>, not {text[position : position + 40]!r}")
    prefix, suffix, said = head.groups()
    name = said.strip()
    if not (said.removesuffix("\n") == name and _NAME.fullmatch(name)) and not offer.tool(name):
        raise Problem(f"{name[:40]!r} is no name of a tool")
    arguments, end = tagged_arguments(text, head.end(), name, offer, _TAGS[prefix, suffix])
    return [(Call(name, arguments), ())], expect(text, end, f"</{prefix}tool_call{suffix}>")


def _written(prefix: str = "", after_name: str = "") -> Callable[[Sequence[Call]], str]:
    """Writes calls in tags whose names begin so, one after another."""
    tag, key, value = (f"{prefix}{name}" for name in ("tool_call", "arg_key", "arg_value"))
    return lambda calls: "\n".join(
        f"<{tag}>{call.name}{after_name}\n"
        + "".join(
            f"<{key}>{name}</{key}>\n<{value}>{as_text(given)}</{value}>\n" for name, given in call.arguments.items()
        )
        + f"</{tag}>"
        for call in calls
    )


_write_glm, _write_longcat, _write_in_section = _written(), _written("longcat_"), _written(after_name="<tool_sep>")


def _write_hunyuan(calls: Sequence[Call]) -> str:
    return f"<tool_calls>\n{_write_in_section(calls)}\n</tool_calls>"


_F = [Call("f", {"a": 1})]

SYNTAXES = (
    Syntax(
        name="glm",
        description="the name, then `<arg_key>` and `<arg_value>`, in `<tool_call>` tags: GLM 4.5 and later",
        example=_write_glm(_F),
        opening=r"<tool_call>\s*[^\s<{\[][^<{]*<(?:arg_key>|/tool_call>)",
        first="<",
        marked=True,
        read=_read,
        attempts=either(marked("<tool_call>", closing="</tool_call>"), special("<arg_key>")),
        write=_write_glm,
        source="https://huggingface.co/zai-org/GLM-4.5",
    ),
    Syntax(
        name="hunyuan",
        description="as GLM's, with `<tool_sep>` after the name and `<tool_calls>` around all, or with "
        "`:opensource` in every tag: Hunyuan from version 3 on",
        example=_write_hunyuan(_F),
        opening=rf"<tool_calls(?:{_OPEN})?>\s*<tool_call|<tool_call>[^<{{]*<tool_sep>|<tool_call{_OPEN}>",
        first="<",
        marked=True,
        read=section(_read, *((f"<tool_calls{suffix}>", f"</tool_calls{suffix}>") for suffix in ("", _OPEN))),
        attempts=special("<tool_sep>", f"<tool_calls{_OPEN}>", f"<tool_call{_OPEN}>"),
        write=_write_hunyuan,
        source="https://huggingface.co/tencent/Hy3-preview",
    ),
    Syntax(
        name="longcat_keys",
        description="as GLM's, in tags that begin with `longcat_`: LongCat",
        example=_write_longcat(_F),
        opening=r"<longcat_tool_call>\s*[^\s<{\[]",
        first="<",
        marked=True,
        read=_read,
        attempts=either(marked("<longcat_tool_call>", closing="</longcat_tool_call>"), special("<longcat_arg_key>")),
        write=_write_longcat,
        source="https://huggingface.co/meituan-longcat/LongCat-Flash-Lite",
    ),
)
