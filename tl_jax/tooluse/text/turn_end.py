"""What a template writes after a turn, where a text is a model's raw output, or a file was made of it."""

from __future__ import annotations

import re

TURN_ENDS = (
    *(f"<|{name}|>" for name in ("eot_id", "eom_id", "eot", "eom", "im_end", "end", "eos", "endoftext", "end_of_text")),
    *(f"<|{name}|>" for name in ("return", "call", "END_OF_TURN_TOKEN", "assistant_end", "user", "observation")),
    *("</s>", "<eos>", "<seed:eos>", "<end_of_turn>", "<｜end▁of▁sentence｜>", "[|endofturn|]", "[e~[", "<turn|>"),
    *("<|tool_response>", "<start_function_response>"),
)
"""Those of GLM say who speaks next; the last two begin the results, and end what Gemma's models say."""
TURN_END = re.compile(rf"(?:\s*(?:{'|'.join(map(re.escape, TURN_ENDS))}))+\s*\Z")
"""Such marks, and nothing after them."""


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


def _without_space(text: str, end: int) -> int:
    """Where the text up to ``end`` ends without white space."""
    while end and text[end - 1].isspace():
        end -= 1
    return end
