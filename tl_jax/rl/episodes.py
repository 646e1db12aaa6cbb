"""An episode: what the model read and wrote, turn by turn, and what the tools answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from tl_jax.tooluse.schema import Call, Case


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model and what became of it."""

    case: Case
    """the conversation up to here, the tools, and the gold calls if there are any"""
    text: str
    finished: bool
    """ended by EOS and not by the limit"""
    start: int
    """index in the stream of the token after which the first token was written"""
    tokens: tuple[int, ...]
    """as sampled, EOS included"""
    logprobs: tuple[float, ...]
    calls: tuple[Call, ...] = ()
    """those that were made"""
    results: tuple[str, ...] = ()
    """what came back, one for each call"""


@dataclass(slots=True)
class Episode:
    """A case as it was played."""

    case: Case
    stream: list[int]
    """every token the model read: the prompt, its answers, the tools' results"""
    prompt_length: int
    turns: list[Turn] = field(default_factory=list)
    truncated: bool = False
    """cut off by a limit on tokens"""
