"""The page: what was run, curves, outcomes, answers over time, evaluations, settings, and what the runs said."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence

from tl_jax.page import page, text
from tl_jax.report.answers import answers
from tl_jax.report.curves import Line, chart, shares
from tl_jax.report.evaluations import evaluations
from tl_jax.report.parts import LONG, charts, short_names, table
from tl_jax.report.record import BEFORE, EvaluationRecord, Found, RunRecord
from tl_jax.report.style import STYLE

CURVES: Mapping[str, tuple[str, ...]] = {
    "Loss": ("loss", "eval_loss"),
    "Reward": ("reward", "eval_reward"),
    "Answers to fixed cases, %": ("eval_TS", "eval_PI", "eval_CF"),
    "Accuracy of target tokens": ("accuracy", "eval_accuracy"),
    "KL to the reference, and of the updates": ("kl", "approx_kl"),
    "Entropy": ("entropy",),
    "Answer length, tokens": ("answer_length",),
    "Share of answers": ("finished", "truncated"),
    "Norm of the gradient": ("grad_norm", "critic_grad_norm"),
    "Learning rate": ("learning_rate", "critic_rate"),
    "Tokens per second": ("tokens_per_second",),
    "Seconds of a step": ("seconds_sampling", "seconds_learning"),
}
"""Charts that stand at the top, and the metrics in them. Every other metric has a chart below."""
SHARES = {
    "outcome/": "What became of the answers",
    "eval_outcome/": "What became of the answers to fixed cases",
    "result/": "What tools answered",
}
LINES = 300
"""Lines of a log that are shown."""
_TIMED = re.compile(r"^20\d\d-\S+ (.*)")
"""A line of a log that the run said; tables, in which models speak, have no time."""
_PROGRESS = re.compile(r"step \d+/\d+ ")


def to_html(found: Found) -> str:
    """The page. No text of runs can become markup."""
    names = short_names([run.name for run in found.runs])
    runs = dict(zip(names, found.runs, strict=True))
    title = ", ".join(names) if 0 < len(names) <= 3 else f"{len(names)} runs" if names else "Evaluations"
    sections = [
        f"<h1>{text(title)}</h1>",
        _overview(runs),
        _told(runs, found.evaluations),
        _curves(runs),
        *(_outcomes(runs, prefix, heading) for prefix, heading in SHARES.items()),
        evaluations(found.evaluations),
        *(answers(name, run, len(runs) > 1) for name, run in runs.items()),
        _settings(runs),
        *(_log(name, run, len(runs) > 1) for name, run in runs.items()),
        _further(runs),
    ]
    return page(title, STYLE, "<main>" + "\n".join(filter(None, sections)) + "</main>")


def _overview(runs: Mapping[str, RunRecord]) -> str:
    """A row for each run."""
    if not runs:
        return ""
    heads = ("run", "what", "model", "steps", "started", "took", "devices in processes", "code")
    rows = [[name, *_facts(run)] for name, run in runs.items()]
    return table(heads, rows)


def _facts(run: RunRecord) -> list[str]:
    settings, first, last = run.settings, *((run.starts[0], run.starts[-1]) if run.starts else ({}, {}))
    what = "supervised" if run.kind == "sft" else f"reinforcement, {settings.get('algorithm.estimator', '?')}"
    if settings.get("lora.rank"):
        what += f", adapters of rank {settings['lora.rank']}"
    devices, packages = (part if isinstance(part := last.get(key), dict) else {} for key in ("devices", "packages"))
    steps = str(run.rows[-1]["step"]) if run.rows else "0"
    again = f" ({len(run.starts)} starts)" if len(run.starts) > 1 else ""
    return [
        what,
        str(settings.get("model.path", "?")),
        steps + (f" of {settings['steps']}" if settings.get("steps") else ""),
        str(first.get("started", "?"))[:16].replace("T", " ") + again,
        _duration(run),
        f"{devices.get('count', '?')} x {devices.get('kind', '?')} in {devices.get('processes', '?')}",
        f"tl_jax {last.get('tl_jax', '?')}, jax {packages.get('jax', '?')}, commit {str(last.get('git_commit'))[:9]}",
    ]


def _duration(run: RunRecord) -> str:
    """From the latest start to the last logged step."""
    try:
        began = datetime.datetime.fromisoformat(run.starts[-1]["started"]).timestamp()
        seconds = int(run.rows[-1]["time"] - began)
        return str(datetime.timedelta(seconds=max(seconds, 0)))
    except (IndexError, KeyError, TypeError, ValueError, OverflowError):
        return "?"


def _told(runs: Mapping[str, RunRecord], evaluations: Sequence[EvaluationRecord]) -> str:
    """Warnings of the logs, and what could not be read."""
    lines = [f"{name}: {line}" for name, run in runs.items() for line in (*run.faults, *_warnings(run))]
    lines += [f"{one.name}: {line}" for one in evaluations for line in one.faults]
    return f'<ul class="told">{"".join(f"<li>{text(line[:LONG])}</li>" for line in lines)}</ul>' if lines else ""


def _warnings(run: RunRecord) -> list[str]:
    said = (found[1] for line in run.log if (found := _TIMED.match(line)))
    return list(dict.fromkeys(line for line in said if line.startswith("warning: ")))


def _curves(runs: Mapping[str, RunRecord]) -> str:
    return charts("Curves", [chart(title, _lines(runs, metrics)) for title, metrics in CURVES.items()])


def _further(runs: Mapping[str, RunRecord]) -> str:
    """Every metric that has no chart yet, each by itself."""
    known = {metric for metrics in CURVES.values() for metric in metrics}
    metrics = dict.fromkeys(name for run in runs.values() for name in run.metrics)
    rest = sorted(
        name
        for name in metrics
        if name not in known and not name.startswith(tuple(SHARES)) and not name.endswith(BEFORE)
    )
    charts = "".join(chart(name, _lines(runs, (name,))) for name in rest)
    count = len(rest)
    return (
        f'<details><summary>{count} more metrics</summary><div class="charts">{charts}</div></details>' if rest else ""
    )


def _lines(runs: Mapping[str, RunRecord], metrics: Sequence[str]) -> list[Line]:
    """A colour for each run, dashes for each metric; of one run a colour for each metric."""
    alone = len(runs) == 1
    return [
        Line(
            metric if alone else f"{name}: {metric}",
            run.points(metric),
            which if alone else number,
            0 if alone else which,
        )
        for number, (name, run) in enumerate(runs.items())
        for which, metric in enumerate(metrics)
    ]


def _outcomes(runs: Mapping[str, RunRecord], prefix: str, heading: str) -> str:
    """For each run the shares of the categories under ``prefix`` over its steps, the right ones at the bottom."""
    drawn = []
    for name, run in runs.items():
        names = dict.fromkeys(name.removesuffix(BEFORE) for name in run.metrics if name.startswith(prefix))
        curves = {name: dict(points) for name in names if (points := run.points(name))}
        keys = sorted(
            curves, key=lambda key: (key not in (f"{prefix}correct", f"{prefix}success"), -sum(curves[key].values()))
        )
        steps = sorted({step for curve in curves.values() for step in curve})
        rows = {step: [curves[key].get(step, 0.0) for key in keys] for step in steps}
        drawn.append(shares(name, [key.removeprefix(prefix).replace("_", " ") for key in keys], rows))
    return charts(heading, drawn)


def _settings(runs: Mapping[str, RunRecord]) -> str:
    """Where runs differ, in what all of them have; then what is not the default; then all of it."""
    if not runs:
        return ""
    keys = list(dict.fromkeys(key for run in runs.values() for key in run.settings))
    parts = ["<h2>Settings</h2>"]
    if len(runs) > 1:
        common = [key for key in keys if all(key in run.settings for run in runs.values())]
        differing = [key for key in common if len({_cell(run, key) for run in runs.values()}) > 1]
        parts.append(_settings_table("in which the runs differ", runs, differing))
    changed = dict.fromkeys(key for run in runs.values() for key in run.changed)
    parts.append(_settings_table("that are not the default", runs, [key for key in keys if key in changed]))
    every = _settings_table("", runs, keys)
    parts.append(f"<details><summary>all {len(keys)} settings</summary>{every}</details>")
    return "\n".join(parts)


def _settings_table(title: str, runs: Mapping[str, RunRecord], keys: Sequence[str]) -> str:
    rows = [[key, *(_cell(run, key) for run in runs.values())] for key in keys]
    return (f"<h3>{text(title)}</h3>" if title else "") + table(("setting", *runs), rows)


def _cell(run: RunRecord, key: str) -> str:
    value = run.settings.get(key, "") if key in run.settings else "(not there)"
    return ("null" if value is None else str(value))[:LONG]


def _log(name: str, run: RunRecord, named: bool) -> str:
    """What was said of data and devices before the first step, and the rest folded away."""
    if not run.log:
        return ""
    lines = [_TIMED.sub(r"\1", line) for line in run.log]
    begin = next((n for n, line in enumerate(lines) if _PROGRESS.match(line)), len(lines))
    said = lines[:begin][:LINES]
    whole = [*run.log[: LINES // 2], "[...]", *run.log[-LINES // 2 :]] if len(run.log) > LINES else run.log
    heading = f"Data and start of {name}" if named else "Data and start"
    return (
        f'<h2>{text(heading)}</h2>\n<pre class="log">{_joined(said)}</pre>\n'
        f'<details><summary>the log, {len(run.log)} lines</summary><pre class="log">{_joined(whole)}</pre></details>'
    )


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(text(line[:LONG]) for line in lines)
