"""README, documents and configs name only what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tl_jax.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = [
    *sorted((ROOT / "configs").glob("*.yaml")),
    *sorted((ROOT / "tl_jax/demo/configs").glob("*.yaml")),
    *sorted((ROOT / "launch").iterdir()),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, *SETTINGS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_file_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:^|[`(]|# +)tl-jax +([a-z-]+)", text, flags=re.MULTILINE))
    assert commands - set(main.commands) == set()
    files = set(
        re.findall(r"\b(?:configs|launch|tl_jax|docs|benchmarks|tests)/[\w./-]+\.(?:ya?ml|py|sh|md|env|csv)", text)
    )
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []
