"""Which of a model's chat templates writes conversations, and what it is told besides them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from tl_jax.errors import UserError
from tl_jax.files import write_json
from tl_jax.tooluse import strict_json

CHOICE_FILE = "chat_template_kwargs.json"
"""Beside a tokenizer: what its chat template was told in training, and is told again by whoever uses the model."""

_TAKEN = frozenset(
    [
        *("conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize"),
        *("continue_final_message", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
        *("return_assistant_tokens_mask", "tokenizer_kwargs", "sanitize_control_tokens"),
    ]
)
"""Words that mean something else to `apply_chat_template` of transformers."""


@dataclass(frozen=True, slots=True)
class TemplateChoice:
    """A choice among a model's chat templates.

    Attributes:
        name: one of several by its name; None: as transformers chooses, ``tool_use`` where there are tools and such a
            template, ``default`` otherwise.
        kwargs: what the template is told besides the conversation, such as ``enable_thinking`` or ``date_string``.
    """

    name: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.kwargs:
            if not key.isidentifier() or key in _TAKEN:
                raise UserError(f"{key!r} is no word that a chat template can be told")

    def __bool__(self) -> bool:
        return self.name is not None or bool(self.kwargs)

    def over(self, other: TemplateChoice) -> TemplateChoice:
        """This choice where it says something, ``other`` where it does not."""
        return TemplateChoice(self.name or other.name, {**other.kwargs, **self.kwargs})

    @classmethod
    def beside(cls, tokenizer_dir: Path) -> TemplateChoice:
        """What is written beside a tokenizer; nothing is, for most.

        Raises:
            UserError: it cannot be read.
        """
        file = tokenizer_dir / CHOICE_FILE
        if not file.is_file():
            return cls()
        try:
            row = strict_json.loads(file.read_text(encoding="utf-8"))
            name, kwargs = row["chat_template"], row["chat_template_kwargs"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: cannot be read: {error}") from None
        if not (name is None or isinstance(name, str)) or not isinstance(kwargs, dict):
            raise UserError(f"{file}: must hold a name or null as chat_template, and an object as chat_template_kwargs")
        return cls(name, kwargs)

    def write(self, tokenizer_dir: Path) -> None:
        """Writes it beside a tokenizer; nothing is written for no choice."""
        if self:
            row = {"chat_template": self.name, "chat_template_kwargs": dict(self.kwargs)}
            write_json(tokenizer_dir / CHOICE_FILE, row)


NO_CHOICE = TemplateChoice()


def plain_values(kwargs: Any) -> Any:
    """The same with dates as text: YAML takes ``date_string: 2026-01-31`` for a date.

    Raises:
        ValueError: a chat template cannot be told one of them.
    """
    if not isinstance(kwargs, dict):
        return kwargs
    plain = {str(key): value.isoformat() if isinstance(value, date) else value for key, value in kwargs.items()}
    try:
        return dict(TemplateChoice(kwargs=plain).kwargs)
    except UserError as error:
        raise ValueError(str(error)) from None
