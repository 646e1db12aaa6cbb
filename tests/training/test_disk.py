"""A disk that fills up while a training runs: one line, exit code 2, and the run can be continued."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import finish, launch, run_python
from tests.xla_flags import xla_flags
from tl_jax.config import SftConfig, to_yaml

FULL_LOG = """
import resource, sys
from pathlib import Path
from tl_jax.cli.main import main
from tl_jax.training.logs import RunLog

def train(**_):
    log = RunLog(Path(sys.argv[1]), start=0, total=9)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
    try:
        log.metrics(1, {"x" * 90: 1.0, "y" * 90: 1.0})
    finally:
        log.close()

main.commands["mae"].callback = train
main(["mae", "--in", "README.md", "--out", "nowhere"])
"""


@pytest.mark.slow
def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """The threads and exit functions of the libraries have nothing to add."""
    shown = finish(run_python("-c", FULL_LOG, str(tmp_path)), code=2)
    assert shown == f"tl-jax: {tmp_path / 'metrics.jsonl'}: cannot be written: File too large\n"


SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # what a full disk does, without filling one
from tl_jax.cli import main
main(["sft", "--config", sys.argv[1]])
"""


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(
    sft_config: Callable[..., SftConfig], tmp_path: Path
) -> None:
    config = sft_config(steps=4, log_every=1, checkpoint__every=2)
    file = tmp_path / "c.yaml"
    file.write_text(to_yaml(config))
    shown = finish(run_python("-c", SMALL_DISK, str(file), XLA_FLAGS=xla_flags()), code=2)
    told = "a checkpoint cannot be written: File too large; earlier ones are whole"
    assert shown.splitlines()[-1] == f"tl-jax: {config.run_dir / 'checkpoints'}: {told}"
    assert "Traceback" not in shown
    assert "done: 4 steps" in finish(launch(config))
