"""What a template writes after and before a turn, where a text is a model's raw output, or a file was made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

TURN_ENDS = (
    *(f"<|{name}|>" for name in ("eot_id", "eom_id", "eot", "eom", "im_end", "end", "eos", "endoftext", "end_of_text")),
    *(f"<|{name}|>" for name in ("return", "call", "END_OF_TURN_TOKEN", "assistant_end", "user", "observation")),
    *("</s>", "<eos>", "<seed:eos>", "<end_of_turn>", "<｜end▁of▁sentence｜>", "[|endofturn|]", "[e~[", "<turn|>"),
    *("<|tool_response>", "<start_function_response>"),
)
"""Those of GLM say who speaks next; the last two begin the results, and end what Gemma's models say."""
TURN_END = re.compile(rf"(?:\s*(?:{'|'.join(map(re.escape, TURN_ENDS))}))+\s*\Z")
"""Such marks, and nothing after them."""


def _begins(who: str) -> str:
    """What templates begin the turns of these speakers with, as a regular expression."""
    forms = (
        r"<\|im_start\|>{}\b[^\n<]{{0,80}}",
        r"<\|start_header_id\|>{}<\|end_header_id\|>",
        r"<start_of_turn>{}\b",
        r"<\|im_{}\|>\w{{0,40}}<\|im_middle\|>",
        r"<\|{}\|>",
        r"\]~b\]{}\b[^\n]{{0,80}}",
        r"<｜{}｜>",
        r"<\|START_OF_TURN_TOKEN\|><\|{}_TOKEN\|>",
    )
    return "|".join(form.format(f"(?:{who})") for form in forms)


_OTHERS = _begins("system|user|tool|ipython|environment|observation|SYSTEM|USER|User")
_OWN = _begins("assistant|model|ai|Assistant|CHATBOT")
_MARKS = re.compile(
    rf"(?P<others>{_OTHERS}|(?<=</s>)\s*\[INST\])|(?P<user>(?m:^[ \t]*USER:))|(?P<assistant>(?m:^[ \t]*ASSISTANT:))|"
    rf"{_OWN}|\[/INST\]|" + "|".join(map(re.escape, TURN_ENDS))
)
"""The words at the beginning of a line are Glaive's; other texts may have them, too."""


def without_turn_end(text: str) -> str:
    """The text without such marks at its end, and without the white space around them; the same text if it has none.

    Words may end with a mark as well, "ChatML ends every turn with <|im_end|>": only for what is raw.

    Example:
        >>> without_turn_end("[f(a=1)]\\n<|eot_id|>\\n"), without_turn_end("a <|eot_id|> b ")
        ('[f(a=1)]', 'a <|eot_id|> b ')
    """
    end = _without_space(text, len(text))
    found = False
    while mark := next((mark for mark in TURN_ENDS if text.endswith(mark, 0, end)), ""):
        end, found = _without_space(text, end - len(mark)), True
    return text[:end] if found else text


def every_turn_ended(texts: Iterable[str]) -> bool:
    """Whether each of several texts ends with such a mark: then a template wrote them, and no words speak of it.

    Example:
        >>> every_turn_ended(["Hello.</s>", "Bye.</s>"]), every_turn_ended(["Llama's mark is </s>"])
        (True, False)
    """
    said = [text for text in texts if text.strip()]
    return len(said) > 1 and all(map(_ended, said))


def _ended(text: str) -> bool:
    """Whether a text ends with such a mark, and that is not all, nor HTML's end of what is struck out."""
    words = without_turn_end(text)
    return words != text and bool(words.strip()) and "<s>" not in words


def between_turns(text: str) -> str:
    """What a text says beside the marks that end the turn before it, begin and end its own and begin the next one.

    Others' turns that begin within it stay, see `other_turns`.

    Example:
        >>> between_turns("<|im_end|>\\n<|im_start|>assistant\\nIt is 10.<|im_end|>\\n<|im_start|>user\\n")
        'It is 10.'
    """
    marks = _marks(text)
    start, end = 0, len(text)
    for mark in marks:
        if _of_others(mark) or text[start : mark.start()].strip():
            break
        start = mark.end()
    for mark in reversed(marks):
        if mark.start() < start or text[mark.end() : end].strip():
            break
        end = mark.start()
    return text[start:end].strip()


def other_turns(text: str) -> bool:
    """Whether a turn of somebody else than the assistant begins in a text.

    Example:
        >>> other_turns("It is 10.<|im_end|>\\n<|im_start|>user\\nAnd?"), other_turns("It is 10.<|im_end|>")
        (True, False)
    """
    return any(map(_of_others, _marks(text)))


def _marks(text: str) -> list[re.Match[str]]:
    """The marks in a text; ``USER:`` is one only where ``ASSISTANT:`` follows, else it may be a variable's name."""
    found = list(_MARKS.finditer(text))
    last = max((mark.start() for mark in found if mark["assistant"]), default=0)
    return [mark for mark in found if not mark["user"] or mark.start() < last]


def _of_others(mark: re.Match[str]) -> bool:
    """Whether somebody else than the assistant speaks after a mark."""
    return mark.lastgroup in ("others", "user")


def _without_space(text: str, end: int) -> int:
    """Where the text up to ``end`` ends without white space."""
    while end and text[end - 1].isspace():
        end -= 1
    return end
