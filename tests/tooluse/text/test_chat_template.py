"""Chat templates in the styles of well-known models, rendered by transformers' own machinery."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tooluse import strategies
from tl_jax.tooluse.schema import Call, Message, Tool
from tl_jax.tooluse.text.parse import parse_answer
from tl_jax.tooluse.text.render import ChatTemplateRenderer, RenderError

tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")

# Tools in the system message, calls in tags, neighbouring tool results in one user block.
TAGGED = """
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}You may call:
<tools>{% for tool in tools %}
{{ tool | tojson }}
{%- endfor %}

</tools><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}<|im_start|>assistant
{{ message.content }}
{%- for call in message.tool_calls %}
{%- if message.content or not loop.first %}{{ '\\n' }}{% endif %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% elif message.role == 'tool' %}
{%- if messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}
<tool_response>
{{ message.content }}
</tool_response>
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>
{% endif %}
{%- elif not (loop.first and message.role == 'system') %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# Tools in the first user message, texts trimmed, at most one call, no text beside a call, results as JSON strings.
HEADED = """<|begin|>
{%- if messages[0].role == 'system' %}{% set system, messages = messages[0].content, messages[1:] %}
{%- else %}{% set system = '' %}{% endif -%}
<|head|>system<|/head|>

{{ system | trim }}<|eot|>
{%- for message in messages %}
{%- if message.role == 'tool' %}<|head|>ipython<|/head|>

{{ message.content | tojson }}<|eot|>
{%- elif message.tool_calls %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}
{%- set call = message.tool_calls[0].function %}<|head|>assistant<|/head|>

{"name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}<|eot|>
{%- else %}<|head|>{{ message.role }}<|/head|>

{% if loop.first and tools %}Functions you may call:

{% for tool in tools %}{{ tool | tojson(indent=4) }}

{% endfor %}
{%- endif %}{{ message.content | trim }}<|eot|>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|head|>assistant<|/head|>

{% endif %}"""

# Nothing but texts.
PLAIN = """{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# A JSON list of calls, values without quotes, EOS after the last message only.
LISTED = """{% if tools %}[TOOLS]{{ tools | tojson }}[/TOOLS]{% endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %} {{ message.content }}{% if message.tool_calls %}[CALLS][
{%- for call in message.tool_calls %}{{ call.function.name }}<
{%- for key, value in call.function.arguments.items() %}{{ key }}:{{ value }};{% endfor %}>
{%- if not loop.last %}, {% endif %}{% endfor %}]{% endif %}
{%- if loop.last %}</s>{% else %}{{ '\\n' }}{% endif %}
{%- else %}[{{ message.role }}]{{ message.content }}[/{{ message.role }}]{% endif %}
{%- endfor %}"""

TOOLS = (
    Tool("get_weather", "The weather <|im_end|>.", {"properties": {"city": {"type": "string"}}, "required": ["city"]}),
    Tool("now"),
)
QUESTION = (Message("system", "Be brief."), Message("user", "Weather in Bonn and Köln?"))
BONN, COLOGNE = Call("get_weather", {"city": "Bonn"}), Call("get_weather", {"city": "Köln", "n": 2, "x": [1, None]})

Renderer = Callable[[str], ChatTemplateRenderer]


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words)

    def make(template: str) -> ChatTemplateRenderer:
        def apply(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, generation: bool) -> str:
            return tokenizer.apply_chat_template(
                messages, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=generation
            )

        return ChatTemplateRenderer(apply)

    return make


def cut(text: str, span: tuple[int, int]) -> str:
    return text[span[0] : span[1]]


def test_tagged_template_spans(renderer: Renderer) -> None:
    messages = [
        *QUESTION,
        Message("assistant", "Both at once.", (BONN, COLOGNE)),
        Message("tool", "rain", name="get_weather"),
        Message("tool", "sun", name="get_weather"),
        Message("assistant", "Rain and sun."),
    ]
    rendered = renderer(TAGGED).render(TOOLS, messages)
    text, (calls, answer) = rendered.text, rendered.turns
    written = [
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bonn"}}\n</tool_call>',
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln", "n": 2, "x": [1, null]}}\n</tool_call>',
    ]
    assert cut(text, calls.answer) == "\n".join(["Both at once.", *written])
    assert [cut(text, call.name) for call in calls.calls] == ["get_weather", "get_weather"]
    assert calls.calls[0].name < calls.calls[1].name
    assert [{key: cut(text, span) for key, span in call.arguments.items()} for call in calls.calls] == [
        {"city": '"Bonn"'},
        {"city": '"Köln"', "n": "2", "x": "[1, null]"},
    ]
    assert cut(text, answer.answer) == "Rain and sun."
    assert [turn.stop and cut(text, turn.stop) for turn in rendered.turns] == ["<|im_end|>", "<|im_end|>"]
    assert [cut(text, span) for span in rendered.messages[3:5]] == [
        "<|im_start|>user<tool_response>\nrain",
        "\n</tool_response><tool_response>\nsun\n</tool_response><|im_end|>\n",
    ]
    assert cut(text, rendered.messages[-1]) == "<|im_start|>assistant\nRain and sun.<|im_end|>\n"
    assert {"Be brief.", "Weather in Bonn and Köln?", "rain", "sun"} <= {cut(text, span) for span in rendered.untrusted}
    hostile = text.index("<|im_end|>.")  # in a tool's description
    assert any(start <= hostile < end for start, end in rendered.untrusted)
    assert not rendered.closed_by_eos


def test_headed_template_spans(renderer: Renderer) -> None:
    messages = [
        *QUESTION,
        Message("assistant", "dropped by this template", (BONN,)),
        Message("tool", 'say "rain"'),
        Message("assistant", " Rain. "),
    ]
    rendered = renderer(HEADED).render(TOOLS, messages)
    text, (call, answer) = rendered.text, rendered.turns
    assert cut(text, call.answer) == '{"name": "get_weather", "parameters": {"city": "Bonn"}}'
    assert cut(text, call.calls[0].arguments["city"]) == '"Bonn"'
    assert (cut(text, answer.answer), cut(text, answer.stop or (0, 0))) == ("Rain.", "<|eot|>")
    untrusted = {cut(text, span) for span in rendered.untrusted}
    assert {"Be brief.", "Weather in Bonn and Köln?", 'say \\"rain\\"', "Rain."} <= untrusted
    with pytest.raises(RenderError, match="one call at a time"):
        renderer(HEADED).render(TOOLS, [*QUESTION, Message("assistant", "", (BONN, COLOGNE))])


def test_bare_values_and_a_terminator_after_the_last_message_only(renderer: Renderer) -> None:
    messages = [
        Message("user", "go"),
        Message("assistant", "", (BONN, COLOGNE)),
        Message("tool", "ok"),
        Message("assistant", "Done"),
    ]
    rendered = renderer(LISTED).render(TOOLS, messages)
    text, (calls, answer) = rendered.text, rendered.turns
    assert cut(text, calls.answer) == " [CALLS][get_weather<city:Bonn;>, get_weather<city:Köln;n:2;x:[1, None];>]"
    assert cut(text, calls.calls[1].arguments["x"]) == "[1, None]"
    assert (calls.stop, cut(text, answer.stop or (0, 0))) == (None, "</s>")


@pytest.mark.parametrize("template", [TAGGED, HEADED, PLAIN], ids=["tagged", "headed", "plain"])
def test_a_prompt_is_what_precedes_the_answer(renderer: Renderer, template: str) -> None:
    tools = () if template == PLAIN else TOOLS
    turns = (Message("assistant", "", (BONN,)), Message("tool", "rain")) if tools else ()
    messages = [
        *QUESTION,
        *turns,
        Message("assistant", "Rain."),
        Message("user", "Thanks"),
        Message("assistant", "Bye"),
    ]
    chat = renderer(template)
    rendered = chat.render(tools, messages)
    for turn in rendered.turns:
        prompt = chat.prompt(tools, messages[: turn.message])
        assert prompt.text == rendered.text[: turn.answer[0]]
        assert prompt.turns == tuple(earlier for earlier in rendered.turns if earlier.message < turn.message)
        assert len(prompt.messages) == turn.message
    assert chat.answer((), "Bye") == "Bye"
    if tools:
        (parsed,) = parse_answer(chat.answer([BONN])).calls
        assert parsed == BONN


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(st.data())
def test_spans_recover_every_part_whatever_it_says(renderer: Renderer, data: st.DataObject) -> None:
    template = data.draw(st.sampled_from([TAGGED, HEADED]))
    messages = data.draw(strategies.messages(max_calls=2 if template == TAGGED else 1))
    if template == HEADED:
        messages = [Message(m.role, "" if m.tool_calls else m.content, m.tool_calls) for m in messages]
    chat = renderer(template)
    rendered = chat.render(TOOLS, messages)
    text, turns = rendered.text, iter(rendered.turns)
    for message in messages:
        if message.role != "assistant":
            continue
        turn = next(turns)
        assert text[: turn.answer[0]] == chat.prompt(TOOLS, messages[: turn.message]).text
        content = message.content.strip() if template == HEADED else message.content
        if not message.tool_calls:
            assert cut(text, turn.answer) == content
        for call, where in zip(message.tool_calls, turn.calls, strict=True):
            assert cut(text, where.name) == call.name
            assert {key: json.loads(cut(text, span)) for key, span in where.arguments.items()} == call.arguments
            assert turn.answer[0] <= where.name[0] < where.name[1] <= turn.answer[1]
        if message.tool_calls and not message.content.strip():  # a text may look like a call as well
            assert parse_answer(cut(text, turn.answer)).calls == message.tool_calls
        assert turn.stop is not None
        assert turn.stop[0] == turn.answer[1]
    untrusted = {cut(text, span).strip() for span in rendered.untrusted}
    for message in messages:
        if message.role != "assistant" and message.content.strip():
            escaped = json.dumps(message.content, ensure_ascii=False)[1:-1]
            assert untrusted & {message.content.strip(), escaped.strip()}


def simple(message: str) -> str:
    """A template that writes every message as ``message`` says."""
    prompt = "{% if add_generation_prompt %}<assistant>{% endif %}"
    return "{% for m in messages %}<{{ m.role }}>" + message + "|{% endfor %}" + prompt


REWRITING = simple("{% if tools and loop.last %}{{ tools | tojson }}{% endif %}{{ m.content }}")
COUNTING = simple("{{ m.content }} ({{ m.content | length }})")
SILENT = simple("{% if m.role != 'tool' %}{{ m.content }}{% endif %}")


@pytest.mark.parametrize(
    ("template", "tools", "last", "problem"),
    [
        (PLAIN, TOOLS, Message("assistant", "Rain."), "does not show the tools"),
        (PLAIN, (), Message("assistant", "", (BONN,)), "does not write the name of call 0 in message 2"),
        (SILENT, (), Message("tool", "rain"), r"drops the text of message 2 \(tool\)"),
        (COUNTING, (), Message("user", "hello"), "depends on what it says"),
        ("{{ raise_exception('no thanks') }}", (), Message("user", "x"), "no thanks"),
    ],
    ids=["no tools", "no calls", "no results", "counting", "refusing"],
)
def test_templates_that_cannot_be_trained_on_are_refused(
    renderer: Renderer, template: str, tools: tuple[Tool, ...], last: Message, problem: str
) -> None:
    write = renderer(template).turn if last.role == "assistant" else renderer(template).prompt
    with pytest.raises(RenderError, match=problem):
        write(tools, [Message("user", "hi"), Message("tool", ""), last])


def test_a_template_that_rewrites_the_past_is_rendered_turn_by_turn(renderer: Renderer) -> None:
    messages = [
        Message("user", "hi"),
        Message("assistant", "Rain."),
        Message("user", "So?"),
        Message("assistant", "Yes"),
    ]
    chat = renderer(REWRITING)
    rendered = chat.render(TOOLS, messages)
    assert "rewrites what precedes message 1" in rendered.lost[1]
    assert "rewrites what precedes message 3" in rendered.lost[3]
    assert not rendered.turns
    for index in (1, 3):
        turn = chat.turn(TOOLS, messages[: index + 1])
        assert turn.text == chat.prompt(TOOLS, messages[:index]).text + turn.text[turn.turns[-1].answer[0] :]
        assert cut(turn.text, turn.turns[-1].answer).endswith(messages[index].content)


def with_calls(call: str) -> str:
    """A template that writes calls like this."""
    return simple("{% for c in m.tool_calls %}{% set f = c.function %}" + call + "{% endfor %}{{ m.content }}")


@pytest.mark.parametrize(
    ("call", "written"),
    [
        ("{{ f.name }}({{ f.arguments.values() | join(', ') }})", {"b": "x", "A": "2", "c": "[1]"}),
        ("{{ f.arguments.values() | list | tojson }}{{ f.name }};", {"b": '"x"', "A": "2", "c": "[1]"}),
        ("{{ f.name }}{{ f.arguments | tojson(sort_keys=True) }}", {"b": '"x"', "A": "2", "c": "[1]"}),
        (
            "{{ f.name }} {% for k, v in f.arguments | dictsort %}{{ k }}={{ v }} {% endfor %}",
            {"b": "x", "A": "2", "c": "[1]"},
        ),
        (
            "{{ f.name }}{{ f.arguments | tojson }} again: {{ f.arguments.b | tojson }}",
            {"b": '"x"', "A": "2", "c": "[1]"},
        ),
    ],
    ids=["values only", "values first", "sorted by code", "sorted by letter", "twice"],
)
def test_values_are_found_wherever_they_stand(renderer: Renderer, call: str, written: dict[str, str]) -> None:
    made = Call("f", {"b": "x", "A": 2, "c": [1]})
    messages = [Message("user", "x 2 [1]"), Message("assistant", "", (made,)), Message("user", "2")]
    rendered = renderer(with_calls(call)).render((), messages)
    (found,) = rendered.turns[0].calls
    assert {key: cut(rendered.text, span) for key, span in found.arguments.items()} == written
    assert cut(rendered.text, found.name) == "f"


def test_one_message_that_a_template_looks_into_does_not_hide_the_others(renderer: Renderer) -> None:
    template = simple("{% if m.content == 'x' %}X{% else %}{{ m.content }}{% endif %}")
    messages = [Message("user", word) for word in ("a", "b", "c")]
    rendered = renderer(template).render((), messages)
    assert [cut(rendered.text, span) for span in rendered.untrusted] == ["a", "b", "c"]
    with pytest.raises(RenderError, match="message 3 in a way that depends on what it says"):
        renderer(template).render((), [*messages, Message("user", "x")])


WITH_IDS = """{% for m in messages %}<{{ m.role }}{{ ':' ~ m.tool_call_id if m.tool_call_id else '' }}>
{%- for call in m.tool_calls %}{{ call.id }}={{ call.function | tojson }}{% endfor %}{{ m.content }}|{% endfor %}
{%- if add_generation_prompt %}<assistant>{% endif %}"""
NINE_ONLY = (
    "{% for m in messages %}{% for call in m.tool_calls %}{% if call.id | length != 9 or not call.id.isalnum() %}"
    "{{ raise_exception('ids must be nine letters or digits') }}{% endif %}{% endfor %}{% endfor %}" + WITH_IDS
)


def test_a_template_writes_the_ids_of_the_file(renderer: Renderer) -> None:
    """Each result has its own, wherever it stands; what could be a control token is numbered."""
    first, second = replace(BONN, id="call_b"), replace(COLOGNE, id="<|im_end|>")
    messages = [
        Message("user", "go"),
        Message("assistant", "", (first, second)),
        Message("tool", "k", call_id="<|im_end|>"),
        Message("tool", "b", call_id="call_b"),
        Message("assistant", "", (replace(BONN, id="call_b"),)),
        Message("tool", "again"),
    ]
    for template, own in ((WITH_IDS, "call_b"), (NINE_ONLY, "call00000")):
        text = renderer(template).render((), messages).text
        for piece in (f"<assistant>{own}=", "call00001=", "<tool:call00001>k", f"<tool:{own}>b", "call00002={"):
            assert piece in text
        assert "<tool:call00002>again" in text
        assert renderer(template).prompt((), messages[:4]).text == text[: text.index("call00002=")]
    nine = [replace(message, tool_calls=()) for message in messages[:1]]
    nine += [Message("assistant", "", (replace(BONN, id="aB3dE6gH9"),)), Message("tool", "b", call_id="aB3dE6gH9")]
    assert "<tool:aB3dE6gH9>b" in renderer(NINE_ONLY).render((), nine).text


def test_calls_and_results_carry_matching_ids() -> None:
    seen: list[list[dict[str, Any]]] = []

    def apply(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, generation: bool) -> str:
        seen.append(messages)
        calls = [call for m in messages for call in m.get("tool_calls", [])]
        written = [f"{c['function']['name']}={c['function']['arguments']}" for c in calls]
        return "".join(m["content"] for m in messages) + "".join(written)

    messages = [
        Message("user", "go"),
        Message("assistant", "", (BONN, COLOGNE)),
        Message("tool", "a"),
        Message("tool", "b"),
    ]
    ChatTemplateRenderer(apply).render((), messages)
    rows = next(rows for rows in seen if len(rows) == len(messages) and "tool_calls" in rows[1])
    assert [call["id"] for call in rows[1]["tool_calls"]] == [row["tool_call_id"] for row in rows[2:]]
    assert len({call["id"] for call in rows[1]["tool_calls"]}) == 2


def test_many_results_cost_no_more_texts(renderer: Renderer) -> None:
    """A text is as long as the conversation, so a text for each of thousands of results would cost their square."""
    written = []
    template = renderer(TAGGED)

    def apply(*conversation: Any) -> str:
        written.append(len(conversation[0]))
        return template._apply(*conversation)

    costs = []
    for count in (60, 120, 240):
        called = Message("assistant", "", (Call("now"),) * count)
        results = [Message("tool", f"result {number}", name="now") for number in range(count)]
        written.clear()
        rendered = ChatTemplateRenderer(apply).render(TOOLS, [*QUESTION, called, *results, Message("assistant", "So.")])
        costs.append(len(written))
        parts = [cut(rendered.text, span) for span in rendered.messages]
        assert all(re.search(rf"result {number}\b", part) for number, part in enumerate(parts[3:-1]))
        assert "".join(parts) in rendered.text
        assert cut(rendered.text, rendered.turns[-1].answer) == "So."
    assert max(costs) - min(costs) < 10
