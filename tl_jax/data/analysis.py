"""The part of `tl_jax.tooluse.analysis` that needs a tokenizer: key tokens, their weights, lengths in tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tl_jax.config import PktConfig
from tl_jax.data.codec import Codec
from tl_jax.tooluse.analysis import Distribution
from tl_jax.tooluse.prefixes import shared_prefixes
from tl_jax.tooluse.schema import Trajectory


@dataclass
class TokenAnalysis:
    """What `TokenAnalyser` counts. Only target turns that call a tool have key tokens."""

    renderer: str
    max_weight: float
    calling_turns: int = 0
    keys: Distribution = field(default_factory=Distribution)
    """Key tokens of a calling turn: 1 where no other name begins like the one called."""
    answer_tokens: Distribution = field(default_factory=Distribution)
    """Of a calling turn, stop token not included."""
    weights: Counter[float] = field(default_factory=Counter)
    """Weight of the key tokens, rounded to one decimal -> calling turns."""
    loss_on_keys: float = 0.0
    """Sum over the calling turns of the share that key tokens have in the turn's loss, if all tokens are as hard."""
    names: Distribution = field(default_factory=Distribution)
    """Length in tokens of the longest beginning that an offered tool's name shares with another one's."""
    tokens: Distribution = field(default_factory=Distribution)
    """Of a trajectory, tool definitions included."""
    targets: Distribution = field(default_factory=Distribution)
    """Target tokens of a trajectory, stop tokens included."""

    @property
    def key_share(self) -> float:
        """The share of key tokens among the answer tokens of calling turns."""
        return self.keys.total / self.answer_tokens.total if self.answer_tokens.total else 0.0

    @property
    def loss_share(self) -> float:
        """The mean share of key tokens in a calling turn's loss."""
        return self.loss_on_keys / self.calling_turns if self.calling_turns else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "renderer": self.renderer,
            "max_weight": self.max_weight,
            "calling_turns": self.calling_turns,
            "key_share": self.key_share,
            "loss_share": self.loss_share,
            "weights": dict(sorted(self.weights.items())),
            "keys": self.keys.to_json(),
            "answer_tokens": self.answer_tokens.to_json(),
            "names": self.names.to_json(),
            "tokens": self.tokens.to_json(),
            "targets": self.targets.to_json(),
        }


class TokenAnalyser:
    """Counts trajectory after trajectory, encoded and weighted as for training."""

    def __init__(self, codec: Codec, max_weight: float = 9.0) -> None:
        self.result = TokenAnalysis(codec.renderer.name, max_weight)
        self._codec = codec
        self._pkt = PktConfig(mode="paper", max_weight=max_weight)

    def add(self, trajectory: Trajectory) -> None:
        """Counts ``trajectory``; turns of weight 0 (what MAE sets) are no targets.

        Raises:
            UserError: the format cannot express the trajectory, or the tokenizer cannot encode it exactly.
        """
        result = self.result
        passes = self._codec.passes(trajectory)
        examples = [self._codec.supervise(part, self._pkt, encoded) for part, encoded in passes]
        result.tokens.add(sum(len(example.tokens) for example in examples))
        result.targets.add(sum(int((example.weights > 0).sum()) for example in examples))
        for found in (target for example in examples for target in example.targets):
            if found.keys:
                keyed = found.raw[list(found.keys)]
                result.calling_turns += 1
                result.keys.add(len(found.keys))
                result.answer_tokens.add(len(found.raw) - 1)
                result.weights[round(float(keyed[0]), 1)] += 1
                result.loss_on_keys += float(keyed.sum()) / found.normaliser
        for length in self._shared_tokens(trajectory):
            result.names.add(length)

    def _shared_tokens(self, trajectory: Trajectory) -> tuple[int, ...]:
        """Of each offered name, tokenised as it stands after a blank and before "("."""
        names = {tool.name for tool in trajectory.tools}
        encode = self._codec.segments.encode
        tokens = (tuple(encode(f" {name}(", opens=False).ids.tolist()) for name in names)
        return shared_prefixes(tuple(sorted(tokens)))
