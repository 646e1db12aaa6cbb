"""Tools that the tests of training offer to a model. Undescribed, as the tests' model knows them."""

from __future__ import annotations


def find_city() -> str:
    return "Oslo"


def find_country() -> str:
    return "Norway"
