"""Chat templates in the styles of well-known models, written for these tests: what matters of each, and no more."""

from __future__ import annotations

from dataclasses import dataclass

_HEADS = """{%- macro head(role) %}<|start_header_id|>{{ role }}<|end_header_id|>

{% endmacro %}"""

LLAMA_3 = (
    "<|begin_of_text|>"
    + _HEADS
    + """{% set system = messages[0].content | trim if messages[0].role == 'system' else '' %}
{%- if messages[0].role == 'system' %}{% set messages = messages[1:] %}{% endif %}
{{- head('system') }}Today: {{ date_string or '26 Jul 2024' }}

{{ system }}<|eot_id|>
{%- for m in messages %}
{%- if m.role == 'tool' %}{{ head('ipython') }}{{ m.content | tojson }}<|eot_id|>
{%- elif m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('only one call') }}{% endif %}
{%- set call = m.tool_calls[0].function %}{{ head('assistant') }}{"name": "{{ call.name }}", "parameters": {{
 call.arguments | tojson }}}<|eot_id|>
{%- else %}{{ head(m.role) }}{% if loop.first and tools %}Functions:

{% for t in tools %}{{ t | tojson(indent=4) }}

{% endfor %}{% endif %}{{ m.content | trim }}<|eot_id|>
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}{{ head('assistant') }}{% endif %}"""
)

LLAMA_4 = """<|begin_of_text|>
{%- if tools %}<|header_start|>system<|header_end|>

{% for t in tools %}{{ t | tojson }}
{% endfor %}<|eot|>{% endif %}
{%- for m in messages %}<|header_start|>{{ 'ipython' if m.role == 'tool' else m.role }}<|header_end|>

{{ m.content }}{% if m.tool_calls %}<|python_start|>[
{%- for c in m.tool_calls %}{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson
 }}{% if not loop.last %}, {% endif %}{% endfor %}){% if not loop.last %}, {% endif %}{% endfor %}]<|python_end|>
{%- endif %}<|eot|>
{%- endfor %}{% if add_generation_prompt %}<|header_start|>assistant<|header_end|>

{% endif %}"""

_CHATML_SYSTEM = """{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}<tools>{% for t in tools %}
{{ t | tojson }}{% endfor %}
</tools><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}"""
_CHATML_RESULTS = """{%- elif m.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}
<tool_response>
{{ m.content }}
</tool_response>
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>
{% endif %}
{%- elif not (loop.first and m.role == 'system') %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endif %}{% endfor %}"""
_CHATML_PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_HERMES_CALLS = """{% for c in m.tool_calls %}{% if m.content or not loop.first %}{{ '\\n' }}{% endif %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}"""

QWEN_2_5 = (
    _CHATML_SYSTEM
    + """{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant
{{ m.content }}"""
    + _HERMES_CALLS
    + "<|im_end|>\n"
    + _CHATML_RESULTS
    + _CHATML_PROMPT
)

QWEN_3 = (
    _CHATML_SYSTEM
    + """{% set ns = namespace(last=0) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}{% if m.role == 'assistant' %}
{%- set content = m.content.split('</think>')[-1].lstrip('\\n') %}
{%- set thought = m.content.split('</think>')[0].split('<think>')[-1].strip() if '</think>' in m.content else '' %}
{%- if loop.index0 > ns.last and (loop.last or thought) %}<|im_start|>assistant
<think>
{{ thought }}
</think>

{{ content }}{% else %}<|im_start|>assistant
{{ content }}{% endif %}"""
    + _HERMES_CALLS.replace("m.content or", "content or")
    + "<|im_end|>\n"
    + _CHATML_RESULTS
    + _CHATML_PROMPT
    + """{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}"""
)

_XML_CALLS = """{% for c in m.tool_calls %}{{ '\\n' if content or not loop.first }}<tool_call>
<function={{ c.function.name }}>
{% for k, v in c.function.arguments.items() %}<parameter={{ k }}>
{{ v if v is string else v | tojson }}
</parameter>
{% endfor %}</function>
</tool_call>{% endfor %}"""

QWEN_3_CODER = (
    _CHATML_SYSTEM
    + """{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant
{{ m.content }}{% for c in m.tool_calls %}{% if m.content or not loop.first %}{{ '\\n' }}{% endif %}<tool_call>
<function={{ c.function.name }}>
{% for k, v in c.function.arguments.items() %}<parameter={{ k }}>
{{ v if v is string else v | tojson }}
</parameter>
{% endfor %}</function>
</tool_call>{% endfor %}<|im_end|>
"""
    + _CHATML_RESULTS
    + _CHATML_PROMPT
)

