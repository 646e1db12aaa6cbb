"""Ways of weighting key tokens: which there are. One record is all that a mode is told in.

Validation, the command line, the table of docs/pkt.md and the tests read `PKT_MODES`. What a mode computes is a
function in `tl_jax.data`, named by its path, because settings can be read without NumPy and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass

from tl_jax.plugins import Function
from tl_jax.registry import Registry


@dataclass(frozen=True, kw_only=True)
class PktMode:
    """How the tokens of an answer are weighted.

    Example:
        A record of your own, added before the configuration is read::

            PKT_MODES.add(PktMode(name="names", compute="my_module:names", weight="2", about="every token of a name"))
    """

    name: str
    """what ``data.pkt.mode`` says"""
    compute: str | Function
    """a function of a `tl_jax.data.pkt.Answer` and ``max_weight`` that returns `tl_jax.data.pkt.AnswerWeights`, or the
    dotted path of one"""
    weight: str
    """of a key token, for the documents"""
    about: str
    """one line for the documents"""
    limited: bool = True
    """whether ``max_weight`` means anything"""


PKT_MODES: Registry[PktMode] = Registry(
    "PKT mode",
    [
        PktMode(
            name="none",
            compute="tl_jax.data.pkt:plain_weights",
            weight="1",
            about="no key tokens: every target weighs the same",
            limited=False,
        ),
        PktMode(
            name="paper",
            compute="tl_jax.data.pkt:paper_weights",
            weight="clip(|NK| / |K|, 1, max_weight)",
            about="the published definition; the default",
        ),
        PktMode(
            name="reference",
            compute="tl_jax.data.pkt_reference:reference_weights",
            weight="min(|O| / |K|, max_weight), or 1",
            about="bug for bug what the released code computes",
        ),
    ],
    columns={
        "`data.pkt.mode`": lambda mode: f"`{mode.name}`",
        "weight of a key token": lambda mode: f"`{mode.weight}`",
        "": lambda mode: mode.about,
    },
)
