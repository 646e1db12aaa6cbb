"""What a template writes after a turn, where a file was made of a model's raw input and output."""

from __future__ import annotations

TURN_ENDS = (
    *(f"<|{name}|>" for name in ("eot_id", "eom_id", "eot", "im_end", "end", "end_of_text")),
    *("</s>", "<｜end▁of▁sentence｜>", "<turn|>", "<|tool_response>", "<start_function_response>"),
)
"""The last two begin the results, and end what Gemma's models say."""


def without_turn_end(text: str) -> str:
    """The text without such a mark at its end, and without the white space around it; the same text if it has none.

    Words may end with a mark as well, "ChatML ends every turn with <|im_end|>": only for what is raw.

    Example:
        >>> without_turn_end("[f(a=1)]\\n<|eot_id|>\\n"), without_turn_end("a <|eot_id|> b ")
        ('[f(a=1)]', 'a <|eot_id|> b ')
    """
    ended = text.rstrip()
    mark = next((mark for mark in TURN_ENDS if ended.endswith(mark)), "")
    return ended.removesuffix(mark).rstrip() if mark else text
