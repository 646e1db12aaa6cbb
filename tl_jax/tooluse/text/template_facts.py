"""What a chat template wants and writes around messages, found out by a few short texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from tl_jax.tooluse.json_schema import TYPES
from tl_jax.tooluse.prefixes import common_prefix
from tl_jax.tooluse.schema import Call, Message, Tool
from tl_jax.tooluse.text.spans import Apply, RenderError
from tl_jax.tooluse.text.template_input import ANY_ID, NINE, template_messages, template_tool
from tl_jax.tooluse.text.template_limit import EndlessTemplateError, limited

_TOKENS_AT_END = re.compile(r"<[^<>\s]+>.*\Z", re.DOTALL)
_LAST_TOKEN = re.compile(r"<[^<>\s]+>\s*\Z")


@dataclass(frozen=True)
class KnownTemplate:
    """A chat template, and what a few texts show of it.

    Attributes:
        closer: what it writes after an assistant's text: a terminator such as ``<|im_end|>``, or only blanks.
        call_closer: what it writes after calls; mostly the same.
        opening: what it writes before the answer that a prompt asks for.
        ids: the ids of calls that it takes.
        arguments_as_text: it writes arguments as they come, and wants JSON: DeepSeek's, functionary's.
        thoughts: it takes ``<think>`` tags in an assistant's text apart.
        needs_tools: it cannot do without a list of tools, if only an empty one.
    """

    apply: Apply
    closer: str
    call_closer: str
    opening: str
    ids: re.Pattern[str] = ANY_ID
    needs_tools: bool = False
    arguments_as_text: bool = False
    thoughts: bool = False

    @classmethod
    def of(cls, apply: Apply, tools: Sequence[Tool]) -> KnownTemplate:
        """What it does where there are ``tools``, or none: a model may have a template for either.

        Raises:
            RenderError: it refuses a question and its answer.
        """
        plain = cls(apply, "", "", "")
        question, sentinel = Message("user", "."), "1000000000"
        try:
            prompt = plain.write(tools, [question], generation=True)
        except RenderError as error:
            plain = replace(plain, needs_tools=True)
            try:
                prompt = plain.write(tools, [question], generation=True)
            except RenderError:
                raise error from None
        closer = plain.write(tools, [question, Message("assistant", sentinel)]).rpartition(sentinel)[2]
        asked = plain.write(tools, [question])
        opening = prompt[len(asked) :] if prompt.startswith(asked) else ""
        plain = replace(plain, closer=closer, call_closer=closer, opening=opening)
        plain = replace(plain, arguments_as_text=plain._wants_text(tools), ids=plain._ids(tools))
        return replace(plain, call_closer=plain._call_closer(tools), thoughts=plain._takes_apart(tools))

    def _takes_apart(self, tools: Sequence[Tool]) -> bool:
        """Whether it does something with the tags, in the last turn or in an earlier one."""
        question, answer = Message("user", "."), Message("assistant", "A1<think>\nA2\n</think>\n\nA3")
        try:
            return self.write(tools, [question, answer, question, answer]).count(answer.content) != 2
        except RenderError:
            return False

    def _wants_text(self, tools: Sequence[Tool]) -> bool:
        """Whether it fails with arguments as an object, or writes them as Python does, and not with JSON."""
        messages = [Message("user", "."), Message("assistant", "", (Call("f", {"a": "b"}),))]
        try:
            if "{'a': 'b'}" not in self.write(tools, messages):
                return False
        except RenderError:
            pass
        try:
            return '{"a": "b"}' in replace(self, arguments_as_text=True).write(tools, messages)
        except RenderError:
            return False

    def _call_closer(self, tools: Sequence[Tool]) -> str:
        """Command R and gpt-oss end calls with another token than texts."""
        try:
            text = self.write(tools, [Message("user", "."), Message("assistant", "", (Call("f", {"a": 1}),))])
        except RenderError:
            return self.closer
        if not self.closer.strip() or text.rstrip().endswith(self.closer.strip()):
            return self.closer
        shared = common_prefix(text[::-1], self.closer[::-1])
        found = _TOKENS_AT_END.search(text, len(text) - shared) or _LAST_TOKEN.search(text)
        return found[0] if found else self.closer

    def _ids(self, tools: Sequence[Tool]) -> re.Pattern[str]:
        """Mistral's templates refuse all ids but those of nine letters and digits."""
        call, result = Call("f", {"a": 1}, id="call_1"), Message("tool", ".", call_id="call_1")
        try:
            self.write(tools, [Message("user", "."), Message("assistant", "", (call,)), result])
        except RenderError:
            return NINE
        return ANY_ID

    def write(self, tools: Sequence[Tool], messages: Sequence[Message], generation: bool = False) -> str:
        """The text.

        Raises:
            RenderError: the template refuses these messages.
            EndlessTemplateError: it does not come to an end.
        """
        rows = [template_tool(tool) for tool in tools]
        try:
            given = template_messages(messages, self.ids, self.arguments_as_text)
            return limited(partial(self.apply, given, rows if rows or self.needs_tools else None, generation))
        except EndlessTemplateError:
            raise
        except Exception as error:  # a template is a program and may raise anything
            raise RenderError(f"the chat template refuses these messages: {error}") from error


def stand_in(call: Call) -> Tool:
    """A tool that ``call`` is a call of."""
    kinds = {key: {"type": TYPES.get(type(value), "object")} for key, value in call.arguments.items()}
    return Tool(call.name, "", {"type": "object", "properties": kinds})
