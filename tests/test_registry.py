"""Records by name, their table, and the tables of the documents."""

from __future__ import annotations

import doctest
import importlib.util
from collections import namedtuple
from pathlib import Path

import pytest

from tl_jax import registry
from tl_jax.errors import UserError
from tl_jax.registry import Registry

Animal = namedtuple("Animal", "name legs")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def animals() -> Registry[Animal]:
    return Registry("animal", [Animal("cat", 4)], {"animal": lambda a: f"`{a.name}`", "legs | feet": lambda a: a.legs})


def test_the_example() -> None:
    assert doctest.testmod(registry).failed == 0


def test_a_name_is_taken_once(animals: Registry[Animal]) -> None:
    with pytest.raises(ValueError, match="the animal 'cat' is there already"):
        animals.add(Animal("cat", 3))


def test_a_record_for_a_while(animals: Registry[Animal]) -> None:
    with animals.added(Animal("hen", 2)):
        assert [*animals] == ["cat", "hen"]
    assert [*animals] == ["cat"]


def test_an_unknown_name_says_what_there_is(animals: Registry[Animal]) -> None:
    with pytest.raises(UserError, match="unknown animal 'whale'; known: cat"):
        animals.find("whale")


def test_what_may_be_written_besides_a_name() -> None:
    assert Registry("animal", [Animal("cat", 4), Animal("hen", 2)]).choices() == "cat, hen"
    animals = Registry("animal", [Animal("cat", 4)], also="the path of a picture")
    assert animals.choices() == "cat or the path of a picture"
    with pytest.raises(UserError, match="unknown animal 'whale'; known: cat or the path of a picture"):
        animals.find("whale")


def test_columns_made_when_the_table_is(animals: Registry[Animal]) -> None:
    homes = Registry("home", [Animal("house", 0)], lambda: {"home": lambda h: h.name, **dict.fromkeys(animals, len)})
    assert homes.table().splitlines()[0] == "| home | cat |"
    with animals.added(Animal("hen", 2)):
        assert homes.table().splitlines()[0] == "| home | cat | hen |"


def test_the_table(animals: Registry[Animal]) -> None:
    assert animals.table().splitlines() == ["| animal | legs \\| feet |", "| --- | --- |", "| `cat` | 4 |"]


def test_the_tables_of_the_documents_are_up_to_date() -> None:
    pytest.importorskip("jax")  # the page of models is about modules that need it
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    stale = [page for page in tables.PAGES if tables.with_tables(page.read_text()) != page.read_text()]
    assert stale == []
