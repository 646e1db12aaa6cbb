"""Structure -> text, together with the characters that belong to every message, answer, call and argument.

The paper's format (`PaperRenderer`, `PaperFullRenderer`), the one its authors' data preparation writes
(`ReleasedRenderer`) and any model's own chat template (`tl_jax.tooluse.text.chat_template.ChatTemplateRenderer`). Spans
are noted while the text is written, so nothing inside a message can move them, whatever it says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tl_jax.registry import Registry
from tl_jax.tooluse.schema import Call, Message, Tool
from tl_jax.tooluse.schema_types import json_types
from tl_jax.tooluse.text.chat_template import ChatTemplateRenderer
from tl_jax.tooluse.text.docstring import PYTHON_TYPES, write_function
from tl_jax.tooluse.text.spans import Apply, CallSpan, Rendered, Renderer, RenderError, Span, TurnSpan
from tl_jax.tooluse.text.template_probe import check_readable

__all__ = [
    "RENDERERS",
    "Apply",
    "CallSpan",
    "ChatTemplateRenderer",
    "PaperFullRenderer",
    "PaperRenderer",
    "ReleasedRenderer",
    "RenderError",
    "Rendered",
    "Renderer",
    "Span",
    "TurnSpan",
    "make_renderer",
]


class _Text:
    """Text under construction that knows where each part of it went."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.length = 0

    def add(self, part: str) -> Span:
        start = self.length
        self._parts.append(part)
        self.length += len(part)
        return start, self.length

    def __str__(self) -> str:
        return "".join(self._parts)