QWEN_3_5 = QWEN_3.replace(_HERMES_CALLS.replace("m.content or", "content or"), _XML_CALLS)

HERMES_3 = (
    _CHATML_SYSTEM
    + """{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant
{{ m.content }}"""
    + _HERMES_CALLS
    + """<|im_end|>
{% elif m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>tool
{% endif %}<tool_response>
{{ m.content }}{% if not loop.last %}{{ '\\n' }}{% endif %}</tool_response>
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>
{% endif %}
{%- elif not (loop.first and m.role == 'system') %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endif %}{% endfor %}"""
    + _CHATML_PROMPT
)

_NINE = """{% if c.id | length != 9 or not c.id.isalnum() %}{{ raise_exception('ids have nine letters') }}{% endif %}"""
_MISTRAL_TOOLS = "{% if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"

MISTRAL_3 = (
    """<s>{% if messages[0].role == 'system' %}{% set system, messages = messages[0].content, messages[1:] %}
{%- else %}{% set system = '' %}{% endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}{% if m.role == 'user' %}{% if loop.index0 == ns.last %}"""
    + _MISTRAL_TOOLS
    + """[INST] {% if system %}{{ system }}

{% endif %}{{ m.content }}[/INST]{% else %}[INST] {{ m.content }}[/INST]{% endif %}
{%- elif m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}"""
    + _NINE
    + """{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}
{%- if not loop.last %}, {% endif %}{% endfor %}]</s>
{%- elif m.role == 'tool' %}[TOOL_RESULTS] {"content": {{ m.content | tojson }}, "call_id": "{{ m.tool_call_id
 }}"}[/TOOL_RESULTS]
{%- else %} {{ m.content }}</s>{% endif %}{% endfor %}"""
)

MISTRAL_NEMO = MISTRAL_3.replace("{% if system %}", "{% if system and loop.last %}")
"""The system message stands in a question only as long as nothing follows it."""

MISTRAL_7 = (
    "<s>"
    + _MISTRAL_TOOLS
    + """{% for m in messages %}{% if m.role == 'system' %}[SYSTEM_PROMPT] {{ m.content }}[/SYSTEM_PROMPT]
{%- elif m.role == 'user' %}[INST] {{ m.content }}[/INST]
{%- elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.tool_call_id }}[TOOL_CONTENT] {{ m.content }}[/TOOL_RESULTS]
{%- elif m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}"""
    + _NINE
    + """{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}
{%- if not loop.last %}, {% endif %}{% endfor %}]</s>{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"""
)

MISTRAL_11 = (
    "<s>"
    + _MISTRAL_TOOLS
    + """{% for m in messages %}{% if m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]
{%- elif m.role == 'user' %}[INST]{{ m.content }}[/INST]
{%- elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.tool_call_id }}[TOOL_CONTENT]{{ m.content }}[/TOOL_RESULTS]
{%- else %}{{ m.content }}{% for c in m.tool_calls %}"""
    + _NINE
    + """[TOOL_CALLS]{{ c.function.name }}[CALL_ID]{{ c.id }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}</s>
{%- endif %}{% endfor %}"""
)

FUNCTIONARY_3 = (
    "<|begin_of_text|>"
    + _HEADS
    + """{% if tools %}{{ head('system') }}{% for t in tools %}// {{ t.function.description }}
type {{ t.function.name }} = (_: {{ t.function.parameters | tojson }}) => any;
{% endfor %}<|eot_id|>{% endif %}
{%- for m in messages %}{{ head(m.role) }}{% if m.role == 'assistant' %}
{%- if m.content %}>>>all
{{ m.content }}{% endif %}{% for c in m.tool_calls %}>>>{{ c.function.name }}
{{ c.function.arguments | tojson }}{% endfor %}
{%- elif m.role == 'tool' %}{{ m.name }}: {{ m.content }}{% else %}{{ m.content }}{% endif %}<|eot_id|>
{%- endfor %}{% if add_generation_prompt %}{{ head('assistant') }}>>>{% endif %}"""
)

JAMBA = """<|startoftext|>{% if tools %}<|bom|><|system|> <tool_definitions>
{% for t in tools %}{{ t.function | tojson }}
{% endfor %}</tool_definitions><|eom|>{% endif %}
{%- for m in messages %}<|bom|><|{{ m.role }}|> {{ m.content }}{% if m.tool_calls %}<tool_calls>[
{% for c in m.tool_calls %}  {"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
{%- if not loop.last %},{% endif %}

{% endfor %}]</tool_calls>{% endif %}<|eom|>
{%- endfor %}{% if add_generation_prompt %}<|bom|><|assistant|> {% endif %}"""

