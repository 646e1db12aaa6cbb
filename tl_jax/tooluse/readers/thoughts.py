"""What known models write around their thoughts and answers in a recorded text, as the message's reasoning and text."""

from __future__ import annotations

import re
from dataclasses import replace

from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.schema import Message
from tl_jax.tooluse.text.parse import thoughts

THOUGHT = (
    "text that begins with thoughts in marks of a model's: they are the reasoning of its message here, which is no "
    "target without data.include: [reasoning]"
)

_ANSWER = re.compile(
    r"\s*(?:(?:<\|start\|>assistant)?<\|channel\|>final(?:\s*<\|constrain\|>\w+)?<\|message\|>(?P<harmony>.*?)"
    r"(?:<\|return\|>|<\|end\|>)?|<\|START_RESPONSE\|>(?P<command_r>.*?)<\|END_RESPONSE\|>)\s*",
    re.DOTALL,
)
"""An answer as gpt-oss and Command R mark it."""


def apart(message: Message) -> Message:
    """The message with the thoughts that an assistant's text begins with as its reasoning; without marks of an answer.

    ReAct's ``Thought:`` has no end of its own and is read with the call after it.

    Example:
        >>> said = apart(Message("assistant", "<think>Rain?</think>It will be dry."))
        >>> said.reasoning, said.content
        ('Rain?', 'It will be dry.')
    """
    if message.role != "assistant":
        return message
    text, found = message.content, [message.reasoning] if message.reasoning else []
    while True:
        thought, start = thoughts(text)
        if not start or thought.startswith("Thought:") or _speaks_of_it(text, start):
            break
        text = text[start:]
        if thought and thought not in (said.strip() for said in found):  # some files say it twice
            found.append(thought)
    if text != message.content and not (text.strip() or message.tool_calls):
        return message  # its only words
    if text != message.content:
        remark(THOUGHT)
    if answer := _ANSWER.fullmatch(text) if text.lstrip().startswith("<|") else None:
        text = answer[answer.lastgroup or 0]
    if text == message.content:
        return message
    return replace(message, content=text, reasoning="\n".join(found) or None)


def _speaks_of_it(text: str, end: int) -> bool:
    """Whether the marks before ``end`` are spoken of in a sentence that goes on, or belong to a format of several."""
    blanks = text[len(text[:end].rstrip()) : end]
    goes_on = blanks and "\n" not in blanks and text[end : end + 1].islower()
    return bool(goes_on) or text.startswith("<answer>", end)
