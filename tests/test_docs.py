"""README, documents and configs name only what exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tl_jax.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = [
    *sorted((ROOT / "configs").glob("*.yaml")),
    *sorted((ROOT / "tl_jax/demo/configs").rglob("*.yaml")),
    *sorted((ROOT / "launch").iterdir()),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_names_everything_in_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [name.split("/") for name in listed.stdout.split()]
    top = {f"{parts[0]}/" if len(parts) > 1 else parts[0] for parts in files}
    rooms = {f"tl_jax/{parts[1]}/" for parts in files if parts[0] == "tl_jax" and len(parts) > 2}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    itself = {"README.md", ".gitignore", "tl_jax/"}
    assert {name for name in top | rooms if f"`{name}`" not in text} - itself == set()


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != ROOT], ids=lambda page: page.name)
def test_the_pages_of_the_site_link_only_to_each_other(page: Path) -> None:
    assert re.findall(r"\]\(\.\./[^)]*\)", page.read_text(encoding="utf-8")) == []


def test_every_page_is_in_the_navigation_and_every_module_in_the_reference() -> None:
    named = set(re.findall(r"- ([\w./]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    shown = {
        name for page in (ROOT / "docs/api").iterdir() for name in re.findall("^::: (.*)$", page.read_text(), re.M)
    }
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in (ROOT / "tl_jax").rglob("*.py")}
    rooms = ("tl_jax.cli.", "tl_jax.demo.", "tl_jax.__")
    wanted = {name for name in modules if not name.startswith(rooms) and not name.endswith("__init__")}
    assert {name for name in wanted if not any(name == part or name.startswith(f"{part}.") for part in shown)} == set()


@pytest.mark.parametrize("page", [*PAGES, *SETTINGS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_file_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:^|[`(]|# +)tl-jax +(?:--import \w+ )?([a-z-]+)", text, flags=re.MULTILINE))
    assert commands - set(main.commands) == set()
    files = set(
        re.findall(
            r"\b(?:configs|launch|tl_jax|docs|benchmarks|tests|examples)/[\w./-]+\.(?:ya?ml|py|sh|md|env|csv)", text
        )
    )
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []
