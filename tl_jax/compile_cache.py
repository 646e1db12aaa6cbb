"""What XLA has compiled is kept between starts: JAX's persistent compilation cache, in the user's cache directory."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from tl_jax.cpu_devices import cpu_devices
from tl_jax.files import reason, user_cache
from tl_jax.terminal import say

MAX_BYTES = 4 << 30
"""Room for programs; the least recently used go first. One of a 7B model takes up to some hundred megabytes."""


def keep_programs(wanted: bool = True) -> None:
    """Lets JAX keep what takes it longer than a second to compile; call before the first compilation.

    What the user has told JAX stands: nothing is changed where ``JAX_COMPILATION_CACHE_DIR`` is set or
    ``JAX_ENABLE_COMPILATION_CACHE`` is false. A directory that cannot be written to costs a warning and the cache, and
    an entry that cannot be read a warning of JAX's own and its compilation.

    Args:
        wanted: False = neither this cache is used nor one that the environment names.
    """
    import jax

    if not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
    if not jax.config.values["jax_enable_compilation_cache"] or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    # Collectives between fake devices wait for ever where XLA has too few threads, and the sooner two of them start at
    # once the likelier that is.
    if cpu_devices() > 1:
        return
    directory = Path()
    try:
        directory = cache_directory()
        _prepare(directory)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home, or a file system without locks
        why = reason(error) if isinstance(error, OSError) else str(error)
        say(f"tl-jax: compiled programs are not kept: {directory}: {why} (--no-compile-cache: not tried)", err=True)
        return
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # they lie beside it and know no bound
    if "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ:
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)


def cache_directory() -> Path:
    """Where programs are kept: ``xla`` in `tl_jax.files.user_cache`, by processor.

    JAX names an entry by the program, the flags, the devices and the version of XLA. The processor, for which it
    compiles too, is in none of them, and a home may be shared by many machines.

    Raises:
        RuntimeError: the user has no home.
    """
    return user_cache() / "xla" / processor()


def processor() -> str:
    """Tells processors with different instructions apart."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    facts = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return hashlib.sha256("".join([platform.machine(), *sorted(facts)]).encode()).hexdigest()[:8]


def _prepare(directory: Path) -> None:
    """Makes the directory, for nobody else: whoever writes to it decides what is executed.

    JAX writes a program and then when it was used last. What a killed process left without the second would keep every
    other program from being written.
    """
    from filelock import FileLock

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(directory / ".lockfile", timeout=10):  # the one that JAX takes
        for program in directory.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink()
