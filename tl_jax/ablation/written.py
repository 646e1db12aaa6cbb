"""The report as files, and as what the terminal shows."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType

from tl_jax.ablation.page import to_html
from tl_jax.ablation.plan import AblationPlan
from tl_jax.ablation.report import report, sweep_report
from tl_jax.ablation.results import METRICS, read_results
from tl_jax.ablation.sweep_page import sweep_image, sweep_to_html
from tl_jax.config.ablation import AblationConfig
from tl_jax.files import write_json, write_text


def write_report(plan: AblationPlan) -> RenderableType:
    """Writes ``report.json`` and ``report.html``."""
    results, out = read_results(plan), plan.config.out
    write_json(out / "report.json", results.to_json())
    write_text(out / "report.html", to_html(results))
    return Group(report(results), f"{out / 'report.html'}")


def write_sweep(config: AblationConfig, name: str, plans: Mapping[str, AblationPlan]) -> RenderableType:
    """Writes ``sweep-NAME.json``, ``sweep-NAME.html`` and, for each figure, the gains as ``sweep-NAME-FIGURE.svg``."""
    found = {value: read_results(plan) for value, plan in plans.items()}
    setting, file = config.sweeps[name].setting, config.out / f"sweep-{name}"
    content = {"setting": setting, "values": {value: results.to_json() for value, results in found.items()}}
    write_json(file.with_suffix(".json"), content)
    write_text(file.with_suffix(".html"), sweep_to_html(name, setting, found))
    for metric in METRICS:
        if image := sweep_image(setting, found, metric):
            write_text(file.with_name(f"{file.name}-{metric}.svg"), image)
    return Group(sweep_report(setting, found), f"{file}.html")
