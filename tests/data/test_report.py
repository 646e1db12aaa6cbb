from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields

import pytest

from tl_jax.data.report import DataReport


def filled(start: int) -> DataReport:
    """Every count is another number."""
    report = DataReport()
    for number, item in enumerate(fields(report), start):
        if isinstance(getattr(report, item.name), int):
            setattr(report, item.name, number)
    report.blocked = Counter({("prefix", "bad_value"): start, ("prefix", f"kind {start}"): 1})
    report.left_out = Counter({"reasoning": start})
    return report


def test_a_report_comes_back_as_it_was() -> None:
    report = filled(1)
    report.notes, report.padding = ["something"], 0.25
    assert DataReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    with pytest.raises(KeyError):
        DataReport.from_json({})


def test_counts_of_two_parts_add_up() -> None:
    report = filled(1)
    report.add(filled(100))
    for item in fields(report):
        value = getattr(report, item.name)
        if isinstance(value, int):
            assert value == getattr(filled(1), item.name) + getattr(filled(100), item.name) > 100
    assert report.blocked == {("prefix", "bad_value"): 101, ("prefix", "kind 1"): 1, ("prefix", "kind 100"): 1}
    assert report.left_out == {"reasoning": 101}
