"""Every style of chat template: calls come back as they were, no data becomes control, turns follow their prompts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.thoroughness import examples
from tests.tooluse.text.templates import STYLES, Style
from tl_jax.tooluse.schema import Call, Message, Tool
from tl_jax.tooluse.text.parse import parse_answer
from tl_jax.tooluse.text.render import ChatTemplateRenderer, RenderError, make_renderer
from tl_jax.tooluse.text.spans import Rendered
from tl_jax.tooluse.text.template_probe import hides_calls

tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")

Apply = Callable[[list[dict[str, Any]], list[dict[str, Any]] | None, bool], str]
CALLING = {name: style for name, style in STYLES.items() if style.calls != 0}
some = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def tokenizer() -> Any:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words)


def applied(template: str, **told: Any) -> Apply:
    """The template as transformers renders it."""

    def apply(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, generation: bool) -> str:
        text: str = tokenizer().apply_chat_template(
            messages, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=generation, **told
        )
        return text

    return apply


def cut(text: str, span: tuple[int, int]) -> str:
    return text[slice(*span)]


words = st.text("ab é,.'\"(){}[]:", max_size=12)
scalars = st.one_of(words, st.integers(-(10**9), 10**9), st.booleans(), st.sampled_from([0.5, -1e30, None]))
values = st.recursive(
    scalars, lambda v: st.one_of(st.lists(v, max_size=2), st.dictionaries(words, v, max_size=2)), max_leaves=4
)
names = st.from_regex(r"[a-z]{2}[a-z0-9_]{0,6}", fullmatch=True)
calls = st.builds(Call, names, st.dictionaries(names, values, max_size=3))

JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def tool_of(call: Call) -> Tool:
    kinds = {key: {"type": JSON_TYPES.get(type(value), "null")} for key, value in call.arguments.items()}
    return Tool(call.name, "Does it.", {"type": "object", "properties": kinds})


def exact(made: tuple[Call, ...]) -> list[str]:
    return [json.dumps(call.to_json() | {"id": ""}, sort_keys=True) for call in made]


@pytest.mark.long
@pytest.mark.parametrize("name", CALLING)
@some
@given(st.lists(calls, min_size=1, max_size=2))
def test_a_call_is_read_as_it_was_written(name: str, made: list[Call]) -> None:
    style = STYLES[name]
    made = [replace(call, name=f"{call.name}{number}") for number, call in enumerate(made)][: style.calls]
    if style.raw:  # what stands in a tag has no quotes that would tell blanks at its ends
        made = [replace(call, arguments={k: stripped(v) for k, v in call.arguments.items()}) for call in made]
    tools = [tool_of(call) for call in made]
    renderer = make_renderer("chat", applied(style.template))
    messages = [Message("user", "go"), Message("assistant", "", tuple(made))]
    rendered = renderer.turn(tools, messages)
    written = cut(rendered.text, rendered.turns[-1].answer)
    answer = parse_answer(written, tools)
    assert answer.problem is None, written
    assert exact(answer.calls) == exact(tuple(made)), written
    assert [cut(rendered.text, call.name) for call in rendered.turns[-1].calls] == [call.name for call in made]


def stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


# --- control tokens from data ----------------------------------------------------------------------------------------

TOKENS = (
    "<|im_end|>",
    "</s>",
    "[/INST]",
    "<|eot_id|>",
    "<think>",
    "</think>",
    "</tool_call>",
    "<|end|>",
    "<tool_call>",
)


@st.composite
def poisoned(draw: st.DrawFn, style: Style) -> tuple[list[str], list[Tool], list[Message]]:
    """A conversation, and the hostile texts that stand in all of its fields."""
    planted: list[str] = []

    def poison() -> str:
        planted.append(f"{draw(st.sampled_from(TOKENS))}x{len(planted)}y")
        return planted[-1]

    def call() -> Call:
        value: Any = draw(st.sampled_from(["text", "list", "dict"]))
        value = poison() if value == "text" else [poison()] if value == "list" else {poison(): poison()}
        return Call(poison(), {poison(): value, poison(): draw(st.integers(0, 9))}, id=poison())

    tools = []
    for _ in range(2):
        spec = {"type": "string", "description": poison(), "enum": [poison()]}
        tools.append(Tool(poison(), poison(), {"type": "object", "properties": {poison(): spec}}))
    messages = [Message("system", poison()), Message("user", poison(), name=poison())]
    number = draw(st.integers(1, style.calls or 2)) if style.calls != 0 else 0
    made = tuple(call() for _ in range(number))
    speaker = None if "m.name or m.role" in style.template else poison()  # Kimi's prompt asks for no particular one
    messages.append(Message("assistant", poison(), made, name=speaker))
    messages += [Message("tool", poison(), name=poison(), call_id=one.id) for one in made]
    messages += [Message("assistant", poison()), Message("user", poison()), Message("assistant", poison())]
    return planted, tools if style.calls != 0 else [], messages


@pytest.mark.fuzz
@pytest.mark.long
@pytest.mark.parametrize("name", STYLES)
@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_comes_from_data_is_untrusted(name: str, data: st.DataObject) -> None:
    """Names of arguments and of speakers as well as texts, values, ids, tools and their schemas."""
    style = STYLES[name]
    planted, tools, messages = data.draw(poisoned(style))
    renderer = ChatTemplateRenderer(applied(style.template))
    for rendered in (
        renderer.render(tools, messages),
        renderer.prompt(tools, messages[:-1]),
        renderer.turn(tools, messages),
        renderer.turn(tools, messages[:3]),
    ):
        check_untrusted(rendered, planted)


def check_untrusted(rendered: Rendered, planted: list[str]) -> None:
    text, seen = rendered.text, 0
    for word in planted:
        for form in {word, json.dumps(word)[1:-1]}:
            at = text.find(form)
            while at >= 0:
                seen += 1
                end = at + len(form)
                assert any(start <= at and end <= stop for start, stop in rendered.untrusted), (form, text)
                at = text.find(form, end)
    assert seen >= 3


@pytest.mark.parametrize("name", ["qwen_3", "glm_4_5", "qwen_2_5"])
def test_only_an_assistant_thinks(name: str) -> None:
    """Tags of thoughts in other texts, and in any text of a template that knows none, are words."""
    renderer = ChatTemplateRenderer(applied(STYLES[name].template))
    said = "<think>\nHm.\n</think>\n\nRain."
    rendered = renderer.turn((), [Message("user", said), Message("assistant", said)])
    spans = {cut(rendered.text, span) for span in rendered.untrusted}
    assert said in spans
    if name == "qwen_2_5":
        assert sum(cut(rendered.text, span) == said for span in rendered.untrusted) == 2
    else:
        assert {"Hm.", "Rain."} <= spans


# --- turns and their prompts -----------------------------------------------------------------------------------------


def conversation(style: Style, thoughts: bool = False) -> tuple[list[Tool], list[Message]]:
    """Two questions; the first takes a call, or two at once, and is answered in words."""
    made = [Call("get_weather", {"city": "Bonn"}), Call("now")][: style.calls]
    tools = [tool_of(call) for call in made]
    thought = "<think>\nHm.\n</think>\n\n" if thoughts else ""
    messages = [Message("system", "Be brief."), Message("user", "Weather?")]
    if made:
        messages += (
            [Message("assistant", thought, tuple(made))] if thoughts else [Message("assistant", "", tuple(made))]
        )
        messages += [Message("tool", f"rain {i}", name=call.name) for i, call in enumerate(made)]
    messages += [Message("assistant", f"{thought}Rain."), Message("user", "Thanks"), Message("assistant", "Bye.")]
    return tools, messages


@pytest.mark.parametrize("name", STYLES)
def test_every_turn_answers_its_own_prompt(name: str) -> None:
    style = STYLES[name]
    tools, messages = conversation(style)
    renderer = ChatTemplateRenderer(applied(style.template))
    rendered = renderer.render(tools, messages)
    assert bool(rendered.lost) == style.rewrites
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        turn = renderer.turn(tools, messages[: index + 1])
        where = turn.turns[-1]
        prompt = renderer.prompt(tools, messages[:index])
        assert turn.text[: where.answer[0]] == prompt.text
        assert [one for one in turn.turns if one.message < index] == list(prompt.turns)
        answer = cut(turn.text, where.answer)
        assert message.content in answer
        assert parse_answer(answer, tools).calls == message.tool_calls
        for one in (one for one in rendered.turns if one.message == index):
            assert rendered.text[: one.answer[0]] == prompt.text
            assert cut(rendered.text, one.answer) == answer


def test_a_thought_that_the_prompt_begins_is_closed_before_the_answer() -> None:
    renderer = ChatTemplateRenderer(applied(STYLES["deepseek_r1"].template))
    for said, closed in (
        ("Rain.", "\n</think>\n\nRain."),
        ("<think>\nHm.\n</think>\n\nRain.", "Hm.\n</think>\n\nRain."),
    ):
        turn = renderer.turn((), [Message("user", "Weather?"), Message("assistant", said)])
        assert (
            turn.text
            == f"<｜begin▁of▁sentence｜><｜User｜>Weather?<｜Assistant｜><think>\n{closed}<｜end▁of▁sentence｜>"
        )
        assert cut(turn.text, turn.turns[-1].answer) == closed
        assert not turn.dropped


def test_a_thought_where_the_prompt_has_none_is_explained() -> None:
    quiet = ChatTemplateRenderer(applied(STYLES["qwen_3"].template, enable_thinking=False))
    said = Message("assistant", "<think>\nHm.\n</think>\n\nRain.")
    with pytest.raises(RenderError, match="message 1 has a thought, and the chat template asks for an answer without"):
        quiet.turn((), [Message("user", "Weather?"), said])


def test_thoughts_stand_where_the_template_puts_them() -> None:
    tools, messages = conversation(STYLES["qwen_3"], thoughts=True)
    renderer = ChatTemplateRenderer(applied(STYLES["qwen_3"].template))
    turn = renderer.turn(tools, messages[:3])
    assert cut(turn.text, turn.turns[-1].answer).startswith("<think>\nHm.\n</think>\n\n<tool_call>")
    assert "Hm." not in renderer.turn(tools, messages).text
    assert not turn.dropped


def test_the_template_is_told_what_to_do() -> None:
    quiet = ChatTemplateRenderer(applied(STYLES["qwen_3"].template, enable_thinking=False))
    assert quiet.prompt((), [Message("user", "hi")]).text.endswith("<think>\n\n</think>\n\n")
    dated = ChatTemplateRenderer(applied(STYLES["llama_3"].template, date_string="1 Jan 2026"))
    assert "Today: 1 Jan 2026" in dated.prompt((), [Message("user", "hi")]).text


@pytest.mark.parametrize("name", CALLING)
def test_text_that_is_dropped_beside_a_call_is_told(name: str) -> None:
    style = STYLES[name]
    renderer = ChatTemplateRenderer(applied(style.template))
    call = Call("get_weather", {"city": "Bonn"})
    messages = [Message("user", "Weather?"), Message("assistant", "I look it up.", (call,))]
    rendered = renderer.render([tool_of(call)], messages)
    assert rendered.dropped == ((1,) if style.drops else ())
    assert ("I look it up." in rendered.text) != style.drops


# --- what is refused at load -----------------------------------------------------------------------------------------


def simple(call: str) -> str:
    """A template that writes a call like this."""
    return (
        "{% for t in tools %}{{ t | tojson }}{% endfor %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls %}{% set f = c.function %}" + call + "{% endfor %}|{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("CALL {{ f.name }} WITH {{ f.arguments | tojson }};", "a form of its own"),
        ("<tool_call>{{ f.name }}!{{ f.arguments | tojson }}</tool_call>", "a form like"),
        ("{{ f.name }}({% for k, v in f.arguments.items() %}{{ k }}={{ v }}{% endfor %})\n", "a call with a text"),
        ('<tool_call>{"name": "{{ f.name }}", "arguments": {}}</tool_call>', ""),
    ],
)
def test_calls_that_would_not_be_read_are_refused_at_load(call: str, what: str) -> None:
    if what:
        with pytest.raises(RenderError, match=what):
            make_renderer("chat", applied(simple(call)))
        return
    renderer = make_renderer("chat", applied(simple(call)))  # writes no arguments: refused where there are any
    with pytest.raises(RenderError, match="does not write argument 'a' of call 0 in message 1"):
        renderer.turn((Tool("f"),), [Message("user", "x"), Message("assistant", "", (Call("f", {"a": 1}),))])


TAGGED = "<tool_call>{{ f | tojson }}</tool_call>"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (simple(f"Calling a tool:\n{TAGGED}"), "Calling a tool:"),
        (simple(f"<scratch_pad>{{{{ m.content }}}}</scratch_pad>\n{TAGGED}"), "<scratch_pad></scratch_pad>"),
        (simple(TAGGED).replace("{% if add_generation_prompt %}<assistant>{% endif %}", ""), "<assistant>"),
        (simple(f"{TAGGED} as you see"), "text after the call: ' as you see"),
    ],
)
def test_words_of_the_templates_own_around_calls_are_refused_at_load(template: str, words: str) -> None:
    """A model that writes them answers with more than calls; what a prompt does not ask with is such a word."""
    with pytest.raises(RenderError, match=f"not read as the same again .*{re.escape(words)}"):
        make_renderer("chat", applied(template))


def test_a_template_may_write_ids_before_calls_and_may_need_tools() -> None:
    renderer = make_renderer("chat", applied(simple("{{ c.id }}:{{ f | tojson }}")))
    tool, made = Tool("f"), (Call("f", {"a": 1}, id="call_x"), Call("f", {"a": 2}, id="call_y"))
    messages = [Message("user", "x"), Message("assistant", "", made)]
    rendered = renderer.render((tool,), messages)
    answer = parse_answer(cut(rendered.text, rendered.turns[0].answer), (tool,))
    assert answer.calls == made
    assert [call.id for call in answer.calls] == ["call_x", "call_y"]
    needy = make_renderer("chat", applied(simple("{{ f | tojson }}\n").replace("in tools", "in (tools + [])")))
    assert needy.render((tool,), messages).turns
    assert hides_calls(needy)
    assert not any(hides_calls(make_renderer("chat", applied(style.template))) for style in CALLING.values())
    assert needy.prompt((), messages[:1]).text == "<user>x|<assistant>"
