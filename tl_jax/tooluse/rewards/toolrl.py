"""The reward of ToolRL (Qian et al., https://arxiv.org/abs/2504.13958, section 3.3): graded by what is right.

``R = R_format + R_correct``, with ``R_format`` 1 if the answer has the form asked for and 0 otherwise, and, for
predicted calls P and gold calls G, paired as well as possible (only calls of the same tool count as a pair),

    R_correct = 6 (r_name + r_param + r_value) / S - 3             in [-3, 3]
    r_name    = |N_P ∩ N_G| / |N_P ∪ N_G|                          N: tool names, each as often as it is called
    r_param   = Σ over pairs |keys(p) ∩ keys(g)| / |keys(p) ∪ keys(g)|
    r_value   = Σ over pairs, over keys(g), of [p[key] = g[key]]
    S         = 1 + max(1, |P| / |G|) Σ over G of (1 + |keys(g)|)

An answer without the form asked for has no calls to grade: 0 - 3. The factor max(1, |P| / |G|) is ours: without it
calls beyond the number of gold calls cost only r_name, and several guesses earn more than any one of them would. Values
are compared with their types, as in every profile of ours. Where a gold call accepts several values, or leaves an
argument open, g is the right call that is nearest to p.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tl_jax.tooluse.rewards.compare import Fault, compare, nearest, same_argument, same_value, settled
from tl_jax.tooluse.rewards.grade import grade_calls
from tl_jax.tooluse.rewards.matching import best_assignment
from tl_jax.tooluse.rewards.table import unpaired
from tl_jax.tooluse.rewards.verdict import Verdict
from tl_jax.tooluse.schema import Call, Case, Tool

HIGHEST = 3.0


class ToolRl:
    """The profile ``toolrl``."""

    name = "toolrl"
    description = "graded by what is right, as in ToolRL"

    def grade(self, prediction: str, case: Case) -> Verdict:
        return grade_calls(prediction, case, self)

    def whole(self, fault: Fault | None) -> Verdict:
        form = 0.0 if fault and fault.category == "parse_failure" else 1.0
        return Verdict(form + (-HIGHEST if fault else HIGHEST), (fault,) if fault else (), (form,))

    def calls(self, predicted: Sequence[Call], gold: Sequence[Call], offered: Mapping[str, Tool]) -> Verdict:
        credits = [[_credit(call, one, offered) for one in gold] for call in predicted]
        pairs = best_assignment([[keys + values for keys, values in row] for row in credits])
        spare = unpaired(predicted, gold, pairs)
        names = _overlap(Counter(call.name for call in predicted), Counter(call.name for call in gold))
        keys = sum(credits[row][column][0] for row, column in pairs)
        values = sum(credits[row][column][1] for row, column in pairs)
        met = [*gold]
        for row, column in pairs:
            if predicted[row].name == gold[column].name:
                met[column] = nearest(predicted[row], gold[column], offered[gold[column].name], same_value)
        size = 1.0 + max(1.0, len(predicted) / len(gold)) * sum(1 + len(call.arguments) for call in met)
        found = [
            fault
            for row, column in pairs
            for fault in compare(predicted[row], gold[column], offered, same_value, defaults=True)
        ]
        value = 1.0 + 2 * HIGHEST * (names + keys + values) / size - HIGHEST
        return Verdict(value, (*found, *spare), (1.0, names, keys, values, size))

    def arithmetic(self, verdict: Verdict) -> str:
        form, *parts = verdict.terms
        if not parts:
            return f"{form:+g} {verdict.value - form:+g} = {verdict.value:+g}"
        names, keys, values, size = parts
        return f"{form:+g} +6 ({names:g} + {keys:g} + {values:g}) / {size:g} -3 = {verdict.value:+g}"


def _credit(call: Call, gold: Call, offered: Mapping[str, Tool]) -> tuple[float, float]:
    """What a pair adds to r_param and r_value."""
    if call.name != gold.name:
        return 0.0, 0.0
    tool = offered[gold.name]
    gold = nearest(call, gold, tool, same_value)
    arguments = settled(call, gold, tool)
    both = arguments.keys() & gold.arguments.keys()
    either = arguments.keys() | gold.arguments.keys()
    values = sum(same_argument(name, arguments[name], gold.arguments[name], tool, same_value) for name in both)
    return len(both) / len(either) if either else 1.0, float(values)


def _overlap(a: Counter[str], b: Counter[str]) -> float:
    """Intersection over union of multisets."""
    return (a & b).total() / (a | b).total()
