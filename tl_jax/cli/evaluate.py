"""Commands that answer, score and reward."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tl_jax.cli.names import OneOf, OneOfOr
from tl_jax.cli.numbers import COUNT
from tl_jax.cli.options import (
    compile_cache_option,
    format_option,
    group_of,
    include_option,
    renderer_option,
    sampling_options,
    scoring_options,
    template_options,
    unknown_option,
    unwritable_option,
)
from tl_jax.cli.paths import DATA, FILE, OUT, OUT_FILE, ModelDirectory
from tl_jax.compile_cache import keep_programs
from tl_jax.evaluation.suites import SUITES, Suite
from tl_jax.files import write_text
from tl_jax.terminal import SafeConsole, give, say
from tl_jax.tooluse.metrics import Scoring
from tl_jax.tooluse.rewards.score import PROFILES

SHOWN_IDS = 3
model_option = click.option(
    "--model", type=ModelDirectory(), required=True, help="HF, PEFT, checkpoint or run directory; at gs:// too."
)
predictions_option = click.option("--predictions", type=FILE, required=True, help='JSONL {"id", "prediction"}.')
profile_option = click.option(
    "--profile",
    type=OneOfOr(PROFILES, "FILE.yaml"),
    default="paper",
    show_default=True,
    help="Of rewards: a table of amounts; docs/rewards.md describes each, and how to write your own.",
)
suite_options = group_of(
    click.option("--suite", type=OneOf(SUITES), help="A benchmark by its own rules, see docs/bfcl.md."),
    click.option("--category", "categories", multiple=True, help="Of the suite: one, a group, or all; repeatable."),
)
cases_or_suite_options = group_of(
    click.option("--cases", type=DATA, help="Cases, or trajectories; of a suite: its files or their folder."),
    format_option("format", help="Of the cases."),
    suite_options,
)
"""A file of cases, or a benchmark."""


def batch_size_option(default: int) -> Any:
    return click.option("--batch-size", default=default, show_default=True, type=COUNT)


answering_options = group_of(
    template_options,
    batch_size_option(16),
    include_option,
    click.option("--limit", type=COUNT, help="Only the first cases (of each category or level)."),
    click.option("--overwrite", is_flag=True, help="Answer again what the directory already holds."),
    scoring_options,
    sampling_options,
    compile_cache_option,
)
"""How cases are answered and scored."""


@click.command()
@model_option
@click.option("--input", "source", type=FILE, required=True, help="messages.json or JSONL.")
@unknown_option
@template_options
@batch_size_option(8)
@sampling_options
@compile_cache_option
def generate(model: Path, source: Path, compile_cache: bool, **options: Any) -> None:
    """Answer messages; the answer goes to stdout.

    A JSON file holds one conversation: OpenAI's messages, or {"messages", "tools"}, or a request to another API
    (Anthropic, Google, Bedrock, Responses); roles may also be the paper's System, User, Assistant, Output. A JSONL file
    holds one such conversation (with "id") a line and gives one JSON line each.
    """
    keep_programs(compile_cache)
    from tl_jax.evaluation.answering import Answering
    from tl_jax.evaluation.generate import generate_file

    generate_file(model, source, give, Answering.of(**options), bar=not sys.stdout.isatty())


@click.command(name="eval")
@model_option
@cases_or_suite_options
@click.option("--out", type=OUT, required=True, help="Directory to write.")
@answering_options
def evaluate(
    model: Path,
    out: Path,
    cases: Path | None,
    suite: str | None,
    categories: tuple[str, ...],
    compile_cache: bool,
    **options: Any,
) -> None:
    """Answer every case and score TS, PI and CF; writes predictions.jsonl and summary.json.

    With --suite the questions of a benchmark, scored by its own rules.
    """
    from tl_jax.evaluation.answering import Answering
    from tl_jax.evaluation.runner import evaluate as run

    rules, kept = _taken(options, _RULES), _taken(options, ("limit", "overwrite"))
    kind = options.pop("format")
    answering = Answering.of(**options)
    known = _suite(cases, suite, categories, {"format": kind, **rules})
    keep_programs(compile_cache)
    if known:
        known.evaluate(model, out, categories, answering, cases, **kept)
    elif cases:
        run(model, cases, out, answering, Scoring(**rules), format=kind, **kept)


@click.command()
@cases_or_suite_options
@predictions_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@renderer_option
@scoring_options
def score(
    cases: Path | None,
    suite: str | None,
    categories: tuple[str, ...],
    predictions: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """TS, PI and CF of given predictions, or the scores of a suite; needs no model."""
    from tl_jax.evaluation.report import summary_json, summary_report
    from tl_jax.evaluation.score import score_file

    if known := _suite(cases, suite, categories, options):
        scores = known.score(predictions, categories, cases)
        missing, shown, found = scores.missing, known.report(scores), {"suite": suite, **scores.to_json()}
    elif cases:
        rules = _taken(options, _RULES)
        scored = score_file(cases, predictions, options["format"], Scoring(**rules), options["renderer"])
        missing, shown, unwritable = scored.missing, summary_report(scored.summary), scored.unwritable
        found = {**rules, **summary_json(scored.summary), "missing": missing, "unwritable_cases": unwritable.reasons}
        _warn(unwritable.line())
    if missing:
        say(f"{missing} cases have no prediction and count as wrong", err=True)
    if as_json:
        give(json.dumps(found))
    else:
        SafeConsole(highlight=True).print(shown)


@click.command()
@click.option("--cases", type=DATA, required=True, help="Cases with gold answers, or trajectories.")
@format_option(help="Of the cases.")
@predictions_option
@profile_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object per prediction on stdout.")
@renderer_option
@unwritable_option
def reward(
    cases: Path, kind: str, predictions: Path, profile: str, as_json: bool, renderer: str, unwritable: Any
) -> None:
    """What each prediction earns in reinforcement training, and why; needs no model.

    With --json one line per prediction: {"id", "reward", "category", "explanation"}. Faults of the gold answers and
    cases without a prediction are reported on stderr.
    """
    from tl_jax.evaluation.rewards import reward_file, rewards_report

    rewards = reward_file(cases, predictions, profile, kind, renderer, unwritable)
    _warn(rewards.unwritable.line())
    for case_id, fault in rewards.faults:
        say(f"fault of the data: {case_id}: {fault}", err=True)
    _tell(rewards.missing, "have no prediction")
    _tell(rewards.without_gold, "have a prediction but no gold answer")
    if not as_json:
        SafeConsole(highlight=True).print(rewards_report(rewards))
        return
    for row in rewards.rows:
        line = {
            "id": row.case.id,
            "reward": row.reward.value,
            "category": row.reward.category,
            "explanation": row.reward.explanation,
        }
        give(json.dumps(line, ensure_ascii=False))


@click.command()
@click.argument("a", type=DATA)
@click.argument("b", type=DATA)
@click.option("--cases", type=DATA, help="That both answer. Default: those that their directories name.")
@format_option("format", help="Of the cases.")
@suite_options
@click.option("--common", is_flag=True, help="Leave out cases that only one of them answers.")
@click.option("--show", "shown", type=COUNT, default=5, show_default=True, help="Changed cases of each kind.")
@click.option("--html", "page", type=OUT_FILE, help="Also as a page, with every case that changed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@profile_option
@renderer_option
@scoring_options
def compare(
    a: Path,
    b: Path,
    suite: str | None,
    categories: tuple[str, ...],
    shown: int,
    page: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Two models' answers to the same cases: paired differences, and which cases changed; needs no model.

    A and B are files of predictions, or directories that eval has written; differences are B - A, with 95 %
    intervals (paired bootstrap over the cases) and McNemar's exact test. With --suite the questions of a benchmark,
    right or wrong by its own rules.
    """
    from tl_jax.evaluation.comparison_files import compare_files, compare_suite
    from tl_jax.evaluation.comparison_page import to_html
    from tl_jax.evaluation.comparison_report import report, to_json

    cases, common = (options.pop(name) for name in ("cases", "common"))
    if known := _suite(cases or a, suite, categories, options):
        how: dict[str, Any] = {"suite": suite}
        compared = compare_suite(a, b, known, categories, cases, common)
    else:
        how = _taken(options, _RULES)
        compared = compare_files(a, b, cases, scoring=Scoring(**how), common=common, **options)
    if page:
        write_text(page, to_html(compared))
    if as_json:
        give(json.dumps({**how, **to_json(compared)}, ensure_ascii=False))
    else:
        SafeConsole().print(report(compared, shown))


