"""An episode: what the model read and wrote, turn by turn, and what the tools answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tl_jax.data.prompts import Prompt
from tl_jax.tooluse.schema import Call, Case


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model and what became of it."""

    case: Case
    """the conversation up to here, the tools, and the gold calls if there are any"""
    text: str
    finished: bool
    """ended by EOS and not by the limit"""
    predict_from: int
    """index in the stream of the token after which the first token was written"""
    tokens: tuple[int, ...]
    """as sampled, EOS included"""
    logprobs: tuple[float, ...]
    calls: tuple[Call, ...] = ()
    """those that were made"""
    results: tuple[str, ...] = ()
    """what came back, one for each call"""
    drawn_logprobs: tuple[float, ...] | None = None
    """in the distribution that the tokens were drawn from, after top-k and top-p; None = ``logprobs``"""
    read: int | None = None
    """tokens that were read for it, see `Generation.read`"""


@dataclass(slots=True)
class Episode:
    """A case, and what became of it turn by turn."""

    case: Case
    stream: list[int]
    """every token the model read: the prompt, its answers, the tools' results"""
    prompt_length: int
    turns: list[Turn] = field(default_factory=list)
    restarts: list[int] = field(default_factory=list)
    """where in the stream the conversation is read anew, because the chat template rewrites the past: nothing before is
    seen from there on"""
    truncated: bool = False
    """cut off by a limit on tokens or turns"""
    outcome: Any = None
    """what its environment says of it, where it says anything: a JSON value"""
    fault: str = ""
    """how its environment failed, if it did"""
    raised: str = ""
    """what the first call raised that raised anything"""

    @classmethod
    def begin(cls, prompt: Prompt, fault: str = "") -> Episode:
        """An episode without turns."""
        return cls(prompt.case, list(prompt.tokens), len(prompt.tokens), fault=fault)

    def hear(self, outcome: Any, fault: str, raised: str = "") -> None:
        """What the environment says of the episode so far, and what went wrong: what did first is kept."""
        self.outcome, self.fault, self.raised = outcome, self.fault or fault, self.raised or raised

    def go_on(self, turn: Turn, after: Prompt) -> None:
        """Adds a turn that another one follows, which answers ``after``."""
        self.turns.append(turn)
        if after.before == len(self.stream) + len(turn.tokens):
            self.stream += turn.tokens
            self.restarts.append(after.before)
        self.stream[after.before :] = after.tokens

    def end(self, turn: Turn, too_long: bool = False) -> None:
        """Adds the last turn; ``too_long``: another one would have followed, had there been room or turns left."""
        self.turns.append(turn)
        self.stream += turn.tokens
        self.truncated = too_long or not turn.finished
