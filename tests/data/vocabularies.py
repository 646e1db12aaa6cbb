"""Small vocabularies made the way the big models' are: SentencePiece BPE and byte-level BPE with their regexes."""

from __future__ import annotations

import io
from pathlib import Path

from sentencepiece import SentencePieceTrainer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.data.helpers import CHATML
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

LLAMA3_TEMPLATE = """{{ bos_token }}<|start_header_id|>system<|end_header_id|>

{% for tool in tools or [] %}{{ tool | tojson }}
{% endfor %}<|eot_id|>
{%- for m in messages %}
{%- set role = 'ipython' if m.role == 'tool' else m.role %}<|start_header_id|>{{ role }}<|end_header_id|>

{% if m.tool_calls %}{{ m.content }}{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "parameters": {{
 c.function.arguments | tojson }}}{{ '; ' if not loop.last }}{% endfor %}{% else %}{{ m.content }}{% endif %}<|eot_id|>
{%- endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
QUOTED_TEMPLATE = CHATML.replace('{"name": "{{', '{"name":\n"{{')
"""A name at the beginning of a line: both regexes make its first letters and the quote before them one token."""

_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REGEXES = {"llama3": _WORDS + r"\p{N}{1,3}" + _REST, "qwen": _WORDS + r"\p{N}" + _REST}
CONTROL = {
    "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
}


def _tool(name: str, *parameters: str) -> Tool:
    properties = {parameter: {"type": "string", "description": "Text."} for parameter in parameters}
    return Tool(name, "Does it.", {"type": "object", "properties": properties, "required": list(parameters)})


TOOLS = (
    _tool("get_weather", "city"),
    _tool("get_weather_by_id", "id"),
    _tool("get", "city"),
    _tool("finish", "answer"),
    _tool("getPaperDetails", "paperId"),
    _tool("getPapersByKeywords", "query", "limit"),
    _tool("random_advice"),
    _tool("random_advice_by_id", "id"),
    _tool("search-web.v2", "q"),
    _tool("search-web.v3", "q"),
    _tool("step1"),
    _tool("step12"),
    _tool("step123", "n"),
    _tool("läßt", "q"),
    _tool("lässig", "q"),
    _tool("天气", "q"),
    _tool("天空", "q"),
)
"""Names that begin alike, names that begin others, digits, other scripts, tools without arguments."""


def conversation() -> Trajectory:
    """Each tool is called once, then two and three at once, after prose, and a turn is text only."""
    messages = []
    for index, tool in enumerate(TOOLS):
        values = dict.fromkeys(tool.properties, f"it's no. {index}, ok" if index % 2 else "Paris")
        calls = (Call(tool.name, values),)
        messages += [Message("user", f"{index}?"), Message("assistant", "", calls), Message("tool", "{}")]
    several = (Call("get_weather", {"city": "a"}), Call("random_advice", {}), Call("get", {"city": "b", "n": 3}))
    messages += [Message("user", "All?"), Message("assistant", "", several), *[Message("tool", "{}")] * 3]
    messages += [Message("user", "So?"), Message("assistant", "I will look (f(x) first).", several[:1])]
    messages += [Message("tool", "{}"), Message("assistant", "get_weather was right.")]
    return Trajectory("all", TOOLS, tuple(messages))


def _corpus() -> list[str]:
    trajectory = conversation()
    names = " ".join(tool.name for tool in TOOLS)
    lines = [f'"{tool.name}": {{"q": "1"}}\n {tool.name}(city = \'Paris\')' for tool in TOOLS]
    return ["\n".join(lines), names, str(trajectory.to_json())] * 3


def byte_level(kind: str, template: str = CHATML) -> PreTrainedTokenizerFast:
    """BPE over bytes as Llama 3 and Qwen have it: their regex, digits in threes or one by one, BOS or none."""
    llama3 = kind == "llama3"
    backend = Tokenizer(models.BPE(ignore_merges=llama3))
    backend.normalizer = None if llama3 else normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(REGEXES[kind]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=8, show_progress=False
    )
    backend.train_from_iterator(_corpus(), trainer)
    backend.add_special_tokens(CONTROL[kind])
    backend.add_tokens(["<tool_call>", "</tool_call>"])
    if llama3:
        bos = CONTROL[kind][0]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    special = {"eos_token": CONTROL[kind][1 if llama3 else 0]} | ({"bos_token": CONTROL[kind][0]} if llama3 else {})
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=template, clean_up_tokenization_spaces=False, **special
    )


def sentencepiece(folder: Path) -> PreTrainedTokenizerFast:
    """SentencePiece BPE with Llama 2's settings: byte fallback, digits one by one, a blank before every text."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in _corpus() for line in text.split("\n")]),
        model_writer=model,
        model_type="bpe",
        vocab_size=650,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
        num_threads=1,
        max_sentence_length=100_000,
        character_coverage=1.0,
        hard_vocab_limit=False,
    )
    path = folder / "small.model"
    path.write_bytes(model.getvalue())
    return load_tokenizer(path)
