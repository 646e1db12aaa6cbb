"""The released scorer, bug for bug, so that figures can be compared. Never train with it: it is easily cheated.

Like the released code it works on text alone. Nothing here is how it should be done; what is wrong with it:

* A call is whatever stands before the first ``(`` of the first line that has one, and up to the first ``)`` after it.
  The rest of the answer, a second call or prose, does not count; neither do quotes or brackets.
* Only ``word = '...'`` counts as an argument. Numbers, lists and double-quoted text are not seen at all.
* Tools are searched for in the whole prompt, the user's text included, as ``def name(...):``. Their parameters are
  whatever stands before a colon between two commas: a default such as ``'12:30'`` makes a parameter of its own, an
  unannotated parameter is none, ``-> type`` hides the tool after it.
* ``### Response:`` in prompt or answer moves the beginning of the answer behind it.
* A gold answer that is no call (none is needed, or its arguments hold no ``)``) makes every answer a failure.

Two things of the released program are not the scorer's and not repeated here: it cuts prompts to their last 8,192
tokens beforehand (tools that are cut off are unknown), and it rounds the result to bfloat16 (-1.8 becomes -1.797).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from tl_jax.tooluse.rewards.compare import Fault
from tl_jax.tooluse.rewards.grade import alternatives
from tl_jax.tooluse.rewards.verdict import Verdict
from tl_jax.tooluse.schema import Case
from tl_jax.tooluse.text.render import PaperRenderer, ReleasedRenderer

# The released patterns without their quadratic time: (\w+)\s*=\s*'([^']*)' and def\s+([^\s(]+)\((.*?)\):
_ARGUMENT = re.compile(r"(?<!\w)(\w++)\s*+=\s*+'([^']*+)'")
_TOOL = re.compile(r"def\s++([^\s(]++)\(")
_TURN, _RESPONSE = "Assistant:", "### Response:"
_AMOUNTS = {
    "parse_failure": -2.0,
    "hallucinated_tool": -2.0,
    "wrong_tool": -1.5,
    "wrong_value": -0.25,
    "hallucinated_parameter": -0.8,
    "redundant_parameter": -0.5,
    "missing_parameter": -0.5,
}


class _Texts(NamedTuple):
    """A case as text."""

    case: Case
    prompt: str
    golds: list[str]


class Reference:
    """The released scorer as a profile: the case is rendered as text first, in one of the two formats.

    The text of the last case is kept, because the answers to a case mostly come one after another.
    """

    def __init__(self, name: str, renderer: PaperRenderer | ReleasedRenderer, description: str) -> None:
        self.name, self.description, self.renderer = name, description, renderer
        self._last: _Texts | None = None

    def grade(self, prediction: str, case: Case) -> Verdict:
        """The best over the gold alternatives; the answer to several calls is the first, as everywhere in this scorer.

        Raises:
            ValueError: a case without gold.
        """
        _, prompt, golds = self._texts(case)
        return max((grade_text(prediction, gold, prompt) for gold in golds), key=lambda verdict: verdict.value)

    def _texts(self, case: Case) -> _Texts:
        last = self._last
        if last is None or last.case is not case:
            prompt = self.renderer.prompt(case.tools, case.messages).text
            last = self._last = _Texts(case, prompt, [self.renderer.answer(gold) for gold in alternatives(case)])
        return last

    def arithmetic(self, verdict: Verdict) -> str:
        amounts = [_AMOUNTS[fault.category] for fault in verdict.faults]
        figures = " ".join(f"{amount:+g}" for amount in amounts or [1.0])
        return figures if len(amounts) < 2 else f"{figures} = {verdict.value:+g}"


def grade_text(completion: str, gold: str, prompt: str) -> Verdict:
    """What the released scorer makes of a completion.

    Args:
        gold: the right answer as text.
        prompt: the whole prompt as text. After its last ``Assistant:`` comes nothing or, for a completion that holds
            arguments only, the name of the tool whose parameters are meant.

    Raises:
        ValueError: a prompt without ``Assistant:``; the released program ends there.
    """
    if _TURN not in prompt:
        raise ValueError(f"the prompt has no {_TURN!r}")
    given = prompt.rpartition(_TURN)[2].strip()
    tools = _tools(prompt)
    predicted, wanted = _call(_answer(prompt, completion)), _call(gold)
    if predicted is None or wanted is None:
        return _verdict(Fault("parse_failure", reason="no (...) in the " + ("gold answer" if predicted else "answer")))
    (name, inside), (gold_name, gold_inside) = predicted, wanted
    if name and name not in tools:
        return _verdict(Fault("hallucinated_tool", reason=f"no 'def {name}' in the prompt"))
    if name != gold_name:
        return _verdict(Fault("wrong_tool", reason=f"{name!r} instead of {gold_name!r}"))
    arguments, gold_arguments = dict(_ARGUMENT.findall(inside)), dict(_ARGUMENT.findall(gold_inside))
    known = tools.get(given or name, arguments)  # an unknown tool takes anything
    extra = [key for key in arguments if key in known and key not in gold_arguments] if (given or name) in tools else []
    found = (
        Fault("hallucinated_parameter", tuple(key for key in arguments if key not in known)),
        Fault("redundant_parameter", tuple(extra)),
        Fault("missing_parameter", tuple(key for key in gold_arguments if key not in arguments)),
    )
    faults = tuple(fault for fault in found if fault.arguments)
    if not faults and (differing := tuple(key for key in arguments if arguments[key] != gold_arguments.get(key))):
        faults = (Fault("wrong_value", differing),)
    return _verdict(*faults)


def _answer(prompt: str, completion: str) -> str:
    """The completion, or what follows the last response marker."""
    _, marker, rest = (prompt + completion).rpartition(_RESPONSE)
    return rest if marker and rest else completion


def _call(text: str) -> tuple[str, str] | None:
    """What stands before the first ``(`` on its line, and what between it and the first ``)``."""
    opening = text.find("(")
    closing = text.find(")", opening + 1)
    if opening < 0 or closing < 0:
        return None
    return text[text.rfind("\n", 0, opening) + 1 : opening].strip(), text[opening + 1 : closing]


@lru_cache(maxsize=16)
def _tools(prompt: str) -> dict[str, list[str]]:
    """Name -> parameters of everything that looks like a definition."""
    tools, position = {}, 0
    while head := _TOOL.search(prompt, position):
        end = prompt.find("):", head.end())
        if end < 0:
            break
        pieces = prompt[head.end() : end].split(",")
        tools[head[1]] = [part.strip() for piece in pieces for part in piece.split(":")[:-1]]
        position = end + 2
    return tools


def _verdict(*faults: Fault) -> Verdict:
    return Verdict(round(sum(_AMOUNTS[fault.category] for fault in faults), 2) if faults else 1.0, faults)