class _PlainRenderer:
    """The template the paper and the released code share: ``Role: content`` lines, EOS after the very last.

    The tools stand in the system message, as Python functions; a system message's own text follows them. Calls are
    Python calls, one per line when there are several, after the turn's text if it has any.
    """

    name: str
    _roles: ClassVar = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Output"}
    _equals: ClassVar[str]
    _after_call: ClassVar[str]

    def render(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        return self._render(tools, messages, generation=False)

    def prompt(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        return self._render(tools, messages, generation=True)

    def turn(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        return self.render(tools, messages)

    def text(self, tools: Sequence[Tool], messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The string of the published Jinja template, ``</s>`` included."""
        rendered = self._render(tools, messages, add_generation_prompt)
        return rendered.text + ("</s>" if rendered.closed_by_eos else "")

    def answer(self, calls: Sequence[Call], content: str = "") -> str:
        out = _Text()
        self._write_answer(out, calls, content)
        return str(out)

    def _render(self, tools: Sequence[Tool], messages: Sequence[Message], generation: bool) -> Rendered:
        out, spans, untrusted, turns = _Text(), [], [], []
        first = messages[0] if messages else None
        block = self._tools(tools)
        if block and (first is None or first.role != "system"):
            out.add("System: ")
            untrusted.append(out.add(block))
        for index, message in enumerate(messages):
            start = out.length
            out.add("\n" if start else "")
            out.add(f"{self._roles[message.role]}:")
            header_end = out.length
            out.add(" ")
            calls: tuple[CallSpan, ...] = ()
            if message.role == "assistant":
                calls = self._write_answer(out, message.tool_calls, message.content)
                turns.append(TurnSpan(index, (header_end, out.length), calls, None))
            elif message is first and message.role == "system":
                out.add(self._joined(block, message.content))
            else:
                out.add(message.content)
            untrusted.append((header_end + 1, out.length))
            spans.append((start, out.length))
        if generation:
            out.add("\nAssistant:" if out.length else "Assistant:")
        return Rendered(str(out), tuple(spans), tuple(untrusted), tuple(turns), closed_by_eos=not generation)

    def _write_answer(self, out: _Text, calls: Sequence[Call], content: str) -> tuple[CallSpan, ...]:
        out.add(content)
        spans = []
        for index, call in enumerate(calls):
            out.add("\n" if index or content else "")
            spans.append(self._write_call(out, call))
        return tuple(spans)

    def _write_call(self, out: _Text, call: Call) -> CallSpan:
        name, arguments = out.add(call.name), {}
        out.add("(")
        for index, (key, value) in enumerate(call.arguments.items()):
            out.add(f"{', ' if index else ''}{key}{self._equals}")
            arguments[key] = out.add(self._value(value))
        out.add(f"){self._after_call}")
        return CallSpan(name, arguments)

    def _value(self, value: Any) -> str:
        raise NotImplementedError

    def _tools(self, tools: Sequence[Tool]) -> str:
        raise NotImplementedError

    def _joined(self, block: str, own_text: str) -> str:
        raise NotImplementedError


class PaperRenderer(_PlainRenderer):
    """The paper's format, as its README shows it: ``def f(q:str):`` and ``f(q = 'love') ``.

    The README has required parameters only; optional ones follow them as ``p:int = None``. A type that the schema
    does not name is that of what it refers to or allows; one that Python has no plain name for, or none at all, is
    ``any``. Several types are joined by `` | ``.
    """

    name = "paper"
    _equals = " = "
    _after_call = " "

    def _value(self, value: Any) -> str:
        return repr(value)

    def _tools(self, tools: Sequence[Tool]) -> str:
        return "".join(map(self._function, tools))

    def _joined(self, block: str, own_text: str) -> str:
        return block + own_text

    def _function(self, tool: Tool) -> str:
        parameters = [_Parameter(tool, name) for name in tool.signature]
        signature = ", ".join(f"{p.name}:{self._type(p)}{p.default}" for p in parameters)
        arguments = "".join(f"\n        {p.name} ({p.said_type}): {p.description}" for p in parameters)
        arguments = f"\n\n    Args:{arguments}" if arguments else ""
        return f'Function:\ndef {tool.name}({signature}):\n    """\n    {tool.description}{arguments}\n    """\n\n'

    def _type(self, parameter: _Parameter) -> str:
        kinds = parameter.json_types if PYTHON_TYPES.keys() >= {*parameter.json_types} else parameter.known_types
        return " | ".join(PYTHON_TYPES.get(one, "any") for one in kinds)


class PaperFullRenderer(PaperRenderer):
    """The paper's format with functions that say all that their schemas do: see `write_function`.

    Values that are allowed, the fields of objects, what lists consist of, alternatives, references, bounds, defaults.
    Everything else is as in `PaperRenderer`, the answers above all.
    """

    name = "paper_full"

    def _function(self, tool: Tool) -> str:
        return write_function(tool)


class ReleasedRenderer(_PlainRenderer):
    """What the released data preparation writes: ``def f(q: string, n: integer = None):`` and ``f(q="love", n=1)``.

    Byte for byte wherever that code runs through; it fails on a parameter without description, on a tool without
    ``required`` and on a list of types, which are written here as in the paper's format.
    """

    name = "released"
    _equals = "="
    _after_call = ""

    def _value(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def _tools(self, tools: Sequence[Tool]) -> str:
        return "\n\n".join(map(self._function, tools))

    def _joined(self, block: str, own_text: str) -> str:
        return "\n\n".join(part for part in (block, own_text) if part)

    def _function(self, tool: Tool) -> str:
        parameters = [_Parameter(tool, name) for name in tool.signature]
        signature = ", ".join(f"{p.name}: {p.json_type}{p.default}" for p in parameters)
        arguments = "".join(f"    {p.name} ({p.json_type}): {p.description}\n" for p in parameters)
        head = f'Function:\ndef {tool.name}({signature}):\n    """\n    {tool.description}\n\n'
        return f'{head}    Args:\n{arguments}    """'


class _Parameter:
    """One parameter of a tool, as both function blocks need it."""

    def __init__(self, tool: Tool, name: str) -> None:
        spec = tool.properties[name]
        kind = spec.get("type")
        self.name = name
        self.json_types = [str(one) for one in kind] if isinstance(kind, list) and kind else [str(kind or "any")]
        self.json_type = " | ".join(self.json_types)
        self.known_types = json_types(spec, tool.parameters) or ("any",)
        self.said_type = self.json_type if kind else " | ".join(self.known_types)
        self.description = spec.get("description") or ""
        self.default = "" if name in tool.required else " = None"


@dataclass(frozen=True, slots=True)
class NamedRenderer:
    """A text format as settings name it.

    Attributes:
        make: takes the model's chat template, where it has one.
        templated: it writes with that template, so that one may be chosen and told something.
    """

    name: str
    description: str
    make: Callable[[Apply | None], Renderer]
    templated: bool = False


def _chat(apply: Apply | None) -> Renderer:
    if apply is None:
        raise RenderError(
            "the format 'chat' needs the model's chat template, and there is no tokenizer that has one: name another "
            "tokenizer, or another format where none is asked for (score, reward); eval scores with the model's own"
        )
    renderer = ChatTemplateRenderer(apply)
    check_readable(renderer)
    return renderer


RENDERERS = Registry(
    "text format",
    (
        NamedRenderer("paper", "as the paper's README shows it: `f(q = 'love') `", lambda apply: PaperRenderer()),
        NamedRenderer(
            "paper_full",
            "as `paper`, with all that the schemas say: values allowed, fields, items, alternatives, bounds",
            lambda apply: PaperFullRenderer(),
        ),
        NamedRenderer("released", 'as its data preparation writes it: `f(q="love")`', lambda apply: ReleasedRenderer()),
        NamedRenderer("chat", "the model's own chat template", _chat, templated=True),
    ),
    columns={
        "`renderer`": lambda renderer: f"`{renderer.name}`",
        "what it is": lambda renderer: renderer.description,
    },
)


def make_renderer(name: str, apply: Apply | None = None) -> Renderer:
    """The renderer of `RENDERERS` called ``name``.

    Args:
        apply: the model's chat template, which ``chat`` needs.

    Raises:
        UserError: there is none of this name, no chat template, or one whose calls are not read back.
    """
    return RENDERERS.find(name).make(apply)
