"""Trajectories, what MAE and PKT do to them, and how they become rows of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tl_jax.config.base import AnyPath, Choice, DataPath, Node, Real, Whole, one_or_more
from tl_jax.config.pkt import PKT_MODES
from tl_jax.plugins import Plugin
from tl_jax.tooluse.mae.apply import Blocked
from tl_jax.tooluse.mae.phrases import PACKS
from tl_jax.tooluse.mae.rules import RULES
from tl_jax.tooluse.notes import Unknown
from tl_jax.tooluse.readers import FORMATS
from tl_jax.tooluse.text.render import RENDERERS
from tl_jax.tooluse.text.spoken import Include
from tl_jax.tooluse.text.template_choice import TemplateChoice, plain_values


class MaeConfig(Node):
    """Mitigating adverse effects: which erroneous calls are kept out of the gradient."""

    rule: Annotated[Plugin, Choice(RULES, other="module:function")] = Field(
        Plugin("paper"), description="which tool results are errors, see docs/mae.md; a function of the result"
    )
    block: Blocked = Field("all", description="all errors, or only those that are the fault of the one named")
    factor: Real = Field(0.0, ge=0, le=1, description="weight of a blocked turn; 0 = it is no target")
    packs: Annotated[tuple[str, ...], BeforeValidator(one_or_more), Choice(PACKS)] = Field(
        (), description="families of errors that rule paper looks for; empty = all"
    )


class PktConfig(Node):
    """Prioritising key tokens."""

    mode: Annotated[str, Choice(PKT_MODES)] = "paper"
    max_weight: Real = Field(9.0, ge=1.0, description="of a key token")


FormatName = Annotated[str, Choice(FORMATS, also=("auto",)), Field(description="auto, or a format of docs/formats.md")]


Includes = Annotated[
    tuple[Include, ...],
    BeforeValidator(one_or_more),
    Field(description="parts of assistant messages that are written with the answer: reasoning, refusal"),
]
UNKNOWN = "a field that no reader knows is an error, or is dropped and counted"


TemplateName = Annotated[
    str | None,
    Field(description="renderer chat: one of the tokenizer's templates by name; null = as transformers does"),
]
TemplateKwargs = Annotated[
    dict[str, Any],
    BeforeValidator(plain_values),
    Field(description="what the chat template is told: enable_thinking, date_string"),
]
RendererName = Annotated[str, Choice(RENDERERS), Field(description="text format of tools and calls")]


AUTO = Path("auto")
"""As a directory: the one of the user's own, see `tl_jax.files.user_cache`."""
CACHE = "where encoded data is kept: a directory; auto = what is large in the user's cache, null = in memory only"


SHARED = "trajectories of a row that begin with the same N tokens or more have these once, 256 say; null = no"


class DataConfig(Node):
    """Trajectories and how they become rows of tokens."""

    path: DataPath = Field(description="trajectories: a file, a saved dataset, or one on the hub")
    format: FormatName = "auto"
    unknown: Unknown = Field("error", description=UNKNOWN)
    eval_path: DataPath | None = Field(None, description="held-out trajectories whose loss is reported")
    renderer: RendererName = "paper"
    chat_template: TemplateName = None
    chat_template_kwargs: TemplateKwargs = Field(default_factory=dict)
    include: Includes = ()
    mae: MaeConfig = MaeConfig()
    pkt: PktConfig = PktConfig()
    max_length: Whole = Field(2048, ge=8, description="tokens in a row")
    overlong: Literal["drop_context", "skip"] = Field(
        "drop_context", description="a longer trajectory loses whole leading turns of context, or is skipped"
    )
    cache: AnyPath | None = Field(AUTO, description=CACHE)
    pack: bool = Field(True, description="several trajectories in one row")
    share_prefixes: Whole | None = Field(None, ge=1, description=SHARED)
    batch_size: Whole = Field(8, ge=1, description="rows in one optimizer step, over all devices")

    @model_validator(mode="after")
    def _prefixes_are_shared_in_packed_rows(self) -> DataConfig:
        if self.share_prefixes and not self.pack:
            raise ValueError(
                "share_prefixes needs several trajectories in a row; set pack=true, or share_prefixes=null"
            )
        if self.share_prefixes and self.share_prefixes >= self.max_length:
            raise ValueError(
                f"share_prefixes={self.share_prefixes} is no beginning of a row of max_length={self.max_length}; set a "
                "smaller number, or share_prefixes=null"
            )
        return self

    @property
    def template(self) -> TemplateChoice:
        """Which chat template writes, and what it is told."""
        return TemplateChoice(self.chat_template, self.chat_template_kwargs)
