"""Writes the tables of the documents anew from the records they list.

    python docs/tables.py            # writes
    python docs/tables.py --check    # exits with 1 if a page is not up to date

A table stands between ``<!-- table module:NAME -->`` and ``<!-- end -->``; NAME is a `tl_jax.registry.Registry`.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted(Path(__file__).parent.glob("**/*.md")))
TABLE = re.compile(r"(<!-- table ([\w.]+):(\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The page with every table as its registry has it now."""

    def fresh(found: re.Match[str]) -> str:
        registry = getattr(importlib.import_module(found[2]), found[3])
        return f"{found[1]}{registry.table()}\n{found[5]}"

    return TABLE.sub(fresh, text)


def main() -> int:
    sys.path.insert(0, str(ROOT))  # for tables of `benchmarks`
    stale = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fresh = with_tables(text)
        if fresh == text:
            continue
        stale += 1
        if "--check" in sys.argv:
            print(f"{page}: a table is not up to date; run python docs/tables.py")
        else:
            page.write_text(fresh, encoding="utf-8")
            print(f"{page}: written")
    return int(stale > 0 and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
