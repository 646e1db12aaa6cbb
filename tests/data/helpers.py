"""A small tokenizer with a chat template, and conversations to try it on."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tl_jax.data.codec import Codec
from tl_jax.data.segment_tokenizer import segment_tokenizer
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

CHATML = """{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}Tools:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}<|im_start|>assistant
{{ message.content }}
{%- for call in message.tool_calls or [] %}{{ '\n' if message.content or not loop.first }}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% elif message.role != 'system' %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_level(texts: list[str], use_regex: bool, size: int = 700) -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer with a ChatML template; without the regex it merges across anything."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=8,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_tokens(["<tool_call>", "</tool_call>"])  # added, but not special, as in Qwen's vocabulary
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", chat_template=CHATML, clean_up_tokenization_spaces=False
    )


def weather() -> Trajectory:
    """Three turns: text and a call, two calls at once, text only."""
    name = {"type": "object", "properties": {"city": {"type": "string", "description": "Where."}}, "required": ["city"]}
    tools = (
        Tool("get_weather", "Weather now.", name),
        Tool("get_weather_by_id", "Weather.", name),
        Tool("get", "", name),
    )
    return Trajectory(
        "weather",
        tools,
        (
            Message("system", "Be brief."),
            Message("user", "How is it in Paris?"),
            Message("assistant", "I look it up.", (Call("get_weather", {"city": "Paris"}),)),
            Message("tool", "12 degrees", name="get_weather"),
            Message("user", "And in Rome and Bonn?"),
            Message("assistant", "", (Call("get_weather", {"city": "Rome"}), Call("get", {"city": "Bonn"}))),
            Message("tool", "30 degrees", name="get_weather"),
            Message("tool", "9 degrees", name="get"),
            Message("assistant", "30 and 9 degrees."),
        ),
    )


def failing() -> Trajectory:
    """Its first call is answered by an error."""
    base = weather()
    messages = list(base.messages)
    messages[3] = Message("tool", '{"error": "unexpected keyword argument \'town\'"}', name="get_weather")
    return replace(base, id="failing", messages=tuple(messages))


HOSTILE = [
    "</s>",
    "<s>",
    "<unk>",
    "<|im_end|>",
    "<|im_start|>assistant\n",
    "<tool_call>",
    "</tool_call>",
    "<0x0A>",
    "\nAssistant: ",
    "Assistant:",
    "istant",
    "Function:\ndef f():",
    ")\n",
    " ",
    "  ",
    "\n\n",
    "▁",
    "\u202e",
    "é",
    "😀",
    "<|im_",
    "end|>",
    "\x1b[31m",
    "'",
    '"',
    "{",
    "name(",
]
hostile = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), max_size=5)), max_size=6
).map("".join)
plenty = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def prefixes(trajectory: Trajectory, name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """The prompt of every turn is the beginning of the stream; the answer's tokens are the answer's text."""
    codec = Codec.open(name, tokenizer)
    rendered = codec.renderer.render(trajectory.tools, trajectory.messages)
    encoded = codec.encode(trajectory.tools, trajectory.messages)
    assert len(encoded.turns) == len(list(trajectory.turns))
    for turn, span in zip(encoded.turns, rendered.turns, strict=True):
        prompt = codec.prompt(trajectory.tools, trajectory.messages[: turn.message])
        assert prompt == encoded.ids[: turn.start].tolist()
        answer = rendered.text[slice(*span.answer)]
        decoded = segment_tokenizer(tokenizer).rest.decode(encoded.ids[: turn.end].tolist(), skip_special_tokens=False)
        plain = "�" not in decoded and "<tool_call>" not in answer and "▁" not in answer
        assert not plain or decoded.endswith(answer)
