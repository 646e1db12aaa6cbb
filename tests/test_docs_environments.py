"""What docs/environments.md shows is run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "environments.md").read_text(encoding="utf-8")


def test_the_example(tmp_path: Path) -> None:
    module, program, output = re.findall(r"^```[^\n]+\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "my_tools.py").write_text(module)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == output
