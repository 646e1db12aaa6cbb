"""How fast a run is: the definitions of tokens/s and MFU, in one place.

Counting rule: a trained token costs ``6 * (parameters without embedding) + 6 * L * d * s`` floating-point operations,
where ``s`` is the length of its trajectory and causal attention counts half. Tokens are counted without padding. MFU
is that count per second over the devices' dense bfloat16 peak; recomputation in the backward pass is not counted,
and neither is credit taken off for a vocabulary projection that skips positions without a target. Where adapters are
trained, the model's matrices have no gradient: 4 in place of the first 6, and the adapters' own products are left out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import jax
import numpy as np

from tl_jax.data.batch import Batch
from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import count_in_products
from tl_jax.training.chips import chip_of


@dataclass(frozen=True)
class Work:
    """What a batch costs."""

    tokens: int
    flops: float


def work(config: LlamaConfig, batch: Batch, adapted: bool = False) -> Work:
    """Of a host batch; ``adapted``: adapters are trained."""
    real = np.asarray(batch.segment_ids) > 0
    tokens = int(real.sum())
    visible = float(np.where(real, np.asarray(batch.positions) + 1.0, 0.0).sum())
    return Work(tokens, flops(config, tokens, visible, adapted))


def flops(config: LlamaConfig, tokens: float, visible: float, adapted: bool = False) -> float:
    """Floating-point operations of a forward and backward pass.

    Args:
        config: the model's sizes.
        tokens: without padding.
        visible: over all tokens, how many each sees. ``6 * L * d * s`` of a token is ``12 * L * d`` times these.
        adapted: adapters are trained, and not the model.
    """
    attention = 12.0 * config.num_layers * config.num_heads * config.head_dim * visible
    return (4.0 if adapted else 6.0) * count_in_products(config) * tokens + attention


class Speedometer:
    """Rates between two readings. The first step is left out: most of it is compilation."""

    def __init__(self) -> None:
        chip = chip_of(jax.devices()[0].device_kind)
        self._peak = chip.flops if chip else None
        self._started: float | None = None
        self._tokens, self._flops = 0, 0.0

    def add(self, done: Work) -> None:
        """Counts a step that has just finished."""
        if self._started is None:
            self._started = time.perf_counter()
            return
        self._tokens += done.tokens
        self._flops += done.flops

    def read(self) -> dict[str, float]:
        """``tokens_per_second`` over all devices, and ``mfu`` where the peak is known; then starts anew."""
        now = time.perf_counter()
        if self._started is None or not self._tokens:
            return {}
        seconds = now - self._started
        rates = {"tokens_per_second": self._tokens / seconds}
        if self._peak:
            rates["mfu"] = self._flops / seconds / (self._peak * jax.device_count())
        self.restart()
        return rates

    def restart(self) -> None:
        """Forgets what was counted; after anything that is not training, such as an evaluation."""
        self._started, self._tokens, self._flops = time.perf_counter(), 0, 0.0
