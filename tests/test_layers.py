"""The shape of the package: imports go downwards only, `tooluse` needs nothing but the standard library, and what keeps
files and functions readable."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tl_jax"
LAYERS = (
    ("tooluse",),
    ("config",),
    ("model", "data"),
    ("training", "inference"),
    ("rl", "evaluation", "report"),
    ("demo", "plan", "ablation"),
    ("cli",),
)
"""From the ground up; packages of one layer may use each other. Modules beside them may be used by all."""
FOR_ALL = {f"tl_jax.{name}" for name in ("addresses", "errors", "files", "plugins", "registry", "visible", "yaml_text")}
OPTIONAL = {"matching_scipy.py"}
"""Loaded only where the library it wraps is installed."""
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path, at_import: bool = False) -> Iterator[str]:
    """Full names of everything imported, anywhere in the file or only when it is imported itself."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def layer(name: str) -> int | None:
    """Which layer a module such as ``tl_jax.model.hf`` or ``tl_jax.cli.data`` belongs to."""
    part = name.split(".")[1] if name.startswith("tl_jax.") else ""
    return next((index for index, rooms in enumerate(LAYERS) if part in rooms), None)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_downwards(file: Path) -> None:
    own = layer(".".join(("tl_jax", *file.relative_to(PACKAGE).with_suffix("").parts)))
    wrong = [name for name in imports(file) if own is not None and (layer(name) or 0) > own]
    assert wrong == []


@pytest.mark.parametrize("file", sorted((PACKAGE / "tooluse").rglob("*.py")), ids=lambda file: file.name)
def test_tooluse_needs_the_standard_library_only(file: Path) -> None:
    foreign = {
        name
        for name in imports(file, at_import=True)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not name.startswith("tl_jax.tooluse")
        and name not in FOR_ALL
    }
    assert foreign == set() or file.name in OPTIONAL


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_and_functions_stay_readable(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") < 500
    assert "fmt: skip" not in text
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions if parameters(function) > 8] == []


def parameters(function: ast.FunctionDef) -> int:
    """How many a caller sees: without ``self`` or ``cls``."""
    names = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_one_class_has_a_name() -> None:
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in FILES)
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []
