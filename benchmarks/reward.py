"""Rubric per second on one core, for every profile, and beside them the released scorer's own regular expressions.

    python benchmarks/reward.py [--data DIR] [--seconds 2]

DIR holds evaluation cases as JSONL files; without one, and without the data beside the repository, invented cases are
used. Every case is answered in five ways: right, right as JSON, a wrong value, a missing argument and prose. Processor
time of one process counts, the best of three rounds. The baseline does what the released scorer does with text that is
ready: prompt and gold answer are rendered beforehand, while our profiles start from the structured case.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.rewards.score import PROFILES, score
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.tooluse.text.render import PaperRenderer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "eval"
ROUNDS = 3


def invented(count: int = 200) -> list[Case]:
    """Cases with five tools of three parameters each."""
    kinds = ("string", "integer", "boolean")
    tools = tuple(
        Tool(f"tool_{n}", "Does it.", {"properties": {f"p_{kind}": {"type": kind} for kind in kinds}}) for n in range(5)
    )
    return [
        Case(
            str(n),
            tools,
            (Message("user", "Do it."),),
            ((Call(f"tool_{n % 5}", {"p_string": f"value {n}", "p_integer": n, "p_boolean": n % 2 == 0}),),),
        )
        for n in range(count)
    ]


def answered(cases: Sequence[Case]) -> list[tuple[str, Case]]:
    """Five answers to every case."""
    pairs, write = [], PaperRenderer().answer
    for case in cases:
        gold = case.gold[0][:1] if case.gold_kind == "sequence" else case.gold[0]
        wrong = [Call(call.name, {name: f"{value}!" for name, value in call.arguments.items()}) for call in gold]
        fewer = [Call(call.name, dict(list(call.arguments.items())[1:])) for call in gold]
        answers = (
            write(gold),
            json.dumps([{"name": call.name, "arguments": dict(call.arguments)} for call in gold]),
            write(wrong),
            write(fewer),
            "I cannot.",
        )
        pairs += [(answer, case) for answer in answers]
    return pairs


def released(completion: str, prompt: str, gold: str) -> float:
    """The released scorer's steps."""
    tools = {
        name: [part.strip() for piece in inside.split(",") for part in re.findall("(.*?):", piece, re.DOTALL)]
        for name, inside in re.findall(r"def\s+([^\s(]+)\((.*?)\):", prompt, re.DOTALL)
    }
    calls = [re.search(r"(.*?)\(([\s\S]*?)\)", text) for text in (completion, gold)]
    if calls[0] is None or calls[1] is None:
        return -2.0
    name, wanted = (call[1].strip() for call in calls if call)
    given, right = (dict(re.findall(r"(\w+)\s*=\s*'([^']*)'", call[2])) for call in calls if call)
    if name not in tools:
        return -2.0
    if name != wanted:
        return -1.5
    hallucinated = any(key not in tools[name] for key in given)
    redundant = any(key in tools[name] and key not in right for key in given)
    missing = any(key not in given for key in right)
    return -(0.8 * hallucinated + 0.5 * redundant + 0.5 * missing) or (1.0 if given == right else -0.25)


def rate(run: Callable[[], object], count: int, seconds: float) -> float:
    """How many of ``count`` per call of ``run`` a second of the processor makes, at best."""
    best = 0.0
    for _ in range(ROUNDS):
        start, done = time.process_time(), 0
        while (took := time.process_time() - start) < seconds / ROUNDS:
            run()
            done += count
        best = max(best, done / took)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line of the table")
    options = parser.parse_args()
    files = sorted(options.data.glob("*.jsonl"))
    cases = [case for file in files for case in read_cases(file) if case.gold_kind != "none" and any(case.gold)]
    cases = cases or invented()
    pairs, write = answered(cases), PaperRenderer()
    texts = {id(case): (write.prompt(case.tools, case.messages).text, write.answer(case.gold[0])) for case in cases}
    print(f"{len(pairs)} answers to {len(cases)} cases ({'invented' if not files else options.data})")
    baseline = rate(lambda: [released(answer, *texts[id(case)]) for answer, case in pairs], len(pairs), options.seconds)
    print(f"{'profile':20}{'scores per second':>20}{'against the released':>24}")
    print(f"{'released (regexes)':20}{baseline:>20,.0f}{1:>24.2f}")
    for name, profile in PROFILES.items():
        found = rate(lambda p=profile: [score(answer, case, p) for answer, case in pairs], len(pairs), options.seconds)  # type: ignore[misc]
        print(f"{name:20}{found:>20,.0f}{found / baseline:>24.2f}")


if __name__ == "__main__":
    main()
