"""Settings every test runs under: the CPU with eight fake devices, one compilation cache, and where the real data lies.

All of it is set before JAX is imported, for the launched processes as well.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.xla_flags import xla_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = xla_flags(devices=8)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import HealthCheck, settings

from tests.remote import folder, server  # noqa: F401  # fixtures
from tests.thoroughness import USUAL
from tl_jax.compile_cache import processor
from tl_jax.cpu_devices import give_threads

give_threads()

# Half of the usual examples: every run draws others, and `make fuzz` draws a thousand.
settings.register_profile(
    "shared_cores", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=USUAL // 2
)
settings.register_profile("quick", settings.get_profile("shared_cores"), max_examples=15)
settings.register_profile("fuzz", settings.get_profile("shared_cores"), max_examples=1000)
settings.load_profile("shared_cores")

CACHE_BYTES = 1 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Workers and launched processes share what XLA compiled, and so does the next run, until the cache is full.

    The processor is in the folder's name, as in `tl_jax.compile_cache`. An entry that a killed
    process left half written is compiled anew.
    """
    kept = getattr(config, "cache", None)  # None: -p no:cacheprovider, as for the copies of tests/mutations.py
    if kept is None or "JAX_COMPILATION_CACHE_DIR" in os.environ or not find_spec("jax"):
        return
    cache = kept.mkdir(f"xla-{processor()}")
    if sum(file.stat().st_size for file in cache.iterdir()) > CACHE_BYTES:
        shutil.rmtree(cache)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: at the end, no worker waits for another's long file."""
    paths = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in paths)


def pytest_collection_finish() -> None:
    """Garbage is looked for seldom, and not among what is imported by now: tracing makes much that stays."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


MAPPINGS = Path("/proc/self/maps")
MOST_MAPPINGS = 20_000


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Programs are let go of after a file that leaves many behind.

    Each that XLA compiled for a processor has three mappings of memory. Linux gives a process 65,530 of them, which a
    worker came to after some 4,000 tests; one more, and it crashes.
    """
    yield
    if "jax" in sys.modules and MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > MOST_MAPPINGS:
        sys.modules["jax"].clear_caches()


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real trajectories and test sets, kept outside the repository; tests that need them skip without."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}")
    return SHARED
