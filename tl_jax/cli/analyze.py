"""``tl-jax analyze``: the paper's questions about training data, for any file of trajectories."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tl_jax.tooluse.readers import FORMATS


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Trajectories.")
@click.option("--format", "kind", type=click.Choice(["auto", *FORMATS]), default="auto", show_default=True)
@click.option(
    "--tokenizer", type=click.Path(exists=True, path_type=Path), help="Adds key tokens and lengths in tokens."
)
@click.option("--renderer", type=click.Choice(["paper", "released", "chat"]), default="paper", show_default=True)
@click.option("--max-weight", default=9.0, show_default=True, type=click.FloatRange(min=1), help="Of a key token.")
@click.option("--rule", default="paper", show_default=True, help="What is an error: an MAE rule, or module:function.")
@click.option("--pack", "packs", multiple=True, help="Rule paper looks for this family only; may be repeated.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="All figures, as JSON.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Charts: FILE.html or FILE.png.")
def analyze(
    data: Path,
    kind: str,
    tokenizer: Path | None,
    renderer: str,
    max_weight: float,
    rule: str,
    packs: tuple[str, ...],
    json_path: Path | None,
    plot: Path | None,
) -> None:
    """Show what is in a file of trajectories: failed calls and what follows them, key tokens, names, lengths."""
    from tl_jax.data.sources import trajectories
    from tl_jax.evaluation.analysis_report import Report, print_report, write_plot
    from tl_jax.tooluse.analysis import Analyser

    counts, tokens = Analyser(rule, packs), None
    if tokenizer:
        from tl_jax.data.analysis import TokenAnalyser
        from tl_jax.data.codec import load_tokenizer

        tokens = TokenAnalyser(load_tokenizer(tokenizer), renderer, max_weight)
    for trajectory in trajectories(data, kind):
        marked = counts.add(trajectory)
        if tokens:
            tokens.add(marked)
    report = Report(str(data), counts.result, tokens.result if tokens else None)
    print_report(report)
    if json_path:
        json_path.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    if plot:
        write_plot(report, plot)