GLM_4_5 = """[gMASK]<sop>{% if tools %}<|system|>
{% for t in tools %}{{ t | tojson }}
{% endfor %}{% endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
{%- if m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|observation|>{% endif %}
<tool_response>
{{ m.content }}
</tool_response>
{%- elif m.role == 'assistant' %}<|assistant|>
{%- set content = m.content.split('</think>')[-1].strip() %}
{%- set thought = m.content.split('</think>')[0].split('<think>')[-1].strip() if '</think>' in m.content else '' %}
{%- if loop.index0 > ns.last and thought %}{{ '\\n' }}<think>{{ thought }}</think>
{%- else %}{{ '\\n' }}<think></think>{% endif %}
{%- if content %}{{ '\\n' ~ content }}{% endif %}
{%- for c in m.tool_calls %}{{ '\\n' }}<tool_call>{{ c.function.name }}
{% for k, v in c.function.arguments.items() %}<arg_key>{{ k }}</arg_key>
<arg_value>{{ v if v is string else v | tojson }}</arg_value>
{% endfor %}</tool_call>{% endfor %}
{%- else %}<|{{ m.role }}|>
{{ m.content }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

_DEEPSEEK = """<｜begin▁of▁sentence｜>
{%- if tools %}{% for t in tools %}{{ t.function | tojson }}
{% endfor %}{% endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}<｜User｜>{{ m.content }}
{%- elif m.role == 'assistant' %}
{%- set after_tool = not loop.first and messages[loop.index0 - 1].role == 'tool' %}
{%- if after_tool %}<｜tool▁outputs▁end｜>{% else %}<｜Assistant｜>{% endif %}
{%- set content = m.content.split('</think>')[-1].strip() %}{{ content }}
{%- if m.tool_calls %}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{
 c.function.name }}
