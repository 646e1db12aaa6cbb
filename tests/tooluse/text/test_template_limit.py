"""Chat templates that do not come to an end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tl_jax.tooluse.schema import Message
from tl_jax.tooluse.text.template_facts import KnownTemplate
from tl_jax.tooluse.text.template_limit import EndlessTemplateError, limited

pytest.importorskip("jinja2")
from jinja2.sandbox import ImmutableSandboxedEnvironment

LOOPS = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"


def endless() -> str:
    return ImmutableSandboxedEnvironment().from_string(LOOPS).render()


def test_loops_inside_loops_are_ended() -> None:
    began = time.process_time()
    with pytest.raises(EndlessTemplateError, match=r"for 0\.1 seconds and was ended") as error:
        limited(endless, 0.1)
    assert time.process_time() - began < 5
    assert "\n" not in str(error.value)


TRACED = f"""
import sys
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tl_jax.tooluse.text.template_limit import EndlessTemplateError, limited

def endless():
    return ImmutableSandboxedEnvironment().from_string("{LOOPS}").render()

sys.settrace(lambda *_: None)
try:
    limited(endless, 0.1)
except EndlessTemplateError:
    print(len([limited(str) for _ in range(3)]))
"""


def test_a_debugger_goes_on_afterwards() -> None:
    """Python 3.11 repeats a traced call for ever if an exception that was on its way to a thread is taken back."""
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "3\n"


def test_several_threads_are_ended_apart() -> None:
    ends: list[str] = []

    def waits() -> str:
        time.sleep(0.5)
        return "waits"

    def work(write: Callable[[], str]) -> None:
        try:
            ends.append(limited(write, 0.1))
        except EndlessTemplateError:
            ends.append("ended")

    threads = [threading.Thread(target=work, args=(write,)) for write in (endless, waits, endless)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["ended", "ended", "waits"]  # waiting is no work


def test_what_is_ended_is_not_ended_again() -> None:
    for _ in range(3):
        with pytest.raises(EndlessTemplateError):
            limited(endless, 0.0)
        assert limited(lambda: "text") == "text"


def test_its_end_is_no_refusal_of_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused ones are tried in other ways, each of which would take as long."""
    monkeypatch.setattr("tl_jax.tooluse.text.template_limit.limited.__defaults__", (0.05,))
    asked = []

    def apply(messages: object, tools: object, generation: bool) -> str:
        asked.append(messages)
        return endless()

    with pytest.raises(EndlessTemplateError):
        KnownTemplate.of(apply, ())
    assert len(asked) == 1
    with pytest.raises(EndlessTemplateError):
        KnownTemplate(apply, "", "", "").write((), [Message("user", ".")])