@click.command()
@click.argument("files", nargs=-1, required=True, type=DATA)
@format_option("format", help="Of the files.")
@model_option
@click.option("--out", type=OUT, required=True, help="Directory to write: answers, robustness.json, robustness.html.")
@click.option("--beside", type=DATA, multiple=True, help="An earlier --out that the page shows, too; may be repeated.")
@answering_options
def robustness(
    files: tuple[Path, ...], model: Path, out: Path, beside: tuple[Path, ...], compile_cache: bool, **options: Any
) -> None:
    """TS, PI and CF over RoTBench's noise levels, as a table and one plot.

    FILES are RoTBench's, one for each level: clean, slight, medium, heavy, union; those that there are. Each level is
    evaluated as eval does, in a directory of its own below --out.
    """
    from tl_jax.evaluation.answering import Answering
    from tl_jax.evaluation.robustness import evaluate_levels, levels_of, read_levels, report
    from tl_jax.evaluation.robustness_page import to_html

    rules, kept = _taken(options, _RULES), _taken(options, ("limit", "overwrite", "format"))
    answering = Answering.of(**options)
    others = [read_levels(directory) for directory in beside]
    levels = levels_of(files, kept["format"])
    keep_programs(compile_cache)
    found = evaluate_levels(model, levels, out, answering, Scoring(**rules), **kept)
    write_text(out / "robustness.html", to_html([found, *others]))
    SafeConsole(highlight=True).print(report(found))


COMMANDS = (generate, evaluate, score, reward, compare, robustness)


def _warn(line: str) -> None:
    """A line on stderr, if there is one."""
    if line:
        say(line, err=True)


def _tell(ids: tuple[str, ...], what: str) -> None:
    if ids:
        more = ", ..." if len(ids) > SHOWN_IDS else ""
        say(f"{len(ids)} cases {what}: {', '.join(ids[:SHOWN_IDS])}{more}", err=True)


_RULES = ("policy", "strict", "rotbench", "unwritable")


def _taken(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """These options, which are taken away."""
    return {name: options.pop(name) for name in names}


def _suite(cases: Path | None, name: str | None, categories: Sequence[str], others: Mapping[str, Any]) -> Suite | None:
    """The suite that is meant; None where a file of cases is.

    Args:
        others: options that only a file of cases has.

    Raises:
        UsageError: neither is given, or options that do not go together.
    """
    if name is None:
        if categories:
            raise click.UsageError("--category goes with --suite.")
        if cases is None:
            raise click.UsageError("Missing option '--cases' or '--suite'.")
        return None
    for option, value in others.items():
        if value not in (False, "any", "auto", "paper", "skip"):
            raise click.UsageError(f"--{option} does not go with --suite, which has rules of its own.")
    return SUITES.find(name)
