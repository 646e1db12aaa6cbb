"""The demo's tokenizer: byte-level BPE with 1,024 tokens in which a word looks the same wherever it stands.

A tiny model learns to copy a word much sooner when its tokens in the request (`` in Velora?``), in the call
(``'Velora'``) and in a name (``get_velora``) are the same. So a blank is a token of its own, words are cut at
underscores and capitals, and every digit stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
PIECES = r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]|\n\s*| ?[^\sA-Za-z0-9]+| |\s+"
"""Words, digits, line breaks with their indentation, punctuation with the blank before it, blanks."""

PAPER_TEMPLATE = (
    "{% for message in messages %}{{message['role'] + ': ' + message['content']}}{% if loop.last %}"
    "{% if add_generation_prompt %}{{ '\\nAssistant:' }}{% else %}{{ '</s>'}}{% endif %}"
    "{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with ``<s>`` in front, as Llama's, trained on ``texts``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = PAPER_TEMPLATE
    return fast
