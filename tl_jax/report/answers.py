"""Answers that were sampled while a run went on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.page import text
from tl_jax.report.parts import LONG
from tl_jax.report.record import RunRecord, is_number

STEPS = 6
"""Steps whose answers are shown: the first, the last, and some between."""


def answers(name: str, run: RunRecord, named: bool) -> str:
    """Sampled answers of some steps, each with what it earned and why."""
    steps = list(dict.fromkeys(sample["step"] for sample in run.samples))
    if not steps:
        return ""
    chosen = steps if len(steps) <= STEPS else [steps[n * (len(steps) - 1) // (STEPS - 1)] for n in range(STEPS)]
    parts = []
    for step in chosen:
        cards = "".join(_answer(sample) for sample in run.samples if sample["step"] == step)
        opened = " open" if step in (chosen[0], chosen[-1]) else ""
        parts.append(f"<details{opened}><summary>step {step}</summary>{cards}</details>")
    left = f", {len(chosen)} of {len(steps)} steps; samples.jsonl has all" if len(chosen) < len(steps) else ""
    whose = f"Answers of {name}" if named else "Answers"
    return f"<h2>{text(whose)}</h2>\n<p>as they were sampled{left}</p>\n{''.join(parts)}"


def _answer(sample: Mapping[str, Any]) -> str:
    written = str(sample.get("prediction", ""))
    cut = " [...]" if len(written) > LONG else "" if sample.get("finished", True) else " (cut off)"
    earned, turn, given = sample.get("reward"), sample.get("turn"), sample.get("results")
    reward = f"{earned:+.2f}" if is_number(earned) else "?"
    label = f"{sample.get('id')}" + (f", turn {turn + 1:.0f}" if is_number(turn) and turn else "")
    results = "".join(
        f"<dt>result</dt><dd><pre>{text(str(one)[:LONG])}</pre></dd>"
        for one in (given if isinstance(given, list) else ())
    )
    return (
        f'<dl><dt class="case">{text(label)}</dt><dd><pre>{text(written[:LONG] + cut)}</pre></dd>{results}'
        f'<dt><b>{reward}</b></dt><dd class="why">{text(str(sample.get("explanation", ""))[:LONG])}</dd></dl>'
    )