```json
{{ c.function.arguments | tojson }}
```<｜tool▁call▁end｜>{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}<｜tool▁calls▁end｜>{% endif %}
{%- if True %}<｜end▁of▁sentence｜>{% endif %}
{%- elif m.role == 'tool' %}{% if messages[loop.index0 - 1].role != 'tool' %}<｜tool▁outputs▁begin｜>{% endif -%}
<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>
{%- else %}{{ m.content }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{% if messages[-1].role == 'tool' %}<｜tool▁outputs▁end｜>{% else %}<｜Assistant｜>
{%- if thinking %}<think>
{% endif %}{% endif %}{% endif %}"""

DEEPSEEK_V3 = _DEEPSEEK
DEEPSEEK_R1 = _DEEPSEEK.replace("{%- if thinking %}", "{%- if True %}")

DEEPSEEK_TEXT = _DEEPSEEK.replace("{{ c.function.arguments | tojson }}", "{{ '' + c.function.arguments }}")
"""Arguments as they come: JSON in a text."""

HARMONY = """{% if tools %}<|start|>developer<|message|>{% for t in tools %}
{{ t.function.name }}: {{ t.function | tojson }}{% endfor %}<|end|>{% endif %}
{%- for m in messages %}
{%- if m.role == 'tool' %}<|start|>functions.{{ m.name or 'f' }} to=assistant<|channel|>commentary<|message|>{{
 m.content | tojson }}<|end|>
{%- elif m.role != 'assistant' %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>
{%- elif m.tool_calls %}{% if m.content %}<|start|>assistant<|channel|>analysis<|message|>{{ m.content }}<|end|>
{%- endif -%}
{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif -%}
<|start|>assistant to=functions.{{ m.tool_calls[0].function.name }}<|channel|>commentary json<|message|>{{
 m.tool_calls[0].function.arguments | tojson }}<|call|>
{%- else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}
{%- if loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|start|>assistant{% endif %}"""

TOOL_ACE = (
    "<|begin_of_text|>"
    + _HEADS
    + """{% if tools %}{{ head('system') }}Functions in JSON: {{ tools | tojson }}<|eot_id|>{% endif %}
{%- for m in messages %}{{ head(m.role) }}{{ m.content }}{% if m.tool_calls %}{% if m.content %}{{ '\\n' }}{% endif %}[
{%- for c in m.tool_calls %}{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson
 }}{% if not loop.last %}, {% endif %}{% endfor %}){% if not loop.last %}, {% endif %}{% endfor %}]{% endif %}<|eot_id|>
{%- endfor %}{% if add_generation_prompt %}{{ head('assistant') }}{% endif %}"""
)

PHI_4 = """{% if tools %}<|system|><|tool|>{{ tools | tojson }}<|/tool|><|end|>{% endif %}
{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.tool_calls %}<|tool_call|>[
{%- for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
{%- if not loop.last %}, {% endif %}{% endfor %}]<|/tool_call|>{% endif %}<|end|>
{%- endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""

PHI_4_MINI = """{% if tools %}<|system|><|tool|>{{ tools | tojson }}<|/tool|><|end|>{% endif %}
{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.tool_calls %}{% if m.content %}{{ '\\n' }}{% endif %}
{%- for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
{%- if not loop.last %},{% endif %}{% endfor %}{% endif %}<|end|>
{%- endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
"""Prompts end with a line break that answers do not begin with; calls are divided by commas."""

COMMAND_R = """<BOS_TOKEN>{% if tools %}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{% for t in tools %}
{{ t.function | tojson }}{% endfor %}<|END_OF_TURN_TOKEN|>{% endif %}
{%- for m in messages %}<|START_OF_TURN_TOKEN|>{% if m.role == 'assistant' %}<|CHATBOT_TOKEN|>
{%- if m.tool_calls %}{% if m.content %}<|START_THINKING|>{{ m.content }}<|END_THINKING|>{% endif %}<|START_ACTION|>[
{% for c in m.tool_calls %}    {"tool_call_id": "{{ loop.index0 }}", "tool_name": "{{ c.function.name
 }}", "parameters": {{ c.function.arguments | tojson }}}{% if not loop.last %},{% endif %}

{% endfor %}]<|END_ACTION|>{% else %}<|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|>{% endif %}
{%- elif m.role == 'tool' %}<|SYSTEM_TOKEN|><|START_TOOL_RESULT|>{{ m.content | tojson }}<|END_TOOL_RESULT|>
{%- else %}<|{{ m.role | upper }}_TOKEN|>{{ m.content }}{% endif %}<|END_OF_TURN_TOKEN|>
{%- endfor %}{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"""

KIMI_K2 = """{% if tools %}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>{% endif %}
{%- for m in messages %}<|im_{{ m.role if m.role in ('user', 'assistant') else 'system' }}|>{{ m.name or m.role
 }}<|im_middle|>{{ m.content }}{% if m.tool_calls %}<|tool_calls_section_begin|>{% for c in m.tool_calls -%}
<|tool_call_begin|>functions.{{ c.function.name }}:{{ loop.index0 }}<|tool_call_argument_begin|>{{
 c.function.arguments | tojson }}<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>{% endif %}<|im_end|>
{%- endfor %}{% if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>{% endif %}"""

SMOL_LM = (
    """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}"""
    + _CHATML_PROMPT
)


@dataclass(frozen=True)
class Style:
    """A template and what it can do.

    Args:
        calls: how many at once; None: any number.
        drops: the text beside a call.
        rewrites: what precedes a turn.
        raw: texts stand in tags as they are, so that a closing tag inside ends them.
    """

    template: str
    calls: int | None = None
    drops: bool = False
    rewrites: bool = False
    raw: bool = False


STYLES = {
    "llama_3": Style(LLAMA_3, calls=1, drops=True),
    "llama_4": Style(LLAMA_4),
    "qwen_2_5": Style(QWEN_2_5),
    "qwen_3": Style(QWEN_3, rewrites=True),
    "qwen_3_coder": Style(QWEN_3_CODER, raw=True),
    "qwen_3_5": Style(QWEN_3_5, rewrites=True, raw=True),
    "hermes_3": Style(HERMES_3, rewrites=True),
    "mistral_3": Style(MISTRAL_3, drops=True, rewrites=True),
    "mistral_nemo": Style(MISTRAL_NEMO, drops=True, rewrites=True),
    "mistral_7": Style(MISTRAL_7, drops=True),
    "mistral_11": Style(MISTRAL_11),
    "functionary_3": Style(FUNCTIONARY_3),
    "jamba": Style(JAMBA),
    "glm_4_5": Style(GLM_4_5, raw=True),
    "deepseek_v3": Style(DEEPSEEK_V3),
    "deepseek_r1": Style(DEEPSEEK_R1, rewrites=True),
    "deepseek_text": Style(DEEPSEEK_TEXT),
    "harmony": Style(HARMONY, calls=1),
    "tool_ace": Style(TOOL_ACE),
    "phi_4": Style(PHI_4),
    "phi_4_mini": Style(PHI_4_MINI, rewrites=True),
    "command_r": Style(COMMAND_R),
    "kimi_k2": Style(KIMI_K2),
    "smol_lm": Style(SMOL_LM, calls=0),
}
