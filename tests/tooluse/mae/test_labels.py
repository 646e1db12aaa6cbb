"""The MAE rules on tool results labelled by eye: `benchmarks/mae_quality.py` measures, here is what must hold."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.mae_quality import FORMAT_SAMPLES, FORMATS, LABELS, SAMPLES, Quality, measure, measure_formats
from tl_jax.tooluse.mae.apply import Category


@pytest.fixture(scope="module")
def measured(shared_data: Path) -> dict[tuple[str, str, str], Quality]:
    return measure(shared_data)


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_paper_rule_finds_what_a_reader_finds(measured: dict[tuple[str, str, str], Quality], sample: str) -> None:
    paper, reference = (measured[sample, "all", rule] for rule in ("paper", "reference"))
    for name, quality in (("paper", paper), ("reference", reference)):
        print(f"{sample}: rule {name}: precision {quality.precision:.3f}, recall {quality.recall:.3f}")
    assert paper.precision >= 0.97
    assert paper.recall >= 0.97
    assert paper.right_category >= 0.9 * paper.hits
    assert paper.precision >= reference.precision
    assert paper.recall >= reference.recall


def test_the_labels_are_a_sound_sample() -> None:
    """Enough of them, of every source, errors over-sampled; ids and labels only."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sample", "id", "message", "label", "category"]
    assert len({(row["id"], row["message"]) for row in rows}) == len(rows)
    sizes = Counter(row["sample"] for row in rows)
    assert sizes["first"] >= 150
    assert sizes["second"] >= 60
    sources = Counter(row["id"].split("/")[0] for row in rows if row["sample"] == "first")
    assert sources.keys() == {"apibank_lv12", "apibank_lv3", "glaive_demo", "tau_airline", "toolbench_ex", "tooltalk"}
    assert min(sources.values()) >= 20
    for row in rows:
        assert (row["label"] == "error") == (row["category"] in set(Category))
        assert row["label"] in ("error", "ok")


@pytest.mark.parametrize("sample", FORMAT_SAMPLES)
def test_results_in_the_styles_of_many_tools_and_languages(sample: str) -> None:
    """What was measured when the detectors were made for them; the held-out ones were not looked at."""
    quality = measure_formats()[sample, "all", "paper"]
    print(f"{sample}: precision {quality.precision:.3f}, recall {quality.recall:.3f}")
    assert quality.precision >= 0.97
    assert quality.recall >= 0.95


def test_the_made_up_results_are_a_sound_sample() -> None:
    rows = [json.loads(line) for line in FORMATS.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 120
    assert len({row["result"] for row in rows}) == len(rows)
    assert sum(row["sample"] == "held_out" for row in rows) >= 40
    assert 0.4 < sum(row["label"] == "error" for row in rows) / len(rows) < 0.6
    for row in rows:
        assert (row["label"] == "error") == (row["category"] in set(Category))
