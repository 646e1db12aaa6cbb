"""What of an assistant message is written."""

from __future__ import annotations

from tl_jax.tooluse.schema import Call, Case, Message, Trajectory
from tl_jax.tooluse.text.spoken import left_out, spoken, spoken_case

THOUGHT = Message("assistant", "It is 10.", reasoning="10 is A.")
CALLING = Message("assistant", "", (Call("f"),), reasoning="Look.")
REFUSAL = Message("assistant", "", refusal="I cannot.")
SILENT = Message("assistant")
MESSAGES = (Message("user", "A?"), CALLING, Message("tool", ""), THOUGHT, REFUSAL, SILENT, Message("user", ""))


def contents(*include: str) -> list[tuple[str, float | None]]:
    said = spoken(Trajectory("t", (), MESSAGES), include)  # type: ignore[arg-type]
    return [(message.content, message.weight) for message in said.messages]


def test_only_text_and_calls_are_written_unless_asked() -> None:
    plain = [("A?", None), ("", None), ("", None), ("It is 10.", None), ("", 0.0), ("", 0.0), ("", None)]
    assert contents() == plain
    reasoned = list(plain)
    reasoned[1], reasoned[3] = (
        ("<think>\nLook.\n</think>\n\n", None),
        ("<think>\n10 is A.\n</think>\n\nIt is 10.", None),
    )
    assert contents("reasoning") == reasoned
    reasoned[4] = ("I cannot.", None)
    assert contents("reasoning", "refusal") == reasoned


def test_what_is_left_out_is_counted() -> None:
    assert left_out(MESSAGES, ()) == {"reasoning": 2, "refusal": 1}
    assert left_out(MESSAGES, ("reasoning",)) == {"refusal": 1}
    assert left_out(MESSAGES[:1], ()) == {}


def test_contexts_of_cases() -> None:
    case = Case("c", (), MESSAGES)
    assert spoken_case(case, ()) is case
    assert spoken_case(case, ("refusal",)).messages[4].content == "I cannot."
    assert spoken_case(case, ("refusal",)).messages[5] == SILENT
