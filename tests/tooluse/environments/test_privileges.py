"""What a process takes away from itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux has this", allow_module_level=True)

from tl_jax.tooluse.environments import privileges

LANDLOCK = privileges.landlock_version()
READ_ANY_FILE = 4
NOBODY = 65534


def run(code: str) -> str:
    """What a process says that does this, and nothing on its standard error."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("nobody", [False, True])
def test_nothing_is_left_and_no_program_gets_it_back(nobody: bool) -> None:
    """Root has every capability, and so has a user in the namespace of their own that they need for the network's."""
    if nobody and os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    status = "print(int(open('/proc/self/status').read().partition('CapPrm:')[2].split()[0], 16), flush=True)"
    code = (
        "import os, sys\n"
        "from tl_jax.tooluse.environments import privileges\n"
        f"if {nobody}:\n    os.setgid({NOBODY})\n    os.setuid({NOBODY})\n"
        f"privileges.leave_network()\nprivileges.drop_capabilities()\n{status}\n"
    )
    program = f"os.execv(sys.executable, [sys.executable, '-ISc', {status!r}])" if not nobody else ""
    held = run(code + program).split()
    assert len(held) == (1 if nobody else 2)
    assert all(int(capabilities) & ~READ_ANY_FILE == 0 for capabilities in held)


def test_what_the_kernel_does_not_know_is_not_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(privileges, "landlock_version", lambda: 0)
    monkeypatch.setattr(privileges.ctypes, "CDLL", asked.append)
    privileges.only_read()
    assert asked == []


@pytest.mark.skipif(not LANDLOCK, reason="there is no Landlock")
@pytest.mark.parametrize("known", range(1, 8))
def test_every_version_takes_its_rules(known: int) -> None:
    """A newer kernel takes those of older ones."""
    if known > LANDLOCK:
        pytest.skip("newer than the kernel")
    code = (
        "from tl_jax.tooluse.environments import privileges\n"
        f"privileges.landlock_version = lambda: {known}\n"
        "privileges.drop_capabilities()\n"
        "privileges.only_read()\n"
        "open('/dev/null', 'w').close()\n"
        "try:\n    open('/tmp/never', 'w')\nexcept PermissionError:\n    print('refused')"
    )
    assert run(code) == "refused\n"
