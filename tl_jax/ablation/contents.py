"""Files by what is in them: a stage is known by that, wherever they lie and whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from tl_jax.addresses import is_temporary, shown
from tl_jax.bucket_files import brought, brought_from
from tl_jax.config import Node
from tl_jax.config.base import DataPath
from tl_jax.config.rewards import WeightedReward, write_rewards
from tl_jax.files import told
from tl_jax.plugins import Plugin
from tl_jax.tooluse.readers.toolbox import tools_beside

ITS_OWN = {"run_dir": "out", "model.path": "model", "data.path": "data", "seed": "seeds"}
"""Settings of a training that its stage decides, and by which setting of the ablation."""


class Contents:
    """What files hold, each read once. What lies in a bucket is brought here, as it is now."""

    def __init__(self) -> None:
        self._digests = dict[Path, str]()

    def digest(self, path: Path) -> str:
        """Of a file, with the tools that are beside it, or of all files of a folder and their names; the name itself of
        anything else, a data set on the hub for instance.

        Raises:
            UserError: it cannot be read, or is in no bucket where its name is an address in one.
        """
        if path not in self._digests:
            parts = [*_digests(brought(path))]
            name, first = parts[0] if parts else ("", shown(path))
            alone = len(parts) <= 1 and not name
            self._digests[path] = first if alone else hashlib.sha256(repr(parts).encode()).hexdigest()
        return self._digests[path]

    def settings(self, config: Node, prefix: str = "") -> dict[str, Any]:
        """What is set otherwise than by default, with digests in place of files of data and tables of rewards, and
        without the paths of `ITS_OWN`: so what is done counts on a machine where they lie elsewhere."""
        tree = explicit(config)
        hints = get_type_hints(type(config), include_extras=True)
        for name in [*tree]:
            value, key = getattr(config, name), f"{prefix}{name}"
            if isinstance(value, Path) and key in ITS_OWN:
                del tree[name]
            elif isinstance(value, Node):
                tree[name] = self.settings(value, f"{key}.")
            elif isinstance(value, Path) and DataPath in (hints[name], *get_args(hints[name])):
                tree[name] = self.digest(value)
            elif isinstance(value, tuple) and all(isinstance(one, WeightedReward) for one in value):
                tree[name] = write_rewards(tuple(map(self._of_reward, value)))
        return tree

    def _of_reward(self, reward: WeightedReward) -> WeightedReward:
        file = brought_from(reward.name)
        if not file.is_file():
            return reward
        return WeightedReward(Plugin(self.digest(file), reward.plugin.options), reward.weight)


def explicit(config: Node, *without: str) -> dict[str, Any]:
    """What is set otherwise than by default, so that a setting which a later version adds makes no other stage."""
    return config.model_dump(mode="json", exclude={*without}, exclude_defaults=True)


def _digests(path: Path) -> Iterator[tuple[str, str]]:
    """Names and digests of what is read; a file by itself has no name."""
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
        yield from ((name, _digest(files[name])) for name in sorted(files) if not is_temporary(name))
    elif path.is_file():
        yield "", _digest(path)
        tools = next(filter(Path.is_file, tools_beside(path)), path)
        if tools != path:
            yield "tools", _digest(tools)


def _digest(file: Path) -> str:
    with told(file, "cannot be read"), file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
